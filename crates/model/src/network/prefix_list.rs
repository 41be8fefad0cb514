//! PrefixList: networks under one name, for rules and routes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::at_most;
use super::{Cidr, GROUP};
use crate::{Column, FieldErrors, KindInfo, Object, Scope, Spec};

pub type PrefixList = Object<PrefixListSpec>;

const ENTRIES_MAX: usize = 1000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PrefixListSpec {
    /// Networks, each once; at most 1000.
    pub entries: Vec<PrefixEntry>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PrefixEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrefixListStatus {}

impl Spec for PrefixListSpec {
    type Status = PrefixListStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "PrefixList",
        plural: "prefixlists",
        singular: "prefixlist",
        short_names: &["pl"],
        scope: Scope::Project,
        summary: "Networks under one name, for rules and routes.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        at_most("spec.entries", &self.entries, ENTRIES_MAX, errors);
        for (i, entry) in self.entries.iter().enumerate() {
            let field = format!("spec.entries[{i}].cidr");
            match &entry.cidr {
                None => errors.push(field, "must be a network, such as 192.0.2.0/24"),
                Some(cidr) if self.entries[..i].iter().any(|e| e.cidr.as_ref() == Some(cidr)) => {
                    errors.push(field, format!("{cidr} is named twice; once is enough"));
                }
                Some(_) => {}
            }
        }
    }

    fn columns() -> &'static [Column<PrefixList>] {
        const COLUMNS: &[Column<PrefixList>] =
            &[Column::integer("Entries", |p, _| json!(p.spec.entries.len()))];
        COLUMNS
    }
}

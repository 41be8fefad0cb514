//! Quota: the most a project may hold. Usage is counted from what exists, never kept.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Bytes, Column, CpuMillis, FieldErrors, KindInfo, Object, Resources, Scope, Spec};

pub type Quota = Object<QuotaSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QuotaSpec {
    /// CPU of all instances together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuMillis>,
    /// Memory of all instances together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Local disk of all instances together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// Most objects per kind, by plural name: `instances: 10`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

/// What the project holds now, counted when asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QuotaStatus {
    pub used: Resources,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

impl Spec for QuotaSpec {
    type Status = QuotaStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Quota",
        plural: "quotas",
        singular: "quota",
        short_names: &[],
        scope: Scope::Project,
        summary: "The most a project may hold.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        for plural in self.counts.keys() {
            let known = crate::kinds().iter().any(|k| k.info.plural == plural && k.info.is_project_scoped());
            errors.require(
                known,
                &format!("spec.counts[{plural}]"),
                "must be the plural name of a kind that lives in projects, such as instances",
            );
        }
    }

    fn columns() -> &'static [Column<Quota>] {
        fn limit<T: std::fmt::Display>(limit: Option<T>) -> String {
            limit.map_or_else(|| "-".into(), |l| l.to_string())
        }
        const COLUMNS: &[Column<Quota>] = &[
            Column::text("Cpu", |q, _| json!(limit(q.spec.cpu))),
            Column::text("Memory", |q, _| json!(limit(q.spec.memory))),
            Column::text("Instances", |q, _| json!(limit(q.spec.counts.get("instances")))),
        ];
        COLUMNS
    }
}

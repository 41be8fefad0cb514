//! AddressPool: addresses of the outside that the cloud may give to its guests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{at_most, check_address, check_name};
use super::{Address, AddressRange, GROUP};
use crate::{Column, FieldErrors, KindInfo, Object, Scope, Spec};

pub type AddressPool = Object<AddressPoolSpec>;

const RANGES_MAX: usize = 64;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AddressPoolSpec {
    /// Addresses that are routed to the hosts: `192.0.2.10-192.0.2.50`, `192.0.2.64/26`, or a single one.
    pub ranges: Vec<AddressRange>,
    /// Only for guests in this zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressPoolStatus {}

impl Spec for AddressPoolSpec {
    type Status = AddressPoolStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "AddressPool",
        plural: "addresspools",
        singular: "addresspool",
        short_names: &[],
        scope: Scope::Cloud,
        summary: "Addresses of the outside that the cloud may give to its guests.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(!self.ranges.is_empty(), "spec.ranges", "must have a range, such as 192.0.2.0/24");
        at_most("spec.ranges", &self.ranges, RANGES_MAX, errors);
        for (i, range) in self.ranges.iter().enumerate() {
            let field = format!("spec.ranges[{i}]");
            check_address(&field, Address(range.first()), errors);
            check_address(&field, Address(range.last()), errors);
            if let Some(other) = self.ranges[..i].iter().find(|other| other.overlaps(range)) {
                errors.push(field, format!("{range} overlaps {other}; an address is named once"));
            }
        }
        check_name("spec.zone", &self.zone, errors);
    }

    fn columns() -> &'static [Column<AddressPool>] {
        const COLUMNS: &[Column<AddressPool>] = &[
            Column::text("Ranges", |p, _| {
                json!(p.spec.ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }),
            Column::wide_text("Zone", |p, _| json!(p.spec.zone)),
            Column::wide_text("Description", |p, _| json!(p.spec.description)),
        ];
        COLUMNS
    }
}

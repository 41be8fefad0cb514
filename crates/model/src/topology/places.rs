//! Zone, Rack and Cluster: names that hosts refer to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Column, FieldErrors, KindInfo, Object, Scope, Spec};

pub type Zone = Object<ZoneSpec>;
pub type Rack = Object<RackSpec>;
pub type Cluster = Object<ClusterSpec>;

/// A failure domain of its own: building, power, uplink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// Hosts that share a switch and a power feed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RackSpec {
    pub zone: String,
}

/// Hosts of one hypervisor type among which instances may move.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpec {
    /// The driver its hosts use, e.g. `qemu`.
    pub driver: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceStatus {}

const fn place(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    summary: &'static str,
) -> KindInfo {
    KindInfo {
        group: GROUP,
        version: "v1",
        kind,
        plural,
        singular,
        short_names: &[],
        scope: Scope::Cloud,
        summary,
    }
}

impl Spec for ZoneSpec {
    type Status = PlaceStatus;
    const KIND: KindInfo = place("Zone", "zones", "zone", "A failure domain: building, power, uplink.");
}

impl Spec for RackSpec {
    type Status = PlaceStatus;
    const KIND: KindInfo = place("Rack", "racks", "rack", "Hosts that share a switch and a power feed.");

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(!self.zone.is_empty(), "spec.zone", "must name the rack's zone");
    }

    fn columns() -> &'static [Column<Rack>] {
        const COLUMNS: &[Column<Rack>] = &[Column::text("Zone", |r, _| json!(r.spec.zone))];
        COLUMNS
    }
}

impl Spec for ClusterSpec {
    type Status = PlaceStatus;
    const KIND: KindInfo = place("Cluster", "clusters", "cluster", "Hosts of one hypervisor type.");

    fn columns() -> &'static [Column<Cluster>] {
        const COLUMNS: &[Column<Cluster>] = &[Column::text("Driver", |c, _| json!(c.spec.driver))];
        COLUMNS
    }
}

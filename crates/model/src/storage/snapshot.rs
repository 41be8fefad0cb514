//! VolumeSnapshot: a volume as it was at one moment. It outlives its volume.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{GROUP, VolumeSpec};
use crate::{Bytes, Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type VolumeSnapshot = Object<VolumeSnapshotSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotSpec {
    /// The Volume.
    pub volume: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotStatus {
    /// It is taken, and stays as it is.
    pub ready: bool,
    /// The host that keeps it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The size of the volume at that moment.
    #[serde(skip_serializing_if = "Bytes::is_zero")]
    pub size: Bytes,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl Spec for VolumeSnapshotSpec {
    type Status = VolumeSnapshotStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "VolumeSnapshot",
        plural: "volumesnapshots",
        singular: "volumesnapshot",
        short_names: &["snapshot", "snapshots", "snap"],
        scope: Scope::Project,
        summary: "A volume as it was at one moment.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(!self.volume.is_empty(), "spec.volume", "must name a volume");
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.volume == old.volume, "spec.volume", "cannot be changed; take a new snapshot");
    }

    fn columns() -> &'static [Column<VolumeSnapshot>] {
        const COLUMNS: &[Column<VolumeSnapshot>] = &[
            Column::text("Ready", |s, _| json!(s.status.ready.to_string())),
            Column::text("Volume", |s, _| json!(s.spec.volume)),
            Column::text("Size", |s, _| json!(s.status.size)),
            Column::text("Host", |s, _| json!(s.status.host)),
        ];
        COLUMNS
    }

    fn field(s: &VolumeSnapshot, path: &str) -> Option<String> {
        Some(match path {
            "spec.volume" => s.spec.volume.clone(),
            "status.host" => s.status.host.clone(),
            _ => return None,
        })
    }

    fn references(s: &VolumeSnapshot) -> Vec<Reference> {
        Reference::named(VolumeSpec::KIND, &s.metadata, &s.spec.volume, "spec.volume").into_iter().collect()
    }
}

//! VolumeSnapshot: a volume as it was at one moment, or a disk that could be one. It outlives what it was made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{GROUP, VolumeSpec};
use crate::{Bytes, Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type VolumeSnapshot = Object<VolumeSnapshotSpec>;

/// What it is of: exactly one of volume, image and snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotSpec {
    /// The Volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// An Image with a disk: a volume that nobody wrote to yet.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Another VolumeSnapshot: a copy that stays when that one goes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub snapshot: String,
    /// Taken as soon as no guest has the volume open: at once where none has, else when the one that has stops or
    /// is rebooted, before it comes up again. What guests hold back is then in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_rest: bool,
    /// The key of what it is of, where that is encrypted, sealed by the cloud's master key. The server writes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sealed_key: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotStatus {
    /// It is taken, and stays as it is.
    pub ready: bool,
    /// The host that keeps it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The Pool that has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// The size of the volume at that moment.
    #[serde(skip_serializing_if = "Bytes::is_zero")]
    pub size: Bytes,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl VolumeSnapshotSpec {
    /// Whether what it is of is encrypted, and so this.
    pub fn is_encrypted(&self) -> bool {
        !self.sealed_key.is_empty()
    }
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
        let sources = [&self.volume, &self.image, &self.snapshot];
        let named = sources.iter().filter(|name| !name.is_empty()).count();
        errors.require(
            named == 1,
            "spec.volume",
            "must name a volume; or image or snapshot be named instead",
        );
        errors.require(
            !self.at_rest || !self.volume.is_empty(),
            "spec.atRest",
            "is only for a snapshot of a volume",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "cannot be changed; take a new snapshot";
        errors.require(self.volume == old.volume, "spec.volume", fixed);
        errors.require(self.image == old.image, "spec.image", fixed);
        errors.require(self.snapshot == old.snapshot, "spec.snapshot", fixed);
        errors.require(self.at_rest == old.at_rest, "spec.atRest", fixed);
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
        let (meta, spec) = (&s.metadata, &s.spec);
        let volume = Reference::named(VolumeSpec::KIND, meta, &spec.volume, "spec.volume");
        let copied = Reference::named(Self::KIND, meta, &spec.snapshot, "spec.snapshot");
        volume.into_iter().chain(copied).collect()
    }
}

//! VolumeBackup: what was in a volume at one moment, kept away from its pool. Each stands on its own: deleting one
//! takes nothing from the others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use super::bucket::is_bucket_name;
use crate::{
    Bytes, Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec, Timestamp, Uid,
};

pub type VolumeBackup = Object<VolumeBackupSpec>;

/// Keeps a backup that is being deleted until its bytes are gone.
pub const BACKUP_CONTENTS: &str = "storage.corten.dev/backup";

/// Label of the plan that made a backup.
pub const PLAN_LABEL: &str = "storage.corten.dev/plan";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeBackupSpec {
    /// The Volume; left out for a backup that is brought in from a file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// The project's Bucket that keeps it; the cloud's own store when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// Read the whole volume and keep all of it anew, whatever earlier backups have.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// The key of the volume, where that is encrypted, sealed by the cloud's master key. The server writes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sealed_key: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum BackupPhase {
    /// Not begun, or begun anew after it was cut off.
    #[default]
    Pending,
    Running,
    /// All of it is kept, and stays as it is.
    Ready,
    /// It cannot be made; the conditions say why.
    Failed,
}

impl BackupPhase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeBackupStatus {
    pub phase: BackupPhase,
    /// The size of the volume at that moment.
    #[serde(skip_serializing_if = "Bytes::is_zero")]
    pub size: Bytes,
    /// The backup since which only changes were read; none when the whole volume was.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base: String,
    /// What was read of the volume.
    #[serde(skip_serializing_if = "Bytes::is_zero")]
    pub read_bytes: Bytes,
    /// What was written down for it.
    #[serde(skip_serializing_if = "Bytes::is_zero")]
    pub stored_bytes: Bytes,
    /// SHA-256 of its table of contents, which has the digests of everything else.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Whose backups share what they have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_uid: Option<Uid>,
    /// Where its bytes are: a bucket's uid, or empty for the cloud's own store.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vault: String,
    /// How it was when its moment came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl VolumeBackupSpec {
    /// Whether the volume is encrypted, and so this.
    pub fn is_encrypted(&self) -> bool {
        !self.sealed_key.is_empty()
    }
}

impl Spec for VolumeBackupSpec {
    type Status = VolumeBackupStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "VolumeBackup",
        plural: "volumebackups",
        singular: "volumebackup",
        short_names: &["backup", "backups"],
        scope: Scope::Project,
        summary: "What was in a volume at one moment, kept away from its pool.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        let named = self.bucket.is_empty() || is_bucket_name(&self.bucket);
        errors.require(named, "spec.bucket", "must be the name of a bucket, or left out");
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self == old, "spec", "cannot be changed; make a new backup");
    }

    fn columns() -> &'static [Column<VolumeBackup>] {
        const COLUMNS: &[Column<VolumeBackup>] = &[
            Column::text("Phase", |b, _| json!(phase_word(b))),
            Column::text("Volume", |b, _| json!(b.spec.volume)),
            Column::text("Size", |b, _| json!(b.status.size)),
            Column::text("Since", |b, _| json!(b.status.base)),
            Column::text("Stored", |b, _| json!(b.status.stored_bytes)),
            Column::wide_text("Bucket", |b, _| json!(b.spec.bucket)),
            Column::wide_text("Digest", |b, _| json!(b.status.digest)),
        ];
        COLUMNS
    }

    fn field(b: &VolumeBackup, path: &str) -> Option<String> {
        Some(match path {
            "spec.volume" => b.spec.volume.clone(),
            "status.phase" => b.status.phase.as_str().into(),
            _ => return None,
        })
    }

    fn references(b: &VolumeBackup) -> Vec<Reference> {
        let (meta, spec) = (&b.metadata, &b.spec);
        // It outlives its volume; its bucket has to stay.
        let volume = Reference::named(super::VolumeSpec::KIND, meta, &spec.volume, "spec.volume");
        let bucket = Reference::kept(super::BucketSpec::KIND, meta, &spec.bucket, "spec.bucket");
        volume.into_iter().chain(bucket).collect()
    }
}

fn phase_word(b: &VolumeBackup) -> &'static str {
    if b.metadata.is_deleting() { "Deleting" } else { b.status.phase.as_str() }
}

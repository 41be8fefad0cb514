//! Volume: a disk with a life of its own, attached to at most one instance at a time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pool::PoolSpec;
use super::{GROUP, VolumeBackupSpec, VolumeSnapshotSpec};
use crate::{
    Bytes, Column, Condition, FieldErrors, KindInfo, Name, Object, Reference, Resources, Scope, Spec, Uid,
};

pub type Volume = Object<VolumeSpec>;

/// The pool that every cloud has.
pub const DEFAULT_POOL: &str = "default";
const SIZE_MAX: Bytes = Bytes(16 << 40);

/// What the user wants of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    /// How large the disk is; that of its source when left out. It can only grow.
    pub size: Bytes,
    /// What is in it at first; nothing when left out.
    #[serde(skip_serializing_if = "is_default")]
    pub source: VolumeSource,
    /// The Pool that keeps it; `default` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// The host that keeps it, in a pool whose volumes stay on their host; chosen by the first attachment when left
    /// out and the cloud has several. Not for pools that hosts share.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// How fast it may be used.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: VolumeLimits,
    /// What happens to a guest that writes when its pool is full.
    #[serde(skip_serializing_if = "is_default")]
    pub when_full: WhenFull,
    /// The last asked-for return to a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revert: Option<VolumeRevert>,
    /// What is in it lies encrypted in its pool (LUKS, AES-256 in XTS mode), under a key of its own. So does what is
    /// made of it, and what is made of something that is.
    #[serde(skip_serializing_if = "is_default")]
    pub encrypted: bool,
    /// Its key, sealed by the cloud's master key. The server writes it; what anybody else writes counts for nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sealed_key: String,
}

/// At most one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSource {
    /// An Image with a disk.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// A VolumeSnapshot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub snapshot: String,
    /// Another Volume, as it is at the moment.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// A VolumeBackup.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backup: String,
}

/// What a write to a full pool does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum WhenFull {
    /// The guest stands still until there is room, and goes on as if nothing had been.
    #[default]
    Pause,
    /// The guest gets an error.
    Error,
}

/// 0 means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeLimits {
    /// Reads and writes per second.
    #[serde(skip_serializing_if = "is_default")]
    pub iops: u64,
    /// Bytes read and written per second.
    #[serde(skip_serializing_if = "is_default")]
    pub bytes_per_second: u64,
}

/// A return to a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeRevert {
    /// A VolumeSnapshot of this volume.
    pub snapshot: String,
    /// Counts asked-for returns: raise it by one to go back.
    pub count: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum VolumePhase {
    /// Not made yet: its host works on it, or it waits for its first attachment.
    #[default]
    Pending,
    /// Made, and attached to nothing.
    Available,
    /// Attached to an instance.
    InUse,
    /// It cannot be made; the conditions say why.
    Failed,
}

impl VolumePhase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Available => "Available",
            Self::InUse => "InUse",
            Self::Failed => "Failed",
        }
    }
}

/// Who writes to a volume's blocks: a machine, whatever it likes, or the host's own filesystem, for containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum VolumeUse {
    Disk,
    Filesystem,
}

/// Who may write to a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeAttachment {
    pub instance: String,
    /// The guest finds the disk by this serial number.
    pub device: String,
    /// Only grows; whoever comes with an older one is refused by the pool.
    pub epoch: u64,
}

/// What is known of a volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeStatus {
    pub phase: VolumePhase,
    /// The host that keeps it; in a pool that hosts share, the one that has its work now.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// How often it was given to another host, in a pool that hosts share: the pool refuses whoever comes with less.
    #[serde(skip_serializing_if = "is_default")]
    pub moves: u64,
    /// Hosts that had it and are lost: what an instance held there counts no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// How large it is now.
    #[serde(skip_serializing_if = "is_default")]
    pub size: Bytes,
    /// What it takes of its pool.
    #[serde(skip_serializing_if = "is_default")]
    pub used_bytes: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachment: Option<VolumeAttachment>,
    /// The epoch of the last attachment.
    #[serde(skip_serializing_if = "is_default")]
    pub epoch: u64,
    /// What it was first attached as, which says who wrote what is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_as: Option<VolumeUse>,
    /// The last return to a snapshot that was carried out.
    #[serde(skip_serializing_if = "is_default")]
    pub reverts_done: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Whose the keys of a project's volumes are sealed for: snapshots, clones and backups have that of their volume.
pub fn key_owner(project: &str) -> String {
    format!("volumes/{project}")
}

/// A volume's serial number in a guest: the first 20 digits of its uid, which is all that virtio has room for.
pub fn serial_of(uid: &Uid) -> String {
    uid.as_str().chars().filter(char::is_ascii_alphanumeric).take(20).collect()
}

impl VolumeSource {
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

impl Object<VolumeSpec> {
    /// The disk's serial number in a guest.
    pub fn serial(&self) -> String {
        serial_of(&self.metadata.uid)
    }

    /// The host that has it or is to have it; empty when that is not decided.
    pub fn home(&self) -> &str {
        if self.status.host.is_empty() { &self.spec.host } else { &self.status.host }
    }
}

impl Spec for VolumeSpec {
    type Status = VolumeStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Volume",
        plural: "volumes",
        singular: "volume",
        short_names: &["vol", "vols"],
        scope: Scope::Project,
        summary: "A disk with a life of its own, attached to at most one instance at a time.",
    };

    fn set_defaults(&mut self) {
        if self.pool.is_empty() {
            self.pool = DEFAULT_POOL.into();
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let source = &self.source;
        let sources = [&source.image, &source.snapshot, &source.volume, &source.backup];
        let named = sources.iter().filter(|name| !name.is_empty()).count();
        errors.require(
            named <= 1,
            "spec.source",
            "must be at most one of image, snapshot, volume and backup",
        );
        errors.require(
            self.size.0 > 0 || named > 0,
            "spec.size",
            "must be given for an empty volume, as in 10Gi",
        );
        errors.require(self.size.0.is_multiple_of(512), "spec.size", "must be a multiple of 512 bytes");
        errors.require(self.size <= SIZE_MAX, "spec.size", "must be at most 16Ti");
        for (field, name) in [("spec.pool", &self.pool), ("spec.host", &self.host)] {
            if let (false, Err(e)) = (name.is_empty(), Name::new(name)) {
                errors.push(field, e.to_string());
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "cannot be changed; make a new volume from this one";
        errors.require(self.source == old.source, "spec.source", fixed);
        errors.require(self.pool == old.pool, "spec.pool", fixed);
        errors.require(self.encrypted == old.encrypted, "spec.encrypted", fixed);
        errors.require(self.host == old.host || old.host.is_empty(), "spec.host", fixed);
        errors.require(self.size >= old.size, "spec.size", "can only grow; make a smaller one and copy");
        let count = |spec: &Self| spec.revert.as_ref().map_or(0, |revert| revert.count);
        errors.require(count(self) >= count(old), "spec.revert.count", "can only grow");
    }

    fn columns() -> &'static [Column<Volume>] {
        const COLUMNS: &[Column<Volume>] = &[
            Column::text("Phase", |v, _| json!(phase_word(v))),
            Column::text("Size", |v, _| json!(v.spec.size.max(v.status.size))),
            Column::text("Instance", |v, _| {
                json!(v.status.attachment.as_ref().map(|a| a.instance.as_str()).unwrap_or_default())
            }),
            Column::text("Host", |v, _| json!(v.status.host)),
            Column::wide_text("Used", |v, _| json!(v.status.used_bytes)),
            Column::wide_text("Pool", |v, _| json!(v.spec.pool)),
            Column::wide_text("Serial", |v, _| json!(v.serial())),
            Column::wide_text("Encrypted", |v, _| json!(v.spec.encrypted.to_string())),
        ];
        COLUMNS
    }

    fn field(v: &Volume, path: &str) -> Option<String> {
        Some(match path {
            "status.phase" => v.status.phase.as_str().into(),
            "status.host" => v.status.host.clone(),
            _ => return None,
        })
    }

    fn charge(&self) -> Resources {
        Resources { disk: self.size, ..Resources::default() }
    }

    fn references(v: &Volume) -> Vec<Reference> {
        let (meta, spec) = (&v.metadata, &v.spec);
        let pool = Reference::kept(PoolSpec::KIND, meta, &spec.pool, "spec.pool");
        // Once it is made it does not need what it was made from: the pool keeps the bytes.
        let snapshot =
            Reference::named(VolumeSnapshotSpec::KIND, meta, &spec.source.snapshot, "spec.source.snapshot");
        let volume = Reference::named(Self::KIND, meta, &spec.source.volume, "spec.source.volume");
        let backup =
            Reference::named(VolumeBackupSpec::KIND, meta, &spec.source.backup, "spec.source.backup");
        let revert = spec.revert.iter().filter_map(|revert| {
            Reference::named(VolumeSnapshotSpec::KIND, meta, &revert.snapshot, "spec.revert.snapshot")
        });
        pool.into_iter().chain(snapshot).chain(volume).chain(backup).chain(revert).collect()
    }
}

fn phase_word(v: &Volume) -> &'static str {
    if v.metadata.is_deleting() { "Deleting" } else { v.status.phase.as_str() }
}

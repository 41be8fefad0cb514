//! A disk on its way from a host to whoever makes an image or a backup of it: one line of JSON, and then its bytes.

use model::Uid;
use serde::{Deserialize, Serialize};

/// Longest first line.
pub const HEAD_MAX: u64 = 64 << 10;

/// Which disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DiskOf {
    /// The disk an instance starts from, when that is no volume.
    Instance,
    Volume,
    VolumeSnapshot,
}

/// What a host says before it sends a disk as one qcow2 file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiskHead {
    pub size: u64,
    pub sha256: String,
    /// Why there is no disk; empty when one follows.
    pub error: String,
}

/// Which volume is to be backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupWish {
    pub volume: Uid,
    /// The backup that is to be.
    pub backup: Uid,
    /// Backups of the volume that there are, the newest first: what changed since one of them is enough.
    pub since: Vec<Uid>,
}

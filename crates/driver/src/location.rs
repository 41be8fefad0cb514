//! Where a disk's bytes are, and how QEMU and its tools are told to open them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::DiskKey;

/// Where a disk's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DiskLocation {
    /// A file of this host, of a format that is stated and never probed.
    File { path: PathBuf, format: DiskFormat },
    /// A block device of this host, whose bytes are the disk's.
    Device { path: PathBuf },
    /// An image in a Ceph cluster, whose bytes are the disk's.
    Rbd(RbdImage),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskFormat {
    Raw,
    /// qcow2 whose backing file, if any, is a read-only qcow2 of the image cache.
    Qcow2,
}

/// An image, or a snapshot of one, and who opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RbdImage {
    /// The cluster's configuration, which names its monitors.
    pub conf: PathBuf,
    /// As in `client.USER`.
    pub user: String,
    /// The pool of the cluster.
    pub pool: String,
    pub image: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The user's key, where the cluster wants one; in no plan that was kept.
    #[serde(skip)]
    pub key: Option<DiskKey>,
}

impl DiskLocation {
    pub fn qcow2(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into(), format: DiskFormat::Qcow2 }
    }

    pub fn raw(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into(), format: DiskFormat::Raw }
    }

    /// The file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Device { .. } | Self::Rbd(_) => None,
        }
    }

    /// What whoever opens it has to be allowed to: the file, or the device's node.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } | Self::Device { path } => Some(path),
            Self::Rbd(_) => None,
        }
    }

    /// The key that whoever keeps the disk wants to see, before it is opened.
    pub fn key(&self) -> Option<&DiskKey> {
        match self {
            Self::File { .. } | Self::Device { .. } => None,
            Self::Rbd(image) => image.key.as_ref(),
        }
    }

    /// For a program that finds the key by itself: one that may read the keyrings of this host.
    #[must_use]
    pub fn without_key(&self) -> Self {
        match self.clone() {
            Self::Rbd(image) => Self::Rbd(RbdImage { key: None, ..image }),
            here @ (Self::File { .. } | Self::Device { .. }) => here,
        }
    }

    /// QEMU's block node of this name; `secret` is the id of the object with [`Self::key`]. A file that is written to is
    /// locked, so that no second process can open it for that.
    pub fn node(&self, name: &str, secret: &str, read_only: bool) -> Value {
        let (driver, below) = match self {
            Self::File { path, format } => (format.driver(), file_node(path)),
            Self::Device { path } => (DiskFormat::Raw.driver(), device_node(path)),
            Self::Rbd(image) => (DiskFormat::Raw.driver(), image.node(secret)),
        };
        json!({
            "node-name": name, "driver": driver, "read-only": read_only, "discard": "unmap", "file": below,
        })
    }
}

impl DiskFormat {
    /// What QEMU calls it.
    pub fn driver(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl RbdImage {
    /// The node below the one that the guest's disk is of.
    fn node(&self, secret: &str) -> Value {
        let mut node = json!({
            "driver": "rbd", "conf": self.conf.to_string_lossy(), "user": self.user, "pool": self.pool,
            "image": self.image, "discard": "unmap",
        });
        if let Some(snapshot) = &self.snapshot {
            node["snapshot"] = json!(snapshot);
        }
        if self.key.is_some() {
            node["key-secret"] = json!(secret);
        }
        node
    }
}

/// Locked, so that no second process can open the file for writing.
pub fn file_node(path: &Path) -> Value {
    json!({ "driver": "file", "filename": path.to_string_lossy(), "discard": "unmap", "locking": "on" })
}

/// Past the host's cache: what a guest was told is written, is in every snapshot of the device.
fn device_node(path: &Path) -> Value {
    json!({
        "driver": "host_device", "filename": path.to_string_lossy(), "discard": "unmap", "locking": "on",
        "cache": { "direct": true },
    })
}

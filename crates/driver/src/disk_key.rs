//! Keys of disks. That of an encrypted disk: LUKS in the disk's own blocks, above whatever format the file has. Layers, snapshots,
//! copies and what is sent away hold what is encrypted; nothing but the one who opens the disk needs the key.

use std::fmt;

use model::Bytes;
use serde_json::{Value, json};

/// What QEMU's LUKS header with a key of 256 bits in XTS mode takes at the beginning of a disk: 4040 sectors.
pub const KEY_HEADER: Bytes = Bytes(4040 * 512);

/// How large the disk in a volume's files is, of which a guest sees `size`.
pub fn in_files(size: Bytes, encrypted: bool) -> Bytes {
    if encrypted { Bytes(size.0 + KEY_HEADER.0) } else { size }
}

/// How much a guest sees of a disk that has `size` in its files.
pub fn in_guest(size: Bytes, encrypted: bool) -> Bytes {
    if encrypted { Bytes(size.0.saturating_sub(KEY_HEADER.0)) } else { size }
}

/// In clear. It is in no plan that is kept and in no message.
#[derive(Clone, PartialEq, Eq)]
pub struct DiskKey {
    text: String,
    format: &'static str,
}

impl DiskKey {
    /// Of an encrypted disk: `text` is what the cloud gave out, as hard to guess as the disk's own key, and opens the disk
    /// as it is. LUKS takes nothing but text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), format: "raw" }
    }

    /// Of a user of a Ceph cluster, as keyrings write it.
    pub fn of_ceph(base64: impl Into<String>) -> Self {
        Self { text: base64.into(), format: "base64" }
    }

    /// For the file or message that tells it to QEMU.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// QEMU's object that holds the key, read from `file`, which QEMU opens once.
    pub fn object_of_file(&self, id: &str, file: &str) -> Value {
        json!({ "qom-type": "secret", "id": id, "format": self.format, "file": file })
    }

    /// The same with the key in it: never for a command line, which everybody may read.
    pub fn object(&self, id: &str) -> Value {
        json!({ "qom-type": "secret", "id": id, "format": self.format, "data": self.text })
    }

    /// QEMU's block node that decrypts what is in `below`, with the key that `secret` names.
    pub fn node(name: &str, secret: &str, below: &Value) -> Value {
        json!({ "node-name": name, "driver": "luks", "key-secret": secret, "discard": "unmap", "file": below })
    }
}

impl fmt::Debug for DiskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskKey(hidden)")
    }
}

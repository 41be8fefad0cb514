//! What is kept on disk of volumes, snapshots and layers, and how it is written so that it survives.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use driver::Possession;
use model::{Bytes, Uid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A volume's record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VolumeRecord {
    pub(crate) size: Bytes,
    /// The number of its head.
    pub(crate) head: u32,
    pub(crate) epoch: u64,
    #[serde(default)]
    pub(crate) holder: Option<Uid>,
    /// A snapshot that was begun: the head with the next number may be in use already.
    #[serde(default)]
    pub(crate) pending: Option<Uid>,
    /// The only host that changes it, and on which its holder is; empty where just one host has the pool.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) host: String,
    /// How often the cloud had given it to another host when this one got it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) moves: u64,
    /// Its head had the number before, and may have that name still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) renamed: bool,
    /// Its files begin with the header of an encrypted disk, which `size` does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) encrypted: bool,
}

// serde's skip_serializing_if hands out a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl VolumeRecord {
    pub(crate) fn new(size: Bytes, host: &str, encrypted: bool) -> Self {
        let host = host.to_owned();
        Self {
            size,
            head: 0,
            epoch: 0,
            holder: None,
            pending: None,
            host,
            moves: 0,
            renamed: false,
            encrypted,
        }
    }

    pub(crate) fn possession(&self) -> Possession<'_> {
        let Self { host, moves, epoch, holder, .. } = self;
        Possession { host, moves: *moves, epoch: *epoch, holder: holder.as_ref() }
    }

    /// How large the disk in its files is, when a guest sees `size` of it.
    pub(crate) fn in_files(&self, size: Bytes) -> Bytes {
        driver::in_files(size, self.encrypted)
    }
}

/// A snapshot's record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub(crate) size: Bytes,
    /// The file's name in the pool's data folder.
    pub(crate) layer: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) encrypted: bool,
}

/// What a file was made with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// The name, in the data folder, of the file that it stands on.
    pub(crate) backing: Option<String>,
    /// What it stood on until a change that may not have come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) was: Option<String>,
}

impl LayerRecord {
    pub(crate) fn on(backing: Option<String>) -> Self {
        Self { backing, was: None }
    }

    pub(crate) fn stands_on(&self, layer: &str) -> bool {
        [&self.backing, &self.was].into_iter().any(|name| name.as_deref() == Some(layer))
    }
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| io::Error::other(format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whole or not at all, and on the disk when it returns.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    step()?;
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    step()?;
    fs::rename(&unfinished, path)?;
    step()?;
    sync_folder(path)
}

/// Removes a file for good; one that is not there is removed already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    step()?;
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Err(_) => Ok(()),
        Ok(()) => sync_folder(path),
    }
}

/// Between two of these nothing can be cut off; tests end the work at any of them.
#[cfg_attr(not(test), allow(clippy::unnecessary_wraps))]
pub(crate) fn step() -> io::Result<()> {
    #[cfg(test)]
    crate::model_tests::crash()?;
    Ok(())
}

/// Names are on the disk only when their folder is.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

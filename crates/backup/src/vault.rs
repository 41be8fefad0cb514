//! Where backups are kept: bytes under names.

use async_trait::async_trait;
use bytes::Bytes;

use crate::Error;

/// A store of named bytes. What was put is on the disk when it returns.
#[async_trait]
pub trait Vault: Send + Sync {
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error>;
    /// [`Error::Missing`] when there is none.
    async fn get(&self, key: &str) -> Result<Bytes, Error>;
    /// Every key that begins so.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, Error>;
    /// Deleting what is not there succeeds.
    async fn delete(&self, key: &str) -> Result<(), Error>;
}

/// Where one backup lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Backups below the same name share packs.
    pub volume: String,
    pub backup: String,
}

impl Place {
    pub(crate) fn folder(&self) -> String {
        format!("{}/{}/", self.volume, self.backup)
    }

    pub(crate) fn manifest(&self) -> String {
        format!("{}{MANIFEST}", self.folder())
    }
}

pub(crate) const MANIFEST: &str = "manifest";

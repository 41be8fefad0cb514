//! A backup's table of contents.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use image::Digest;

use crate::{CHUNK, Error, Place, Vault};

pub(crate) const FORMAT: u32 = 1;
/// Longest manifest: that of 16 TiB.
const LENGTH_MAX: usize = 64 << 20;

/// What a backup consists of. Written last: a backup without one does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// The disk's.
    pub size: u64,
    pub chunk: u32,
    /// Packs, below the volume's name, that the tables and their chunks lie in.
    pub packs: Vec<String>,
    /// In order; what has no table is zero.
    pub tables: Vec<TableRef>,
}

/// Where a table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TableRef {
    pub index: u64,
    pub sha256: Digest,
    pub pack: u32,
    pub offset: u32,
    pub length: u32,
    /// Packs that its chunks lie in.
    pub uses: Vec<u32>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|e| Error::Store(e.to_string()))
    }

    /// The manifest of a backup; compared with its digest, where one is given.
    pub async fn load(vault: &dyn Vault, place: &Place, digest: Option<Digest>) -> Result<Self, Error> {
        let bytes = vault.get(&place.manifest()).await?;
        let found = Digest::of(&bytes);
        if let Some(wanted) = digest.filter(|wanted| *wanted != found) {
            return Err(Error::Digest { what: "its manifest".into(), wanted, found });
        }
        if bytes.len() > LENGTH_MAX {
            return Err(Error::Damaged("its manifest is too long".into()));
        }
        let manifest: Self = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Damaged(format!("its manifest cannot be read: {e}")))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), Error> {
        let damaged = |what: &str| Err(Error::Damaged(format!("its manifest {what}")));
        if self.format != FORMAT || self.chunk as usize != CHUNK {
            return damaged("has a format that this version does not know");
        }
        let mut last = None;
        for table in &self.tables {
            if last.is_some_and(|last| last >= table.index) {
                return damaged("names its tables out of order");
            }
            last = Some(table.index);
            if table.uses.iter().chain([&table.pack]).any(|pack| *pack as usize >= self.packs.len()) {
                return damaged("names a pack that it does not have");
            }
        }
        Ok(())
    }

    pub(crate) fn table(&self, index: u64) -> Option<&TableRef> {
        let at = self.tables.binary_search_by_key(&index, |table| table.index).ok()?;
        self.tables.get(at)
    }

    pub(crate) fn pack(&self, number: u32) -> Result<&str, Error> {
        let found = self.packs.get(number as usize).map(String::as_str);
        found.ok_or_else(|| Error::Damaged("its manifest names a pack that it does not have".into()))
    }

    /// Every pack it needs.
    pub(crate) fn needs(&self) -> BTreeSet<&str> {
        self.packs.iter().map(String::as_str).collect()
    }
}

//! A backup read back. Every byte is compared with its digest before it is given away.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::io::AsyncWrite;

use image::Digest;

use crate::stream::{Head, Sender};
use crate::table::{Chunk, SPAN, Table};
use crate::{CHUNK, Error, Manifest, Vault};

/// Packs that are kept while a backup is read.
const PACKS_KEPT: usize = 8;

/// Packs of one volume's backups, the last few of them in memory.
pub(crate) struct Packs<'a> {
    vault: &'a dyn Vault,
    volume: String,
    kept: VecDeque<(String, Bytes)>,
}

impl<'a> Packs<'a> {
    pub(crate) fn new(vault: &'a dyn Vault, volume: &str) -> Self {
        Self { vault, volume: volume.to_owned(), kept: VecDeque::new() }
    }

    pub(crate) async fn bytes(&mut self, pack: &str, offset: u32, length: u32) -> Result<Bytes, Error> {
        let whole = if let Some((_, bytes)) = self.kept.iter().find(|(name, _)| name == pack) {
            bytes.clone()
        } else {
            let bytes = self.vault.get(&format!("{}/{pack}", self.volume)).await?;
            self.kept.truncate(PACKS_KEPT - 1);
            self.kept.push_front((pack.to_owned(), bytes.clone()));
            bytes
        };
        let (from, length) = (offset as usize, length as usize);
        let range = from..from.saturating_add(length);
        if range.end > whole.len() {
            return Err(Error::Damaged(format!("pack {pack} is too short")));
        }
        Ok(whole.slice(range))
    }

    pub(crate) async fn table(&mut self, manifest: &Manifest, index: u64) -> Result<Table, Error> {
        let Some(at) = manifest.table(index) else { return Ok(Table::default()) };
        let bytes = self.bytes(manifest.pack(at.pack)?, at.offset, at.length).await?;
        let found = Digest::of(&bytes);
        if found != at.sha256 {
            return Err(Error::Digest { what: format!("table {index}"), wanted: at.sha256, found });
        }
        Table::decode(&bytes)
    }

    async fn chunk(&mut self, table: &Table, chunk: &Chunk, index: u64) -> Result<Vec<u8>, Error> {
        let pack = table.packs.get(usize::from(chunk.pack)).map(String::as_str).unwrap_or_default();
        let stored = self.bytes(pack, chunk.offset, chunk.length).await?;
        let bytes = if stored.len() == CHUNK {
            stored.to_vec()
        } else {
            let unpacked = zstd::bulk::decompress(&stored, CHUNK);
            unpacked.map_err(|e| Error::Damaged(format!("chunk {index} cannot be unpacked: {e}")))?
        };
        let found = Digest::of(&bytes);
        if found != chunk.sha256 || bytes.len() != CHUNK {
            return Err(Error::Digest { what: format!("chunk {index}"), wanted: chunk.sha256, found });
        }
        Ok(bytes)
    }
}

/// Gives a backup's chunks in order; zeros are passed by.
pub struct Reader<'a> {
    manifest: &'a Manifest,
    packs: Packs<'a>,
    table: usize,
    open: Option<Table>,
    at: usize,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("table", &self.table).finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// `volume` is the name that the backup lies below.
    pub fn new(vault: &'a dyn Vault, volume: &str, manifest: &'a Manifest) -> Self {
        Self { manifest, packs: Packs::new(vault, volume), table: 0, open: None, at: 0 }
    }

    pub async fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, Error> {
        while let Some(of) = self.manifest.tables.get(self.table) {
            if self.open.is_none() {
                self.open = Some(self.packs.table(self.manifest, of.index).await?);
                self.at = 0;
            }
            let Some(table) = &self.open else { continue };
            while self.at < SPAN {
                let at = self.at;
                self.at += 1;
                if let Some(chunk) = &table.chunks[at] {
                    let index = of.index * SPAN as u64 + at as u64;
                    return Ok(Some((index, self.packs.chunk(table, chunk, index).await?)));
                }
            }
            self.open = None;
            self.table += 1;
        }
        Ok(None)
    }
}

/// Sends a whole backup as a stream; what is wrong with it is the stream's last word.
pub async fn send<W: AsyncWrite + Unpin>(
    vault: &dyn Vault,
    volume: &str,
    manifest: &Manifest,
    head: Head,
    to: W,
) -> std::io::Result<()> {
    let mut sender = Sender::begin(to, &Head { size: manifest.size, base: String::new(), ..head }).await?;
    let mut reader = Reader::new(vault, volume, manifest);
    loop {
        match reader.next().await {
            Ok(Some((index, bytes))) => sender.data(index, &bytes).await?,
            Ok(None) => return sender.end().await.map(drop),
            Err(e) => return sender.fail(&e.to_string()).await,
        }
    }
}

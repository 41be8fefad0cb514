//! A backup in the making: chunks in, packs, tables and at last a manifest out.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncRead};

use image::Digest;

use crate::manifest::{FORMAT, TableRef};
use crate::read::Packs;
use crate::stream::{Frame, Receiver};
use crate::table::{Chunk, SPAN, Table};
use crate::{CHUNK, Error, Manifest, Place, Vault, chunks};

/// A pack is put away when it has so many bytes.
const PACK: usize = 8 << 20;
const COMPRESSION: i32 = 1;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub size: u64,
    pub digest: Digest,
    /// Bytes of chunks that came.
    pub read: u64,
    /// Bytes that were put into the vault.
    pub stored: u64,
}

/// A backup that does not count yet.
pub struct Draft<'a> {
    vault: &'a dyn Vault,
    place: Place,
    size: u64,
    /// Unmentioned chunks are as there; otherwise they are zero.
    base: Option<&'a Manifest>,
    /// An earlier backup, of which chunks that are the same are used again.
    known: Option<&'a Manifest>,
    old: Packs<'a>,
    open: Option<Open>,
    tables: BTreeMap<u64, Option<Finished>>,
    pack: Vec<u8>,
    number: u32,
    read: u64,
    stored: u64,
}

/// The table that chunks go to now.
struct Open {
    index: u64,
    table: Table,
    known: Table,
}

/// A table in its pack.
struct Finished {
    sha256: Digest,
    pack: String,
    offset: u32,
    length: u32,
    uses: Vec<String>,
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Keeps what a stream tells. `base` is the backup that the stream may tell the changes since, `known` one that has
/// much in common with it, as the base has.
pub async fn receive<R: AsyncRead + AsyncBufRead + Unpin>(
    vault: &dyn Vault,
    place: Place,
    mut from: Receiver<R>,
    base: Option<&Manifest>,
    known: Option<&Manifest>,
) -> Result<Written, Error> {
    let size = from.head().size;
    let mut draft = Draft::begin(vault, place, size, base, known).await?;
    let mut data = Vec::with_capacity(CHUNK);
    loop {
        match from.next(&mut data).await? {
            Frame::Data(index, digest) => draft.data(index, digest, &data).await?,
            Frame::Zeros { first, count } => draft.zeros(first, count).await?,
            Frame::End => return draft.finish().await,
        }
    }
}

impl<'a> Draft<'a> {
    /// What an attempt before this one has left goes.
    pub async fn begin(
        vault: &'a dyn Vault,
        place: Place,
        size: u64,
        base: Option<&'a Manifest>,
        known: Option<&'a Manifest>,
    ) -> Result<Self, Error> {
        for key in vault.list(&place.folder()).await? {
            vault.delete(&key).await?;
        }
        let old = Packs::new(vault, &place.volume);
        let known = base.or(known);
        let (pack, tables) = (Vec::with_capacity(PACK), BTreeMap::new());
        Ok(Self {
            vault,
            place,
            size,
            base,
            known,
            old,
            open: None,
            tables,
            pack,
            number: 0,
            read: 0,
            stored: 0,
        })
    }

    pub async fn data(&mut self, index: u64, sha256: Digest, data: &[u8]) -> Result<(), Error> {
        self.read += data.len() as u64;
        let at = self.turn_to(index).await?;
        let Some(open) = &mut self.open else { return Err(not_open()) };
        if let Some(same) = open.known.chunks[at].as_ref().filter(|known| known.sha256 == sha256) {
            let name = open.known.packs[usize::from(same.pack)].clone();
            let pack = open.table.pack(&name)?;
            open.table.chunks[at] = Some(Chunk { pack, ..same.clone() });
            return Ok(());
        }
        let compressed = zstd::bulk::compress(data, COMPRESSION).map_err(|e| Error::Store(e.to_string()))?;
        let bytes = if compressed.len() < data.len() { &compressed[..] } else { data };
        let (name, offset, length) = self.put(bytes).await?;
        let Some(open) = &mut self.open else { return Err(not_open()) };
        let pack = open.table.pack(&name)?;
        open.table.chunks[at] = Some(Chunk { sha256, pack, offset, length });
        Ok(())
    }

    pub async fn zeros(&mut self, first: u64, count: u64) -> Result<(), Error> {
        let mut at = first;
        while at < first + count {
            let within = self.turn_to(at).await?;
            let run = (SPAN - within).min(usize::try_from(first + count - at).unwrap_or(SPAN));
            let Some(open) = &mut self.open else { return Err(not_open()) };
            open.table.chunks[within..within + run].fill(None);
            at += run as u64;
        }
        Ok(())
    }

    /// From now on it counts.
    pub async fn finish(mut self) -> Result<Written, Error> {
        self.close_table().await?;
        self.flush().await?;
        let manifest = self.manifest()?;
        let bytes = manifest.encode()?;
        let digest = Digest::of(&bytes);
        self.stored += bytes.len() as u64;
        self.vault.put(&self.place.manifest(), Bytes::from(bytes)).await?;
        Ok(Written { size: self.size, digest, read: self.read, stored: self.stored })
    }

    fn manifest(&mut self) -> Result<Manifest, Error> {
        let mut manifest = Manifest {
            format: FORMAT,
            size: self.size,
            chunk: u32::try_from(CHUNK).unwrap_or_default(),
            packs: Vec::new(),
            tables: Vec::new(),
        };
        let kept = self.base.iter().flat_map(|base| &base.tables).map(|table| table.index);
        let indices: std::collections::BTreeSet<u64> = kept.chain(self.tables.keys().copied()).collect();
        for index in indices {
            let table = match self.tables.remove(&index) {
                // It became zero.
                Some(None) => continue,
                Some(Some(table)) => table,
                None => {
                    let Some((base, table)) = self.base.and_then(|base| Some((base, base.table(index)?)))
                    else {
                        continue;
                    };
                    let uses = table.uses.iter().map(|pack| base.pack(*pack).map(ToOwned::to_owned));
                    Finished {
                        sha256: table.sha256,
                        pack: base.pack(table.pack)?.to_owned(),
                        offset: table.offset,
                        length: table.length,
                        uses: uses.collect::<Result<_, _>>()?,
                    }
                }
            };
            let mut number = |name: String| -> u32 {
                let at = manifest.packs.iter().position(|known| *known == name).unwrap_or_else(|| {
                    manifest.packs.push(name);
                    manifest.packs.len() - 1
                });
                u32::try_from(at).unwrap_or(u32::MAX)
            };
            let uses = table.uses.into_iter().map(&mut number).collect();
            let pack = number(table.pack);
            let Finished { sha256, offset, length, .. } =
                Finished { uses: Vec::new(), pack: String::new(), ..table };
            manifest.tables.push(TableRef { index, sha256, pack, offset, length, uses });
        }
        Ok(manifest)
    }

    /// Opens the table of a chunk; the chunk's number in it.
    async fn turn_to(&mut self, chunk: u64) -> Result<usize, Error> {
        if chunk >= chunks(self.size) {
            return Err(Error::Stream("it has a chunk beyond its end".into()));
        }
        let (index, at) = (chunk / SPAN as u64, usize::try_from(chunk % SPAN as u64).unwrap_or_default());
        if self.open.as_ref().is_none_or(|open| open.index != index) {
            self.close_table().await?;
            let known = match self.known {
                Some(known) => self.old.table(known, index).await?,
                None => Table::default(),
            };
            let table = if self.base.is_some() { known.clone() } else { Table::default() };
            self.open = Some(Open { index, table, known });
        }
        Ok(at)
    }

    async fn close_table(&mut self) -> Result<(), Error> {
        let Some(Open { index, mut table, known }) = self.open.take() else { return Ok(()) };
        if table.is_empty() {
            self.tables.insert(index, None);
            return Ok(());
        }
        table.compact()?;
        let same = self.known.and_then(|manifest| Some((manifest, manifest.table(index)?)));
        if let (Some((manifest, old)), true) = (same, table == known) {
            // Read in full, and found to be what it was.
            let uses = old.uses.iter().map(|pack| manifest.pack(*pack).map(ToOwned::to_owned));
            let finished = Finished {
                sha256: old.sha256,
                pack: manifest.pack(old.pack)?.to_owned(),
                offset: old.offset,
                length: old.length,
                uses: uses.collect::<Result<_, _>>()?,
            };
            self.tables.insert(index, Some(finished));
            return Ok(());
        }
        let bytes = table.encode();
        let (pack, offset, length) = self.put(&bytes).await?;
        let finished = Finished { sha256: Digest::of(&bytes), pack, offset, length, uses: table.packs };
        self.tables.insert(index, Some(finished));
        Ok(())
    }

    /// Puts bytes into the pack; its name, and where they are.
    async fn put(&mut self, bytes: &[u8]) -> Result<(String, u32, u32), Error> {
        if !self.pack.is_empty() && self.pack.len() + bytes.len() > PACK {
            self.flush().await?;
        }
        let name = format!("{}/{:06}", self.place.backup, self.number);
        let place = |n: usize| u32::try_from(n).map_err(|_| Error::Store("a pack is too long".into()));
        let (offset, length) = (place(self.pack.len())?, place(bytes.len())?);
        self.pack.extend_from_slice(bytes);
        Ok((name, offset, length))
    }

    async fn flush(&mut self) -> Result<(), Error> {
        if self.pack.is_empty() {
            return Ok(());
        }
        let pack = std::mem::replace(&mut self.pack, Vec::with_capacity(PACK));
        self.stored += pack.len() as u64;
        let key = format!("{}/{}/{:06}", self.place.volume, self.place.backup, self.number);
        self.vault.put(&key, Bytes::from(pack)).await?;
        self.number += 1;
        Ok(())
    }
}

fn not_open() -> Error {
    Error::Store("no table is open".into())
}

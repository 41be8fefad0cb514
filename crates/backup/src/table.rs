//! A table: where 4096 chunks of a disk are, in bytes.
//!
//! Numbers are little-endian: how many packs, each as its length and its name; then 512 bytes with a bit for every
//! chunk that is not zero; then of each of those its digest, the number of its pack, its place and its length there.

use image::Digest;

use crate::{CHUNK, Error};

/// Chunks of one table.
pub(crate) const SPAN: usize = 4096;
const PACKS_MAX: usize = 4096;

/// Where a chunk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) sha256: Digest,
    /// Of the table's own list.
    pub(crate) pack: u16,
    pub(crate) offset: u32,
    /// As stored; shorter than a chunk when it is compressed.
    pub(crate) length: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) packs: Vec<String>,
    /// None for zeros.
    pub(crate) chunks: Vec<Option<Chunk>>,
}

impl Default for Table {
    fn default() -> Self {
        Self { packs: Vec::new(), chunks: vec![None; SPAN] }
    }
}

impl Table {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.iter().all(Option::is_none)
    }

    /// The number of a pack, which is put on the list when it is not there.
    pub(crate) fn pack(&mut self, name: &str) -> Result<u16, Error> {
        let known = self.packs.iter().position(|known| known == name);
        let at = known.unwrap_or_else(|| {
            self.packs.push(name.to_owned());
            self.packs.len() - 1
        });
        let number = u16::try_from(at).ok().filter(|_| at < PACKS_MAX);
        number.ok_or_else(|| Error::Store("a table has chunks in too many packs; make a full backup".into()))
    }

    /// Without packs that no chunk is in.
    pub(crate) fn compact(&mut self) -> Result<(), Error> {
        let old = std::mem::take(&mut self.packs);
        let mut chunks = std::mem::take(&mut self.chunks);
        for chunk in chunks.iter_mut().flatten() {
            let name = old.get(usize::from(chunk.pack)).ok_or_else(lost_pack)?;
            chunk.pack = self.pack(name)?;
        }
        self.chunks = chunks;
        Ok(())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u16::try_from(self.packs.len()).unwrap_or(u16::MAX).to_le_bytes());
        for name in &self.packs {
            bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        let mut present = [0_u8; SPAN / 8];
        for (i, _) in self.chunks.iter().enumerate().filter(|(_, chunk)| chunk.is_some()) {
            present[i / 8] |= 1 << (i % 8);
        }
        bytes.extend(present);
        for chunk in self.chunks.iter().flatten() {
            bytes.extend(chunk.sha256.as_bytes());
            bytes.extend(chunk.pack.to_le_bytes());
            bytes.extend(chunk.offset.to_le_bytes());
            bytes.extend(chunk.length.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = Rest(bytes);
        let packs = usize::from(rest.u16()?);
        let mut table = Self::default();
        for _ in 0..packs {
            let length = usize::from(rest.u16()?);
            let name = std::str::from_utf8(rest.take(length)?).map_err(|_| short())?;
            table.packs.push(name.to_owned());
        }
        let present = rest.take(SPAN / 8)?;
        for i in (0..SPAN).filter(|i| present[i / 8] & (1 << (i % 8)) != 0) {
            let mut sha256 = [0; Digest::LEN];
            sha256.copy_from_slice(rest.take(Digest::LEN)?);
            let chunk =
                Chunk { sha256: sha256.into(), pack: rest.u16()?, offset: rest.u32()?, length: rest.u32()? };
            if usize::from(chunk.pack) >= packs || chunk.length as usize > CHUNK {
                return Err(lost_pack());
            }
            table.chunks[i] = Some(chunk);
        }
        if rest.0.is_empty() { Ok(table) } else { Err(short()) }
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.take(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }
}

fn short() -> Error {
    Error::Damaged("a table of it cannot be read".into())
}

fn lost_pack() -> Error {
    Error::Damaged("a table of it names a pack that it does not have".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used)]
    fn what_is_written_is_read_back_and_nothing_else_is() {
        let mut table = Table::default();
        let pack = table.pack("b/1").unwrap();
        let stale = table.pack("b/2").unwrap();
        assert_eq!((pack, stale, table.pack("b/1").unwrap()), (0, 1, 0));
        for i in [0, 1, 4095] {
            let sha256 = Digest::of(&[u8::try_from(i % 256).unwrap()]);
            table.chunks[i] = Some(Chunk { sha256, pack, offset: 7, length: 9 });
        }
        table.compact().unwrap();
        assert_eq!(table.packs, ["b/1"]);
        let bytes = table.encode();
        assert_eq!(Table::decode(&bytes).unwrap(), table);
        for cut in 0..bytes.len() {
            assert!(Table::decode(&bytes[..cut]).is_err(), "{cut}");
        }
    }
}

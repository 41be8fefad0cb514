//! Bytes on their way out. Every block is compared with its checksum before any of it is given away.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use rusqlite::OptionalExtension;

use crate::incoming::path_of;
use crate::objects::{Objects, found};
use crate::rows;
use crate::types::{BLOCK, Error, Piece, Place, Record, WhichVersion, sum};

/// How often a version is looked up anew because its bytes went while they were opened.
const TRIES: usize = 4;

/// The bytes of a version. They stay readable when the version goes meanwhile.
#[derive(Debug)]
pub struct Content {
    key: String,
    pieces: Vec<(Piece, Opened)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Opened {
    Data(Bytes),
    File(Arc<File>),
}

impl Objects {
    /// A version and its bytes, from one moment.
    pub async fn get(
        &self,
        bucket: &str,
        key: &str,
        which: WhichVersion,
    ) -> Result<(Record, Content), Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (bucket, key, which) = (bucket.to_owned(), key.to_owned(), which.clone());
            let files = Arc::clone(&self.files);
            let result = self
                .database
                .read(move |c| {
                    let (bucket, _) = rows::bucket(c, &bucket)?;
                    let (record, _) = found(rows::find(c, bucket, &key, &which)?, &which)?;
                    let content = open(c, &files, &record.key, &record.pieces)?;
                    Ok((record, content))
                })
                .await;
            match result {
                Err(Error::Damaged { .. }) if tries < TRIES => {}
                result => return result,
            }
        }
    }
}

/// Opens the places where bytes lie.
pub(crate) fn open(
    c: &rusqlite::Connection,
    files: &Arc<PathBuf>,
    key: &str,
    pieces: &[Piece],
) -> Result<Content, Error> {
    let gone = |what: String| Error::Damaged { key: key.to_owned(), what };
    let mut opened = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let place = match &piece.place {
            Place::Small(id) => {
                let data: Option<Vec<u8>> = c
                    .prepare_cached("SELECT data FROM small WHERE id = ?")?
                    .query_row([id], |row| row.get(0))
                    .optional()?;
                Opened::Data(data.ok_or_else(|| gone("its bytes are missing".into()))?.into())
            }
            Place::File(id) => {
                let file = File::open(path_of(files, id));
                Opened::File(Arc::new(file.map_err(|e| gone(format!("file {id}: {e}")))?))
            }
        };
        opened.push((piece.clone(), place));
    }
    Ok(Content { key: key.to_owned(), pieces: opened })
}

impl Content {
    /// A range of the bytes, block by block. The first block is read before this returns, so that damage is told
    /// before anything else is.
    pub async fn read(
        self,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + Sync + 'static, Error> {
        let mut blocks = blocks(self, range);
        let first = match blocks.pop_front() {
            Some(block) => Some(block.load().await?),
            None => None,
        };
        let rest = futures::stream::unfold(blocks, |mut blocks| async move {
            let block = blocks.pop_front()?;
            let loaded = block.load().await;
            if loaded.is_err() {
                blocks.clear();
            }
            Some((loaded, blocks))
        });
        let first = futures::stream::iter(first.map(Ok));
        Ok(futures::StreamExt::chain(first, rest))
    }

    /// Reads and compares everything.
    pub(crate) fn verify(self, len: u64) -> Result<(), Error> {
        blocks(self, 0..len).into_iter().try_for_each(|block| block.load_now().map(drop))
    }
}

/// A block, and what of it is wanted.
struct Block {
    key: String,
    place: Opened,
    offset: u64,
    len: usize,
    sum: Option<u64>,
    wanted: Range<usize>,
}

fn blocks(content: Content, range: Range<u64>) -> std::collections::VecDeque<Block> {
    let mut blocks = std::collections::VecDeque::new();
    let mut start = 0_u64;
    for (piece, place) in content.pieces {
        let mut offset = 0_u64;
        while offset < piece.len {
            let len = (piece.len - offset).min(BLOCK as u64);
            let at = start + offset;
            let (from, to) = (range.start.max(at), range.end.min(at + len));
            if from < to {
                let index = usize::try_from(offset / BLOCK as u64).unwrap_or(usize::MAX);
                // Both are within a block.
                let within = |n: u64| usize::try_from(n - at).unwrap_or(BLOCK);
                blocks.push_back(Block {
                    key: content.key.clone(),
                    place: place.clone(),
                    offset,
                    len: usize::try_from(len).unwrap_or(BLOCK),
                    sum: piece.sums.get(index).copied(),
                    wanted: within(from)..within(to),
                });
            }
            offset += len;
        }
        start += piece.len;
    }
    blocks
}

impl Block {
    async fn load(self) -> Result<Bytes, Error> {
        if matches!(self.place, Opened::Data(_)) {
            return self.load_now();
        }
        tokio::task::spawn_blocking(move || self.load_now()).await.map_err(|_| Error::Closed)?
    }

    fn load_now(self) -> Result<Bytes, Error> {
        let damaged = |what: String| Error::Damaged { key: self.key.clone(), what };
        let bytes = match &self.place {
            Opened::Data(data) => data.clone(),
            Opened::File(file) => {
                let mut bytes = vec![0; self.len];
                file.read_exact_at(&mut bytes, self.offset)
                    .map_err(|e| damaged(format!("bytes at {}: {e}", self.offset)))?;
                bytes.into()
            }
        };
        if bytes.len() != self.len || self.sum != Some(sum(&bytes)) {
            return Err(damaged(format!("the checksum of the block at {} does not match", self.offset)));
        }
        Ok(bytes.slice(self.wanted))
    }
}

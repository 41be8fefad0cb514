//! Bytes on their way out. Every block is compared with its checksum before any of it is given away.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use rusqlite::OptionalExtension;

use crate::incoming::path_of;
use crate::objects::{Objects, found};
use crate::rows;
use crate::seal::{DataKey, Key, TAG_BYTES};
use crate::types::{BLOCK, Error, Piece, Place, Record, WhichVersion, sum};

/// Blocks that are read before they are asked for.
const READ_AHEAD: usize = 3;
/// How often a version is looked up anew because its bytes went while they were opened.
const TRIES: usize = 4;

/// The bytes of a version. They stay readable when the version goes meanwhile.
#[derive(Debug)]
pub struct Content {
    key: String,
    pieces: Vec<(Piece, Opened)>,
    store: Arc<Key>,
    customer: Option<Key>,
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
            let (files, store) = (Arc::clone(&self.files), Arc::clone(&self.key));
            let result = self
                .database
                .read(move |c| {
                    let (bucket, _) = rows::bucket(c, &bucket)?;
                    let (record, _) = found(rows::find(c, bucket, &key, &which)?, &which)?;
                    let content = open(c, &files, store, &record.key, &record.pieces)?;
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
    store: Arc<Key>,
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
    Ok(Content { key: key.to_owned(), pieces: opened, store, customer: None })
}

impl Content {
    /// Is read with the key of its writer's.
    #[must_use]
    pub fn with_key(self, customer: Option<Key>) -> Self {
        Self { customer, ..self }
    }

    /// A range of the bytes, block by block. The first block is read before this returns, so that damage is told
    /// before anything else is.
    pub async fn read(
        self,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + Sync + 'static, Error> {
        let mut blocks = blocks(self, range, How::Opened)?;
        let first = match blocks.pop_front() {
            Some(block) => Some(block.load().await?),
            None => None,
        };
        // The next ones are read while one is on its way out. Nothing comes after one that is damaged.
        let rest = futures::stream::iter(blocks).map(Block::load).buffered(READ_AHEAD);
        let rest = rest.scan(false, |ended, loaded| {
            let goes_on = !*ended;
            *ended = loaded.is_err();
            std::future::ready(goes_on.then_some(loaded))
        });
        Ok(futures::stream::iter(first.map(Ok)).chain(rest))
    }

    /// Reads and compares everything as it lies there; that needs no key.
    pub(crate) fn verify(self, len: u64) -> Result<(), Error> {
        blocks(self, 0..len, How::AsItLies)?.into_iter().try_for_each(|block| block.load_now().map(drop))
    }
}

/// What is made of blocks that are sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Opened,
    AsItLies,
}

/// A block, and what of it is wanted.
struct Block {
    key: String,
    place: Opened,
    /// Which block of its piece it is.
    number: u64,
    /// Where it lies, and how long it is there.
    offset: u64,
    len: usize,
    opener: Option<Arc<DataKey>>,
    sum: Option<u64>,
    wanted: Range<usize>,
}

fn blocks(content: Content, range: Range<u64>, how: How) -> Result<VecDeque<Block>, Error> {
    let mut blocks = VecDeque::new();
    let mut start = 0_u64;
    for (piece, place) in content.pieces {
        // Each piece has a key of its own, and is asked for it only where something of it is wanted.
        let is_wanted = range.start < start + piece.len && start < range.end;
        let opener = match &piece.seal {
            Some(seal) if is_wanted && how == How::Opened => {
                Some(Arc::new(seal.open(&content.store, content.customer.as_ref())?))
            }
            _ => None,
        };
        let longer = if piece.seal.is_some() { TAG_BYTES } else { 0 };
        let mut offset = 0_u64;
        while offset < piece.len {
            let len = (piece.len - offset).min(BLOCK as u64);
            let at = start + offset;
            let (from, to) = (range.start.max(at), range.end.min(at + len));
            if from < to {
                let number = offset / BLOCK as u64;
                let index = usize::try_from(number).unwrap_or(usize::MAX);
                // Both are within a block.
                let within = |n: u64| usize::try_from(n - at).unwrap_or(BLOCK);
                blocks.push_back(Block {
                    key: content.key.clone(),
                    place: place.clone(),
                    number,
                    offset: offset + number * longer as u64,
                    len: usize::try_from(len).unwrap_or(BLOCK) + longer,
                    opener: opener.clone(),
                    sum: piece.sums.get(index).copied(),
                    wanted: within(from)..within(to),
                });
            }
            offset += len;
        }
        start += piece.len;
    }
    Ok(blocks)
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
        let mut bytes = match &self.place {
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
        if let Some(opener) = &self.opener {
            let mut opened = Vec::from(bytes);
            let sealed = || damaged(format!("the block at {} does not open", self.offset));
            opener.open(self.number, &mut opened).ok_or_else(sealed)?;
            bytes = opened.into();
        }
        Ok(bytes.slice(self.wanted))
    }
}

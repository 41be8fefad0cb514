//! Bytes on their way in: digested, cut into blocks, in memory while they are few and in a file when they are not.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use rusqlite::{Connection, params};
use tokio::task::JoinHandle;

use crate::database::Freed;
use crate::seal::{DataKey, Key, Seal, Sealed, Sealing, TAG_BYTES};
use crate::types::{BLOCK, Error, Piece, Place, SMALL_MAX, sum};

/// An object that is still coming. Dropped half-way it leaves nothing.
pub struct Incoming {
    directory: Arc<PathBuf>,
    block: BytesMut,
    /// Blocks that are whole; none while one more is added to them.
    whole: Option<Blocks>,
    /// Adds a block, while the next one comes.
    adding: Option<JoinHandle<Result<Blocks, Error>>>,
    size: u64,
    sealed: Sealed,
    seal: Option<(Seal, Arc<DataKey>)>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Incoming {
    pub(crate) fn new(directory: Arc<PathBuf>, sealing: &Sealing, store: &Key) -> Result<Self, Error> {
        Ok(Self {
            directory,
            block: BytesMut::new(),
            whole: Some(Blocks::default()),
            adding: None,
            size: 0,
            sealed: Sealed::by(sealing)?,
            seal: Seal::new(sealing, store)?.map(|(seal, key)| (seal, Arc::new(key))),
        })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            let room = BLOCK - self.block.len();
            let taken = bytes.split_to(room.min(bytes.len()));
            self.size += taken.len() as u64;
            self.block.extend_from_slice(&taken);
            if self.block.len() == BLOCK {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Puts everything on the disk that will not lie in the database.
    pub async fn finish(mut self) -> Result<Staged, Error> {
        if self.size <= SMALL_MAX as u64 {
            let mut blocks = Blocks::default();
            let mut data = std::mem::take(&mut self.block);
            blocks.md5.update(&data);
            if !data.is_empty() {
                seal(self.seal.as_ref(), 0, &mut data)?;
                blocks.sums.push(sum(&data));
            }
            return Ok(self.staged(data.freeze(), blocks));
        }
        if !self.block.is_empty() {
            self.flush().await?;
        }
        let blocks = self.whole().await?;
        let synced = tokio::task::spawn_blocking(move || blocks.sync());
        let blocks = synced.await.map_err(|_| Error::Closed)??;
        Ok(self.staged(Bytes::new(), blocks))
    }

    fn staged(self, data: Bytes, blocks: Blocks) -> Staged {
        let Blocks { md5, sums, file } = blocks;
        let md5 = md5.finalize().into();
        // A digest of what only its writer may know would tell who guesses it that he has guessed right.
        let etag = match (&self.sealed, &self.seal) {
            (Sealed::Customer(_), Some((_, key))) => key.etag(md5),
            _ => md5,
        };
        let seal = self.seal.map(|(seal, _)| seal);
        Staged { md5, size: self.size, etag, sealed: self.sealed, seal, sums, data, file }
    }

    /// All blocks that were given away to be added.
    async fn whole(&mut self) -> Result<Blocks, Error> {
        if let Some(adding) = self.adding.take() {
            return adding.await.map_err(|_| Error::Closed)?;
        }
        self.whole.take().ok_or(Error::Closed)
    }

    /// Has the block added to the others. That goes on when this returns.
    async fn flush(&mut self) -> Result<(), Error> {
        let block = std::mem::replace(&mut self.block, BytesMut::with_capacity(BLOCK + TAG_BYTES));
        let (directory, key) = (Arc::clone(&self.directory), self.seal.clone());
        let whole = self.whole().await?;
        self.adding = Some(tokio::task::spawn_blocking(move || whole.add(block, &directory, key.as_ref())));
        Ok(())
    }
}

/// What is made of blocks that came. Dropped before it is an object's, it leaves nothing.
#[derive(Default)]
struct Blocks {
    md5: Md5,
    sums: Vec<u64>,
    file: Option<Unfinished>,
}

impl Blocks {
    fn add(
        mut self,
        mut block: BytesMut,
        directory: &Path,
        key: Option<&(Seal, Arc<DataKey>)>,
    ) -> Result<Self, Error> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => Unfinished::create(directory)?,
        };
        self.md5.update(&block);
        seal(key, self.sums.len() as u64, &mut block)?;
        file.file.write_all(&block)?;
        // The disk begins before everything is there, and is waited for at the end.
        let end = file.file.stream_position()?;
        sys::disk::begin_writing(&file.file, end - block.len() as u64..end)?;
        self.file = Some(file);
        self.sums.push(sum(&block));
        Ok(self)
    }

    fn sync(mut self) -> Result<Self, Error> {
        self.file = self.file.take().map(Unfinished::sync).transpose()?;
        Ok(self)
    }
}

fn seal(with: Option<&(Seal, Arc<DataKey>)>, number: u64, block: &mut BytesMut) -> Result<(), Error> {
    with.map_or(Ok(()), |(_, key)| key.seal(number, block))
}

/// Bytes that have come whole and wait for the row that names them. Dropped before, they go.
#[derive(Debug)]
pub struct Staged {
    pub md5: [u8; 16],
    pub size: u64,
    etag: [u8; 16],
    pub(crate) sealed: Sealed,
    seal: Option<Seal>,
    sums: Vec<u64>,
    data: Bytes,
    file: Option<Unfinished>,
}

impl Staged {
    /// The ETag of an object of these bytes.
    pub fn etag(&self) -> String {
        hex(&self.etag)
    }

    /// Names the bytes, in the transaction that makes their object.
    pub(crate) fn place(mut self, connection: &Connection, freed: &mut Freed) -> Result<Vec<Piece>, Error> {
        let len = self.size;
        if let Some(file) = self.file.take() {
            connection.prepare_cached("INSERT INTO file VALUES (?, 1)")?.execute(params![file.id])?;
            let piece = Piece { place: Place::File(file.id.clone()), len, sums: self.sums, seal: self.seal };
            freed.placed.push(Guard(file));
            return Ok(vec![piece]);
        }
        if len == 0 {
            return Ok(Vec::new());
        }
        connection.prepare_cached("INSERT INTO small (data) VALUES (?)")?.execute([&self.data[..]])?;
        let place = Place::Small(connection.last_insert_rowid());
        Ok(vec![Piece { place, len, sums: self.sums, seal: self.seal }])
    }
}

/// Removes a file again unless its row was committed.
#[derive(Debug)]
pub(crate) struct Guard(Unfinished);

impl Guard {
    pub(crate) fn keep(mut self) {
        self.0.keep = true;
    }
}

#[derive(Debug)]
struct Unfinished {
    id: String,
    path: PathBuf,
    file: File,
    keep: bool,
}

impl Unfinished {
    fn create(directory: &Path) -> Result<Self, Error> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let path = path_of(directory, &id);
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Self { id, path, file, keep: false })
    }

    /// The bytes, and the name they are found by.
    fn sync(self) -> Result<Self, Error> {
        self.file.sync_all()?;
        if let Some(parent) = self.path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(self)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.keep {
            // What stays is found at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Two digits of the id are a folder.
pub(crate) fn path_of(directory: &Path, id: &str) -> PathBuf {
    directory.join(id.get(..2).unwrap_or("00")).join(id)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

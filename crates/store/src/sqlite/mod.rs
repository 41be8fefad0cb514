//! The embedded store: the shared index over a log of writes in SQLite, one fsync for many transactions.
//!
//! One thread owns the database. It takes all transactions that wait, decides them against the index and each
//! other, appends their writes to the log in one SQLite transaction, and only then shows them to readers, watchers
//! and callers. Reads never come here.
//!
//! ```text
//! txn() -> queue -> writer: evaluate -> append + fsync -> publish to the mirror -> answer
//! ```
//!
//! The directory holds `store.db` with its WAL, `lock` (held by the one process that may open it) and `reserve`
//! (space given back when the disk is full, so that deletions still go through).

mod batch;
mod damage;
mod directory;
mod layout;
mod load;
mod queue;
mod reserve;
mod stats;
mod sweep;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use damage::OpenError;
use directory::Directory;
use queue::{Queue, Request, Work, stopped};
use stats::Counters;
pub use stats::Stats;
use sweep::Sweep;
use writer::Writer;

use crate::expiry::{Expiry, Revoke};
use crate::mirror::Mirror;
use crate::{
    Entry, LeaseId, ListOptions, Page, Retention, Revision, Store, StoreError, Txn, Watcher, limits,
};

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub retention: Retention,
    /// How many of the newest revisions have their history again after opening: enough for whoever was watching
    /// to go on, and not so much that it slows opening.
    pub resumable: u64,
    /// How many transactions may wait for the disk before callers are told [`StoreError::Busy`].
    pub queue: usize,
    /// Space set aside for deletions on a full disk.
    pub reserve_bytes: u64,
    /// The WAL is written back into the database when it is larger than this; it bounds the time to open.
    pub wal_bytes: usize,
    /// Superseded rows are removed once there are so many, or an eighth of the keys if that is more.
    pub sweep_rows: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            resumable: 10_000,
            queue: 8192,
            reserve_bytes: 8 * 1024 * 1024,
            wal_bytes: 8 * 1024 * 1024,
            sweep_rows: 4096,
        }
    }
}

#[derive(Debug)]
pub struct SqliteStore {
    front: Arc<Front>,
    cluster: String,
    counters: Arc<Counters>,
    /// `Some` until the store is dropped.
    writer: Option<JoinHandle<()>>,
    expiry: Option<Expiry>,
}

/// What callers share: the mirror they read and the queue they write to.
#[derive(Debug)]
struct Front {
    mirror: Arc<Mirror>,
    queue: Arc<Queue>,
}

impl SqliteStore {
    /// Opens the store in `directory`, or makes a new one there. Only one process can have it open.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub async fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let path = directory.as_ref().to_owned();
        let now = Instant::now();
        let loading = tokio::task::spawn_blocking(move || load::load(Directory::claim(&path)?, options, now));
        let loaded = loading.await.map_err(|error| OpenError::Loading(error.to_string()))??;

        let mirror = Arc::new(Mirror::new(loaded.index, loaded.leases, options.retention));
        let counters = Arc::new(Counters::default());
        let queue = Arc::new(Queue::new(options.queue));
        let writer = Writer::new(
            loaded.database,
            Sweep::new(loaded.garbage, mirror.read().index.oldest(), options.sweep_rows),
            Arc::clone(&mirror),
            Arc::clone(&queue),
            Arc::clone(&counters),
            options,
        )?;
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::Loading(error.to_string()))?;
        let front = Arc::new(Front { mirror: Arc::clone(&mirror), queue });
        let expiry = Some(Expiry::spawn(mirror, &front));
        Ok(Self { front, cluster: loaded.cluster, counters, writer: Some(writer), expiry })
    }

    /// Made once, when the store was: tells a store from another and from none of its copies.
    pub fn cluster_id(&self) -> &str {
        &self.cluster
    }

    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }
}

impl Drop for SqliteStore {
    /// Waits until what is queued is on disk and the directory is free for the next opener.
    fn drop(&mut self) {
        self.expiry = None;
        self.front.queue.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

impl Front {
    async fn ask(&self, work: Work) -> Result<u64, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Request { work, asked: Instant::now(), reply })?;
        answer.await.map_err(|_| stopped())?
    }
}

#[async_trait]
impl Revoke for Front {
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(Work::Revoke(lease)).await.map(drop)
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn revision(&self) -> Revision {
        self.front.mirror.revision()
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, StoreError> {
        self.front.mirror.get(key, at)
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page, StoreError> {
        self.front.mirror.list(prefix, &options)
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        limits::check(&txn)?;
        self.front.ask(Work::Txn(txn)).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        Ok(Box::new(self.front.mirror.watch(prefix, from)?))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.front.ask(Work::Compact(revision)).await.map(drop)
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.front.ask(Work::Grant(ttl)).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.front.mirror.keep_alive(lease)
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.front.revoke(lease).await
    }
}

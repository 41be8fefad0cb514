//! The contract every backend fulfils, and its data.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::StoreError;

/// Counts committed transactions; 0 is the empty store, and in a [`Compare`] "does not exist".
pub type Revision = u64;
pub type LeaseId = u64;

/// One key's value at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: Bytes,
    /// The transaction that created the key (since it last did not exist).
    pub create_revision: Revision,
    /// The transaction that last wrote it.
    pub mod_revision: Revision,
    /// The lease the key dies with, if any.
    pub lease: Option<LeaseId>,
}

/// Holds when `key` was last written at exactly `mod_revision` (0: does not exist).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    pub key: String,
    pub mod_revision: Revision,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Put { key: String, value: Bytes, lease: Option<LeaseId> },
    Delete { key: String },
}

/// All comparisons must hold, then all operations happen, at one revision; or nothing happens. Of several
/// operations on one key the last counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
    /// A step towards a deletion: may be written into the room that a store sets aside for deletions.
    pub makes_room: bool,
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn when(mut self, key: impl Into<String>, mod_revision: Revision) -> Self {
        self.compares.push(Compare { key: key.into(), mod_revision });
        self
    }

    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    /// Says that these operations lead to a deletion, so that they go on while the store is full.
    #[must_use]
    pub fn makes_room(mut self, yes: bool) -> Self {
        self.makes_room = yes;
        self
    }

    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// As of this revision; the newest when `None`.
    pub at: Option<Revision>,
    /// Only keys greater than this one (the last of the page before).
    pub after: Option<String>,
    /// At most so many entries; 0 means no limit.
    pub limit: usize,
}

/// Entries in key order, as of one revision.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub revision: Revision,
    pub entries: Vec<Entry>,
    /// More entries follow after the last one.
    pub more: bool,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub revision: Revision,
    pub key: Arc<str>,
    /// `None` when the key was deleted.
    pub entry: Option<Entry>,
    /// The key's entry before the change; `None` when it was created.
    pub previous: Option<Entry>,
}

/// Changes in order. All events of one revision are in the same batch. After the batch the watcher has seen
/// everything up to and including `revision`, even when `events` is empty.
#[derive(Debug, Clone, Default)]
pub struct WatchBatch {
    pub revision: Revision,
    pub events: Vec<Event>,
}

/// A running watch. Dropping it ends it. A watcher holds no queue of its own: it reads the store's history,
/// so a slow reader costs nothing and is told [`StoreError::Compacted`] when it fell too far behind.
#[async_trait]
pub trait Watcher: Send + 'static {
    /// Waits for changes. Cancel-safe. An idle watcher gets an empty batch when history was forgotten, so that
    /// the revision it last saw stays good to resume from.
    async fn next(&mut self) -> Result<WatchBatch, StoreError>;
}

#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest committed revision.
    fn revision(&self) -> Revision;

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, StoreError>;

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page, StoreError>;

    /// Commits, durably, before it returns the new revision. A transaction that changes nothing (no operations,
    /// or only deletions of keys that do not exist) returns the current revision and writes nothing.
    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError>;

    /// Watches all keys under `prefix` for changes after `from` (exclusive).
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watcher>, StoreError>;

    /// Forgets history before `revision`: reads and watches from older revisions answer `Compacted`.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// A lease that runs out `ttl` after its last keep-alive; keys put with it are then deleted. After a
    /// restart of the store every lease gets its full time again.
    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;
    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;
    /// Ends the lease and deletes its keys in one transaction.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}

//! The store: a revisioned, watchable key-value map. Owns durability and order; knows no kinds.
//!
//! One global revision grows by one with every committed transaction. Reads come from memory at a consistent
//! revision. A watch delivers every change under a prefix, in order and without gaps, or says that it cannot
//! ([`StoreError::Compacted`]).
//!
//! Two backends share one index: [`MemoryStore`] for tests and simulation, [`SqliteStore`] for everything else.

mod error;
mod expiry;
mod index;
mod lease;
pub mod limits;
mod memory;
mod mirror;
mod seats;
mod sqlite;
mod types;
mod watch;

pub use error::StoreError;
pub use index::Retention;
pub use memory::MemoryStore;
pub use sqlite::{OpenError, Options, SqliteStore, Stats};
pub use types::{
    Compare, Entry, Event, LeaseId, ListOptions, Op, Page, Revision, Store, Txn, WatchBatch, Watcher,
};

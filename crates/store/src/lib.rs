//! The store: a revisioned, watchable key-value map. Owns durability and order; knows no kinds.
//!
//! One global revision grows by one with every committed transaction. Reads come from memory at a consistent
//! revision. A watch delivers every change under a prefix, in order and without gaps, or says that it cannot
//! ([`StoreError::Compacted`]).

mod error;
mod types;

pub use error::StoreError;
pub use types::{
    Compare, Entry, Event, LeaseId, ListOptions, Op, Page, Revision, Store, Txn, WatchBatch, Watcher,
};

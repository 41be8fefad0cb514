//! What can go wrong in a store, in few stable kinds.

use crate::Revision;

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A comparison of the transaction did not hold; nothing was written.
    #[error("{key} is at revision {actual}, not at the expected {expected}")]
    Conflict { key: String, expected: Revision, actual: Revision },
    /// The revision asked for is gone: list again and watch from there.
    #[error("revision {asked} was compacted; the oldest kept is {oldest}")]
    Compacted { asked: Revision, oldest: Revision },
    /// The revision asked for has not happened yet.
    #[error("revision {asked} is in the future; the newest is {newest}")]
    Future { asked: Revision, newest: Revision },
    #[error("lease {0} does not exist or has run out")]
    LeaseNotFound(u64),
    /// No space left: reads and deletes still work, and writes will again when there is room.
    #[error("the store is full ({0}): delete something or make room on its disk")]
    Full(String),
    /// Too many transactions wait for the disk; try again later.
    #[error("the store is busy: more than {0} transactions wait")]
    Busy(usize),
    /// The disk failed. Nothing is acknowledged after this until the store is opened anew.
    #[error("the store failed and accepts no more writes: {0}")]
    Failed(String),
    #[error("{what} is {size} bytes, at most {limit} are allowed")]
    TooLarge { what: &'static str, size: usize, limit: usize },
}

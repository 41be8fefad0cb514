//! What the writer did so far, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactions that changed something and are durable.
    pub commits: u64,
    /// SQLite transactions that made them so, each with one fsync of the WAL.
    pub batches: u64,
    /// Times the WAL was written back into the database.
    pub checkpoints: u64,
    /// fsyncs asked of the disk: one for each batch and sweep, two for a checkpoint, one when the WAL starts over.
    pub fsyncs: u64,
    /// Bytes of keys and values that were written.
    pub bytes: u64,
    /// Superseded rows removed.
    pub swept: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) fsyncs: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) swept: AtomicU64,
}

impl Counters {
    pub(super) fn stats(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            commits: load(&self.commits),
            batches: load(&self.batches),
            checkpoints: load(&self.checkpoints),
            fsyncs: load(&self.fsyncs),
            bytes: load(&self.bytes),
            swept: load(&self.swept),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

//! Removes superseded rows from the log, a few at a time. History decides what is superseded; this decides when
//! the disk hears of it.

use std::collections::VecDeque;

use rusqlite::{Connection, TransactionBehavior};

use super::layout::{self, signed};
use super::stats::add;
use super::writer::{Writer, is_full};
use crate::Revision;
use crate::index::Position;

/// Rows removed in one transaction of its own.
const STEP: usize = 512;
#[derive(Debug)]
pub(super) struct Sweep {
    /// Of one key oldest first, and removed in this order, so that no crash brings a deleted key back.
    garbage: VecDeque<Position>,
    /// The compaction that made them garbage.
    compacted: Revision,
    /// Once begun, sweeping goes on to the end: rows that die together are removed together.
    running: bool,
    worth_it: usize,
}

impl Sweep {
    pub(super) fn new(garbage: VecDeque<Position>, compacted: Revision, worth_it: usize) -> Self {
        Self { garbage, compacted, running: false, worth_it }
    }

    pub(super) fn add(&mut self, garbage: Vec<Position>, compacted: Revision) {
        self.garbage.extend(garbage);
        self.compacted = compacted;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.garbage.is_empty()
    }

    pub(super) fn is_due(&mut self, keys: usize) -> bool {
        let worth_it = self.worth_it.max(keys / 8);
        self.running = !self.garbage.is_empty() && (self.running || self.garbage.len() >= worth_it);
        self.running
    }

    /// Removes rows within a transaction, twice as many as it adds. Returns how many, for [`Self::done`].
    pub(super) fn step(&self, connection: &Connection, added: usize) -> rusqlite::Result<usize> {
        self.remove(connection, STEP.max(2 * added))
    }

    /// The rows are gone for good.
    pub(super) fn done(&mut self, count: usize) {
        self.garbage.drain(..count);
    }

    fn remove(&self, connection: &Connection, limit: usize) -> rusqlite::Result<usize> {
        let count = limit.min(self.garbage.len());
        if count == 0 {
            return Ok(0);
        }
        // First, and in the same transaction: from here on the rows up to that revision are incomplete.
        layout::raise_compacted(connection, self.compacted)?;
        let mut delete = connection.prepare_cached("DELETE FROM log WHERE position = ?")?;
        for position in self.garbage.range(..count) {
            delete.execute([signed(position.raw())])?;
        }
        Ok(count)
    }
}

impl Writer {
    /// One step while nobody waits.
    pub(super) fn sweep_alone(&mut self) -> bool {
        match self.try_sweep() {
            Ok(swept) => {
                self.sweep.done(swept);
                add(&self.counters.swept, swept);
                add(&self.counters.fsyncs, 1);
                true
            }
            Err(error) if is_full(&error) => {
                self.sweep.running = false;
                false
            }
            Err(error) => {
                self.note_failure(&error);
                false
            }
        }
    }

    fn try_sweep(&mut self) -> rusqlite::Result<usize> {
        let connection = &mut self.database.connection;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let swept = self.sweep.step(&transaction, 0)?;
        transaction.commit()?;
        Ok(swept)
    }

    /// On a full disk: forgets all history, removes all it held, and gives the space back to the file system.
    pub(super) fn reclaim(&mut self) {
        let newest = self.mirror.revision();
        if let Ok(garbage) = self.mirror.compact(newest) {
            self.sweep.add(garbage, newest);
        }
        while !self.sweep.garbage.is_empty() {
            if !self.sweep_alone() {
                return;
            }
            self.empty_wal();
        }
        let vacuum = |connection: &Connection| -> rusqlite::Result<()> {
            let mut statement = connection.prepare("PRAGMA incremental_vacuum")?;
            let mut rows = statement.query(())?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        match vacuum(&self.database.connection) {
            Ok(()) => self.empty_wal(),
            Err(error) if is_full(&error) => {}
            Err(error) => self.note_failure(&error),
        }
    }
}

//! The store's content in memory: every key's kept versions and the history of changes. Pure data: no lock, no
//! clock, no disk. Values and keys are shared between versions, history and readers, never copied.

mod evaluate;
mod history;
mod keys;
mod rebuild;

use std::sync::Arc;

pub(crate) use evaluate::{Changes, Pending};
pub(crate) use history::Change;
use history::History;
pub use history::Retention;
use keys::Keys;
pub(crate) use rebuild::LogSpan;

use crate::{Entry, ListOptions, Revision, StoreError};

/// Where a write stands in the order of all writes: its revision, then its place within the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(u64);

impl Position {
    const PLACE_BITS: u32 = 16;

    pub(crate) fn new(revision: Revision, place: usize) -> Self {
        assert!(place < 1 << Self::PLACE_BITS, "a transaction has at most 65536 writes");
        Self((revision << Self::PLACE_BITS) | place as u64)
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    pub(crate) fn revision(self) -> Revision {
        self.0 >> Self::PLACE_BITS
    }
}

/// One key's new state: the newest entry, or none after a deletion.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) key: Arc<str>,
    pub(crate) position: Position,
    pub(crate) entry: Option<Arc<Entry>>,
}

impl Write {
    /// All writes of a key together, in their order.
    pub(crate) fn by_key(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key).then(self.position.cmp(&other.position))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: Keys,
    history: History,
}

impl Index {
    pub(crate) fn revision(&self) -> Revision {
        self.history.newest()
    }

    pub(crate) fn oldest(&self) -> Revision {
        self.history.oldest()
    }

    /// The entry of `key` now.
    pub(crate) fn newest(&self, key: &str) -> Option<&Arc<Entry>> {
        self.keys.newest(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Every entry as of now, in key order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.keys.scan("", None, Revision::MAX)
    }

    pub(crate) fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<Entry>>, StoreError> {
        Ok(match at {
            None => self.keys.newest(key).cloned(),
            Some(at) => {
                self.history.check(at)?;
                self.keys.at(key, at).cloned()
            }
        })
    }

    /// The entries of one page, the revision they are from, and whether more follow.
    pub(crate) fn list(
        &self,
        prefix: &str,
        options: &ListOptions,
    ) -> Result<(Revision, Vec<Arc<Entry>>, bool), StoreError> {
        let at = options.at.unwrap_or_else(|| self.revision());
        self.history.check(at)?;
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let mut found = self.keys.scan(prefix, options.after.as_deref(), at);
        let entries: Vec<_> = found.by_ref().take(limit).cloned().collect();
        let more = found.next().is_some();
        Ok((at, entries, more))
    }

    /// Can the state at `revision` be read?
    pub(crate) fn check(&self, revision: Revision) -> Result<(), StoreError> {
        self.history.check(revision)
    }

    /// The changes after `revision` (exclusive), one slice per revision.
    pub(crate) fn since(
        &self,
        revision: Revision,
    ) -> Result<impl Iterator<Item = (Revision, &[Change])>, StoreError> {
        self.history.check(revision)?;
        Ok(self.history.since(revision))
    }

    /// Takes in one committed transaction, the next revision. Returns its changes.
    pub(crate) fn apply(&mut self, writes: Vec<Write>) -> (Revision, &[Change]) {
        let changes = writes
            .into_iter()
            .map(|Write { key, position, entry }| {
                let previous = self.keys.write(Arc::clone(&key), position, entry.clone());
                Change { key, entry, previous }
            })
            .collect();
        self.history.push(changes)
    }

    /// Forgets what nobody can read once `revision` is the oldest. Returns the positions of the forgotten writes:
    /// those of one key oldest first, so that removing them in this order never brings a deleted key back.
    pub(crate) fn compact(&mut self, revision: Revision) -> Vec<Position> {
        let mut garbage = Vec::new();
        for changes in self.history.forget(revision) {
            for change in &changes {
                self.keys.forget(&change.key, revision, &mut garbage);
            }
        }
        garbage
    }

    /// The revision to compact to, so that history stays within `retention`.
    pub(crate) fn compaction_due(&self, retention: Retention) -> Option<Revision> {
        self.history.compaction_due(retention)
    }
}

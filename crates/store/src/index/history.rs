//! The changes of every revision from the compaction until now, and how much of that is kept.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Entry, Revision, StoreError};

#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) key: Arc<str>,
    pub(crate) entry: Option<Arc<Entry>>,
    pub(crate) previous: Option<Arc<Entry>>,
}

/// How much history a store keeps by itself: readers and watchers further behind are told so and list anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub revisions: usize,
    /// Of values that only history still holds.
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { revisions: 100_000, bytes: 64 * 1024 * 1024 }
    }
}

#[derive(Debug, Default)]
pub(super) struct History {
    /// The oldest readable revision; the first kept commit is the one after it.
    oldest: Revision,
    commits: VecDeque<Box<[Change]>>,
    superseded_bytes: usize,
}

impl History {
    pub(super) fn starting_at(oldest: Revision) -> Self {
        Self { oldest, ..Self::default() }
    }

    pub(super) fn oldest(&self) -> Revision {
        self.oldest
    }

    pub(super) fn newest(&self) -> Revision {
        self.oldest + self.commits.len() as Revision
    }

    /// Can the state at `revision` still, and already, be read?
    pub(super) fn check(&self, revision: Revision) -> Result<(), StoreError> {
        if revision < self.oldest {
            return Err(StoreError::Compacted { asked: revision, oldest: self.oldest });
        }
        if revision > self.newest() {
            return Err(StoreError::Future { asked: revision, newest: self.newest() });
        }
        Ok(())
    }

    /// The commits after `revision`, which must be readable.
    pub(super) fn since(&self, revision: Revision) -> impl Iterator<Item = (Revision, &[Change])> {
        let skipped = usize::try_from(revision - self.oldest).unwrap_or(usize::MAX).min(self.commits.len());
        (revision + 1..).zip(self.commits.range(skipped..).map(|changes| &**changes))
    }

    pub(super) fn push(&mut self, changes: Box<[Change]>) -> (Revision, &[Change]) {
        self.superseded_bytes += superseded_bytes(&changes);
        self.commits.push_back(changes);
        let newest = self.newest();
        let changes = self.commits.back().expect("just pushed");
        (newest, changes)
    }

    /// Removes the commits up to and including `revision`, oldest first.
    pub(super) fn forget(&mut self, revision: Revision) -> Vec<Box<[Change]>> {
        let revision = revision.min(self.newest());
        let count = usize::try_from(revision.saturating_sub(self.oldest)).unwrap_or(usize::MAX);
        self.oldest += count as Revision;
        let forgotten: Vec<_> = self.commits.drain(..count).collect();
        self.superseded_bytes -= forgotten.iter().map(|changes| superseded_bytes(changes)).sum::<usize>();
        forgotten
    }

    /// History is trimmed in strides of a sixteenth, so that the work comes in pieces and idle watchers are told
    /// of it seldom.
    pub(super) fn compaction_due(&self, retention: Retention) -> Option<Revision> {
        let revisions = retention.revisions.max(16);
        let stride = revisions / 16;
        let too_long = self.commits.len() >= revisions + stride;
        let too_large = self.superseded_bytes > retention.bytes && !self.commits.is_empty();
        (too_long || too_large).then(|| self.oldest + stride.min(self.commits.len()) as Revision)
    }
}

fn superseded_bytes(changes: &[Change]) -> usize {
    changes.iter().filter_map(|change| change.previous.as_ref()).map(|entry| entry.value.len()).sum()
}

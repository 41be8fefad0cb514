//! What every backend shares: the index and the leases behind one lock, and the watchers' seats. Reads and
//! watches are answered here alone; a backend only decides when a commit is durable and publishes it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::index::{Changes, Index, Pending, Position, Retention, Write};
use crate::lease::Leases;
use crate::seats::Seats;
use crate::watch::HistoryWatcher;
use crate::{Entry, LeaseId, ListOptions, Page, Revision, StoreError, Txn};

#[derive(Debug)]
pub(crate) struct Mirror {
    state: RwLock<State>,
    /// The next deadline may be nearer than before.
    pub(crate) lease_granted: Notify,
    retention: Retention,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) leases: Leases,
    pub(crate) seats: Seats,
}

impl Mirror {
    pub(crate) fn new(index: Index, leases: Leases, retention: Retention) -> Self {
        let state = State { index, leases, seats: Seats::default() };
        Self { state: RwLock::new(state), lease_granted: Notify::new(), retention }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write()
    }

    pub(crate) fn revision(&self) -> Revision {
        self.read().index.revision()
    }

    pub(crate) fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, StoreError> {
        let found = self.read().index.get(key, at)?;
        Ok(found.map(|entry| Entry::clone(&entry)))
    }

    pub(crate) fn list(&self, prefix: &str, options: &ListOptions) -> Result<Page, StoreError> {
        let (revision, entries, more) = self.read().index.list(prefix, options)?;
        let entries = entries.iter().map(|entry| Entry::clone(entry)).collect();
        Ok(Page { revision, entries, more })
    }

    pub(crate) fn watch(
        self: &Arc<Self>,
        prefix: &str,
        from: Revision,
    ) -> Result<HistoryWatcher, StoreError> {
        let mut state = self.state.write();
        state.index.check(from)?;
        let unseen = (from < state.index.revision()).then_some(from + 1);
        let seat = state.seats.take(prefix, unseen);
        Ok(HistoryWatcher::new(Arc::clone(self), seat, from))
    }

    /// Makes committed transactions visible, in order, and trims history. Returns the positions of the writes
    /// that nobody can read any more.
    pub(crate) fn publish(&self, state: &mut State, commits: Vec<Vec<Write>>) -> Vec<Position> {
        for writes in commits {
            let (revision, changes) = state.index.apply(writes);
            for change in changes {
                state.leases.follow(change);
                state.seats.announce(&change.key, revision);
            }
        }
        let mut garbage = Vec::new();
        while let Some(revision) = state.index.compaction_due(self.retention) {
            garbage.append(&mut state.compact(revision));
        }
        garbage
    }

    pub(crate) fn compact(&self, revision: Revision) -> Result<Vec<Position>, StoreError> {
        let mut state = self.state.write();
        let newest = state.index.revision();
        if revision > newest {
            return Err(StoreError::Future { asked: revision, newest });
        }
        Ok(state.compact(revision))
    }

    pub(crate) fn grant(&self, state: &mut State, lease: LeaseId, ttl: Duration, now: Instant) {
        state.leases.grant(lease, ttl, now);
        self.lease_granted.notify_one();
    }

    pub(crate) fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.state.write().leases.keep_alive(lease, Instant::now())
    }
}

impl State {
    pub(crate) fn evaluate(
        &self,
        pending: &mut Pending,
        txn: Txn,
        now: Instant,
    ) -> Result<(Revision, Vec<Write>), StoreError> {
        Changes { index: &self.index, leases: &self.leases, now }.evaluate(pending, txn)
    }

    /// The deletions that end a lease.
    pub(crate) fn last_writes(
        &self,
        pending: &mut Pending,
        lease: LeaseId,
    ) -> Result<Vec<Write>, StoreError> {
        let keys = self.leases.keys_of(lease)?;
        Ok(pending.deletions(&self.index, keys))
    }

    fn compact(&mut self, revision: Revision) -> Vec<Position> {
        if revision <= self.index.oldest() {
            return Vec::new();
        }
        let garbage = self.index.compact(revision);
        self.seats.wake_all();
        garbage
    }
}

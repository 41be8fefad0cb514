//! Leases: who is granted, until when, and which keys die with each. Knows no disk; time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::index::Change;
use crate::{Entry, LeaseId, StoreError};

#[derive(Debug, Default)]
pub(crate) struct Leases {
    granted: BTreeMap<LeaseId, Lease>,
    /// The same leases by deadline.
    deadlines: BTreeSet<(Instant, LeaseId)>,
    last: LeaseId,
}

#[derive(Debug)]
pub(crate) struct Lease {
    ttl: Duration,
    deadline: Instant,
    keys: BTreeSet<Arc<str>>,
}

impl Lease {
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }
}

impl Leases {
    /// The id the next lease will get; never used twice.
    pub(crate) fn next_id(&self) -> LeaseId {
        self.last + 1
    }

    /// No lease up to and including `last` will be granted again.
    pub(crate) fn skip_to(&mut self, last: LeaseId) {
        self.last = self.last.max(last);
    }

    pub(crate) fn grant(&mut self, lease: LeaseId, ttl: Duration, now: Instant) {
        self.skip_to(lease);
        let deadline = now + ttl;
        self.deadlines.insert((deadline, lease));
        self.granted.insert(lease, Lease { ttl, deadline, keys: BTreeSet::new() });
    }

    /// A lease that ran out is never alive again, whether or not its keys are deleted yet.
    pub(crate) fn alive(&self, lease: LeaseId, now: Instant) -> Result<&Lease, StoreError> {
        let found = self.granted.get(&lease).filter(|lease| now < lease.deadline);
        found.ok_or(StoreError::LeaseNotFound(lease))
    }

    pub(crate) fn keep_alive(&mut self, lease: LeaseId, now: Instant) -> Result<(), StoreError> {
        self.alive(lease, now)?;
        if let Some(found) = self.granted.get_mut(&lease) {
            self.deadlines.remove(&(found.deadline, lease));
            found.deadline = now + found.ttl;
            self.deadlines.insert((found.deadline, lease));
        }
        Ok(())
    }

    /// The keys that die with the lease.
    pub(crate) fn keys_of(&self, lease: LeaseId) -> Result<impl Iterator<Item = &Arc<str>>, StoreError> {
        let found = self.granted.get(&lease).ok_or(StoreError::LeaseNotFound(lease))?;
        Ok(found.keys.iter())
    }

    pub(crate) fn remove(&mut self, lease: LeaseId) {
        if let Some(found) = self.granted.remove(&lease) {
            self.deadlines.remove(&(found.deadline, lease));
        }
    }

    /// Moves the key to the lease it was last written with.
    pub(crate) fn follow(&mut self, change: &Change) {
        let before = change.previous.as_ref().and_then(|entry| entry.lease);
        let after = change.entry.as_ref().and_then(|entry| entry.lease);
        if before == after {
            return;
        }
        if let Some(lease) = before.and_then(|lease| self.granted.get_mut(&lease)) {
            lease.keys.remove(&change.key);
        }
        if let Some(lease) = after {
            self.attach(lease, Arc::clone(&change.key));
        }
    }

    /// Finds every lease's keys anew.
    pub(crate) fn attach_all<'e>(&mut self, entries: impl Iterator<Item = &'e Arc<Entry>>) {
        if self.granted.is_empty() {
            return;
        }
        for entry in entries {
            if let Some(lease) = entry.lease {
                self.attach(lease, Arc::clone(&entry.key));
            }
        }
    }

    fn attach(&mut self, lease: LeaseId, key: Arc<str>) {
        if let Some(lease) = self.granted.get_mut(&lease) {
            lease.keys.insert(key);
        }
    }

    pub(crate) fn expired(&self, now: Instant) -> Vec<LeaseId> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, lease)| *lease).collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}

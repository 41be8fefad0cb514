//! Decides what a transaction does: comparisons against the index and what the same batch is about to commit.
//! Decides only; nothing changes until the writes are applied.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Index, Position, Write};
use crate::lease::Leases;
use crate::limits::{self, MAX_LEASE_KEYS};
use crate::{Compare, Entry, LeaseId, Op, Revision, StoreError, Txn};

/// What earlier transactions of a batch will have done once the batch is on disk.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    entries: HashMap<Arc<str>, Option<Arc<Entry>>>,
    lease_keys: HashMap<LeaseId, usize>,
    commits: u64,
}

/// The index and leases as the next transaction of a batch will find them.
pub(crate) struct Changes<'a> {
    pub(crate) index: &'a Index,
    pub(crate) leases: &'a Leases,
    pub(crate) now: tokio::time::Instant,
}

impl Changes<'_> {
    /// The writes of `txn` and the revision its caller is told; no writes when it changes nothing.
    pub(crate) fn evaluate(
        &self,
        pending: &mut Pending,
        txn: Txn,
    ) -> Result<(Revision, Vec<Write>), StoreError> {
        for Compare { key, mod_revision } in &txn.compares {
            let actual = self.current(pending, key).map_or(0, |entry| entry.mod_revision);
            if actual != *mod_revision {
                return Err(StoreError::Conflict { key: key.clone(), expected: *mod_revision, actual });
            }
        }
        let revision = self.index.revision() + pending.commits + 1;
        let mut writes = Vec::with_capacity(txn.ops.len());
        for op in last_of_each_key(txn.ops) {
            let position = Position::new(revision, writes.len());
            match op {
                Op::Put { key, value, lease } => {
                    self.check_lease(pending, lease)?;
                    let current = self.current(pending, &key);
                    let create_revision = current.map_or(revision, |entry| entry.create_revision);
                    let key = current.map_or_else(|| Arc::from(key.as_str()), |entry| Arc::clone(&entry.key));
                    let entry = Entry {
                        key: Arc::clone(&key),
                        value,
                        create_revision,
                        mod_revision: revision,
                        lease,
                    };
                    writes.push(Write { key, position, entry: Some(Arc::new(entry)) });
                }
                Op::Delete { key } => {
                    if let Some(current) = self.current(pending, &key) {
                        writes.push(Write { key: Arc::clone(&current.key), position, entry: None });
                    }
                }
            }
        }
        if writes.is_empty() {
            return Ok((revision - 1, writes));
        }
        pending.note(&writes);
        Ok((revision, writes))
    }

    fn current<'s>(&'s self, pending: &'s Pending, key: &str) -> Option<&'s Arc<Entry>> {
        match pending.entries.get(key) {
            Some(entry) => entry.as_ref(),
            None => self.index.newest(key),
        }
    }

    fn check_lease(&self, pending: &Pending, lease: Option<LeaseId>) -> Result<(), StoreError> {
        let Some(lease) = lease else { return Ok(()) };
        let keys = self.leases.alive(lease, self.now)?.keys();
        let waiting = pending.lease_keys.get(&lease).copied().unwrap_or(0);
        limits::at_most("the list of the lease's keys", keys + waiting + 1, MAX_LEASE_KEYS)
    }
}

impl Pending {
    /// One transaction that deletes these keys, which exist and which no other transaction of the batch touches.
    pub(crate) fn deletions<'k>(
        &mut self,
        index: &Index,
        keys: impl Iterator<Item = &'k Arc<str>>,
    ) -> Vec<Write> {
        let revision = index.revision() + self.commits + 1;
        let writes: Vec<_> = keys
            .enumerate()
            .map(|(place, key)| Write {
                key: Arc::clone(key),
                position: Position::new(revision, place),
                entry: None,
            })
            .collect();
        if !writes.is_empty() {
            self.note(&writes);
        }
        writes
    }

    fn note(&mut self, writes: &[Write]) {
        self.commits += 1;
        for write in writes {
            if let Some(lease) = write.entry.as_ref().and_then(|entry| entry.lease) {
                *self.lease_keys.entry(lease).or_default() += 1;
            }
            self.entries.insert(Arc::clone(&write.key), write.entry.clone());
        }
    }
}

fn last_of_each_key(mut ops: Vec<Op>) -> Vec<Op> {
    if ops.len() < 2 {
        return ops;
    }
    let mut seen = BTreeSet::new();
    let mut last: Vec<bool> = ops.iter().rev().map(|op| seen.insert(key_of(op))).collect();
    ops.retain(|_| last.pop().expect("one verdict per operation"));
    ops
}

fn key_of(op: &Op) -> &str {
    match op {
        Op::Put { key, .. } | Op::Delete { key } => key,
    }
}

//! One batch: requests that become one SQLite transaction. Decides what each does; writes and answers nothing.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::queue::{Reply, Request, Work};
use crate::index::{Pending, Write};
use crate::limits;
use crate::mirror::State;
use crate::{LeaseId, Op, Revision, StoreError, Txn};

/// Bounds how long the first of a batch waits for the last.
const MAX_REQUESTS: usize = 1024;
const MAX_BYTES: usize = limits::MAX_TXN_BYTES;

/// What a batch will do to the database and the mirror once it is durable.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) commits: Vec<Vec<Write>>,
    pub(super) grants: Vec<Grant>,
    pub(super) ended: BTreeSet<LeaseId>,
    pub(super) answers: Vec<Answer>,
    pub(super) bytes: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) lease: LeaseId,
    pub(super) ttl: Duration,
}

/// What a caller will be told when the batch is durable.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) outcome: Outcome,
    asked: Instant,
    /// Work that makes room, to be tried again when the disk was full.
    makes_room: Option<Work>,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Decided(Result<u64, StoreError>),
    /// Needs no disk: it happens when all before it is published.
    Compact(Revision),
}

impl Batch {
    pub(super) fn changes_nothing(&self) -> bool {
        self.commits.is_empty() && self.grants.is_empty() && self.ended.is_empty()
    }

    pub(super) fn decide(state: &State, requests: Vec<Request>) -> Self {
        let mut batch = Self::default();
        let mut pending = Pending::default();
        for Request { work, asked, reply } in requests {
            let makes_room = copy_if_it_makes_room(&work);
            let outcome = match work {
                Work::Compact(revision) => Outcome::Compact(revision),
                Work::Txn(txn) => Outcome::Decided(batch.decide_txn(state, &mut pending, txn, asked)),
                Work::Grant(ttl) => Outcome::Decided(Ok(batch.grant(state, ttl))),
                Work::Revoke(lease) => Outcome::Decided(batch.revoke(state, &mut pending, lease)),
            };
            batch.answers.push(Answer { reply, outcome, asked, makes_room });
        }
        batch
    }

    fn decide_txn(
        &mut self,
        state: &State,
        pending: &mut Pending,
        txn: Txn,
        asked: Instant,
    ) -> Result<u64, StoreError> {
        let (revision, writes) = state.evaluate(pending, txn, asked)?;
        self.commit(writes);
        Ok(revision)
    }

    fn grant(&mut self, state: &State, ttl: Duration) -> LeaseId {
        let lease = state.leases.next_id() + self.grants.len() as LeaseId;
        self.grants.push(Grant { lease, ttl });
        lease
    }

    fn revoke(&mut self, state: &State, pending: &mut Pending, lease: LeaseId) -> Result<u64, StoreError> {
        if self.ended.contains(&lease) {
            return Err(StoreError::LeaseNotFound(lease));
        }
        let writes = state.last_writes(pending, lease)?;
        self.ended.insert(lease);
        self.commit(writes);
        Ok(lease)
    }

    fn commit(&mut self, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        self.bytes += writes.iter().map(|write| write.key.len() + value_bytes(write)).sum::<usize>();
        self.commits.push(writes);
    }

    /// Tells everybody the same error.
    pub(super) fn refuse(self, error: &StoreError) {
        for answer in self.answers {
            refuse(answer.reply, error);
        }
    }

    /// Refuses what would need room; returns the requests that make some.
    pub(super) fn keep_what_makes_room(self, error: &StoreError) -> Vec<Request> {
        let mut kept = Vec::new();
        for Answer { reply, asked, makes_room, .. } in self.answers {
            match makes_room {
                Some(work) => kept.push(Request { work, asked, reply }),
                None => refuse(reply, error),
            }
        }
        kept
    }
}

/// The longest run of requests from the front that can be decided together. The keys of a lease are known only
/// when everything before is published, so revocations and changes do not mix; a compaction stands alone.
pub(super) fn next_requests(waiting: &mut VecDeque<Request>) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut bytes = 0;
    while let Some(request) = waiting.front() {
        let kind = Kind::of(&request.work);
        let fits = match requests.first() {
            None => true,
            Some(Request { work, .. }) => {
                kind == Kind::of(work)
                    && kind != Kind::Compaction
                    && requests.len() < MAX_REQUESTS
                    && bytes < MAX_BYTES
            }
        };
        if !fits {
            break;
        }
        if let Work::Txn(txn) = &request.work {
            bytes += limits::size(txn);
        }
        requests.extend(waiting.pop_front());
    }
    requests
}

#[derive(PartialEq, Eq)]
enum Kind {
    Change,
    Revocation,
    Compaction,
}

impl Kind {
    fn of(work: &Work) -> Self {
        match work {
            Work::Txn(_) | Work::Grant(_) => Self::Change,
            Work::Revoke(_) => Self::Revocation,
            Work::Compact(_) => Self::Compaction,
        }
    }
}

fn copy_if_it_makes_room(work: &Work) -> Option<Work> {
    match work {
        Work::Txn(txn) if txn.makes_room || only_deletes(txn) => Some(Work::Txn(txn.clone())),
        Work::Txn(_) | Work::Grant(_) => None,
        Work::Revoke(lease) => Some(Work::Revoke(*lease)),
        Work::Compact(revision) => Some(Work::Compact(*revision)),
    }
}

fn only_deletes(txn: &Txn) -> bool {
    txn.ops.iter().all(|op| matches!(op, Op::Delete { .. }))
}

fn value_bytes(write: &Write) -> usize {
    write.entry.as_ref().map_or(0, |entry| entry.value.len())
}

/// A caller that went away needs no answer.
fn refuse(reply: Reply, error: &StoreError) {
    let _ = reply.send(Err(error.clone()));
}

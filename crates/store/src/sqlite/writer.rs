//! The one thread that writes: batch after batch, each durable before anybody hears of it.
//!
//! ```text
//! healthy --disk full--> healthy, deletions tried again on the reserve --room--> healthy
//!    \--any other error--> failed, until the store is opened anew
//! ```
//! After a failed fsync nobody knows what the disk holds; trying again would acknowledge what may be lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};
use tokio::time::Instant;

use super::batch::{Batch, Outcome, next_requests};
use super::layout::{self, meta, signed};
use super::load::Database;
use super::queue::{Queue, Request};
use super::reserve::Reserve;
use super::stats::{Counters, add};
use super::sweep::Sweep;
use super::{OpenError, Options};
use crate::StoreError;
use crate::mirror::Mirror;

pub(super) struct Writer {
    pub(super) database: Database,
    pub(super) mirror: Arc<Mirror>,
    queue: Arc<Queue>,
    pub(super) counters: Arc<Counters>,
    pub(super) reserve: Reserve,
    pub(super) sweep: Sweep,
    /// Pages in the WAL, told by SQLite at each commit.
    wal_pages: Arc<AtomicUsize>,
    wal_limit_pages: usize,
    waiting: VecDeque<Request>,
    failed: Option<String>,
}

impl Writer {
    pub(super) fn new(
        mut database: Database,
        sweep: Sweep,
        mirror: Arc<Mirror>,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let path = database.directory.reserve();
        let reserve = Reserve::new(path.clone(), options.reserve_bytes)
            .map_err(|source| OpenError::Io { path, source })?;
        let wal_pages = Arc::new(AtomicUsize::new(0));
        let hook_pages = Arc::clone(&wal_pages);
        let path = database.directory.database();
        database
            .connection
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
                hook_pages.store(usize::try_from(pages).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(|source| OpenError::Database { path, source })?;
        Ok(Self {
            database,
            mirror,
            queue,
            counters,
            reserve,
            sweep,
            wal_pages,
            wal_limit_pages: (options.wal_bytes / layout::PAGE_BYTES).max(1),
            waiting: VecDeque::new(),
            failed: None,
        })
    }

    /// Until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while self.next_batch() {
            self.checkpoint_if_due();
        }
    }

    /// Serves one batch, or sweeps a little while there is none; false when there will be no more.
    fn next_batch(&mut self) -> bool {
        self.queue.poll(&mut self.waiting);
        if self.waiting.is_empty() {
            if self.sweeps_while_idle() {
                return true;
            }
            if !self.queue.wait(&mut self.waiting) {
                return false;
            }
        }
        let requests = next_requests(&mut self.waiting);
        if let Some(reason) = &self.failed {
            for request in requests {
                // A caller that went away needs no answer.
                let _ = request.reply.send(Err(StoreError::Failed(reason.clone())));
            }
        } else {
            self.serve(requests);
        }
        true
    }

    fn sweeps_while_idle(&mut self) -> bool {
        let keys = self.mirror.read().index.len();
        self.failed.is_none() && self.sweep.is_due(keys) && self.sweep_alone()
    }

    fn serve(&mut self, requests: Vec<Request>) {
        let batch = Batch::decide(&self.mirror.read(), requests);
        let Some(batch) = self.make_room_first(batch) else { return };
        let mut appended = self.append(&batch);
        if appended.as_ref().is_err_and(is_full) && self.give_up_history() {
            appended = self.append(&batch);
        }
        match appended {
            Ok(()) => {
                self.publish(batch);
                if self.reserve.is_spent() {
                    self.reclaim();
                }
            }
            Err(error) if is_full(&error) => self.serve_on_reserve(batch, &error),
            Err(error) => self.fail(batch, &error),
        }
    }

    /// While the reserve is spent, only what makes room is written.
    fn make_room_first(&mut self, batch: Batch) -> Option<Batch> {
        match self.reserve.restore() {
            Ok(true) => Some(batch),
            Ok(false) => {
                let error = StoreError::Full("its reserve for deletions is in use".to_owned());
                let kept = batch.keep_what_makes_room(&error);
                (!kept.is_empty()).then(|| Batch::decide(&self.mirror.read(), kept))
            }
            Err(error) => {
                let error = StoreError::Full(format!("its reserve cannot be set aside: {error}"));
                batch.refuse(&error);
                None
            }
        }
    }

    /// On a full disk history goes first. Says whether that made room; no key has changed.
    fn give_up_history(&mut self) -> bool {
        if !self.has_history() {
            return false;
        }
        self.spend_reserve();
        self.reclaim();
        self.failed.is_none() && self.reserve.restore().unwrap_or(false)
    }

    fn has_history(&self) -> bool {
        let state = self.mirror.read();
        state.index.oldest() < state.index.revision() || !self.sweep.is_empty()
    }

    fn spend_reserve(&mut self) {
        if let Err(error) = self.reserve.spend() {
            tracing::error!(%error, "the store's reserve cannot be given back");
        }
        self.empty_wal();
    }

    fn serve_on_reserve(&mut self, batch: Batch, error: &rusqlite::Error) {
        let full = StoreError::Full(error.to_string());
        let kept = batch.keep_what_makes_room(&full);
        if kept.is_empty() {
            return;
        }
        self.spend_reserve();
        let batch = Batch::decide(&self.mirror.read(), kept);
        match self.append(&batch) {
            Ok(()) => {
                self.publish(batch);
                self.reclaim();
            }
            Err(error) if is_full(&error) => batch.refuse(&StoreError::Full(error.to_string())),
            Err(error) => self.fail(batch, &error),
        }
    }

    /// Makes the batch durable. On an error nothing of it is.
    fn append(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        if batch.changes_nothing() {
            return Ok(());
        }
        let transaction =
            self.database.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached(layout::INSERT)?;
            for write in batch.commits.iter().flatten() {
                layout::insert(&mut insert, write)?;
            }
        }
        append_leases(&transaction, batch)?;
        let keys = self.mirror.read().index.len();
        let swept =
            if self.sweep.is_due(keys) { self.sweep.step(&transaction, batch.commits.len())? } else { 0 };
        transaction.commit()?;
        self.sweep.done(swept);
        add(&self.counters.swept, swept);
        add(&self.counters.batches, 1);
        add(&self.counters.fsyncs, 1);
        add(&self.counters.bytes, batch.bytes);
        add(&self.counters.commits, batch.commits.len());
        Ok(())
    }

    /// Shows the batch to readers and watchers, then to its callers.
    fn publish(&mut self, batch: Batch) {
        let mut state = self.mirror.write();
        for grant in &batch.grants {
            // Its time begins when it is durable: a slow disk does not shorten it.
            self.mirror.grant(&mut state, grant.lease, grant.ttl, Instant::now());
        }
        for lease in &batch.ended {
            state.leases.remove(*lease);
        }
        let garbage = self.mirror.publish(&mut state, batch.commits);
        self.sweep.add(garbage, state.index.oldest());
        drop(state);
        for answer in batch.answers {
            let outcome = match answer.outcome {
                Outcome::Decided(outcome) => outcome,
                Outcome::Compact(revision) => self.compact(revision),
            };
            // A caller that went away needs no answer.
            let _ = answer.reply.send(outcome);
        }
    }

    fn compact(&mut self, revision: u64) -> Result<u64, StoreError> {
        let garbage = self.mirror.compact(revision)?;
        let oldest = self.mirror.read().index.oldest();
        self.sweep.add(garbage, oldest);
        Ok(revision)
    }

    pub(super) fn fail(&mut self, batch: Batch, error: &rusqlite::Error) {
        self.note_failure(error);
        batch.refuse(&StoreError::Failed(error.to_string()));
    }

    pub(super) fn note_failure(&mut self, error: &rusqlite::Error) {
        tracing::error!(%error, "the store failed; nothing is written until it is opened anew");
        self.failed = Some(error.to_string());
    }

    /// Writes the WAL back after the answers are out, so that only later callers wait for it.
    fn checkpoint_if_due(&mut self) {
        if self.failed.is_none() && self.wal_pages.load(Ordering::Relaxed) >= self.wal_limit_pages {
            self.checkpoint("PRAGMA wal_checkpoint(RESTART)");
        }
    }

    /// Gives the WAL's own space back, too.
    pub(super) fn empty_wal(&mut self) {
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    fn checkpoint(&mut self, pragma: &str) {
        match self.database.connection.query_row(pragma, (), |_| Ok(())) {
            Ok(()) => {
                self.wal_pages.store(0, Ordering::Relaxed);
                add(&self.counters.checkpoints, 1);
                add(&self.counters.fsyncs, 3);
            }
            // The WAL stays and is tried again after the next batch.
            Err(error) if is_full(&error) => tracing::warn!(%error, "the store cannot write its WAL back"),
            Err(error) => self.note_failure(&error),
        }
    }
}

impl Drop for Writer {
    /// Also after a panic: callers must not wait for a writer that is gone.
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

fn append_leases(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    for grant in &batch.grants {
        let mut insert = connection.prepare_cached("INSERT INTO lease (id, ttl_ms) VALUES (?, ?)")?;
        let ttl_ms = i64::try_from(grant.ttl.as_millis()).unwrap_or(i64::MAX);
        insert.execute(params![signed(grant.lease), ttl_ms])?;
    }
    if let Some(last) = batch.grants.last() {
        layout::set_meta(connection, meta::LAST_LEASE, last.lease)?;
    }
    for lease in &batch.ended {
        connection.prepare_cached("DELETE FROM lease WHERE id = ?")?.execute([signed(*lease)])?;
    }
    Ok(())
}

pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

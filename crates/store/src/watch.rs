//! A watcher over the shared history: it pulls, so it holds no queue and cannot hold anybody up.

use std::sync::Arc;

use async_trait::async_trait;

use crate::mirror::Mirror;
use crate::seats::Seat;
use crate::{Event, Revision, StoreError, WatchBatch, Watcher};

/// A batch ends with the revision that reaches this; a long way back is travelled in several.
const MAX_BATCH_EVENTS: usize = 1024;

#[derive(Debug)]
pub(crate) struct HistoryWatcher {
    mirror: Arc<Mirror>,
    seat: Arc<Seat>,
    seen: Revision,
}

impl HistoryWatcher {
    pub(crate) fn new(mirror: Arc<Mirror>, seat: Arc<Seat>, seen: Revision) -> Self {
        Self { mirror, seat, seen }
    }

    /// What there is to tell now, if anything.
    fn batch(&mut self) -> Result<Option<WatchBatch>, StoreError> {
        // Publishing needs the write lock, so `unseen` cannot move while this reads.
        let state = self.mirror.read();
        let mut unseen = self.seat.unseen.lock();
        let Some(first) = *unseen else {
            if self.seen >= state.index.oldest() {
                return Ok(None);
            }
            self.seen = state.index.revision();
            return Ok(Some(WatchBatch { revision: self.seen, events: Vec::new() }));
        };
        let mut batch = WatchBatch::default();
        for (revision, changes) in state.index.since(first - 1)? {
            batch.revision = revision;
            for change in changes.iter().filter(|change| change.key.starts_with(&*self.seat.prefix)) {
                batch.events.push(Event {
                    revision,
                    key: Arc::clone(&change.key),
                    entry: change.entry.as_deref().cloned(),
                    previous: change.previous.as_deref().cloned(),
                });
            }
            if batch.events.len() >= MAX_BATCH_EVENTS {
                break;
            }
        }
        self.seen = batch.revision;
        *unseen = (self.seen < state.index.revision()).then_some(self.seen + 1);
        Ok(Some(batch))
    }
}

#[async_trait]
impl Watcher for HistoryWatcher {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            if let Some(batch) = self.batch()? {
                return Ok(batch);
            }
            self.seat.notify.notified().await;
        }
    }
}

impl Drop for HistoryWatcher {
    fn drop(&mut self) {
        self.mirror.write().seats.leave(&self.seat);
    }
}

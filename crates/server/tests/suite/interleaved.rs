//! A store that lets others go first: between any two steps of a request come steps of others, as they would on a
//! busy machine. Without it requests over a store in memory seldom meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use store::{Entry, LeaseId, ListOptions, MemoryStore, Page, Revision, Store, StoreError, Txn, Watcher};

/// Most turns that are given to others at once.
const TURNS_MAX: u64 = 4;

#[derive(Debug)]
pub(crate) struct Interleaved {
    inner: Arc<MemoryStore>,
    steps: AtomicU64,
}

impl Interleaved {
    pub(crate) fn over(inner: Arc<MemoryStore>) -> Self {
        Self { inner, steps: AtomicU64::new(0) }
    }

    async fn others_first(&self) {
        // Any sequence does that is not in step with the requests (Knuth's multiplier).
        let step = self.steps.fetch_add(1, Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005);
        for _ in 0..(step >> 33) % TURNS_MAX {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Store for Interleaved {
    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, StoreError> {
        let found = self.inner.get(key, at).await;
        self.others_first().await;
        found
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page, StoreError> {
        let page = self.inner.list(prefix, options).await;
        self.others_first().await;
        page
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.others_first().await;
        self.inner.txn(txn).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        self.inner.watch(prefix, from).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.inner.compact(revision).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.lease_grant(ttl).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.lease_keep_alive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.lease_revoke(lease).await
    }
}

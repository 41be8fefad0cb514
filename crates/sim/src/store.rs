//! The store of a simulation: the one in memory, but slow, and at times busy or full.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use store::{Entry, LeaseId, ListOptions, MemoryStore, Op, Page, Revision, Store, StoreError, Txn, Watcher};

use crate::dice::Dice;
use crate::ledger::Ledger;
use crate::weather::Weather;

#[derive(Debug)]
pub(crate) struct SimStore {
    inner: MemoryStore,
    dice: Dice,
    weather: Arc<Weather>,
    ledger: Arc<Ledger>,
}

impl SimStore {
    pub(crate) fn new(dice: Dice, weather: Arc<Weather>, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { inner: MemoryStore::new(), dice, weather, ledger })
    }

    /// Whoever is killed meanwhile is killed between two steps.
    async fn drag(&self) {
        if self.weather.is_rough() && self.dice.per_mille(100) {
            tokio::time::sleep(self.dice.millis(1..80)).await;
        }
    }

    fn refusal(&self, txn: &Txn) -> Option<StoreError> {
        let grows = txn.ops.iter().any(|op| matches!(op, Op::Put { .. }));
        if grows && self.weather.is_store_full() {
            self.weather.count("refusals of a full store");
            return Some(StoreError::Full("no space left on device".into()));
        }
        if self.weather.is_rough() && self.dice.per_mille(10) {
            self.weather.count("refusals of a busy store");
            return Some(StoreError::Busy(1024));
        }
        None
    }
}

#[async_trait]
impl Store for SimStore {
    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, StoreError> {
        let entry = self.inner.get(key, at).await;
        self.drag().await;
        entry
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page, StoreError> {
        let page = self.inner.list(prefix, options).await;
        self.drag().await;
        page
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.drag().await;
        if let Some(refusal) = self.refusal(&txn) {
            return Err(refusal);
        }
        let before = self.inner.revision();
        let revision = self.inner.txn(txn.clone()).await?;
        if revision > before {
            self.ledger.note(revision, &txn);
        }
        // Committed, and not yet answered.
        self.drag().await;
        Ok(revision)
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

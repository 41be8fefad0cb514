//! A store that lives and dies with its process, for tests and simulation: no thread and no randomness of its own,
//! so the same calls on a paused clock give the same history.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::expiry::{Expiry, Revoke};
use crate::index::{Index, Pending, Retention};
use crate::lease::Leases;
use crate::mirror::Mirror;
use crate::{Entry, LeaseId, ListOptions, Page, Revision, Store, StoreError, Txn, Watcher, limits};

#[derive(Debug)]
pub struct MemoryStore {
    core: Arc<Core>,
    /// Started with the first lease: a store may be made before there is a runtime.
    expiry: OnceLock<Expiry>,
}

#[derive(Debug)]
struct Core {
    mirror: Arc<Mirror>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::with_retention(Retention::default())
    }

    pub fn with_retention(retention: Retention) -> Self {
        let mirror = Arc::new(Mirror::new(Index::default(), Leases::default(), retention));
        Self { core: Arc::new(Core { mirror }), expiry: OnceLock::new() }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn revision(&self) -> Revision {
        self.core.mirror.revision()
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, StoreError> {
        self.core.mirror.get(key, at)
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page, StoreError> {
        self.core.mirror.list(prefix, &options)
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        limits::check(&txn)?;
        let mut state = self.core.mirror.write();
        let (revision, writes) = state.evaluate(&mut Pending::default(), txn, Instant::now())?;
        if !writes.is_empty() {
            self.core.mirror.publish(&mut state, vec![writes]);
        }
        Ok(revision)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        Ok(Box::new(self.core.mirror.watch(prefix, from)?))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.core.mirror.compact(revision).map(drop)
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.expiry.get_or_init(|| Expiry::spawn(Arc::clone(&self.core.mirror), &self.core));
        let mut state = self.core.mirror.write();
        let lease = state.leases.next_id();
        self.core.mirror.grant(&mut state, lease, ttl, Instant::now());
        Ok(lease)
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.core.mirror.keep_alive(lease)
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.core.revoke(lease).await
    }
}

#[async_trait]
impl Revoke for Core {
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let mut state = self.mirror.write();
        let writes = state.last_writes(&mut Pending::default(), lease)?;
        state.leases.remove(lease);
        if !writes.is_empty() {
            self.mirror.publish(&mut state, vec![writes]);
        }
        Ok(())
    }
}

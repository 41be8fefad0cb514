//! Caches that several controllers read: each object is followed and decoded once, however many look at it.

use client::{Client, ListParams};
use model::Resource;
use model::compute::Instance;
use model::storage::{Pool, Volume};
use model::topology::Host;
use reconcile::Cache;

/// Cheap to clone; the last clone ends the following.
#[derive(Debug, Clone)]
pub(crate) struct Caches {
    pub(crate) hosts: Cache<Host>,
    pub(crate) instances: Cache<Instance>,
    pub(crate) volumes: Cache<Volume>,
    pub(crate) pools: Cache<Pool>,
}

impl Caches {
    pub(crate) fn start(client: &Client) -> Self {
        Self {
            hosts: follow(client),
            instances: follow(client),
            volumes: follow(client),
            pools: follow(client),
        }
    }

    pub(crate) async fn synced(&self) {
        tokio::join!(
            self.hosts.synced(),
            self.instances.synced(),
            self.volumes.synced(),
            self.pools.synced()
        );
    }

    /// Whether a volume is in a pool that hosts share.
    pub(crate) fn is_shared(&self, volume: &Volume) -> bool {
        self.pools.get(&volume.spec.pool).is_some_and(|pool| pool.spec.is_shared())
    }
}

fn follow<R: Resource>(client: &Client) -> Cache<R> {
    Cache::start(client.all::<R>(), ListParams::default(), Vec::new())
}

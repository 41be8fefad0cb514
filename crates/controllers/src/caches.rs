//! Caches that several controllers read: each object is followed and decoded once, however many look at it.

use client::{Client, ListParams};
use model::Resource;
use model::compute::Instance;
use model::topology::Host;
use reconcile::Cache;

/// Cheap to clone; the last clone ends the following.
#[derive(Debug, Clone)]
pub(crate) struct Caches {
    pub(crate) hosts: Cache<Host>,
    pub(crate) instances: Cache<Instance>,
}

impl Caches {
    pub(crate) fn start(client: &Client) -> Self {
        Self { hosts: follow(client), instances: follow(client) }
    }
}

fn follow<R: Resource>(client: &Client) -> Cache<R> {
    Cache::start(client.all::<R>(), ListParams::default(), Vec::new())
}

//! The balancers that are assigned to this host, and where their ports end.

use std::sync::Arc;

use client::{Client, ListParams};
use driver::{BalancerDriver, Link};
use model::Uid;
use model::network::LoadBalancer;
use reconcile::Cache;

/// The device of a balancer's port in its namespace.
const DEVICE: &str = "eth0";

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Assigned {
    pub(super) driver: Arc<dyn BalancerDriver>,
    pub(super) cache: Cache<LoadBalancer>,
    host: String,
}

impl Assigned {
    pub(crate) fn follow(host: &str, client: &Client, driver: Arc<dyn BalancerDriver>) -> Self {
        let params = ListParams { field_selector: format!("status.host={host}"), ..ListParams::default() };
        let cache = Cache::start(client.all::<LoadBalancer>(), params, Vec::new());
        Self { driver, cache, host: host.to_owned() }
    }

    pub(crate) async fn synced(&self) {
        self.cache.synced().await;
    }

    /// One that is to work here.
    pub(super) fn get(&self, key: &str) -> Option<Arc<LoadBalancer>> {
        self.cache.get(key).filter(|balancer| self.is_here(balancer))
    }

    pub(super) fn has(&self, uid: &Uid) -> bool {
        !self.cache.filter(|balancer| self.is_here(balancer) && balancer.metadata.uid == *uid).is_empty()
    }

    pub(super) fn of(&self, project: &str) -> Vec<Arc<LoadBalancer>> {
        self.cache.filter(|balancer| self.is_here(balancer) && balancer.metadata.namespace == project)
    }

    fn is_here(&self, balancer: &LoadBalancer) -> bool {
        balancer.status.host == self.host && !balancer.metadata.is_deleting()
    }

    /// Where the ports of a project's balancers end on this host, by the port's name. One whose namespace is not
    /// made yet has no end.
    pub(crate) fn links(&self, project: &str) -> Vec<(String, Link)> {
        let link = |balancer: &Arc<LoadBalancer>| {
            let namespace = self.driver.network_namespace(&balancer.metadata.uid)?;
            Some((balancer.port_name(), Link::Veth { namespace, name: DEVICE.into() }))
        };
        self.of(project).iter().filter_map(link).collect()
    }
}

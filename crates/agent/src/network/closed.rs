//! Addresses of the cloud itself: guests have no business there.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use model::network::Port;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Grows as hosts are heard of; a host that left stays closed until the agent starts anew. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Closed {
    fixed: Vec<IpAddr>,
    hosts: Arc<Mutex<BTreeSet<IpAddr>>>,
    grown: Arc<Notify>,
}

impl Closed {
    /// From addresses that are always closed.
    pub(super) fn new(fixed: Vec<IpAddr>) -> Self {
        Self { fixed, hosts: Arc::default(), grown: Arc::default() }
    }

    /// Takes note of the host that a port is on.
    pub(super) fn note(&self, port: &Port) {
        if let Some(address) = port.status.host_address
            && self.hosts.lock().insert(address.0)
        {
            self.grown.notify_one();
        }
    }

    /// Waits until there are more than before.
    pub(super) async fn grown(&self) {
        self.grown.notified().await;
    }

    /// All of them, with those that this host has now.
    pub(super) fn all(&self) -> Vec<IpAddr> {
        let own = sys::addresses::own().unwrap_or_else(|e| {
            tracing::warn!(error = %e, "this host's addresses are not known; guests may reach them");
            Vec::new()
        });
        let hosts = self.hosts.lock();
        let all: BTreeSet<IpAddr> = self.fixed.iter().chain(hosts.iter()).copied().chain(own).collect();
        all.into_iter().collect()
    }
}

//! What the scheduler knows of a host: plain data, taken from the Host object.

use std::collections::BTreeMap;

use model::Resources;
use model::compute::Cell;
use model::topology::{Host, Taint};

/// A host as the scheduler sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostView {
    pub name: String,
    pub zone: String,
    pub rack: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// Takes no new instances: by the operator's word, or because it is being deleted.
    pub cordoned: bool,
    /// Its agent has been heard of lately.
    pub ready: bool,
    /// What may be promised to instances, CPU overcommit included.
    pub allocatable: Resources,
    /// The cells that a usable driver serves.
    pub cells: Vec<Cell>,
    /// Digests of the images in its cache.
    pub images: Vec<String>,
    /// Pools that hosts share, and why one of them cannot be used here; empty where it can.
    pub pools: BTreeMap<String, String>,
}

impl From<&Host> for HostView {
    fn from(host: &Host) -> Self {
        let usable = host.status.drivers.iter().filter(|d| d.unavailable.is_empty());
        Self {
            name: host.metadata.name.clone(),
            zone: host.spec.zone.clone(),
            rack: host.spec.rack.clone(),
            labels: host.metadata.labels.clone(),
            taints: host.spec.taints.clone(),
            cordoned: host.spec.cordoned || host.metadata.is_deleting(),
            ready: host.is_ready(),
            allocatable: host.allocatable(),
            cells: usable.flat_map(|d| d.cells.iter().copied()).collect(),
            images: host.status.images.clone(),
            pools: host.status.pools.iter().map(|p| (p.name.clone(), p.unavailable.clone())).collect(),
        }
        .normalized()
    }
}

impl HostView {
    /// Lists in one order and without repetition, so that a report in another order is no change.
    pub(crate) fn normalized(mut self) -> Self {
        self.cells.sort_unstable();
        self.cells.dedup();
        self.images.sort_unstable();
        self.images.dedup();
        self.taints.sort_unstable_by(|a, b| (&a.key, &a.value).cmp(&(&b.key, &b.value)));
        self.taints.dedup();
        self
    }
}

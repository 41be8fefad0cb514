//! What is bound where. A key is bound once; what a binding claims is exactly what its release returns.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::hosts::Host;
use super::neighbours::{Repulsion, Role};
use super::room::Amounts;
use super::slab::{Id, Slab};

#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) key: Arc<str>,
    pub(crate) host: Id<Host>,
    pub(crate) demand: Amounts,
    pub(crate) role: Id<Role>,
    /// Whom it tolerates no longer in its host, rack or zone.
    pub(crate) repels: Arc<[Repulsion]>,
    pub(crate) priority: i32,
    /// Its place in the host's list.
    at: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Bindings {
    slab: Slab<Binding>,
    by_key: HashMap<Arc<str>, Id<Binding>, RandomState>,
}

impl Binding {
    pub(crate) fn new(
        key: Arc<str>,
        host: Id<Host>,
        demand: Amounts,
        role: Id<Role>,
        repels: Arc<[Repulsion]>,
        priority: i32,
    ) -> Self {
        Self { key, host, demand, role, repels, priority, at: 0 }
    }
}

impl Bindings {
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn find(&self, key: &str) -> Option<&Binding> {
        self.by_key.get(key).map(|id| &self.slab[*id])
    }

    pub(crate) fn get(&self, id: Id<Binding>) -> &Binding {
        &self.slab[id]
    }

    /// Enters the binding here and in the host's list.
    pub(crate) fn enter(&mut self, mut binding: Binding, bound: &mut Vec<Id<Binding>>) {
        binding.at = bound.len();
        let key = binding.key.clone();
        let id = self.slab.insert(binding);
        bound.push(id);
        self.by_key.insert(key, id);
    }

    /// Strikes the binding of `key` from here and from its host's list.
    pub(crate) fn strike(&mut self, key: &str, hosts: &mut Slab<Host>) -> Option<Binding> {
        let id = self.by_key.remove(key)?;
        let binding = self.slab.remove(id)?;
        let bound = &mut hosts[binding.host].bound;
        bound.swap_remove(binding.at);
        if let Some(moved) = bound.get(binding.at) {
            self.slab[*moved].at = binding.at;
        }
        Some(binding)
    }
}

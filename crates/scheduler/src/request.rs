//! What the scheduler is asked: one instance that needs a host.

use std::collections::BTreeMap;

use model::Resources;
use model::compute::{Cell, Instance, PlacementSpec};

/// An instance to be placed, or one that is bound already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub project: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub cell: Cell,
    pub resources: Resources,
    pub placement: PlacementSpec,
    /// Digests of the images it starts from.
    pub images: Vec<String>,
    /// Pools that hosts share and that have volumes of it, in order.
    pub pools: Vec<String>,
}

impl Request {
    /// What `instance` asks for; `images` are the digests of its images' files.
    pub fn new(instance: &Instance, images: Vec<String>) -> Self {
        Self {
            project: instance.metadata.namespace.clone(),
            name: instance.metadata.name.clone(),
            labels: instance.metadata.labels.clone(),
            cell: instance.spec.cell(),
            resources: instance.spec.resources,
            placement: instance.spec.placement.clone(),
            images,
            pools: Vec::new(),
        }
    }

    /// `project/name`: the key under which it is bound.
    pub fn key(&self) -> String {
        let mut key = String::with_capacity(self.project.len() + 1 + self.name.len());
        key.push_str(&self.project);
        key.push('/');
        key.push_str(&self.name);
        key
    }
}

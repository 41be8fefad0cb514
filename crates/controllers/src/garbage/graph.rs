//! Who owns whom, by uid. Only objects with owners are in it.

use std::collections::{HashMap, HashSet};

use model::{KindEntry, Uid};

use super::metadata::Metadata;

/// Dependents by owner, kept up to date from watches.
#[derive(Debug, Default)]
pub(super) struct Graph {
    dependents: HashMap<Uid, HashSet<String>>,
    owners: HashMap<String, Vec<Uid>>,
}

impl Graph {
    /// Notes an object's owners; says whether there are any.
    pub(super) fn upsert(&mut self, key: &str, object: &Metadata) -> bool {
        let new: Vec<Uid> = object.owner_references.iter().map(|owner| owner.uid.clone()).collect();
        if self.owners.get(key).is_none_or(|old| *old != new) {
            self.remove(key);
            for owner in &new {
                self.dependents.entry(owner.clone()).or_default().insert(key.to_owned());
            }
            if !new.is_empty() {
                self.owners.insert(key.to_owned(), new.clone());
            }
        }
        !new.is_empty()
    }

    pub(super) fn remove(&mut self, key: &str) {
        for owner in self.owners.remove(key).unwrap_or_default() {
            if let Some(dependents) = self.dependents.get_mut(&owner) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(&owner);
                }
            }
        }
    }

    pub(super) fn dependents(&self, owner: &Uid) -> Vec<String> {
        let mut keys: Vec<String> = self.dependents.get(owner).into_iter().flatten().cloned().collect();
        keys.sort_unstable();
        keys
    }
}

/// `resource/project/name`; the project is empty for cloud-wide kinds.
pub(super) fn key(kind: &KindEntry, object: &Metadata) -> String {
    format!("{}/{}/{}", kind.info.resource(), object.namespace, object.name)
}

pub(super) fn kind_of_key(key: &str) -> Option<&'static KindEntry> {
    let resource = key.split('/').next()?;
    model::kinds().iter().find(|k| k.info.is_resource(resource))
}

pub(super) fn names_of_key(key: &str) -> (&str, &str) {
    let mut parts = key.splitn(3, '/').skip(1);
    (parts.next().unwrap_or(""), parts.next().unwrap_or(""))
}

//! Objects that were read for a list and are kept for the next one: what has not changed since is not read again.
//! What lies here decides nothing. The store is asked every time, and an object counts only while the version under
//! which it was read is the newest.

use std::collections::HashMap;
use std::sync::Arc;

use client::{Objects, Request};
use model::{AnyObject, ApiError, KindEntry};
use parking_lot::Mutex;
use store::{Entry, ListOptions, Revision};

use crate::recent::Recent;
use crate::server::{Server, store_error};
use crate::verbs::prefix;

/// Longest list that is kept, and most lists.
const OBJECTS_MAX: usize = 100_000;
const LISTS_MAX: usize = 256;

/// By the prefix in the store.
#[derive(Default)]
pub(crate) struct Shelf {
    lists: Mutex<HashMap<String, Arc<Kept>>>,
}

/// A list as it was read, in the order of its keys.
#[derive(Default)]
struct Kept {
    versions: Vec<(Arc<str>, Revision)>,
    objects: Objects,
}

impl Server {
    /// Everything that a List covers.
    pub(crate) async fn everything(&self, request: &Request) -> Result<Objects, ApiError> {
        let prefix = prefix(request);
        let page = self.inner.store.list(&prefix, ListOptions::default()).await.map_err(store_error)?;
        let before = self.inner.shelf.lists.lock().get(&prefix).cloned().unwrap_or_default();
        if before.is(&page.entries) {
            return Ok(Arc::clone(&before.objects));
        }
        let now = before.after(request.kind, &page.entries, &self.inner.recent)?;
        let objects = Arc::clone(&now.objects);
        self.inner.shelf.keep(prefix, now);
        Ok(objects)
    }
}

impl Shelf {
    fn keep(&self, prefix: String, list: Kept) {
        let mut lists = self.lists.lock();
        if list.versions.is_empty() || list.versions.len() > OBJECTS_MAX {
            lists.remove(&prefix);
            return;
        }
        if lists.len() >= LISTS_MAX && !lists.contains_key(&prefix) {
            lists.clear();
        }
        lists.insert(prefix, Arc::new(list));
    }
}

impl Kept {
    /// Whether the store still has exactly this.
    fn is(&self, entries: &[Entry]) -> bool {
        self.versions.len() == entries.len()
            && self.versions.iter().zip(entries).all(|(version, entry)| is_same(version, entry))
    }

    /// The list as the store has it now; only what is new in it is read.
    fn after(&self, kind: &KindEntry, entries: &[Entry], recent: &Recent) -> Result<Self, ApiError> {
        let mut known = self.versions.iter().zip(self.objects.iter()).peekable();
        let mut objects: Vec<Arc<dyn AnyObject>> = Vec::with_capacity(entries.len());
        for entry in entries {
            while known.next_if(|((key, _), _)| **key < *entry.key).is_some() {}
            let kept = known.next_if(|(version, _)| is_same(version, entry));
            objects.push(match kept {
                Some((_, object)) => Arc::clone(object),
                None => recent.passing(kind, entry)?,
            });
        }
        let versions = entries.iter().map(|entry| (Arc::clone(&entry.key), entry.mod_revision)).collect();
        Ok(Self { versions, objects: Arc::new(objects) })
    }
}

fn is_same((key, revision): &(Arc<str>, Revision), entry: &Entry) -> bool {
    // A key that was deleted and made anew has a version that no other had.
    *revision == entry.mod_revision && *key == entry.key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples::{entry, kind};
    use proptest::prelude::*;

    #[test]
    fn what_has_not_changed_is_the_same_object() {
        let recent = Recent::default();
        let first = Kept::default().after(kind(), &[entry("a", 1), entry("b", 2)], &recent).expect("a list");
        assert!(first.is(&[entry("a", 1), entry("b", 2)]));
        let second = first.after(kind(), &[entry("a", 1), entry("b", 3)], &recent).expect("a list");
        assert!(Arc::ptr_eq(&first.objects[0], &second.objects[0]));
        assert!(!Arc::ptr_eq(&first.objects[1], &second.objects[1]));
    }

    proptest! {
        /// Whatever came, went and changed: a list says what the store says.
        #[test]
        fn a_kept_list_never_tells_of_the_past(steps in proptest::collection::vec(
            proptest::collection::btree_map("[a-d]", 1_u64..4, 0..5), 1..6)) {
            let (mut kept, recent) = (Kept::default(), Recent::default());
            for step in steps {
                let entries: Vec<Entry> = step.iter().map(|(name, revision)| entry(name, *revision)).collect();
                if !kept.is(&entries) {
                    kept = kept.after(kind(), &entries, &recent).expect("a list");
                }
                let told: Vec<(String, u64)> = kept.objects.iter().map(|object| {
                    let meta = object.metadata();
                    (meta.name.clone(), meta.labels["at"].parse().expect("a number"))
                }).collect();
                prop_assert_eq!(told, step.into_iter().collect::<Vec<_>>());
            }
        }
    }
}

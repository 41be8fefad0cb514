//! Objects that were read lately: what many look at is read once. What lies here decides nothing: an object counts only for
//! the very version of the store's entry that is asked about.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::{AnyObject, ApiError, KindEntry};
use parking_lot::Mutex;
use store::{Entry, Revision};

use crate::record;

/// A busy cloud changes fewer within the moment in which all its watchers look at a change.
const OBJECTS_MAX: usize = 2048;

#[derive(Default)]
pub(crate) struct Recent {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_key: HashMap<Arc<str>, (Revision, Arc<dyn AnyObject>)>,
    /// In the order in which they came; those that others have taken the place of are still in it.
    order: VecDeque<(Arc<str>, Revision)>,
}

impl Recent {
    /// The object of an entry, with its version set.
    pub(crate) fn object(&self, kind: &KindEntry, entry: &Entry) -> Result<Arc<dyn AnyObject>, ApiError> {
        if let Some(object) = self.known.lock().get(entry) {
            return Ok(object);
        }
        let object: Arc<dyn AnyObject> = Arc::from(record::decode(kind, entry)?);
        self.known.lock().keep(entry, &object);
        Ok(object)
    }

    /// The same for who goes through everything there is: what it looks at takes nothing's place.
    pub(crate) fn passing(&self, kind: &KindEntry, entry: &Entry) -> Result<Arc<dyn AnyObject>, ApiError> {
        let known = self.known.lock().get(entry);
        known.map_or_else(|| Ok(Arc::from(record::decode(kind, entry)?)), Ok)
    }
}

impl Known {
    fn get(&self, entry: &Entry) -> Option<Arc<dyn AnyObject>> {
        let (revision, object) = self.by_key.get(&entry.key)?;
        (*revision == entry.mod_revision).then(|| Arc::clone(object))
    }

    fn keep(&mut self, entry: &Entry, object: &Arc<dyn AnyObject>) {
        if self.by_key.get(&entry.key).is_some_and(|(revision, _)| *revision >= entry.mod_revision) {
            return;
        }
        self.by_key.insert(Arc::clone(&entry.key), (entry.mod_revision, Arc::clone(object)));
        self.order.push_back((Arc::clone(&entry.key), entry.mod_revision));
        while self.order.len() > OBJECTS_MAX
            && let Some((key, oldest)) = self.order.pop_front()
        {
            if self.by_key.get(&key).is_some_and(|(revision, _)| *revision == oldest) {
                self.by_key.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples::{entry, kind};

    #[test]
    fn every_version_is_itself_and_old_ones_go() {
        let recent = Recent::default();
        let read = |name: &str, revision| recent.object(kind(), &entry(name, revision)).expect("an object");
        let first = read("a", 1);
        assert!(Arc::ptr_eq(&first, &read("a", 1)), "read once");
        for revision in [2, 1] {
            let object = read("a", revision);
            let meta = object.metadata();
            let told = (meta.labels["at"].clone(), meta.resource_version.clone());
            assert_eq!(told, (revision.to_string(), revision.to_string()));
        }
        for number in 0..=OBJECTS_MAX as Revision {
            read("b", 10 + number);
        }
        recent.passing(kind(), &entry("c", 1)).expect("an object");
        let last = entry("b", 10 + OBJECTS_MAX as Revision);
        let known = [recent.passing(kind(), &last), recent.object(kind(), &last)]
            .map(|object| object.expect("an object"));
        assert!(Arc::ptr_eq(&known[0], &known[1]), "what is known is not read anew");
        let known = recent.known.lock();
        assert_eq!((known.order.len(), known.by_key.len()), (OBJECTS_MAX, 1), "only the last of b is left");
    }
}

//! The versions of every key, in key order. Knows nothing of transactions.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::Position;
use crate::{Entry, Revision};

#[derive(Debug, Default)]
pub(super) struct Keys {
    slots: BTreeMap<Arc<str>, Slot>,
}

/// A key's versions. Most keys have one, so the older ones cost nothing until they exist.
#[derive(Debug)]
pub(super) struct Slot {
    newest: Version,
    /// Oldest first.
    older: Vec<Version>,
}

#[derive(Debug)]
pub(super) struct Version {
    pub(super) position: Position,
    /// `None`: deleted.
    pub(super) entry: Option<Arc<Entry>>,
}

impl Slot {
    /// From a key's versions, oldest first; `None` if there are none. An empty list keeps its memory.
    pub(super) fn from_versions(versions: &mut Vec<Version>) -> Option<Self> {
        let newest = versions.pop()?;
        let older = if versions.is_empty() { Vec::new() } else { std::mem::take(versions) };
        Some(Self { newest, older })
    }
}

impl FromIterator<(Arc<str>, Slot)> for Keys {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Slot)>>(slots: I) -> Self {
        Self { slots: slots.into_iter().collect() }
    }
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn newest(&self, key: &str) -> Option<&Arc<Entry>> {
        self.slots.get(key)?.newest.entry.as_ref()
    }

    pub(super) fn at(&self, key: &str, revision: Revision) -> Option<&Arc<Entry>> {
        self.slots.get(key)?.at(revision)
    }

    /// The entries under `prefix` and greater than `after`, as of `revision`.
    pub(super) fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        revision: Revision,
    ) -> impl Iterator<Item = &Arc<Entry>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.slots
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter_map(move |(_, slot)| slot.at(revision))
    }

    /// Adds a version on top; returns the entry it supersedes.
    pub(super) fn write(
        &mut self,
        key: Arc<str>,
        position: Position,
        entry: Option<Arc<Entry>>,
    ) -> Option<Arc<Entry>> {
        let version = Version { position, entry };
        match self.slots.entry(key) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Slot { newest: version, older: Vec::new() });
                None
            }
            std::collections::btree_map::Entry::Occupied(mut occupied) => {
                let slot = occupied.get_mut();
                let previous = std::mem::replace(&mut slot.newest, version);
                let entry = previous.entry.clone();
                if slot.older.is_empty() {
                    slot.older.reserve_exact(1);
                }
                slot.older.push(previous);
                entry
            }
        }
    }

    /// Drops the versions of `key` that nobody sees at `revision` or later; adds their positions to `garbage`,
    /// oldest first.
    pub(super) fn forget(&mut self, key: &str, revision: Revision, garbage: &mut Vec<Position>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.forget(revision, garbage);
        let newest = &slot.newest;
        if newest.entry.is_none() && newest.position.revision() <= revision {
            garbage.push(newest.position);
            self.slots.remove(key);
        }
    }
}

impl Slot {
    fn at(&self, revision: Revision) -> Option<&Arc<Entry>> {
        if self.newest.position.revision() <= revision {
            return self.newest.entry.as_ref();
        }
        let seen = self.older.iter().rev().find(|version| version.position.revision() <= revision)?;
        seen.entry.as_ref()
    }

    /// Keeps the newest version at `revision` and all after it; a deletion there says nothing and goes too.
    fn forget(&mut self, revision: Revision, garbage: &mut Vec<Position>) {
        let seen = self.older.partition_point(|version| version.position.revision() <= revision);
        let superseded =
            if self.newest.position.revision() <= revision { seen } else { seen.saturating_sub(1) };
        garbage.extend(self.older.drain(..superseded).map(|version| version.position));
        if let Some(first) = self.older.first()
            && first.entry.is_none()
            && first.position.revision() <= revision
        {
            garbage.push(first.position);
            self.older.remove(0);
        }
        if self.older.is_empty() {
            self.older = Vec::new();
        }
    }
}

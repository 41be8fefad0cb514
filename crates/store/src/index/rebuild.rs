//! Builds an index from a log of writes, all at once: far quicker than one write after the other.

use std::cmp::Ordering;
use std::sync::Arc;

use super::history::{Change, History};
use super::keys::{Keys, Slot, Version};
use super::{Index, Position, Write};
use crate::Revision;

impl Index {
    /// From runs of writes, each sorted by [`Write::by_key`]. Up to `compacted` only what is left of a key counts,
    /// and no history is kept; after it no revision may be missing, and the first that is, is the error. Also
    /// returns the positions of the writes that nobody can read, as [`Index::compact`] does.
    pub(crate) fn from_log(
        compacted: Revision,
        runs: Vec<Vec<Write>>,
    ) -> Result<(Self, Vec<Position>), Revision> {
        let count = runs.iter().map(Vec::len).sum();
        let mut rebuild = Rebuild { compacted, slots: Vec::with_capacity(count), ..Rebuild::default() };
        let mut versions: Vec<Version> = Vec::new();
        let mut key: Option<Arc<str>> = None;
        for Write { key: next, position, entry } in merge(runs) {
            if let Some(key) = key.take_if(|key| **key != *next) {
                rebuild.add(key, &mut versions);
            }
            key.get_or_insert(next);
            versions.push(Version { position, entry });
        }
        if let Some(key) = key {
            rebuild.add(key, &mut versions);
        }
        let keys: Keys = rebuild.slots.into_iter().collect();
        Ok((Self { keys, history: history(compacted, rebuild.changes)? }, rebuild.garbage))
    }
}

#[derive(Default)]
struct Rebuild {
    compacted: Revision,
    slots: Vec<(Arc<str>, Slot)>,
    changes: Vec<(Position, Change)>,
    garbage: Vec<Position>,
}

impl Rebuild {
    /// Takes in all versions of a key, oldest first, and leaves the list empty for the next.
    fn add(&mut self, key: Arc<str>, versions: &mut Vec<Version>) {
        let kept = versions.partition_point(|version| version.position.revision() <= self.compacted);
        // The last version at the compaction is still there to read, unless it is a deletion.
        let superseded = match kept.checked_sub(1) {
            Some(last) if versions[last].entry.is_none() => kept,
            Some(last) => last,
            None => 0,
        };
        self.garbage.extend(versions.drain(..superseded).map(|version| version.position));
        let mut previous = None;
        for Version { position, entry } in &*versions {
            if position.revision() > self.compacted {
                let change =
                    Change { key: Arc::clone(&key), entry: entry.clone(), previous: previous.clone() };
                self.changes.push((*position, change));
            }
            previous.clone_from(entry);
        }
        if let Some(slot) = Slot::from_versions(versions) {
            self.slots.push((key, slot));
        }
    }
}

fn history(compacted: Revision, mut changes: Vec<(Position, Change)>) -> Result<History, Revision> {
    changes.sort_unstable_by_key(|(position, _)| *position);
    let mut history = History::starting_at(compacted, changes.len());
    let mut changes = changes.into_iter().peekable();
    while let Some((position, change)) = changes.next() {
        let revision = position.revision();
        let expected = history.newest() + 1;
        if revision != expected {
            return Err(expected);
        }
        let mut commit = vec![change];
        while let Some((_, change)) = changes.next_if(|(position, _)| position.revision() == revision) {
            commit.push(change);
        }
        history.push(commit.into());
    }
    Ok(history)
}

/// One sorted run from several.
fn merge(mut runs: Vec<Vec<Write>>) -> Vec<Write> {
    while runs.len() > 1 {
        let (left, right) = (runs.swap_remove(0), runs.swap_remove(0));
        runs.push(merge_two(left, right));
    }
    runs.pop().unwrap_or_default()
}

fn merge_two(left: Vec<Write>, right: Vec<Write>) -> Vec<Write> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        merged.extend(if a.by_key(b) == Ordering::Greater { right.next() } else { left.next() });
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

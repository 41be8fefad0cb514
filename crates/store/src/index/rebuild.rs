//! Builds an index from a log of writes, all at once: far quicker than one write after the other.

use std::cmp::Ordering;
use std::sync::Arc;

use super::history::{Change, History};
use super::keys::{Keys, Slot, Version};
use super::{Index, Position, Write};
use crate::Revision;

/// Which revisions a log is complete for, and which of them are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSpan {
    /// Up to here only what is left of a key counts; after it no revision may be missing.
    pub(crate) compacted: Revision,
    pub(crate) newest: Revision,
    /// How many of the newest revisions keep their history.
    pub(crate) history: u64,
}

impl Index {
    /// From runs of writes, each sorted by [`Write::by_key`]. Also returns the positions of the writes that nobody
    /// can read, as [`Index::compact`] does. The error is the first revision that is missing.
    pub(crate) fn from_log(span: LogSpan, runs: Vec<Vec<Write>>) -> Result<(Self, Vec<Position>), Revision> {
        let mut rebuild = Rebuild::new(span, runs.iter().map(Vec::len).sum());
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
        rebuild.finish()
    }
}

struct Rebuild {
    complete_after: Revision,
    /// For each revision after that: is it there?
    seen: Vec<bool>,
    oldest: Revision,
    slots: Vec<(Arc<str>, Slot)>,
    changes: Vec<(Position, Change)>,
    garbage: Vec<Position>,
}

impl Rebuild {
    fn new(span: LogSpan, writes: usize) -> Self {
        let revisions = usize::try_from(span.newest.saturating_sub(span.compacted)).unwrap_or(usize::MAX);
        Self {
            complete_after: span.compacted,
            // A log has a write for each revision; one that claims more is damaged, however much is missing.
            seen: vec![false; revisions.min(writes + 1)],
            oldest: span.compacted.max(span.newest.saturating_sub(span.history)),
            slots: Vec::with_capacity(writes),
            changes: Vec::new(),
            garbage: Vec::new(),
        }
    }

    /// Takes in all versions of a key, oldest first, and leaves the list empty for the next.
    fn add(&mut self, key: Arc<str>, versions: &mut Vec<Version>) {
        for version in &*versions {
            self.see(version.position.revision());
        }
        let kept = versions.partition_point(|version| version.position.revision() <= self.oldest);
        // The last version at the oldest revision is still there to read, unless it is a deletion.
        let superseded = match kept.checked_sub(1) {
            Some(last) if versions[last].entry.is_none() => kept,
            Some(last) => last,
            None => 0,
        };
        self.garbage.extend(versions.drain(..superseded).map(|version| version.position));
        for (place, Version { position, entry }) in versions.iter().enumerate() {
            if position.revision() > self.oldest {
                let previous = place.checked_sub(1).and_then(|place| versions[place].entry.clone());
                let change = Change { key: Arc::clone(&key), entry: entry.clone(), previous };
                self.changes.push((*position, change));
            }
        }
        if let Some(slot) = Slot::from_versions(versions) {
            self.slots.push((key, slot));
        }
    }

    fn see(&mut self, revision: Revision) {
        let place =
            revision.checked_sub(self.complete_after + 1).and_then(|place| usize::try_from(place).ok());
        if let Some(seen) = place.and_then(|place| self.seen.get_mut(place)) {
            *seen = true;
        }
    }

    fn finish(mut self) -> Result<(Index, Vec<Position>), Revision> {
        if let Some(missing) = self.seen.iter().position(|seen| !seen) {
            return Err(self.complete_after + 1 + missing as Revision);
        }
        self.changes.sort_unstable_by_key(|(position, _)| *position);
        let mut history = History::starting_at(self.oldest);
        let mut changes = self.changes.into_iter().peekable();
        while let Some((position, change)) = changes.next() {
            let mut commit = vec![change];
            while let Some((_, change)) = changes.next_if(|(next, _)| next.revision() == position.revision())
            {
                commit.push(change);
            }
            history.push(commit.into());
        }
        Ok((Index { keys: self.slots.into_iter().collect::<Keys>(), history }, self.garbage))
    }
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

//! Who waits for which prefix. A seat remembers only the first revision its watcher has not seen yet, so a watcher
//! costs the same however far behind it is, and is woken only for keys under its own prefix.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Revision;

#[derive(Debug, Default)]
pub(crate) struct Seats {
    by_prefix: HashMap<Box<[u8]>, Vec<Arc<Seat>>>,
    /// How many prefixes there are of each length: a key is looked up once per length.
    lengths: BTreeMap<usize, usize>,
}

#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) prefix: Box<str>,
    /// The first revision with a change under the prefix that the watcher has not been given.
    pub(crate) unseen: Mutex<Option<Revision>>,
    pub(crate) notify: Notify,
}

impl Seats {
    pub(crate) fn take(&mut self, prefix: &str, unseen: Option<Revision>) -> Arc<Seat> {
        let seat =
            Arc::new(Seat { prefix: prefix.into(), unseen: Mutex::new(unseen), notify: Notify::new() });
        let seats = self.by_prefix.entry(prefix.as_bytes().into()).or_default();
        if seats.is_empty() {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        seats.push(Arc::clone(&seat));
        seat
    }

    pub(crate) fn leave(&mut self, seat: &Arc<Seat>) {
        let prefix = seat.prefix.as_bytes();
        let Some(seats) = self.by_prefix.get_mut(prefix) else { return };
        seats.retain(|other| !Arc::ptr_eq(other, seat));
        if !seats.is_empty() {
            return;
        }
        self.by_prefix.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// Tells the watchers of every prefix of `key` that it changed at `revision`.
    pub(crate) fn announce(&self, key: &str, revision: Revision) {
        for (&length, _) in self.lengths.range(..=key.len()) {
            let Some(seats) = self.by_prefix.get(&key.as_bytes()[..length]) else { continue };
            for seat in seats {
                let mut unseen = seat.unseen.lock();
                if unseen.is_none() {
                    *unseen = Some(revision);
                    seat.notify.notify_one();
                }
            }
        }
    }

    pub(crate) fn wake_all(&self) {
        for seat in self.by_prefix.values().flatten() {
            seat.notify.notify_one();
        }
    }
}

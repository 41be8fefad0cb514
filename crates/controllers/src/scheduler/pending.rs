//! Instances that wait for a host: the more important first, then first come, first served. What was refused
//! waits until something changed that could help.

use std::collections::{BTreeMap, HashMap};

/// Higher priority first, then in the order of arrival.
type Slot = (std::cmp::Reverse<i32>, u64);

#[derive(Debug, Default)]
pub(super) struct Pending {
    line: BTreeMap<Slot, String>,
    slots: HashMap<String, Slot>,
    refused: BTreeMap<String, i32>,
    arrivals: u64,
}

impl Pending {
    /// Puts an instance in line, unless it is in line already.
    pub(super) fn add(&mut self, key: String, priority: i32) {
        self.refused.remove(&key);
        if self.slots.contains_key(&key) {
            return;
        }
        self.arrivals += 1;
        let slot = (std::cmp::Reverse(priority), self.arrivals);
        self.slots.insert(key.clone(), slot);
        self.line.insert(slot, key);
    }

    pub(super) fn pop(&mut self) -> Option<String> {
        let (_, key) = self.line.pop_first()?;
        self.slots.remove(&key);
        Some(key)
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.refused.remove(key);
        if let Some(slot) = self.slots.remove(key) {
            self.line.remove(&slot);
        }
    }

    /// There is no host for it now.
    pub(super) fn refuse(&mut self, key: String, priority: i32) {
        if !self.slots.contains_key(&key) {
            self.refused.insert(key, priority);
        }
    }

    /// Something changed: everything that was refused is in line again.
    pub(super) fn retry_refused(&mut self) {
        for (key, priority) in std::mem::take(&mut self.refused) {
            self.add(key, priority);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_important_first_then_the_early() {
        let mut pending = Pending::default();
        for (key, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("b", 9)] {
            pending.add(key.into(), priority);
        }
        let order: Vec<String> = std::iter::from_fn(|| pending.pop()).collect();
        assert_eq!(order, ["b", "d", "a", "c"]);
    }

    #[test]
    fn the_refused_wait_for_a_change() {
        let mut pending = Pending::default();
        pending.refuse("a".into(), 1);
        assert_eq!(pending.pop(), None);
        pending.retry_refused();
        assert_eq!(pending.pop().as_deref(), Some("a"));
        pending.refuse("a".into(), 1);
        pending.remove("a");
        pending.retry_refused();
        assert_eq!(pending.pop(), None);
    }
}

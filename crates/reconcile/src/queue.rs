//! The work queue: each key at most once in line and at most once at work; delays and backoff per key.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// First wait after a failure; doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The longest wait of a key that was added again while it failed: what it did itself may be why it was added,
/// so it does not come back at once.
const BACKOFF_AGAIN_MAX: Duration = Duration::from_secs(1);

/// Keys that wait for work. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<String>,
    waiting: HashSet<String>,
    working: HashSet<String>,
    /// Added again while at work: in line again when done.
    again: HashSet<String>,
    delayed: BTreeMap<(Instant, u64), String>,
    /// When each delayed key is due, so that the earliest of several delays counts.
    due: HashMap<String, (Instant, u64)>,
    failures: HashMap<String, u32>,
    sequence: u64,
}

impl Queue {
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a key in line, unless it is there already.
    pub fn add(&self, key: impl Into<String>) {
        let added = self.inner.state.lock().add(key.into());
        if added {
            self.inner.wake.notify_one();
        }
    }

    /// Puts a key in line later. The earliest time asked for counts.
    pub fn add_after(&self, key: impl Into<String>, delay: Duration) {
        let mut state = self.inner.state.lock();
        let key = key.into();
        let at = Instant::now() + delay;
        if let Some(due) = state.due.get(&key).copied() {
            if due.0 <= at {
                return;
            }
            state.delayed.remove(&due);
        }
        state.sequence += 1;
        let slot = (at, state.sequence);
        state.due.insert(key.clone(), slot);
        state.delayed.insert(slot, key);
        drop(state);
        self.inner.wake.notify_one();
    }

    /// How many keys are in line or at work.
    pub fn len(&self) -> usize {
        let state = self.inner.state.lock();
        state.ready.len() + state.working.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next key; it is at work until [`Queue::done`] or [`Queue::failed`].
    pub(crate) async fn next(&self) -> String {
        loop {
            let wait = {
                let mut state = self.inner.state.lock();
                let next_due = state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.waiting.remove(&key);
                    state.working.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.inner.wake.notify_one();
                    }
                    return key;
                }
                next_due
            };
            match wait {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = self.inner.wake.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => self.inner.wake.notified().await,
            }
        }
    }

    pub(crate) fn done(&self, key: &str) {
        let mut state = self.inner.state.lock();
        state.failures.remove(key);
        state.working.remove(key);
        if state.again.remove(key) {
            state.add(key.to_owned());
            self.inner.wake.notify_one();
        }
    }

    /// Puts the key in line again after a wait that grows with each failure in a row; returns the failures.
    pub(crate) fn failed(&self, key: &str) -> u32 {
        let (failures, again) = {
            let mut state = self.inner.state.lock();
            let failures = state.failures.entry(key.to_owned()).or_default();
            *failures += 1;
            let failures = *failures;
            state.working.remove(key);
            (failures, state.again.remove(key))
        };
        let most = if again { BACKOFF_AGAIN_MAX } else { BACKOFF_MAX };
        let wait = BACKOFF_FIRST.saturating_mul(1 << failures.min(16)).min(most);
        self.add_after(key, wait);
        failures
    }
}

impl State {
    fn add(&mut self, key: String) -> bool {
        if self.working.contains(&key) {
            self.again.insert(key);
            return false;
        }
        let new = self.waiting.insert(key.clone());
        if new {
            self.ready.push_back(key);
        }
        new
    }

    /// Moves what is due into the line; returns when the next is due.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some((slot, _)) = self.delayed.first_key_value() {
            if slot.0 > now {
                return Some(slot.0);
            }
            if let Some((_, key)) = self.delayed.pop_first() {
                self.due.remove(&key);
                self.add(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_in_line_once_and_at_work_once() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next().await, "b", "a is at work, so b comes first");
        queue.done("a");
        assert_eq!(queue.next().await, "a", "a was added while at work");
        queue.done("a");
        queue.done("b");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delay_counts() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(2));
        queue.add_after("a", Duration::from_secs(5));
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 2);
        queue.done("a");
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_stirs_itself_and_fails_waits_too() {
        let queue = Queue::new();
        queue.add("a");
        let start = Instant::now();
        for _ in 0..20 {
            let key = queue.next().await;
            queue.add("a");
            queue.failed(&key);
        }
        assert!((1..20).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_and_longer_until_a_success() {
        let queue = Queue::new();
        queue.add("a");
        let mut waits = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            let key = queue.next().await;
            waits.push(start.elapsed());
            queue.failed(&key);
        }
        assert!(waits.windows(2).all(|w| w[0] < w[1]), "{waits:?}");
        let key = queue.next().await;
        queue.done(&key);
        queue.add("a");
        let key = queue.next().await;
        let start = Instant::now();
        queue.failed(&key);
        queue.next().await;
        assert!(start.elapsed() <= Duration::from_millis(25), "a success forgets the failures");
    }
}

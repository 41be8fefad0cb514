//! Every port's share: of what may be under way at once, and of requests per second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// Counts what is under way, per port and in all.
#[derive(Debug)]
pub(crate) struct Slots {
    per_port: u32,
    in_all: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by_port: HashMap<u32, u32>,
    in_all: u32,
}

/// One thing under way; its end gives the place back.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    port: u32,
}

impl Slots {
    pub(crate) fn new(per_port: u32, in_all: u32) -> Arc<Self> {
        Arc::new(Self { per_port, in_all, taken: Mutex::default() })
    }

    pub(crate) fn take(self: &Arc<Self>, port: u32) -> Option<Slot> {
        let mut taken = self.taken.lock();
        if taken.in_all >= self.in_all {
            return None;
        }
        let own = taken.by_port.entry(port).or_default();
        if *own >= self.per_port {
            return None;
        }
        *own += 1;
        taken.in_all += 1;
        Some(Slot { slots: Arc::clone(self), port })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock();
        taken.in_all = taken.in_all.saturating_sub(1);
        if let Some(own) = taken.by_port.get_mut(&self.port) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.by_port.remove(&self.port);
            }
        }
    }
}

/// One request, in the unit of [`Bucket::level`].
const ONE: u64 = 1_000_000;

/// A rate per port, with a burst: a bucket of tokens that fills with time. The clock is the caller's.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u32,
    burst: u32,
    buckets: Mutex<HashMap<u32, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Millionths of a request.
    level: u64,
    at: Duration,
}

impl Rate {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst, buckets: Mutex::default() }
    }

    /// Whether the port may do one more now.
    pub(crate) fn admit(&self, port: u32, now: Duration) -> bool {
        /// Above this, full buckets are forgotten: they say nothing.
        const BUCKETS_MAX: usize = 4096;
        let full = u64::from(self.burst) * ONE;
        let mut buckets = self.buckets.lock();
        if buckets.len() > BUCKETS_MAX {
            buckets.retain(|_, bucket| self.level(bucket, now) < full);
        }
        let bucket = buckets.entry(port).or_insert(Bucket { level: full, at: now });
        let level = self.level(bucket, now);
        let is_admitted = level >= ONE;
        *bucket = Bucket { level: if is_admitted { level - ONE } else { level }, at: now.max(bucket.at) };
        is_admitted
    }

    fn level(&self, bucket: &Bucket, now: Duration) -> u64 {
        let passed = now.saturating_sub(bucket.at).as_micros();
        let gained = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(u64::from(self.per_second));
        bucket.level.saturating_add(gained).min(u64::from(self.burst) * ONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_takes_no_more_than_its_share_and_gives_it_back() {
        let slots = Slots::new(2, 3);
        let first = slots.take(1).unwrap();
        let _second = slots.take(1).unwrap();
        assert!(slots.take(1).is_none());
        let _other = slots.take(2).unwrap();
        assert!(slots.take(2).is_none(), "all are taken");
        drop(first);
        assert!(slots.take(1).is_some());
        assert_eq!(slots.taken.lock().by_port.len(), 2);
    }

    #[test]
    fn a_rate_lets_a_burst_through_and_then_the_rate() {
        let rate = Rate::new(10, 3);
        let at = Duration::from_millis;
        let admitted = |times: &[u64]| times.iter().map(|t| rate.admit(7, at(*t))).collect::<Vec<_>>();
        assert_eq!(
            admitted(&[0, 0, 0, 0, 99, 100, 100, 5000]),
            [true, true, true, false, false, true, false, true]
        );
        assert!(rate.admit(8, at(0)), "another port has its own");
    }
}

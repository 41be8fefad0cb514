//! The weather: whether small things go wrong by themselves at the moment, and how often they did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

#[derive(Debug, Default)]
pub(crate) struct Weather {
    rough: AtomicBool,
    store_full: AtomicBool,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Weather {
    pub(crate) fn set_rough(&self, rough: bool) {
        self.rough.store(rough, Ordering::Relaxed);
    }

    pub(crate) fn is_rough(&self) -> bool {
        self.rough.load(Ordering::Relaxed)
    }

    pub(crate) fn set_store_full(&self, full: bool) {
        self.store_full.store(full, Ordering::Relaxed);
    }

    pub(crate) fn is_store_full(&self) -> bool {
        self.store_full.load(Ordering::Relaxed)
    }

    /// Notes that something happened, for the report.
    pub(crate) fn count(&self, what: &'static str) {
        *self.counts.lock().entry(what).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().clone()
    }
}

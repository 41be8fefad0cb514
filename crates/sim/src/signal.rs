//! A flag to wait for. Its waiters wake in the order in which they came; those of tokio's watch channel wake in
//! an order of chance that no seed decides.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Signal {
    on: AtomicBool,
    changed: Notify,
}

impl Signal {
    pub(crate) fn set(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Returns when the flag is so, at once if it is so already.
    pub(crate) async fn until(&self, on: bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_on() == on {
                return;
            }
            changed.await;
        }
    }
}

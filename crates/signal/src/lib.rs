//! A value to wait for. Its waiters wake in the order in which they came, so that a simulation goes the same way
//! twice; those of tokio's watch channel wake in an order of chance that no seed decides.

use std::pin::pin;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A value that one part sets and others wait for.
#[derive(Debug, Default)]
pub struct Signal<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Clone> Signal<T> {
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    pub fn get(&self) -> T {
        self.value.lock().clone()
    }

    pub fn set(&self, value: T) {
        *self.value.lock() = value;
        self.changed.notify_waiters();
    }

    /// Returns when the value is as wanted, at once if it is so already. A value that does not last may be missed.
    pub async fn until(&self, wanted: impl Fn(&T) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Listens before it looks, so that no change falls in between.
            changed.as_mut().enable();
            if wanted(&self.value.lock()) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn waiters_wake_in_the_order_in_which_they_came() {
        let signal = Arc::new(Signal::new(0));
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..50)
            .map(|n| {
                let (signal, woken) = (Arc::clone(&signal), Arc::clone(&woken));
                tokio::spawn(async move {
                    signal.until(|value| *value == 1).await;
                    woken.lock().push(n);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        signal.set(1);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert_eq!(*woken.lock(), (0..50).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_comes_late_does_not_wait() {
        let signal = Signal::new(false);
        signal.set(true);
        signal.until(|on| *on).await;
        assert!(signal.get());
    }
}

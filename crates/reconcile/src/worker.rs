//! Workers: take keys from a queue, reconcile them, and come back when something went wrong.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use futures::future::join_all;

use crate::Queue;

/// Failures in a row after which an operator should look.
const FAILURES_TO_WARN: u32 = 5;

/// What a reconciliation asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to do until something changes.
    Done,
    /// Look again after this time, though nothing may have changed.
    RequeueAfter(Duration),
}

/// Runs `workers` workers for ever. Drop the future to end them; a reconciliation under way is then cut off
/// where it waits, as a crash would do.
pub async fn run<F, R, E>(name: &'static str, queue: Queue, workers: usize, reconcile: F)
where
    F: Fn(String) -> R,
    R: Future<Output = Result<Outcome, E>>,
    E: Display,
{
    let (queue, reconcile) = (&queue, &reconcile);
    join_all((0..workers.max(1)).map(|_| async move {
        loop {
            let key = queue.next().await;
            match reconcile(key.clone()).await {
                Ok(Outcome::Done) => queue.done(&key),
                Ok(Outcome::RequeueAfter(delay)) => {
                    queue.done(&key);
                    queue.add_after(key, delay);
                }
                Err(e) => {
                    let failures = queue.failed(&key);
                    if failures == FAILURES_TO_WARN {
                        tracing::warn!(controller = name, key, failures, error = %e, "keeps failing");
                    } else {
                        tracing::debug!(controller = name, key, failures, error = %e, "failed, will try again");
                    }
                }
            }
        }
    }))
    .await;
}

//! Load: many callers of one operation. Closed (each waits for its answer, then calls again) shows throughput;
//! open (calls begin at a fixed rate, whatever the answers do) shows latency as users meet it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Result;

/// What a load did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    /// Sorted.
    latencies: Vec<Duration>,
    elapsed: Duration,
}

impl Measured {
    fn new(mut latencies: Vec<Duration>, elapsed: Duration) -> Self {
        latencies.sort_unstable();
        Self { latencies, elapsed }
    }

    pub(crate) fn count(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that so many of a thousand calls do not exceed, in milliseconds.
    pub(crate) fn permille_ms(&self, permille: usize) -> f64 {
        let at = (self.latencies.len() * permille).div_ceil(1000).saturating_sub(1);
        self.latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// `callers` at once for `each`. The operation gets the caller's number and that of the call.
pub(crate) async fn closed<F, Fut>(callers: usize, each: Duration, operation: F) -> Result<Measured>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let operation = operation.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while started.elapsed() < each {
                    let called = Instant::now();
                    operation(caller, latencies.len() as u64).await?;
                    latencies.push(called.elapsed());
                }
                Result::Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(Measured::new(latencies, started.elapsed()))
}

/// Calls begin `per_second` times in each second for `each`, in ticks of a millisecond. A call's latency counts
/// from when it was due, so that a stall shows in all calls it delays.
pub(crate) async fn open<F, Fut>(per_second: f64, each: Duration, operation: F) -> Result<Measured>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let started = Instant::now();
    // A few million at most, and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let total = (per_second * each.as_secs_f64()) as u64;
    let mut tasks = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for number in 0..total {
        let due = started + Duration::from_secs_f64(number as f64 / per_second);
        while Instant::now() < due {
            tick.tick().await;
        }
        let operation = operation.clone();
        tasks.push(tokio::spawn(async move {
            operation(usize::try_from(number)?, 0).await?;
            Result::Ok(due.elapsed())
        }));
    }
    let mut latencies = Vec::with_capacity(tasks.len());
    for task in tasks {
        latencies.push(task.await??);
    }
    Ok(Measured::new(latencies, started.elapsed()))
}

/// So many calls in all by so many callers at once.
pub(crate) async fn times<F, Fut>(callers: usize, count: u64, operation: F) -> Result<()>
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (next, operation) = (Arc::clone(&next), operation.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Result::Ok(());
                    }
                    operation(number).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_calls_that_happened() {
        let measured =
            Measured::new((1..=200).rev().map(Duration::from_millis).collect(), Duration::from_secs(2));
        let found = (measured.permille_ms(500), measured.permille_ms(990), measured.permille_ms(1000));
        assert_eq!(found, (100.0, 198.0, 200.0));
        assert!((measured.per_second() - 100.0).abs() < 1e-9);
    }
}

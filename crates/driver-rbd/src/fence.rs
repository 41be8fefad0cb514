//! Processes that have an image open and should not: the cluster takes nothing from them any more.

use std::time::Duration;

use driver::DriverError;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;

/// How long the cluster remembers: a machine that stood still for less, writes nothing when it goes on.
const REMEMBERED_SECONDS: u64 = 365 * 24 * 3600;
/// How long it may take until nothing is left of them.
const GONE_MAX: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Cuts off every process that has the image open for writing; when this returns none of them changes it any more.
pub(crate) async fn cut_off(cluster: &Cluster, image: &str) -> Result<(), DriverError> {
    let give_up = Instant::now() + GONE_MAX;
    let mut blocked: Vec<String> = Vec::new();
    loop {
        let watchers = cluster.watchers(image).await?;
        if watchers.is_empty() {
            return Ok(());
        }
        for watcher in watchers.into_iter().filter(|w| !blocked.contains(&w.address)).collect::<Vec<_>>() {
            tracing::warn!(image, address = watcher.address, "a process that had the image open was cut off");
            cluster.block(&watcher.address, REMEMBERED_SECONDS).await?;
            blocked.push(watcher.address);
        }
        if Instant::now() >= give_up {
            let what = format!("the end of what has {image} open ({})", blocked.join(", "));
            return Err(DriverError::TimedOut { what, seconds: GONE_MAX.as_secs() });
        }
        sleep(LOOK_AGAIN).await;
    }
}

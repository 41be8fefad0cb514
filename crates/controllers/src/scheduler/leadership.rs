//! Leadership: the lease that says which process schedules. Taking it over raises its epoch, and the server
//! refuses bindings of an older one: a process that was merely thought dead can do no harm.

use std::time::Duration;

use client::Fence;
use model::topology::{Lease, LeaseSpec};
use model::{ApiError, ObjectMeta, Reason};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Context;

/// The name of the lease. A host's lease has the host's name; one that joined under this name could not hold it.
const LEASE: &str = "scheduler.control.corten";
const DURATION: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(500);

/// Holds or seeks the lease in the background.
pub(super) struct Leadership {
    fence: watch::Receiver<Option<Fence>>,
    task: JoinHandle<()>,
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Leadership {
    pub(super) fn start(context: Context) -> Self {
        let (sender, fence) = watch::channel(None);
        Self { fence, task: tokio::spawn(hold(context, sender)) }
    }

    /// The proof of leadership, while it is held.
    pub(super) fn fence(&self) -> Option<Fence> {
        self.fence.borrow().clone()
    }

    /// Tells when leadership comes or goes. A receiver of one's own, because it remembers what was seen.
    pub(super) fn news(&self) -> watch::Receiver<Option<Fence>> {
        self.fence.clone()
    }
}

async fn hold(context: Context, fence: watch::Sender<Option<Fence>>) {
    // Another holder's last renewal, as seen here and on this clock.
    let mut seen: Option<(String, Instant)> = None;
    loop {
        let wait = match attempt(&context, &mut seen).await {
            Ok(Some(epoch)) => {
                set(&fence, Some(Fence { lease: LEASE.into(), epoch }));
                RENEW_EVERY
            }
            Ok(None) => {
                set(&fence, None);
                RETRY
            }
            Err(e) => {
                // While nobody else can have taken it, the old proof stays good: the server checks it anyway.
                tracing::debug!(error = %e, "the scheduler's lease could not be renewed");
                RETRY
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn set(fence: &watch::Sender<Option<Fence>>, new: Option<Fence>) {
    fence.send_if_modified(|old| {
        let changed = *old != new;
        *old = new;
        changed
    });
}

/// Renews the lease or takes it over; answers the epoch when it is ours.
async fn attempt(context: &Context, seen: &mut Option<(String, Instant)>) -> Result<Option<u64>, ApiError> {
    let leases = context.client.all::<Lease>();
    let spec = |epoch| LeaseSpec {
        holder: context.incarnation.clone(),
        duration_seconds: u32::try_from(DURATION.as_secs()).unwrap_or(u32::MAX),
        renewed_at: Some((context.now)()),
        epoch,
    };
    let Some(mut lease) = leases.find(LEASE).await? else {
        return match leases.create(&Lease::new(ObjectMeta::named(LEASE), spec(1))).await {
            Ok(_) => Ok(Some(1)),
            Err(e) if e.reason == Reason::AlreadyExists => Ok(None),
            Err(e) => Err(e),
        };
    };
    let mine = lease.spec.holder == context.incarnation;
    if !mine && !context.exclusive && !is_silent(&lease, seen) {
        return Ok(None);
    }
    let epoch = lease.spec.epoch + u64::from(!mine);
    lease.spec = spec(epoch);
    match leases.update(&lease).await {
        Ok(_) => Ok(Some(epoch)),
        Err(e) if e.is_conflict() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether another holder has not renewed for longer than its lease lasts.
fn is_silent(lease: &Lease, seen: &mut Option<(String, Instant)>) -> bool {
    let version = &lease.metadata.resource_version;
    match seen {
        Some((last, since)) if last == version => since.elapsed() > DURATION,
        _ => {
            *seen = Some((version.clone(), Instant::now()));
            false
        }
    }
}

//! Hosts: ready while their lease is renewed. Silence is measured here, on this clock, from the moment a
//! renewal was seen; nobody's clock is trusted. A lost host makes its instances *unknown*, never stopped. One that is
//! silent for longer has ended, by its own clock, what is to be started elsewhere when it is lost.

mod lost;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{ListParams, Recorder, Severity};
use model::compute::Instance;
use model::topology::{FENCED, Host, Lease};
use model::{ApiError, Condition, ConditionStatus, set_condition};
use parking_lot::Mutex;
use reconcile::{Cache, Outcome, Queue};
use tokio::time::Instant;

use crate::Context;
use crate::caches::Caches;

/// Waited beyond the lease: for clock rates that differ, and for a renewal under way.
const MARGIN: Duration = Duration::from_secs(4);
/// Waited beyond that before anything of the host is started elsewhere. The host ends it before its lease is over; this
/// is the time in which that has happened, on however busy a host.
const FENCE: Duration = Duration::from_secs(8);
/// Where more than half of so many hosts are silent, it is more likely that we hear nothing.
const MANY: usize = 3;
const LOOK_AGAIN: Duration = Duration::from_secs(5);

struct Hosts {
    context: Context,
    recorder: Recorder,
    caches: Caches,
    hosts: Cache<Host>,
    leases: Cache<Lease>,
    instances: Cache<Instance>,
    /// When each lease was last seen to change.
    heard: Arc<Mutex<HashMap<String, Instant>>>,
}

pub(crate) async fn run(context: Context, caches: Caches) {
    let (hosts, instances) = (caches.hosts.clone(), caches.instances.clone());
    let queue = Queue::new();
    let heard: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let leases = {
        let (queue, heard) = (queue.clone(), Arc::clone(&heard));
        Cache::start(
            context.client.all::<Lease>(),
            ListParams::default(),
            vec![Box::new(move |change: &reconcile::Change<Lease>| {
                // A host's lease has its name.
                let host = &change.object().metadata.name;
                heard.lock().insert(host.clone(), Instant::now());
                queue.add(host.clone());
            })],
        )
    };
    {
        let queue = queue.clone();
        hosts.listen(move |change| queue.add(change.object().metadata.name.clone()));
    }
    {
        let queue = queue.clone();
        // Only what a lost host may leave behind needs another look: what is to go, and what was bound while the
        // host went.
        instances.listen(move |change| {
            let instance = change.object();
            let bound_anew = match change {
                reconcile::Change::Applied { old, new } => {
                    old.as_ref().is_none_or(|old| old.status.host != new.status.host)
                }
                reconcile::Change::Deleted(_) => false,
            };
            if !instance.status.host.is_empty() && (bound_anew || instance.metadata.is_deleting()) {
                queue.add(instance.status.host.clone());
            }
        });
    }
    tokio::join!(caches.synced(), leases.synced());
    let recorder = context.recorder("host-controller");
    let hosts = Hosts { context, recorder, caches, hosts, leases, instances, heard };
    reconcile::run("host", queue, 4, |name| hosts.reconcile(name)).await;
}

impl Hosts {
    async fn reconcile(&self, name: String) -> Result<Outcome, ApiError> {
        let Some(host) = self.hosts.get(&name) else {
            self.release_instances_of(&name).await?;
            self.restart_elsewhere(&name).await?;
            let why = "is no longer part of the cloud; delete the instance, or let the host join again";
            self.mark_instances_unknown(&name, "HostRemoved", why).await?;
            return Ok(Outcome::Done);
        };
        let silence = self.silence(&name);
        let allowed = self.allowed_silence(&name);
        if silence < allowed {
            if !host.is_ready() || host.is_fenced() {
                let condition =
                    Condition::new("Ready", ConditionStatus::True, "LeaseRenewed", "the agent is heard of");
                let back = Condition::new(FENCED, ConditionStatus::False, "LeaseRenewed", "");
                let back = host.is_fenced().then_some(back);
                self.set_conditions(&host, [Some(condition), back]).await?;
                self.recorder
                    .record(&*host, Severity::Normal, "Ready", "the host is ready for instances")
                    .await;
            }
            return Ok(Outcome::RequeueAfter(allowed.saturating_sub(silence) + Duration::from_millis(10)));
        }
        if !self.heard.lock().contains_key(&name) && host.status.conditions.is_empty() {
            // Known, but its agent has never been heard of: nothing was lost.
            let condition = Condition::new(
                "Ready",
                ConditionStatus::Unknown,
                "NeverSeen",
                "its agent has not joined yet",
            );
            self.set_conditions(&host, [Some(condition), None]).await?;
            return Ok(Outcome::Done);
        }
        if host.is_ready() {
            let message = format!("no sign of life for more than {} s", allowed.as_secs());
            let condition = Condition::new("Ready", ConditionStatus::Unknown, "Silent", &*message);
            self.set_conditions(&host, [Some(condition), None]).await?;
            self.recorder.record(&*host, Severity::Warning, "Silent", &message).await;
        }
        let why = "is not heard of; the instance may be running there";
        self.mark_instances_unknown(&name, "HostSilent", why).await?;
        self.release_forced(&name).await?;
        self.fence(&host, silence, allowed).await
    }

    /// Has what may be started elsewhere started elsewhere, once its host has ended it.
    async fn fence(&self, host: &Host, silence: Duration, allowed: Duration) -> Result<Outcome, ApiError> {
        let name = &host.metadata.name;
        if !self.heard.lock().contains_key(name) {
            // No lease, and no time that it could be over by.
            return Ok(Outcome::Done);
        }
        let wait = (allowed + FENCE).saturating_sub(silence);
        if !wait.is_zero() {
            return Ok(Outcome::RequeueAfter(wait + Duration::from_millis(10)));
        }
        if !host.is_fenced() {
            let all = self.hosts.all();
            let silent = all.iter().filter(|host| !host.is_ready()).count();
            if all.len() >= MANY && silent * 2 > all.len() {
                let message = format!(
                    "{silent} of {} hosts are silent at once: nothing is started elsewhere until it is fewer",
                    all.len()
                );
                self.recorder.record(host, Severity::Warning, "NotFenced", &message).await;
                return Ok(Outcome::RequeueAfter(LOOK_AGAIN));
            }
            let message = format!("silent for {} s", (allowed + FENCE).as_secs());
            let condition = Condition::new(FENCED, ConditionStatus::True, "Silent", message);
            self.set_conditions(host, [Some(condition), None]).await?;
        }
        self.restart_elsewhere(name).await?;
        Ok(Outcome::Done)
    }

    fn silence(&self, host: &str) -> Duration {
        self.heard.lock().get(host).map_or(Duration::MAX, Instant::elapsed)
    }

    fn allowed_silence(&self, host: &str) -> Duration {
        let lease = self.leases.get(host);
        lease.map_or(Duration::ZERO, |l| Duration::from_secs(l.spec.duration_seconds.into()) + MARGIN)
    }

    async fn set_conditions(&self, host: &Host, conditions: [Option<Condition>; 2]) -> Result<(), ApiError> {
        let mut host = host.clone();
        for condition in conditions.into_iter().flatten() {
            set_condition(&mut host.status.conditions, condition, (self.context.now)());
        }
        self.context.client.all::<Host>().update_status(&host).await.map(drop)
    }
}

//! Instances on this host: look at what is, decide one step, take it, report, until it is as wanted.

mod cards;
mod decide;
mod fence;
mod home;
mod plan;
mod report;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Recorder, Severity};
use driver::{ComputeDriver, DriverError, Observed, StopMode};
use model::compute::{Instance, InstancePhase};
use model::{ApiError, Condition, ConditionStatus, Timestamp};
use parking_lot::Mutex;
use reconcile::{Cache, Outcome};
use tokio::time::Instant;

use crate::images::Images;
use crate::registration::Contact;
use decide::{Step, decide};
pub(crate) use home::{Homes, Serving, driver_for};
pub(crate) use plan::ROOT_DISK;

/// Most steps in one go; more means that two of them undo each other.
const STEPS_MAX: usize = 8;
/// A preparation that takes longer than this is shown.
const SHOW_STARTING_AFTER: Duration = Duration::from_millis(400);
/// Between two starts of a payload that keeps ending by itself; doubles up to the maximum.
const RESTART_FIRST: Duration = Duration::from_secs(1);
const RESTART_MAX: Duration = Duration::from_secs(300);
/// A payload that ran this long has a clean record again.
const RESTART_FORGIVEN_AFTER: Duration = Duration::from_secs(600);
/// How often a guest that stands still for want of room is told to go on, and how long it then shows whether it can.
const ROOM_EVERY: Duration = Duration::from_secs(5);
const ROOM_TRIAL: Duration = Duration::from_millis(300);
/// How often a running instance is looked at though nothing was announced.
const RESYNC: Duration = Duration::from_secs(30);

/// Why an instance is not as wanted yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstanceError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error("{what}: {source}")]
    Host { what: String, source: std::io::Error },
    #[error("no driver of this host serves {0}")]
    NoDriver(String),
    #[error("{0}")]
    Image(String),
    #[error(transparent)]
    Network(#[from] crate::network::NetworkError),
    #[error(transparent)]
    Volume(#[from] crate::volume::VolumeError),
}

pub(crate) struct Instances {
    pub(crate) host: String,
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) drivers: Vec<Serving>,
    pub(crate) images: Images,
    pub(crate) homes: Homes,
    /// `None` where this host makes no networks.
    pub(crate) networks: Option<crate::network::Networks>,
    /// `None` where this host keeps no volumes.
    pub(crate) volumes: Option<crate::volume::Volumes>,
    /// When the cloud was last in reach.
    pub(crate) contact: Contact,
    pub(crate) cache: Cache<Instance>,
    pub(crate) now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(crate) restarts: Mutex<std::collections::HashMap<String, Restarts>>,
    /// Guests that stand still for want of room, and when each was last told to go on.
    pub(crate) waits: Mutex<std::collections::HashMap<String, Instant>>,
}

/// How often and when a payload was last started again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restarts {
    count: u32,
    last: Instant,
}

impl Instances {
    pub(crate) async fn reconcile(&self, key: String) -> Result<Outcome, InstanceError> {
        let Some(cached) = self.cache.get(&key) else { return Ok(Outcome::Done) };
        let mut instance = (*cached).clone();
        if instance.status.host != self.host {
            return Ok(Outcome::Done);
        }
        if instance.spec.reboots > instance.status.reboots_done {
            // Carried out and not reported yet: it must not happen twice.
            let done = self.homes.reboots_done(&instance.metadata.uid);
            instance.status.reboots_done = instance.status.reboots_done.max(done);
        }
        for _ in 0..STEPS_MAX {
            let driver = match self.driver_of(&instance) {
                Ok(driver) => driver,
                Err(e) => {
                    self.release_without_driver(&instance).await?;
                    self.report_failure(&mut instance, "NoDriver", &e).await?;
                    return Err(e);
                }
            };
            let observed = observe(&**driver, &instance).await?;
            match self.step(&mut instance, &**driver, observed).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {}
                Err(e) => {
                    // The facts changed meanwhile and the change is on its way to the cache.
                    let stale = matches!(&e, InstanceError::Api(e) if e.is_conflict() || e.is_not_found());
                    if !stale {
                        self.report_failure(&mut instance, "HostError", &e).await?;
                    }
                    return Err(e);
                }
            }
        }
        Ok(Outcome::RequeueAfter(RESTART_FIRST))
    }

    /// Takes one step; an outcome when there is nothing more to do for now.
    async fn step(
        &self,
        instance: &mut Instance,
        driver: &dyn ComputeDriver,
        observed: Option<Observed>,
    ) -> Result<Option<Outcome>, InstanceError> {
        let uid = instance.metadata.uid.clone();
        let grace = StopMode::Graceful { seconds: instance.spec.grace_seconds() };
        match decide(instance, observed.as_ref()) {
            Step::Remove => {
                self.remove(instance, driver, observed).await?;
                return Ok(Some(Outcome::Done));
            }
            Step::Start { again } => {
                if again && let Some(wait) = self.restart_wait(instance) {
                    let message = observed.map(|o| o.message).unwrap_or_default();
                    let message = format!("ended, starts again in {} s; {message}", wait.as_secs());
                    let condition = Condition::new("Ready", ConditionStatus::False, "RestartWait", message);
                    self.report(instance, InstancePhase::Starting, condition, None).await?;
                    return Ok(Some(Outcome::RequeueAfter(wait)));
                }
                self.start(instance, driver, again).await?;
            }
            Step::Stop => {
                let condition = Condition::new("Ready", ConditionStatus::False, "Stopping", "asked to stop");
                self.report(instance, InstancePhase::Stopping, condition, None).await?;
                driver.stop(&uid, grace).await?;
                self.recorder.record(instance, Severity::Normal, "Stopped", "stopped as asked").await;
            }
            Step::Reboot => {
                self.recorder.record(instance, Severity::Normal, "Rebooting", "restarting as asked").await;
                driver.stop(&uid, grace).await?;
            }
            Step::Pause => driver.pause(&uid).await?,
            Step::Resume => return self.resume(instance, driver, observed).await,
            Step::Report(phase) => {
                let has_cards = self.sync_cards(instance, driver, phase).await;
                if phase == InstancePhase::Running {
                    self.tell_networks(instance);
                }
                let in_order = self.sync_volumes(instance, driver, phase).await && has_cards;
                let condition = report::condition(phase, observed.as_ref());
                self.report(instance, phase, condition, observed.as_ref()).await?;
                if !in_order {
                    return Ok(Some(Outcome::RequeueAfter(RESTART_FIRST)));
                }
                let running =
                    matches!(phase, InstancePhase::Running | InstancePhase::Paused | InstancePhase::Unknown);
                return Ok(Some(if running { Outcome::RequeueAfter(RESYNC) } else { Outcome::Done }));
            }
        }
        Ok(None)
    }

    async fn start(
        &self,
        instance: &mut Instance,
        driver: &dyn ComputeDriver,
        again: bool,
    ) -> Result<(), InstanceError> {
        let wanted = instance.clone();
        let preparation = async {
            let prepared = self.prepare_volumes(&wanted, driver).await?;
            let disks = prepared.as_ref().map(|p| p.disks.clone()).unwrap_or_default();
            let plan = self.plan(&wanted, disks).await?;
            if plan.vm.is_none() {
                // Both to their end, also if one fails: what is half made is found by the next try.
                let (cards, prepared) = tokio::join!(self.cards(&wanted), driver.prepare(&plan));
                cards?;
                prepared?;
            }
            let observed = driver.ensure(&plan).await?;
            Ok::<_, InstanceError>((plan, observed))
        };
        tokio::pin!(preparation);
        // Writing that it starts costs a write; only what takes time is worth it.
        let result = if let Ok(result) = tokio::time::timeout(SHOW_STARTING_AFTER, &mut preparation).await {
            result
        } else {
            let condition = Condition::new(
                "Ready",
                ConditionStatus::False,
                "Preparing",
                "the host prepares image and devices",
            );
            self.report(instance, InstancePhase::Starting, condition, None).await?;
            preparation.await
        };
        let (plan, observed) = result?;
        if instance.spec.reboots > instance.status.reboots_done {
            self.homes.note_reboots(&instance.metadata.uid, instance.spec.reboots)?;
        }
        if again {
            instance.status.restarts += 1;
        }
        instance.status.reboots_done = instance.spec.reboots;
        instance.status.driver = driver.name().into();
        instance.status.started_at = Some(observed.started_at.unwrap_or_else(|| (self.now)()));
        instance.status.exit_code = None;
        report::endpoints(&mut instance.status, &plan);
        self.tell_networks(instance);
        if self.networks.is_some() {
            instance.status.set_ports(model::compute::port_names(&wanted), (self.now)());
        }
        let condition = report::condition(InstancePhase::Running, Some(&observed));
        self.report(instance, InstancePhase::Running, condition, Some(&observed)).await?;
        let message = format!("started by {} on {}", driver.name(), self.host);
        self.recorder.record(instance, Severity::Normal, "Started", &message).await;
        Ok(())
    }

    /// Lets a guest go on. One that stands still for want of room is told to every few seconds, and is shown as what
    /// it is meanwhile.
    async fn resume(
        &self,
        instance: &mut Instance,
        driver: &dyn ComputeDriver,
        observed: Option<Observed>,
    ) -> Result<Option<Outcome>, InstanceError> {
        let uid = instance.metadata.uid.clone();
        let waits = observed.as_ref().is_some_and(|o| !o.message.is_empty());
        if !waits {
            driver.resume(&uid).await?;
            return Ok(None);
        }
        let last = *self.waits.lock().entry(uid.to_string()).or_insert_with(Instant::now);
        let mut observed = observed;
        if last.elapsed() >= ROOM_EVERY {
            driver.resume(&uid).await?;
            self.waits.lock().insert(uid.to_string(), Instant::now());
            // Time for the write that failed to fail again.
            tokio::time::sleep(ROOM_TRIAL).await;
            observed = observe(driver, instance).await?;
            if observed.as_ref().is_none_or(|o| o.message.is_empty()) {
                self.waits.lock().remove(uid.as_str());
                return Ok(None);
            }
        }
        let message = observed.as_ref().map(|o| o.message.clone()).unwrap_or_default();
        let condition = Condition::new("Ready", ConditionStatus::False, "OutOfRoom", message);
        self.report(instance, InstancePhase::Paused, condition, observed.as_ref()).await?;
        Ok(Some(Outcome::RequeueAfter(ROOM_EVERY)))
    }

    /// Notes the addresses of an instance with network cards.
    fn tell_networks(&self, instance: &mut Instance) {
        let Some(networks) = &self.networks else { return };
        if instance.spec.networks.is_empty() {
            return;
        }
        instance.status.addresses = networks.addresses(instance);
    }

    /// How long to wait before a payload that ended by itself is started again; nothing when it may be now.
    fn restart_wait(&self, instance: &Instance) -> Option<Duration> {
        let mut restarts = self.restarts.lock();
        let now = Instant::now();
        let uid = instance.metadata.uid.as_str();
        let known = restarts.get(uid).copied().filter(|r| now - r.last < RESTART_FORGIVEN_AFTER);
        let (count, due) = match known {
            None => (0, now),
            Some(r) => {
                let wait = RESTART_FIRST.saturating_mul(1 << r.count.min(16)).min(RESTART_MAX);
                (r.count + 1, r.last + wait)
            }
        };
        if due > now {
            return Some(due - now);
        }
        restarts.insert(uid.to_owned(), Restarts { count, last: now });
        None
    }

    async fn remove(
        &self,
        instance: &Instance,
        driver: &dyn ComputeDriver,
        observed: Option<Observed>,
    ) -> Result<(), InstanceError> {
        let uid = &instance.metadata.uid;
        let force = instance.metadata.annotations.contains_key("corten.dev/force");
        let is_up = observed
            .is_some_and(|o| matches!(o.state, driver::SandboxState::Running | driver::SandboxState::Paused));
        if is_up && !force {
            let asked = instance.metadata.deletion_grace_period_seconds.unwrap_or(0);
            let seconds = u32::try_from(asked).unwrap_or(0).min(instance.spec.grace_seconds());
            if seconds > 0 {
                driver.stop(uid, StopMode::Graceful { seconds }).await?;
            }
        }
        driver.delete(uid).await?;
        if let Some(volumes) = &self.volumes {
            volumes.close_all(uid).await?;
        }
        self.homes.remove(uid).await?;
        if let Some(networks) = &self.networks {
            networks.forget(instance).await?;
        }
        // A look at the project that began while the home was there may have made the sandbox's network anew.
        if driver.network_namespace(uid).is_some_and(|namespace| namespace.exists()) {
            driver.delete(uid).await?;
        }
        self.restarts.lock().remove(uid.as_str());
        self.waits.lock().remove(uid.as_str());
        // What tells, for a while, that it was there: the object itself goes with the next call.
        let message = format!("nothing of it is left on {}", self.host);
        self.recorder.record(instance, Severity::Normal, "Removed", &message).await;
        self.let_go(instance).await
    }

    /// Tells the server that nothing of the instance is left here; with that the object goes.
    async fn let_go(&self, instance: &Instance) -> Result<(), InstanceError> {
        let api = self.client.project::<Instance>(&instance.metadata.namespace);
        let release = serde_json::json!({ "uid": instance.metadata.uid });
        match api.create_below(&instance.metadata.name, "release", &release).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// An instance that no driver here can serve has left no trace here either: it may go.
    async fn release_without_driver(&self, instance: &Instance) -> Result<(), InstanceError> {
        if instance.metadata.is_deleting() {
            self.homes.remove(&instance.metadata.uid).await?;
            self.let_go(instance).await?;
        }
        Ok(())
    }

    fn driver_of(&self, instance: &Instance) -> Result<&Arc<dyn ComputeDriver>, InstanceError> {
        let cell = instance.spec.cell();
        home::driver_for(&self.drivers, cell).ok_or_else(|| InstanceError::NoDriver(cell.to_string()))
    }

    async fn report_failure(
        &self,
        instance: &mut Instance,
        reason: &str,
        error: &InstanceError,
    ) -> Result<(), InstanceError> {
        let message = error.to_string();
        self.recorder.record(instance, Severity::Warning, reason, &message).await;
        let condition = Condition::new("Ready", ConditionStatus::False, reason, message);
        let permanent =
            matches!(error, InstanceError::Driver(DriverError::Invalid(_)) | InstanceError::NoDriver(_));
        let phase = if permanent { InstancePhase::Failed } else { InstancePhase::Starting };
        match self.report(instance, phase, condition, None).await {
            // Someone else changed it: the next round reports.
            Err(InstanceError::Api(e)) if e.is_conflict() || e.is_not_found() => Ok(()),
            result => result,
        }
    }
}

async fn observe(driver: &dyn ComputeDriver, instance: &Instance) -> Result<Option<Observed>, InstanceError> {
    match driver.observe(&instance.metadata.uid).await {
        Ok(observed) => Ok(Some(observed)),
        Err(DriverError::NotFound(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

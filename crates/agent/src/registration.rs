//! The host's entry in the cloud and its sign of life.

use std::sync::Arc;
use std::time::Duration;

use client::Client;
use driver::{BalancerDriver, ComputeDriver, DriverError};
use model::topology::{DriverStatus, Host, HostSpec, Lease, LeaseSpec};
use model::{ApiError, ObjectMeta, Reason, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::agent::NetworkOptions;
use crate::instance::Serving;
use crate::machine::Machine;
use crate::volume::pools::Pools;

/// How long the cloud waits after the last sign of life before it holds the host for lost.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(20);
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How often the host's facts (free disk, drivers) are reported anew.
const REPORT_EVERY: Duration = Duration::from_secs(300);
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);
/// Who hears nothing for this long asks whether anybody else wants what may be started elsewhere: well before the cloud
/// holds the host for lost, which counts from later on and waits for more.
const SILENCE_MAX: Duration = Duration::from_secs(18);
/// How often a report is written while others change the same entry.
const TRIES_MAX: u32 = 10;

/// When the cloud last took a sign of life of this host. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contact(Arc<Mutex<Option<Instant>>>);

impl Contact {
    /// The cloud took a sign that was sent at that moment or later.
    fn note(&self, sent: Instant) {
        *self.0.lock() = Some(sent);
    }

    /// The cloud may hold this host for lost, and start its instances elsewhere.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.lock().is_none_or(|sent| sent.elapsed() >= SILENCE_MAX)
    }
}

pub(crate) struct Registration {
    pub(crate) host: String,
    pub(crate) client: Client,
    pub(crate) endpoint: String,
    /// Of this run of the agent; two hosts with one name show themselves here.
    pub(crate) incarnation: String,
    pub(crate) contact: Contact,
    /// `None` where this host keeps no volumes.
    pub(crate) pools: Option<Pools>,
    pub(crate) now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Asks every driver what works here.
pub(crate) async fn probe(drivers: &[Arc<dyn ComputeDriver>]) -> (Vec<Serving>, Vec<DriverStatus>) {
    let mut serving = Vec::new();
    let mut statuses = Vec::new();
    for driver in drivers {
        let late =
            |_| Err(DriverError::TimedOut { what: "probing".into(), seconds: PROBE_TIMEOUT.as_secs() });
        let mut status = DriverStatus { name: driver.name().into(), ..DriverStatus::default() };
        match tokio::time::timeout(PROBE_TIMEOUT, driver.probe()).await.unwrap_or_else(late) {
            Ok(info) => {
                status.version = info.version;
                status.cells.clone_from(&info.cells);
                status.accelerator = info.accelerator;
                serving.push(Serving { driver: Arc::clone(driver), cells: info.cells });
            }
            Err(e) => {
                tracing::info!(driver = driver.name(), error = %e, "driver is not usable here");
                status.unavailable = e.to_string();
                // What it started before may still be there; it is needed to find and end that.
                serving.push(Serving { driver: Arc::clone(driver), cells: Vec::new() });
            }
        }
        statuses.push(status);
    }
    (serving, statuses)
}

/// Asks the network driver, and leaves networks out where it cannot work: instances that need one say so.
pub(crate) async fn probe_network(
    network: Option<NetworkOptions>,
) -> (Option<NetworkOptions>, Option<DriverStatus>) {
    let Some(network) = network else { return (None, None) };
    let mut status = DriverStatus { name: network.driver.name().into(), ..DriverStatus::default() };
    match network.driver.probe().await {
        Ok(()) => (Some(network), Some(status)),
        Err(e) => {
            tracing::warn!(driver = network.driver.name(), error = %e, "networks are not possible here");
            status.unavailable = e.to_string();
            (None, Some(status))
        }
    }
}

/// Asks the driver of load balancers what works here. It runs no instances, so it has no cells.
pub(crate) async fn probe_balancers(driver: &dyn BalancerDriver) -> DriverStatus {
    let mut status = DriverStatus { name: driver.name().into(), ..DriverStatus::default() };
    match driver.probe().await {
        Ok(version) => status.version = version,
        Err(e) => {
            tracing::info!(driver = driver.name(), error = %e, "driver is not usable here");
            status.unavailable = e.to_string();
        }
    }
    status
}

impl Registration {
    /// Makes or updates the host's entry. The operator's part of it (the spec) is left alone. A controller may
    /// write between looking and writing, which is no reason to give up.
    pub(crate) async fn report(&self, machine: &Machine, drivers: &[DriverStatus]) -> Result<(), ApiError> {
        let mut tries = 1;
        loop {
            let mut host = self.entry().await?;
            self.fill_in(&mut host, machine, drivers)?;
            match self.client.all::<Host>().update_status(&host).await {
                Err(e) if e.is_conflict() && tries < TRIES_MAX => tries += 1,
                result => return result.map(drop),
            }
        }
    }

    /// The host's entry, made if need be.
    async fn entry(&self) -> Result<Host, ApiError> {
        let hosts = self.client.all::<Host>();
        let spec = HostSpec { zone: "default".into(), ..HostSpec::default() };
        match hosts.create(&Host::new(ObjectMeta::named(&self.host), spec)).await {
            Err(e) if matches!(e.reason, Reason::AlreadyExists) => hosts.get(&self.host).await,
            result => result,
        }
    }

    fn fill_in(&self, host: &mut Host, machine: &Machine, drivers: &[DriverStatus]) -> Result<(), ApiError> {
        let status = &mut host.status;
        let (old_machine, new_machine) = (&status.machine_id, &machine.machine_id);
        if !old_machine.is_empty() && !new_machine.is_empty() && old_machine != new_machine {
            return Err(ApiError::conflict(format!(
                "host {:?} is already another machine ({old_machine}); join this one under another name",
                self.host
            )));
        }
        status.capacity = machine.capacity;
        status.drivers = drivers.to_vec();
        status.pools = self.pools.as_ref().map(Pools::report).unwrap_or_default();
        status.endpoint.clone_from(&self.endpoint);
        status.machine_id.clone_from(&machine.machine_id);
        status.boot_id.clone_from(&machine.boot_id);
        status.kernel.clone_from(&machine.kernel);
        status.agent_version = env!("CARGO_PKG_VERSION").into();
        status.last_seen = Some((self.now)());
        Ok(())
    }

    /// Renews the lease and reports, for ever.
    pub(crate) async fn keep(&self, facts: impl Fn() -> Machine, drivers: &[DriverStatus]) {
        let mut next_report = Instant::now();
        loop {
            if let Err(e) = self.renew().await {
                tracing::warn!(error = %e, "the lease could not be renewed; guests keep running");
            }
            if Instant::now() >= next_report {
                match self.report(&facts(), drivers).await {
                    Ok(()) => next_report = Instant::now() + REPORT_EVERY,
                    Err(e) => tracing::warn!(error = %e, "the host's facts could not be reported"),
                }
            }
            tokio::select! {
                // In one order, so that a simulation goes the same way twice.
                biased;
                () = tokio::time::sleep(RENEW_EVERY) => {}
                () = self.pools_changed() => next_report = Instant::now(),
            }
        }
    }

    async fn pools_changed(&self) {
        match &self.pools {
            Some(pools) => pools.changed().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) async fn renew(&self) -> Result<(), ApiError> {
        let sent = Instant::now();
        self.renew_lease().await?;
        self.contact.note(sent);
        Ok(())
    }

    async fn renew_lease(&self) -> Result<(), ApiError> {
        let leases = self.client.all::<Lease>();
        let name = &self.host;
        let spec = LeaseSpec {
            holder: self.incarnation.clone(),
            duration_seconds: u32::try_from(LEASE_DURATION.as_secs()).unwrap_or(u32::MAX),
            renewed_at: Some((self.now)()),
            epoch: 0,
        };
        match leases.find(name).await? {
            None => leases.create(&Lease::new(ObjectMeta::named(name), spec)).await.map(drop),
            Some(mut lease) => {
                // A new run of the agent is a new holder; the epoch says how many there were.
                let epoch = lease.spec.epoch + u64::from(lease.spec.holder != self.incarnation);
                lease.spec = LeaseSpec { epoch, ..spec };
                leases.update(&lease).await.map(drop)
            }
        }
    }
}

//! The agent as a whole: what it is given, and the tasks it consists of.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ListParams, Recorder};
use driver::{BalancerDriver, ComputeDriver, NetworkDriver};
use guest_services::Upstream;
use model::compute::Instance;
use model::topology::DriverStatus;
use model::{ApiError, Timestamp, Uid};
use reconcile::{Cache, Change, Queue};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::disks::Disks;
use crate::images::Images;
use crate::instance::{Homes, Instances, Serving};
use crate::machine::Machine;
use crate::meter::Meter;
use crate::network::balancer::{Assigned, Balancers};
use crate::network::{Networks, Own};
use crate::registration::{Contact, Registration, probe, probe_balancers, probe_network};
use crate::streams::Streams;
use crate::volume::pools::{Pools, VolumeDrivers};
use crate::volume::{Given, Volumes};

/// Instances worked on at the same time. Stopping waits for guests, so this is more than there are cores.
const WORKERS: usize = 64;
/// How often sandboxes without an instance are looked for.
const ORPHANS_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether the cloud is still there.
const FENCE_EVERY: Duration = Duration::from_secs(1);
/// How often a failed look for orphans is tried again at the start.
const RETRY: Duration = Duration::from_secs(1);

/// What an agent is given.
pub struct AgentOptions {
    /// The host's name in the cloud.
    pub host: String,
    /// Acts as this host.
    pub client: Client,
    pub drivers: Vec<Arc<dyn ComputeDriver>>,
    /// Makes networks; `None` where the cloud has none.
    pub network: Option<NetworkOptions>,
    /// Keeps volumes; `None` where the host has no pool.
    pub volumes: Option<VolumeDrivers>,
    pub images: Images,
    /// Where instances' directories lie.
    pub instances_dir: PathBuf,
    /// How the control plane reaches this agent; empty when it is in the same process.
    pub endpoint: String,
    /// Identifies this run of the agent.
    pub incarnation: String,
    /// What the machine is, asked for at each report.
    pub machine: Arc<dyn Fn() -> Machine + Send + Sync>,
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// How this host makes networks.
#[derive(Clone)]
pub struct NetworkOptions {
    pub driver: Arc<dyn NetworkDriver>,
    /// Does the work of load balancers.
    pub balancers: Arc<dyn BalancerDriver>,
    /// This host's address between hosts. `None`: its networks end here.
    pub underlay: Option<IpAddr>,
    /// Other addresses that belong to the cloud itself, and not to guests: the server's.
    pub closed: Vec<IpAddr>,
    /// The way of guests to the cloud's own API.
    pub upstream: Arc<dyn Upstream>,
    /// PEM of the authority that its certificates are of.
    pub authority: Arc<str>,
    /// Where flow logs are kept.
    pub flows_dir: PathBuf,
    /// Answer guests inside of their networks; not where those are none of the kernel's, as in simulations.
    pub answers_guests: bool,
}

impl std::fmt::Debug for NetworkOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkOptions")
            .field("driver", &self.driver.name())
            .field("underlay", &self.underlay)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AgentOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentOptions").field("host", &self.host).finish_non_exhaustive()
    }
}

/// A running agent. Dropping it ends its work, and no guest.
#[derive(Debug)]
pub struct Agent {
    tasks: Vec<JoinHandle<()>>,
    streams: Streams,
}

impl Drop for Agent {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Agent {
    /// Registers the host and takes up its work. Returns when the host can take instances.
    pub async fn start(options: AgentOptions) -> Result<Self, ApiError> {
        let homes = Homes::open(options.instances_dir.clone())
            .map_err(|e| ApiError::internal(format!("{}: {e}", options.instances_dir.display())))?;
        let (serving, mut statuses) = probe(&options.drivers).await;
        let (network, network_status) = probe_network(options.network.clone()).await;
        statuses.extend(network_status);
        if let Some(network) = &network {
            statuses.push(probe_balancers(&*network.balancers).await);
        }
        let contact = Contact::default();
        let pools =
            options.volumes.as_ref().map(|drivers| Pools::new(&options.host, &options.client, drivers));
        let registration = register(&options, &contact, pools.clone(), &statuses).await?;

        let queue = Queue::new();
        let cache = follow(&options, &queue);
        let recorder =
            Recorder::new(options.client.clone(), "agent", &options.host, Arc::clone(&options.now));
        let networks = network.map(|network| {
            let (homes, cache) = (homes.clone(), cache.clone());
            let balancers = Assigned::follow(&options.host, &options.client, Arc::clone(&network.balancers));
            let (host, client, serving) = (&options.host, &options.client, serving.clone());
            let own = Own { host, client, now: Arc::clone(&options.now) };
            let networks = Networks::follow(own, network, homes, serving, cache, balancers.clone());
            let balancers = Balancers::new(client, Arc::clone(&options.now), balancers, networks.clone());
            (networks, balancers)
        });
        let (networks, balancers) = networks.unzip();
        let volumes = pools.clone().map(|pools| {
            Volumes::follow(Given {
                host: options.host.clone(),
                client: options.client.clone(),
                pools,
                drivers: serving.clone(),
                images: options.images.clone(),
                instances: cache.clone(),
                instances_queue: queue.clone(),
                now: Arc::clone(&options.now),
            })
        });
        let instances = Arc::new(Instances {
            host: options.host.clone(),
            client: options.client.clone(),
            recorder,
            drivers: serving.clone(),
            images: options.images.clone(),
            homes: homes.clone(),
            networks: networks.clone(),
            volumes: volumes.clone(),
            contact,
            cache: cache.clone(),
            now: Arc::clone(&options.now),
            restarts: parking_lot::Mutex::default(),
            waits: parking_lot::Mutex::default(),
        });
        let disks = Disks {
            instances: cache.clone(),
            drivers: serving,
            images: options.images.clone(),
            homes,
            volumes: volumes.clone(),
        };
        let meter = Meter::default();
        let streams = Streams::new(options.drivers.clone(), networks.clone(), disks, meter.clone());
        let mut tasks = vec![
            tokio::spawn(keep_registered(registration, Arc::clone(&options.machine), statuses)),
            tokio::spawn(work(Arc::clone(&instances), queue.clone())),
            tokio::spawn(collect_orphans(Arc::clone(&instances))),
            tokio::spawn(fence(Arc::clone(&instances))),
            tokio::spawn(meter.run(
                options.drivers.clone(),
                networks.clone(),
                cache,
                Arc::clone(&options.now),
            )),
        ];
        if let Some(networks) = networks {
            tasks.push(tokio::spawn(networks.clone().record_flows()));
            tasks.push(tokio::spawn(networks.run()));
        }
        if let Some(pools) = pools {
            tasks.push(tokio::spawn(pools.run()));
        }
        if let Some(volumes) = volumes {
            tasks.push(tokio::spawn(volumes.run()));
        }
        if let Some(balancers) = balancers {
            tasks.push(tokio::spawn(balancers.run()));
        }
        for driver in &options.drivers {
            tasks.push(tokio::spawn(listen(driver.changes(), Arc::clone(&instances), queue.clone())));
        }
        Ok(Self { tasks, streams })
    }

    /// The way to this host's logs and consoles.
    pub fn streams(&self) -> Streams {
        self.streams.clone()
    }
}

/// Says to the cloud what this host is and has, and that it is there.
async fn register(
    options: &AgentOptions,
    contact: &Contact,
    pools: Option<Pools>,
    drivers: &[DriverStatus],
) -> Result<Registration, ApiError> {
    if let Some(pools) = &pools {
        pools.look().await?;
    }
    let registration = Registration {
        host: options.host.clone(),
        client: options.client.clone(),
        endpoint: options.endpoint.clone(),
        incarnation: options.incarnation.clone(),
        contact: contact.clone(),
        pools,
        now: Arc::clone(&options.now),
    };
    registration.report(&(options.machine)(), drivers).await?;
    registration.renew().await?;
    Ok(registration)
}

/// Follows the instances of this host; every change puts one in line.
fn follow(options: &AgentOptions, queue: &Queue) -> Cache<Instance> {
    let queue = queue.clone();
    let listener = move |change: &Change<Instance>| {
        if let Change::Applied { new, .. } = change {
            queue.add(new.metadata.key());
        }
    };
    let params =
        ListParams { field_selector: format!("status.host={}", options.host), ..ListParams::default() };
    Cache::start(options.client.all::<Instance>(), params, vec![Box::new(listener)])
}

async fn keep_registered(
    registration: Registration,
    machine: Arc<dyn Fn() -> Machine + Send + Sync>,
    drivers: Vec<DriverStatus>,
) {
    registration.keep(|| machine(), &drivers).await;
}

async fn work(instances: Arc<Instances>, queue: Queue) {
    reconcile::run("agent", queue, WORKERS, |key| instances.reconcile(key)).await;
}

/// Puts instances in line whose sandbox has changed.
async fn listen(mut changes: broadcast::Receiver<Uid>, instances: Arc<Instances>, queue: Queue) {
    loop {
        match changes.recv().await {
            Ok(uid) => {
                for instance in instances.cache.filter(|i| i.metadata.uid == uid) {
                    queue.add(instance.metadata.key());
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {
                for instance in instances.cache.all() {
                    queue.add(instance.metadata.key());
                }
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Ends sandboxes that no instance stands for, and removes homes without one.
async fn collect_orphans(instances: Arc<Instances>) {
    instances.cache.synced().await;
    loop {
        let wait = match instances.remove_orphans().await {
            Ok(()) => ORPHANS_EVERY,
            Err(e) => {
                tracing::warn!(error = %e, "orphans could not be removed");
                RETRY
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Ends what others want when the cloud is out of reach.
async fn fence(instances: Arc<Instances>) {
    instances.cache.synced().await;
    loop {
        tokio::time::sleep(FENCE_EVERY).await;
        instances.fence().await;
    }
}

impl Instances {
    async fn remove_orphans(&self) -> Result<(), crate::instance::InstanceError> {
        // Facts first, then the list of what should be: an instance bound in between is in the list.
        let mut found: Vec<(Uid, Option<&Serving>)> = Vec::new();
        for serving in &self.drivers {
            found.extend(serving.driver.list().await?.into_iter().map(|o| (o.uid, Some(serving))));
        }
        let homes = self.homes.list().map_err(|source| crate::instance::InstanceError::Host {
            what: "the instances' directory cannot be read".into(),
            source,
        })?;
        found.extend(homes.into_iter().map(|uid| (uid, None)));
        let params =
            ListParams { field_selector: format!("status.host={}", self.host), ..ListParams::default() };
        let known: HashSet<Uid> = self
            .client
            .all::<Instance>()
            .list(&params)
            .await?
            .items
            .into_iter()
            .map(|i| i.metadata.uid)
            .collect();
        for (uid, serving) in found.into_iter().filter(|(uid, _)| !known.contains(uid)) {
            if let Some(serving) = serving {
                tracing::info!(%uid, driver = serving.driver.name(), "removing a sandbox that no instance stands for");
                serving.driver.delete(&uid).await?;
            }
            if let Some(volumes) = &self.volumes {
                volumes.close_all(&uid).await?;
            }
            self.homes.remove(&uid).await?;
        }
        Ok(())
    }
}

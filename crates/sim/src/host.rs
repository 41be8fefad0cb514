//! A machine of the cloud: fake sandboxes that outlive the agent, a directory that outlives a crash, and the
//! real agent, which may be killed and started at any moment.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use agent::{Agent, AgentOptions, Images, Machine, NetworkOptions, NoUpstream, SharedBlobs};
use driver::fake::{FakeDriver, FakeMachine};
use driver::fake_network::{FakeFabric, FakeNetwork};
use driver::{ComputeDriver, DriverError, Observed};
use identity::{Authentication, Principal};
use model::compute::{Cell, Isolation, PayloadKind};
use model::{Resources, Uid};
use parking_lot::Mutex;
use server::Environment;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::control::ControlPlane;
use crate::nobody::NoBalancers;
use crate::wire::Link;

/// Between two attempts of an agent to start.
const START_AGAIN: Duration = Duration::from_secs(1);
const CELLS: [Cell; 2] = [
    Cell::new(Isolation::Process, PayloadKind::Command),
    Cell::new(Isolation::Namespace, PayloadKind::Rootfs),
];

pub(crate) struct SimHost {
    pub(crate) name: String,
    pub(crate) link: Link,
    capacity: Resources,
    dir: PathBuf,
    images: Arc<image::Cache>,
    control: Arc<ControlPlane>,
    clock: Arc<Clock>,
    machine: Mutex<FakeMachine>,
    /// Its networks; they go with the power.
    pub(crate) fabric: FakeFabric,
    /// Its address between hosts, where there are networks.
    pub(crate) underlay: Option<IpAddr>,
    boots: AtomicU64,
    agent: Mutex<Option<JoinHandle<()>>>,
    /// It was taken away for good.
    scrapped: AtomicBool,
}

/// What a host is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) capacity: Resources,
    pub(crate) dir: PathBuf,
    pub(crate) images: Arc<image::Cache>,
    pub(crate) link: Link,
    pub(crate) control: Arc<ControlPlane>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) underlay: Option<IpAddr>,
}

impl SimHost {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { name, capacity, dir, images, link, control, clock, underlay } = parts;
        Arc::new(Self {
            name,
            link,
            capacity,
            dir,
            images,
            control,
            clock,
            machine: Mutex::new(blank()),
            fabric: FakeFabric::default(),
            underlay,
            boots: AtomicU64::new(1),
            agent: Mutex::new(None),
            scrapped: AtomicBool::new(false),
        })
    }

    /// The machine as it is now: after a loss it is another.
    pub(crate) fn machine(&self) -> FakeMachine {
        self.machine.lock().clone()
    }

    /// Every sandbox on the machine, in whatever state.
    pub(crate) async fn sandboxes(&self) -> Result<Vec<Observed>, DriverError> {
        FakeDriver::new(self.machine()).list().await
    }

    /// The instances that have a directory here.
    pub(crate) fn homes(&self) -> Vec<Uid> {
        let entries = std::fs::read_dir(self.dir.join("instances")).into_iter().flatten().flatten();
        let mut homes: Vec<Uid> =
            entries.filter_map(|entry| Uid::parse(entry.file_name().to_str()?)).collect();
        homes.sort_unstable();
        homes
    }

    pub(crate) fn has_agent(&self) -> bool {
        self.agent.lock().is_some()
    }

    /// Starts the agent, which tries to reach the cloud until it does.
    pub(crate) fn start_agent(self: &Arc<Self>) {
        let mut agent = self.agent.lock();
        if agent.is_none() && !self.scrapped.load(Ordering::Relaxed) {
            let host = Arc::clone(self);
            *agent = Some(tokio::spawn(async move { host.run_agent().await }));
        }
    }

    /// Ends the agent wherever it is. Sandboxes go on.
    pub(crate) async fn kill_agent(&self) {
        let agent = self.agent.lock().take();
        if let Some(agent) = agent {
            agent.abort();
            // Cut off, as asked.
            let _ = agent.await;
        }
    }

    /// The power fails. With `forget` nothing of the sandboxes is left but their directories.
    pub(crate) async fn lose_power(&self, forget: bool) {
        self.kill_agent().await;
        self.machine().crash();
        self.fabric.crash();
        if forget {
            *self.machine.lock() = blank();
        }
        self.boots.fetch_add(1, Ordering::Relaxed);
    }

    /// The machine is taken away, with everything on it.
    pub(crate) async fn scrap(&self) {
        self.scrapped.store(true, Ordering::Relaxed);
        self.lose_power(true).await;
    }

    async fn run_agent(&self) {
        loop {
            if let Ok(_agent) = Agent::start(self.options()).await {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(START_AGAIN).await;
        }
    }

    fn options(&self) -> AgentOptions {
        let client = self.link.client(Arc::clone(&self.control), principal(&self.name));
        let machine = Machine {
            capacity: self.capacity,
            machine_id: format!("machine-{}", self.name),
            boot_id: self.boots.load(Ordering::Relaxed).to_string(),
            kernel: "simulated".into(),
        };
        let driver: Arc<dyn ComputeDriver> = Arc::new(FakeDriver::new(self.machine()));
        let images = Images::new(
            Arc::clone(&self.images),
            self.dir.join("layers"),
            Arc::new(SharedBlobs),
            client.clone(),
        );
        AgentOptions {
            host: self.name.clone(),
            client,
            drivers: vec![driver],
            network: self.underlay.map(|underlay| NetworkOptions {
                driver: Arc::new(FakeNetwork::new(&self.fabric)),
                balancers: Arc::new(NoBalancers),
                underlay: Some(underlay),
                closed: Vec::new(),
                upstream: Arc::new(NoUpstream),
                authority: "".into(),
                flows_dir: self.dir.join("flows"),
                answers_guests: false,
            }),
            volumes: None,
            images,
            instances_dir: self.dir.join("instances"),
            endpoint: String::new(),
            incarnation: self.clock.uid().to_string(),
            machine: Arc::new(move || machine.clone()),
            now: self.clock.reader(),
        }
    }
}

fn blank() -> FakeMachine {
    FakeMachine::new("fake", CELLS.to_vec())
}

fn principal(host: &str) -> Principal {
    Principal {
        user: format!("host:{host}"),
        groups: vec![identity::HOSTS.to_owned()],
        how: Authentication::Certificate { serial: "simulated".into() },
    }
}

//! A control plane in this process, with simulated hosts: the server on its durable store, and the objects that
//! hosts would have written. No agents, no guests.

use std::sync::Arc;

use client::{Api, Client};
use futures::{StreamExt, TryStreamExt, stream};
use identity::{Authentication, Principal};
use model::compute::{
    Cell, Container, ContainersPayload, Image, ImageFormat, ImageSpec, Instance, InstanceSpec, Isolation,
    Payload, PayloadKind,
};
use model::topology::{DriverStatus, Host, HostSpec, HostStatus, Lease, LeaseSpec};
use model::{Bytes, Condition, ConditionStatus, CpuMillis, ObjectMeta, Resources, Timestamp, set_condition};
use server::audit::Audit;
use server::{Environment, Server, SystemEnvironment};
use store::{Options, SqliteStore};

use crate::Result;

/// Calls under way at once while a plane is filled.
const FILLERS: usize = 256;
/// Longer than any measurement, so that simulated hosts need no heartbeat.
const LEASE_SECONDS: u32 = 3600;
pub(crate) const IMAGE: &str = "app";

pub(crate) struct Plane {
    pub(crate) server: Server,
    environment: Arc<dyn Environment>,
    _directory: tempfile::TempDir,
}

impl Plane {
    pub(crate) async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let store = SqliteStore::open(directory.path().join("store"), Options::default()).await?;
        let environment: Arc<dyn Environment> = Arc::new(SystemEnvironment::new());
        let audit = {
            let file = std::fs::File::create(directory.path().join("audit.log"))?;
            let environment = Arc::clone(&environment);
            Audit::to(Box::new(file), move || environment.now())
        };
        let server = Server::start(Arc::new(store), Arc::clone(&environment), audit).await?;
        server::bootstrap(&server.client(Principal::component("setup"))).await?;
        let plane = Self { server, environment, _directory: directory };
        let spec = ImageSpec { format: ImageFormat::Oci, ..ImageSpec::default() };
        let images: Api<Image> = plane.administrator().project("default");
        images.create(&Image::new(ObjectMeta::named(IMAGE), spec)).await?;
        Ok(plane)
    }

    /// Calls are authorized and audited, as those over the network are.
    pub(crate) fn administrator(&self) -> Client {
        let how = Authentication::Certificate { serial: "bench".into() };
        self.server.client(Principal { user: "admin".into(), groups: vec![identity::ADMINS.into()], how })
    }

    /// What controllers are given.
    pub(crate) fn context(&self) -> controllers::Context {
        let environment = Arc::clone(&self.environment);
        controllers::Context {
            client: self.server.client(Principal::component("controller")),
            now: Arc::new(move || environment.now()),
            incarnation: self.environment.uid().to_string(),
            exclusive: true,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.environment.now()
    }

    /// Hosts of 64 cores and 256 GiB in 10 racks of a zone, ready, with a driver for containers.
    pub(crate) async fn add_hosts(&self, hosts: usize) -> Result<()> {
        let client = self.server.client(Principal::component("bench"));
        stream::iter(0..hosts)
            .map(|number| add_host(client.clone(), number, self.now()))
            .buffer_unordered(FILLERS)
            .try_collect()
            .await
    }

    /// Runs so many calls, [`FILLERS`] at once.
    pub(crate) async fn each<F>(&self, count: usize, call: impl Fn(Client, usize) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let client = self.administrator();
        stream::iter(0..count)
            .map(|number| call(client.clone(), number))
            .buffer_unordered(FILLERS)
            .try_collect()
            .await
    }
}

pub(crate) async fn add_host(client: Client, number: usize, now: Timestamp) -> Result<()> {
    let name = host_name(number);
    let lease =
        LeaseSpec { holder: name.clone(), duration_seconds: LEASE_SECONDS, renewed_at: Some(now), epoch: 1 };
    client.all::<Lease>().create(&Lease::new(ObjectMeta::named(&name), lease)).await?;
    let spec =
        HostSpec { zone: "default".into(), rack: format!("rack-{}", number % 10), ..HostSpec::default() };
    let hosts: Api<Host> = client.all();
    hosts.create(&Host::new(ObjectMeta::named(&name), spec)).await?;
    let driver = DriverStatus {
        name: "oci".into(),
        cells: vec![Cell::new(Isolation::Namespace, PayloadKind::Containers)],
        ..DriverStatus::default()
    };
    let mut status = HostStatus {
        capacity: Resources { cpu: CpuMillis(64_000), memory: Bytes::gib(256), disk: Bytes::gib(1000) },
        drivers: vec![driver],
        ..HostStatus::default()
    };
    let ready = Condition::new("Ready", ConditionStatus::True, "LeaseRenewed", "the agent is heard of");
    set_condition(&mut status.conditions, ready, now);
    loop {
        let mut host = hosts.get(&name).await?;
        host.status.clone_from(&status);
        match hosts.update_status(&host).await {
            // A controller looked at it meanwhile.
            Err(e) if e.is_conflict() => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

pub(crate) fn host_name(number: usize) -> String {
    format!("host-{number:05}")
}

/// A container of half a core and 512 MiB.
pub(crate) fn instance(name: String) -> Instance {
    let container = Container { name: "main".into(), image: IMAGE.into(), ..Container::default() };
    let mut meta = ObjectMeta::in_project("default", name);
    meta.labels.insert("app".into(), "measured".into());
    let spec = InstanceSpec {
        isolation: Isolation::Namespace,
        payload: Payload::Containers(ContainersPayload { containers: vec![container] }),
        resources: Resources { cpu: CpuMillis(500), memory: Bytes::mib(512), disk: Bytes::gib(1) },
        ..InstanceSpec::default()
    };
    Instance::new(meta, spec)
}

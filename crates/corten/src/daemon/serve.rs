//! The road from an empty directory to a cloud that answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::{Agent, AgentOptions, Images, Machine};
use controllers::backup::Backups;
use controllers::flow_log::FlowLogs;
use controllers::image::Importer;
use controllers::{Context, Controllers};
use identity::{Authentication, Principal};
use image::Egress;
use model::Timestamp;
use server::audit::Audit;
use server::http::{Extensions, Face, Listener};
use server::{Environment, NetworkPlane, Server, SystemEnvironment};
use store::{OpenError, Options, SqliteStore};
use tokio::signal::unix::{SignalKind, signal};

use super::aws::Protocol;
use super::backups::{LocalFiles, ObjectVaults, Served};
use super::blobs::ImageFiles;
use super::gateway::Gateway;
use super::layout::{claim, write_file};
use super::remote::RemoteHosts;
use super::{Layout, credentials, drivers, endpoints, s3, underlay};
use crate::failure::Failure;

/// The range of every project's default network.
const DEFAULT_NETWORK: &str = "10.0.0.0/16";
const PREDECESSOR_GONE_WITHIN: Duration = Duration::from_secs(3);

/// Serves until SIGTERM or SIGINT. Guests go on.
pub(crate) async fn serve(
    layout: Layout,
    listen: SocketAddr,
    own_underlay: Option<IpAddr>,
) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::failed(e.to_string());
    let environment = SystemEnvironment::new()
        .with_network_plane(network_plane())
        .with_master_key(credentials::master_key(&layout)?);
    let environment: Arc<dyn Environment> = Arc::new(environment);
    let now: Arc<dyn Fn() -> Timestamp + Send + Sync> = {
        let environment = Arc::clone(&environment);
        Arc::new(move || environment.now())
    };

    let store = open_store(&layout).await?;
    claim(&layout)?;
    let authority = Arc::new(credentials::authority(&layout)?);
    // Bound before anything acts: a second daemon ends here.
    let listener = Listener::bind(listen, &authority).await.map_err(|e| failed(&e))?;
    let audit = audit(&layout, Arc::clone(&now))?;
    let server = Server::start(Arc::new(store), Arc::clone(&environment), audit).await?;
    let setup = server.client(Principal::component("setup"));
    server::bootstrap(&setup).await?;
    credentials::administrator(&layout, &authority, &setup, &*environment).await?;

    let incarnation = environment.uid().to_string();
    let context = Context {
        client: server.client(Principal::component("controller")),
        now: Arc::clone(&now),
        incarnation: incarnation.clone(),
        exclusive: true,
    };
    let cache = Arc::new(image::Cache::open(layout.images()).map_err(|e| failed(&e))?);
    let gateway = Arc::new(Gateway::new(RemoteHosts::new(&authority, context.client.clone())?));
    let objects = s3::Protocol::open(server.clone(), Arc::clone(&environment), &layout)?;
    let disks = gateway.clone();
    let importer =
        Importer::new(context.clone(), Arc::clone(&cache), egress()?, disks, Arc::new(objects.clone()));
    let scratch = layout.run_dir().join("keys");
    let aws = Protocol::new(server.clone(), gateway.clone(), Arc::clone(&environment), scratch);
    let vaults = Arc::new(ObjectVaults::new(objects.objects()));
    let backups = Backups::new(context.clone(), gateway.clone(), vaults);
    let flow_logs = FlowLogs::new(context.clone(), gateway.clone(), Arc::new(objects.clone()));
    let extensions = Extensions {
        hosts: gateway.clone(),
        backups: Arc::new(Served(backups.clone())),
        blobs: Arc::new(ImageFiles { importer: importer.clone(), cache: Arc::clone(&cache) }),
        authority: Arc::clone(&authority),
        foreign: vec![Arc::new(objects.clone()), Arc::new(aws)],
    };
    let endpoint = format!("https://{}", reachable(listener.address()));
    let mut tasks = tokio::task::JoinSet::new();
    let face = Face::new(server.clone(), extensions);
    tasks.spawn(listener.serve(face.clone()));
    let _controllers = Controllers::start(&context);
    tasks.spawn(importer.run());
    tasks.spawn(backups.clone().run());
    tasks.spawn(flow_logs.run());
    tasks.spawn(objects.keep());

    let _quick_moves = drivers::quick_moves(&layout);
    let host = host_name();
    let client = server.client(local_host(&host));
    let files = Arc::new(LocalFiles { backups, client: context.client.clone() });
    let agent = Agent::start(AgentOptions {
        images: Images::new(Arc::clone(&cache), layout.layers(), files, client.clone()),
        host: host.clone(),
        client,
        drivers: drivers::all(&layout),
        volumes: Some(drivers::volumes(&layout, &host)),
        network: drivers::network(
            &layout,
            underlay::of_server(own_underlay, listen.ip())?,
            Vec::new(),
            Arc::new(endpoints::Here::new(face, local_host(&host))),
            &authority.servers.certificate,
        ),
        instances_dir: layout.instances(),
        endpoint: String::new(),
        incarnation,
        machine: {
            let root = layout.root().to_owned();
            Arc::new(move || Machine::read(&root))
        },
        now,
    })
    .await?;
    gateway.set_local(&host, agent.streams());
    write_file(&layout.endpoint(), endpoint.as_bytes(), 0o644).map_err(|e| failed(&e))?;
    tracing::info!(endpoint, host, "ready");
    wait_for_signal().await?;
    tracing::info!("stopping; guests keep running");
    // The next start writes it again; a reader in between sees that nothing answers.
    let _ = std::fs::remove_file(layout.endpoint());
    Ok(())
}

/// Opens the store. A predecessor that was just killed may hold it a moment longer, while the kernel takes it
/// apart.
async fn open_store(layout: &Layout) -> Result<SqliteStore, Failure> {
    let deadline = Instant::now() + PREDECESSOR_GONE_WITHIN;
    loop {
        match SqliteStore::open(layout.store(), Options::default()).await {
            Err(OpenError::InUse(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            result => return result.map_err(|e| Failure::failed(e.to_string())),
        }
    }
}

pub(crate) async fn wait_for_signal() -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::failed(format!("signals cannot be awaited: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn audit(layout: &Layout, now: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Result<Audit, Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = layout.audit();
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let file = file.map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    Ok(Audit::to(Box::new(file), move || now()))
}

/// Where default networks get their addresses, when networks are switched on.
fn network_plane() -> Option<NetworkPlane> {
    let default_range = DEFAULT_NETWORK.parse().ok()?;
    drivers::networks_are_on().then_some(NetworkPlane { default_range })
}

/// Networks beside the public ones from which images may be fetched: `CORTEN_EGRESS=10.1.0.0/16,...`.
fn egress() -> Result<Egress, Failure> {
    let text = std::env::var("CORTEN_EGRESS").unwrap_or_default();
    let networks = text.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::parse);
    let networks: Result<Vec<image::Network>, _> = networks.collect();
    networks.map(Egress::allowing).map_err(|e| Failure::usage(format!("CORTEN_EGRESS: {e}")))
}

/// The local agent is a host like any other; only that it needs no certificate.
fn local_host(name: &str) -> Principal {
    Principal {
        user: format!("host:{name}"),
        groups: vec![identity::HOSTS.to_owned()],
        how: Authentication::Certificate { serial: "local".into() },
    }
}

/// This machine's name, as the cloud's name for it.
pub(crate) fn host_name() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_ascii_lowercase();
    if model::Name::new(&name).is_ok() { name } else { "localhost".to_owned() }
}

/// A client cannot connect to "any address".
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::IpAddr::from([127, 0, 0, 1]));
    }
    address
}

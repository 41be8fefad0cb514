//! Opens a VPC's sockets inside of its namespace and runs what answers on them. Owns no rule of any protocol.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Uid;
use sys::namespace::within_network;
use sys::sockets::{self, Arrival, Departure};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dhcp::{self, Reply};
use crate::directory::Directory;
use crate::dns::{self, Forwarder, HostForwarder, Resolver};
use crate::endpoint::{Endpoint, contain};
use crate::limit::{Rate, Slots};
use crate::metadata::{self, Credentials, MetadataServer, NoCredentials, Service};
use crate::relay::{self, NoUpstream, Relay, Upstream};

const DHCP_SERVER: u16 = 67;
const DHCP_V6_SERVER: u16 = 547;
const DNS: u16 = 53;
const HTTP: u16 = 80;
const HTTPS: u16 = 443;
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// Where DHCPv6 clients and those who look for a router speak to.
const ALL_DHCP_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Longest DHCP message or solicitation that is read; a client's are a few hundred bytes.
const PACKET_MAX: usize = 1500;
const BACKLOG: i32 = 64;
/// How often interfaces that could not be joined are tried again.
const JOIN_EVERY: Duration = Duration::from_secs(2);

/// What the caller brings along.
#[derive(Debug, Clone)]
pub struct Options {
    pub forwarder: Arc<dyn Forwarder>,
    pub credentials: Arc<dyn Credentials>,
    pub upstream: Arc<dyn Upstream>,
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            forwarder: Arc::new(HostForwarder::default()),
            credentials: Arc::new(NoCredentials),
            upstream: Arc::new(NoUpstream),
            limits: Limits::default(),
        }
    }
}

/// Shares of one port, and of a VPC in all.
#[derive(Debug, Clone)]
pub struct Limits {
    /// DNS queries; EC2 lets as many through.
    pub dns_per_second: u32,
    pub dns_burst: u32,
    /// DNS queries that wait for a resolver.
    pub queries_per_port: u32,
    pub queries: u32,
    /// Connections, of DNS and of the metadata service each.
    pub connections_per_port: u32,
    pub connections: u32,
    /// Connections to the cloud's own API, and how long each may be silent.
    pub passages_per_port: u32,
    pub passages: u32,
    pub passage_idle: Duration,
    /// Requests for metadata.
    pub metadata_per_second: u32,
    pub metadata_burst: u32,
    /// DHCP messages and solicitations.
    pub dhcp_per_second: u32,
    pub dhcp_burst: u32,
    /// Between router advertisements that nobody asked for.
    pub advertise_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dns_per_second: 1024,
            dns_burst: 2048,
            queries_per_port: 64,
            queries: 512,
            connections_per_port: 32,
            connections: 512,
            passages_per_port: 256,
            passages: 2048,
            passage_idle: Duration::from_secs(350),
            metadata_per_second: 100,
            metadata_burst: 400,
            dhcp_per_second: 10,
            dhcp_burst: 30,
            advertise_every: Duration::from_secs(200),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot open the sockets of guest services in {namespace}")]
    Sockets { namespace: PathBuf, source: io::Error },
    #[error("the system gives no random numbers for session tokens")]
    Random,
}

/// What runs for a VPC; it ends when this is dropped.
#[derive(Debug)]
pub struct Handle {
    tasks: JoinSet<()>,
}

impl Handle {
    /// Waits until something of it ended, which only a fault makes it do: serve anew then.
    pub async fn ended(&mut self) {
        let end = self.tasks.join_next().await;
        tracing::error!(cause = ?end.and_then(Result::err), "a guest service ended");
    }
}

/// Answers the guests of the VPC whose network namespace is kept at `namespace`, on the current tokio runtime.
/// Blocks for the few system calls that open sockets. Ports that come and go in the directory are followed.
pub fn serve(
    namespace: &Path,
    directory: watch::Receiver<Arc<Directory>>,
    options: Options,
) -> Result<Handle, ServeError> {
    let failed = |source| ServeError::Sockets { namespace: namespace.to_owned(), source };
    let opened = File::open(namespace)
        .and_then(|namespace| within_network(Some(&namespace), Opened::open))
        .map_err(failed)?;
    let limits = &options.limits;
    let service =
        Service::new(limits.metadata_per_second, limits.metadata_burst).ok_or(ServeError::Random)?;
    let resolver = Arc::new(Resolver {
        directory: directory.clone(),
        forwarder: options.forwarder,
        rate: Rate::new(limits.dns_per_second, limits.dns_burst),
        started: Instant::now(),
        queries: Slots::new(limits.queries_per_port, limits.queries),
        connections: Slots::new(limits.connections_per_port, limits.connections),
    });
    let server = Arc::new(MetadataServer {
        directory: directory.clone(),
        service,
        credentials: options.credentials,
        connections: Slots::new(limits.connections_per_port, limits.connections),
        started: Instant::now(),
    });
    let relay = Arc::new(Relay {
        directory: directory.clone(),
        upstream: options.upstream,
        connections: Slots::new(limits.passages_per_port, limits.passages),
        idle: limits.passage_idle,
    });
    let rate = Arc::new(Rate::new(limits.dhcp_per_second, limits.dhcp_burst));
    let every = limits.advertise_every;
    opened.run(Services { directory, resolver, server, relay, rate, every }).map_err(failed)
}

struct Services {
    directory: watch::Receiver<Arc<Directory>>,
    resolver: Arc<Resolver>,
    server: Arc<MetadataServer>,
    relay: Arc<Relay>,
    rate: Arc<Rate>,
    every: Duration,
}

/// Every socket of a VPC. Those of IPv6 are not there on a kernel without it.
struct Opened {
    dhcp_v4: OwnedFd,
    v6: Option<OpenedV6>,
    dns_udp: Vec<OwnedFd>,
    dns_tcp: Vec<std::net::TcpListener>,
    http: Vec<std::net::TcpListener>,
    https: Vec<std::net::TcpListener>,
}

struct OpenedV6 {
    dhcp: OwnedFd,
    routers: OwnedFd,
}

impl Opened {
    fn open() -> io::Result<Self> {
        let any4 = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let any6 = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let tcp = |address| sockets::tcp_listener(address, BACKLOG);
        let mut opened = Self {
            dhcp_v4: sockets::udp(any4(DHCP_SERVER))?,
            v6: None,
            dns_udp: vec![sockets::udp(any4(DNS))?],
            dns_tcp: vec![tcp(any4(DNS))?],
            http: vec![tcp((METADATA_V4, HTTP).into())?],
            https: vec![tcp(any4(HTTPS))?],
        };
        if Path::new("/proc/thread-self/net/if_inet6").exists() {
            let (dhcp, routers) = (sockets::udp(any6(DHCP_V6_SERVER))?, sockets::router_discovery()?);
            opened.v6 = Some(OpenedV6 { dhcp, routers });
            opened.dns_udp.push(sockets::udp(any6(DNS))?);
            opened.dns_tcp.push(tcp(any6(DNS))?);
            opened.http.push(tcp((METADATA_V6, HTTP).into())?);
            opened.https.push(tcp(any6(HTTPS))?);
        }
        Ok(opened)
    }

    fn run(self, services: Services) -> io::Result<Handle> {
        let mut tasks = JoinSet::new();
        let Services { directory, resolver, server, relay, rate, every } = services;
        let dhcp_v4 = Arc::new(Endpoint::new(self.dhcp_v4)?);
        tasks.spawn(serve_packets(dhcp_v4, directory.clone(), Arc::clone(&rate), answer_v4));
        if let Some(v6) = self.v6 {
            let dhcp = Arc::new(Endpoint::new(v6.dhcp)?);
            let routers = Arc::new(Endpoint::new(v6.routers)?);
            tasks.spawn(serve_packets(Arc::clone(&dhcp), directory.clone(), Arc::clone(&rate), answer_v6));
            tasks.spawn(serve_packets(Arc::clone(&routers), directory.clone(), rate, answer_solicitation));
            tasks.spawn(advertise(dhcp, routers, directory, every));
        }
        for fd in self.dns_udp {
            tasks.spawn(dns::serve_udp(Endpoint::new(fd)?, Arc::clone(&resolver)));
        }
        for listener in self.dns_tcp {
            tasks.spawn(dns::serve_tcp(TcpListener::from_std(listener)?, Arc::clone(&resolver)));
        }
        for listener in self.http {
            tasks.spawn(metadata::serve(TcpListener::from_std(listener)?, Arc::clone(&server)));
        }
        for listener in self.https {
            tasks.spawn(relay::serve(TcpListener::from_std(listener)?, Arc::clone(&relay)));
        }
        Ok(Handle { tasks })
    }
}

type Snapshots = watch::Receiver<Arc<Directory>>;

/// Answers packets one by one: those of no port cost nothing, and each port has a rate of its own.
async fn serve_packets<F>(endpoint: Arc<Endpoint>, directory: Snapshots, rate: Arc<Rate>, answer: F)
where
    F: Fn(&Directory, &Arrival, &[u8]) -> Option<Reply>,
{
    let started = Instant::now();
    let mut buffer = vec![0; PACKET_MAX];
    loop {
        let arrival = endpoint.receive(&mut buffer).await;
        let directory = Arc::clone(&directory.borrow());
        let is_port = directory.ports.contains_key(&arrival.interface);
        if is_port
            && rate.admit(arrival.interface, started.elapsed())
            && let Some(reply) =
                contain(arrival.interface, || answer(&directory, &arrival, &buffer[..arrival.length]))
                    .flatten()
        {
            send(&endpoint, reply, arrival.interface);
        }
    }
}

fn answer_v4(directory: &Directory, arrival: &Arrival, packet: &[u8]) -> Option<Reply> {
    dhcp::answer_v4(directory, arrival.interface, packet)
}

fn answer_v6(directory: &Directory, arrival: &Arrival, packet: &[u8]) -> Option<Reply> {
    let IpAddr::V6(from) = arrival.from.ip() else { return None };
    dhcp::answer_v6(directory, arrival.interface, from, packet)
}

fn answer_solicitation(directory: &Directory, arrival: &Arrival, packet: &[u8]) -> Option<Reply> {
    let IpAddr::V6(from) = arrival.from.ip() else { return None };
    dhcp::answer_solicitation(directory, arrival.interface, from, arrival.hop_limit, packet)
}

/// Follows the directory: joins the groups of each new port's link and advertises there at once, then every
/// while.
async fn advertise(dhcp: Arc<Endpoint>, routers: Arc<Endpoint>, mut directory: Snapshots, every: Duration) {
    let mut joined: HashMap<u32, Uid> = HashMap::new();
    let mut due = Instant::now() + every;
    loop {
        let snapshot = Arc::clone(&directory.borrow_and_update());
        joined.retain(|interface, uid| {
            // An interface's number may be another port's by now.
            let stays = snapshot.ports.get(interface).is_some_and(|port| port.uid == *uid);
            if !stays {
                // Of an interface that is gone there is nothing to leave.
                let _ = dhcp.leave(ALL_DHCP_SERVERS, *interface);
                let _ = routers.leave(ALL_ROUTERS, *interface);
            }
            stays
        });
        let with_v6 = snapshot.ports.iter().filter(|(_, port)| port.nic.ipv6().is_some());
        let wanted: Vec<(&u32, &Uid)> = with_v6.map(|(interface, port)| (interface, &port.uid)).collect();
        let mut is_complete = true;
        for (interface, uid) in &wanted {
            if joined.contains_key(interface) {
                continue;
            }
            if join(&dhcp, &routers, **interface) {
                joined.insert(**interface, (*uid).clone());
                send_advertisement(&routers, &snapshot, **interface);
            } else {
                is_complete = false;
            }
        }
        if Instant::now() >= due {
            for (interface, _) in &wanted {
                send_advertisement(&routers, &snapshot, **interface);
            }
            due = Instant::now() + every;
        }
        let pause = due.saturating_duration_since(Instant::now());
        let pause = if is_complete { pause } else { pause.min(JOIN_EVERY) };
        tokio::select! {
            changed = directory.changed() => if changed.is_err() { tokio::time::sleep(pause).await },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn join(dhcp: &Endpoint, routers: &Endpoint, interface: u32) -> bool {
    let is_in = |outcome: io::Result<()>| match outcome {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => true,
        Err(e) => {
            tracing::debug!(interface, error = %e, "cannot join a multicast group yet");
            false
        }
    };
    is_in(dhcp.join(ALL_DHCP_SERVERS, interface)) && is_in(routers.join(ALL_ROUTERS, interface))
}

fn send_advertisement(routers: &Endpoint, directory: &Directory, interface: u32) {
    if let Some(reply) = dhcp::advertise(directory, interface) {
        send(routers, reply, interface);
    }
}

fn send(endpoint: &Endpoint, reply: Reply, interface: u32) {
    endpoint.send(&reply.bytes, &Departure { to: reply.to, source: reply.source, interface });
}

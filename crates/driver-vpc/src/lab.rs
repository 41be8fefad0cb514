//! Hosts for tests and measurements: network namespaces joined by an underlay, each with a driver and a run directory of
//! its own. Everything is taken away when the lab is dropped, also after a failure. Needs root, iproute2, and a caller for
//! whom a failure is the end: all of it panics.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "helpers of tests and measurements")]

use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use driver::{
    GroupPlan, Hop, Link, Mac, Peer, PortPlan, Protocol, RemotePlan, RoutePlan, RouteTablePlan, RulePlan,
    VpcPlan,
};
use ipnet::IpNet;
use model::Uid;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, socket};
use sys::namespace::{hold_network, within_network};

use crate::{VpcDriver, VpcOptions};

/// Longest wait for an answer, also for one that should not come. The kernel says that a new link carries some
/// moments after it is up, and what is sent before is lost: a lost SYN is sent again after a second.
pub const PATIENCE: Duration = Duration::from_millis(2500);
/// Echo requests are sent again after this.
const AGAIN: Duration = Duration::from_millis(250);

static COUNT: AtomicU32 = AtomicU32::new(1);

/// A uid that no other call has given.
pub fn uid() -> Uid {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Uid::parse(&format!("{:08x}-{number:08x}", std::process::id())).unwrap()
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An outside network (a namespace with a bridge, 192.0.2.254) and hosts 192.0.2.1, 192.0.2.2 ... on it.
#[derive(Debug)]
pub struct Lab {
    folder: tempfile::TempDir,
    pub hosts: Vec<Machine>,
    sandboxes: std::sync::Mutex<Vec<PathBuf>>,
}

#[derive(Debug)]
pub struct Machine {
    pub namespace: PathBuf,
    pub options: VpcOptions,
    pub driver: VpcDriver,
    pub underlay: IpAddr,
}

impl Lab {
    pub fn new(hosts: u8) -> Self {
        // First, so that a failure on the way is cleared up as well.
        let folder = tempfile::tempdir().unwrap();
        let mut lab = Self { folder, hosts: Vec::new(), sandboxes: std::sync::Mutex::default() };
        let outside = lab.outside();
        hold_network(&outside).expect("tests of networks run as root");
        run(&outside, "ip link add wire type bridge forward_delay 0");
        run(&outside, "ip addr add 192.0.2.254/24 dev wire");
        run(&outside, "ip link set wire up");
        for number in 1..=hosts {
            let namespace = lab.folder.path().join(format!("host{number}"));
            hold_network(&namespace).unwrap();
            wire(&outside, &namespace, &format!("to{number}"), "eth0");
            run(&outside, &format!("ip link set to{number} master wire up"));
            run(&namespace, &format!("ip addr add 192.0.2.{number}/24 dev eth0"));
            run(&namespace, &format!("ip addr add fd00:192::{number}/64 dev eth0 nodad"));
            run(&namespace, "ip link set eth0 up");
            run(&namespace, "ip route add default via 192.0.2.254");
            let options = VpcOptions {
                run_dir: lab.folder.path().join(format!("run{number}")),
                host_namespace: Some(namespace.clone()),
                ..VpcOptions::default()
            };
            let driver = VpcDriver::new(options.clone());
            let underlay = address(&format!("192.0.2.{number}"));
            lab.hosts.push(Machine { namespace, options, driver, underlay });
        }
        lab
    }

    pub fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    /// Another wire from the outside to a host.
    pub fn join(&self, host: &Machine, outer: &str, inner: &str) {
        wire(&self.outside(), &host.namespace, outer, inner);
    }

    /// A port of a container, in a sandbox of its own.
    pub fn port(&self, addresses: &[&str], groups: &[&Uid]) -> PortPlan {
        let uid = uid();
        let namespace = self.folder.path().join(format!("sandbox-{uid}"));
        self.sandboxes.lock().unwrap().push(namespace.clone());
        let number = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        PortPlan {
            uid,
            link: Link::Veth { namespace, name: "eth0".into() },
            mac: Mac([2, 0x11, number[0], number[1], number[2], number[3]]),
            addresses: addresses.iter().map(|a| address(a)).collect(),
            gateways: vec![address("10.0.0.1"), address("fd00:1::1")],
            source_check: true,
            groups: groups.iter().map(|group| (*group).clone()).collect(),
            rate_bits: None,
            logs_flows: false,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for machine in &self.hosts {
            for folder in ["vpcs", "pool"] {
                for entry in
                    std::fs::read_dir(machine.options.run_dir.join(folder)).into_iter().flatten().flatten()
                {
                    let _ = sys::mount::detach(&entry.path().join("net"));
                    let _ = sys::mount::detach(&entry.path());
                }
            }
            let _ = sys::mount::detach(&machine.namespace);
        }
        for sandbox in self.sandboxes.lock().unwrap().iter() {
            let _ = sys::mount::detach(sandbox);
        }
        let _ = sys::mount::detach(&self.outside());
    }
}

/// iproute2 names namespaces by files below /run/netns or by processes: it is lent a process of one.
fn wire(outside: &Path, host: &Path, outer: &str, inner: &str) {
    lend(host, |process| {
        run(outside, &format!("ip link add {outer} type veth peer name {inner} netns {process}"));
    });
}

/// Calls `work` with the number of a process that is in the namespace meanwhile.
fn lend(namespace: &Path, work: impl FnOnce(u32)) {
    let kept = File::open(namespace).unwrap();
    let mut process = within_network(Some(&kept), || Command::new("sleep").arg("60").spawn()).unwrap();
    work(process.id());
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Runs a program within a network namespace; it must succeed.
pub fn run(namespace: &Path, line: &str) -> String {
    let (succeeded, text) = try_run(namespace, line);
    assert!(succeeded, "{line}: {text}");
    text
}

pub fn try_run(namespace: &Path, line: &str) -> (bool, String) {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    let kept = File::open(namespace).unwrap();
    let output = within_network(Some(&kept), || command.output()).expect(line);
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Where a port's container is.
pub fn sandbox(port: &PortPlan) -> &Path {
    match &port.link {
        Link::Veth { namespace, .. } => namespace,
        Link::Tap { .. } => panic!("a tap has no sandbox"),
    }
}

/// Whether an echo request is answered.
pub fn pings(from: &Path, to: &str) -> bool {
    echo(from, None, address(to))
}

/// Sends an echo request (RFC 792, RFC 4443) from an address of choice, and tells whether it was answered in time.
pub fn echo(from: &Path, source: Option<IpAddr>, to: IpAddr) -> bool {
    const DATA: &[u8; 4] = b"echo";
    let kept = File::open(from).unwrap();
    let (family, protocol, request, reply) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129),
    };
    let fd = within_network(Some(&kept), || {
        socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).map_err(std::io::Error::from)
    });
    let socket: std::net::UdpSocket = fd.expect("a raw socket").into();
    socket.set_read_timeout(Some(AGAIN)).unwrap();
    if let Some(IpAddr::V4(source)) = source {
        let address = SockaddrIn::from(std::net::SocketAddrV4::new(source, 0));
        nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address).expect("bind");
    }
    let mark = u16::try_from(COUNT.fetch_add(1, Ordering::Relaxed)).unwrap();
    let [high, low] = mark.to_be_bytes();
    let mut packet = [&[request, 0, 0, 0, high, low, 0, 1], &DATA[..]].concat();
    // Of ICMPv6 the kernel reckons the checksum itself.
    let words = packet.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
    let sum: u32 = words.sum();
    let folded = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[2..4].copy_from_slice(&folded.to_be_bytes());
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut buffer = [0; 1500];
    while std::time::Instant::now() < deadline {
        // Refused where there is no route: that is an answer too.
        let _ = socket.send_to(&packet, (to, 0));
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        // IPv4 comes with its head, of which we never set options.
        let head = if to.is_ipv4() { 20 } else { 0 };
        let message = buffer[..length].get(head..).unwrap_or_default();
        if message.first() == Some(&reply) && message.get(4..6) == Some(&[high, low][..]) {
            return true;
        }
    }
    false
}

pub fn everything() -> Peer {
    Peer::Networks(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()])
}

/// A group that lets everything out, and in what the rules say.
pub fn group(uid: &Uid, members: &[&PortPlan], ingress: Vec<RulePlan>) -> GroupPlan {
    let mut all: Vec<IpAddr> = members.iter().flat_map(|port| &port.addresses).copied().collect();
    all.sort();
    let egress = vec![RulePlan { protocol: Protocol::Any, peer: everything() }];
    GroupPlan { uid: uid.clone(), members: all, ingress, egress }
}

pub fn anything() -> Vec<RulePlan> {
    vec![RulePlan { protocol: Protocol::Any, peer: everything() }]
}

/// The plans of one VPC for hosts that hold these ports.
pub fn plans(lab: &Lab, vni: u32, ports: &[Vec<PortPlan>], groups: &[GroupPlan]) -> Vec<VpcPlan> {
    let uid = uid();
    let plan = |here: usize| {
        let others = ports.iter().enumerate().filter(|(host, _)| *host != here);
        let remotes = others.flat_map(|(host, ports)| {
            let host = lab.hosts[host].underlay;
            let addresses = ports.iter().flat_map(|port| port.addresses.clone());
            addresses.map(move |address| RemotePlan { address, host })
        });
        VpcPlan {
            uid: uid.clone(),
            label: format!("test/vpc{vni}"),
            vni,
            mtu: 1450,
            underlay: Some(lab.hosts[here].underlay),
            ports: ports[here].clone(),
            remotes: remotes.collect(),
            groups: groups.to_vec(),
            uplink: None,
            ranges: ranges(),
            tables: vec![table(&ranges(), &[("0.0.0.0/0", Hop::Uplink), ("::/0", Hop::Uplink)])],
            peers: Vec::new(),
            acls: Vec::new(),
            endpoints: Vec::new(),
            segment: None,
        }
    };
    (0..ports.len()).map(plan).collect()
}

/// What [`plans`] have as their own.
pub fn ranges() -> Vec<IpNet> {
    vec![net("10.0.0.0/16"), net("fd00:1::/32")]
}

pub fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A route table that these subnets follow.
pub fn table(sources: &[IpNet], routes: &[(&str, Hop)]) -> RouteTablePlan {
    let route = |(to, target): &(&str, Hop)| RoutePlan { destination: net(to), target: target.clone() };
    RouteTablePlan { uid: uid(), sources: sources.to_vec(), routes: routes.iter().map(route).collect() }
}

/// Where a VPC is on a host.
pub fn namespace_of(host: &Machine, vpc: &Uid) -> PathBuf {
    host.options.run_dir.join("vpcs").join(vpc.as_str()).join("net")
}

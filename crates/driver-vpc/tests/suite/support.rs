//! What tests ask of a lab.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Instant;

use driver::{NetworkDriver, PortPlan, UplinkPlan, VpcPlan};
pub(crate) use driver_vpc::lab::{
    Lab, Machine, PATIENCE, address, anything, echo, everything, group, namespace_of, net, pings, plans, run,
    sandbox, table, try_run, uid,
};
use sys::namespace::within_network;
use sys::netlink::{self, Socket};

/// Whether somebody at `to` in `server` accepts a connection from `client` and gets its word. Tells the address the
/// server saw.
pub(crate) fn reach(client: &Path, server: &Path, to: SocketAddr, listen: IpAddr) -> Option<IpAddr> {
    let server = File::open(server).unwrap();
    let client = File::open(client).unwrap();
    let listener = within_network(Some(&server), || listen_soon((listen, to.port()).into())).expect("listen");
    listener.set_nonblocking(true).unwrap();
    let stream = within_network(Some(&client), || TcpStream::connect_timeout(&to, PATIENCE)).ok()?;
    drop(stream);
    listener.accept().ok().map(|(_, peer)| peer.ip())
}

/// The listener before it may still be open for a moment: in a program that another test is just starting.
fn listen_soon(at: SocketAddr) -> io::Result<TcpListener> {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(at) {
            Err(e) if e.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                thread::sleep(PATIENCE / 100);
            }
            bound => return bound,
        }
    }
}

/// As [`reach`], for the server's own address.
pub(crate) fn connects(client: &PortPlan, server: &PortPlan, port: u16) -> bool {
    let to = server.addresses[0];
    reach(sandbox(client), sandbox(server), SocketAddr::new(to, port), to).is_some()
}

/// Echo requests that have reached a port.
pub(crate) fn received(port: &PortPlan) -> u64 {
    received_in(sandbox(port))
}

/// Echo requests that have reached a namespace.
pub(crate) fn received_in(namespace: &Path) -> u64 {
    let text = run(namespace, "cat /proc/net/snmp");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("Icmp: ")).collect();
    let place = lines[0].split(' ').position(|word| word == "InEchos").unwrap();
    lines[1].split(' ').nth(place).unwrap().parse().unwrap()
}

pub(crate) fn uplink() -> UplinkPlan {
    let nat = vec![net("10.0.0.0/16")];
    UplinkPlan { nat, ..UplinkPlan::default() }
}

/// Hears what the kernel tells about links, addresses, routes, lookups and neighbours.
pub(crate) fn listener(namespace: &Path) -> Socket {
    /// RTMGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE, and RTNLGRP_IPV6_RULE.
    const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18;
    let kept = File::open(namespace).unwrap();
    within_network(Some(&kept), || Socket::subscribed(netlink::Protocol::Route, GROUPS)).unwrap()
}

/// Nothing differs from the plan, and to make it true again says nothing to the kernel.
pub(crate) async fn is_settled(host: &Machine, plan: &VpcPlan) {
    assert_eq!(host.driver.check(plan).await.unwrap(), []);
    let mut inside = listener(&namespace_of(host, &plan.uid));
    let mut outside = listener(&host.namespace);
    until_quiet(&mut inside, &mut outside).await;
    host.driver.ensure(plan).await.expect("ensure again");
    assert_eq!(inside.news().unwrap(), [], "nothing was said inside");
    assert_eq!(outside.news().unwrap(), [], "nor on the host");
}

/// The kernel itself says up to a second later that a new link is up, and gives it its link-local route.
async fn until_quiet(inside: &mut Socket, outside: &mut Socket) {
    const QUIET: std::time::Duration = std::time::Duration::from_millis(1200);
    const LOOKS_MAX: usize = 10;
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(QUIET).await;
        if inside.news().unwrap().is_empty() && outside.news().unwrap().is_empty() {
            return;
        }
    }
}

pub(crate) async fn ensure_all(lab: &Lab, plans: &[VpcPlan]) {
    for (machine, plan) in lab.hosts.iter().zip(plans) {
        machine.driver.ensure(plan).await.expect("ensure");
    }
}

//! From a plan to addresses, routes, neighbours and forwarding entries of a VPC's namespace. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use driver::{Hop, PortPlan, Reach, RemotePlan, VpcPlan};
use ipnet::IpNet;
use model::Uid;

use crate::error::VpcError;
use crate::names::{
    GATEWAY_LINK_LOCAL, GATEWAY_MAC, UplinkAddresses, peer_device, route_table, tunnel_hop, tunnel_mac,
};
use crate::routing;
use crate::rtnl::{Address, Forwarding, Neighbour, Route};
use crate::tables::Tables;

/// The metadata service: EC2's addresses, which guests of every cloud look for.
pub(crate) const METADATA4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
pub(crate) const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// The loopback's index in every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Indexes of the devices in a VPC's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Devices {
    pub(crate) ports: BTreeMap<Uid, u32>,
    /// What the ports' devices are called.
    pub(crate) names: BTreeMap<Uid, String>,
    pub(crate) overlay: Option<u32>,
    pub(crate) uplink: Option<u32>,
    /// Links to peers, by the peer.
    pub(crate) peers: BTreeMap<Uid, u32>,
}

/// Says what is wrong with a plan that no kernel could make true.
pub(crate) fn check(plan: &VpcPlan) -> Result<(), VpcError> {
    let invalid = |why: String| Err(VpcError::Invalid(why));
    if plan.uid.is_unset() {
        return invalid("the plan has no uid".into());
    }
    let mut uids = HashSet::with_capacity(plan.ports.len());
    let mut addresses = HashMap::with_capacity(plan.ports.len());
    for port in &plan.ports {
        if !uids.insert(&port.uid) {
            return invalid(format!("port {} is planned twice", port.uid));
        }
        for address in &port.addresses {
            if let Some(other) = addresses.insert(*address, &port.uid) {
                return invalid(format!("ports {other} and {} both have {address}", port.uid));
            }
        }
    }
    check_hosts(plan)?;
    check_peers(plan)?;
    if plan.underlay.is_some() && !(1..1 << 24).contains(&plan.vni) {
        return invalid(format!("{} is no VXLAN identifier: use 1 to 16777215", plan.vni));
    }
    Ok(())
}

fn check_hosts(plan: &VpcPlan) -> Result<(), VpcError> {
    let invalid = |why: String| Err(VpcError::Invalid(why));
    let mut hosts = BTreeMap::new();
    let Some(own) = plan.underlay else {
        if let Some(remote) = members(plan).next() {
            let why = "is on another host, but this one has no address between hosts";
            return invalid(format!("{} {why}", remote.address));
        }
        return match relays(plan).next() {
            Some(host) => invalid(format!("{host} is to carry, but this host has no address between hosts")),
            None => Ok(()),
        };
    };
    for host in other_hosts(plan) {
        if own.is_ipv4() != host.is_ipv4() {
            return invalid(format!("hosts {own} and {host} are of different families"));
        }
        match hosts.insert(tunnel_mac(host), host) {
            Some(other) if other != host => {
                return invalid(format!("hosts {other} and {host} share a tunnel address: renumber one"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_peers(plan: &VpcPlan) -> Result<(), VpcError> {
    let invalid = |why: String| Err(VpcError::Invalid(why));
    let (mut devices, mut tables) = (BTreeSet::new(), BTreeSet::new());
    for peer in &plan.peers {
        if (plan.uid < peer.uid) == (peer.reach == Reach::Link) {
            return invalid(format!("of peers {} and {} the smaller carries", plan.uid, peer.uid));
        }
        if !devices.insert(peer_device(&peer.uid)) {
            return invalid(format!("peer {} is planned twice", peer.uid));
        }
    }
    match plan.tables.iter().find(|table| !tables.insert(route_table(&table.uid))) {
        Some(table) => invalid(format!("the number of route table {} is taken: make it anew", table.uid)),
        None => Ok(()),
    }
}

/// Peers' ports on other hosts, reached over our overlay.
fn carried(plan: &VpcPlan) -> impl Iterator<Item = &RemotePlan> {
    plan.peers.iter().flat_map(|peer| match &peer.reach {
        Reach::Carried { remotes, .. } => remotes.as_slice(),
        Reach::Link => &[],
    })
}

/// Hosts that carry to the outside for this one.
fn relays(plan: &VpcPlan) -> impl Iterator<Item = IpAddr> {
    plan.tables.iter().flat_map(|table| &table.routes).filter_map(|route| match &route.target {
        Hop::Host(host) => Some(*host),
        _ => None,
    })
}

/// Hosts with which packets pass in our overlay, some of them several times.
pub(crate) fn other_hosts(plan: &VpcPlan) -> impl Iterator<Item = IpAddr> {
    members(plan).map(|remote| remote.host).chain(relays(plan))
}

/// Ports on other hosts with which packets pass in our overlay.
fn members(plan: &VpcPlan) -> impl Iterator<Item = &RemotePlan> {
    plan.remotes.iter().chain(carried(plan))
}

/// What the namespace has to have, given its devices. A device that is not there yet has nothing.
pub(crate) fn tables(plan: &VpcPlan, devices: &Devices, uplink: Option<UplinkAddresses>) -> Tables {
    let mut tables = Tables::default();
    let endpoints = plan.endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter().copied());
    for address in gateways(plan).chain([METADATA4.into(), METADATA6.into()]).chain(endpoints) {
        tables.addresses.insert(Address { device: LOOPBACK, address, prefix: host_prefix(address) });
    }
    for port in &plan.ports {
        if let Some(device) = devices.ports.get(&port.uid) {
            add_port(&mut tables, port, plan, *device);
        }
    }
    if let Some(device) = devices.overlay {
        add_remotes(&mut tables, plan, device);
    }
    if let (Some(device), Some(addresses)) = (devices.uplink, uplink) {
        add_uplink(&mut tables, addresses, device, wants_ipv6(plan));
    }
    routing::add(&mut tables, plan, devices, uplink);
    tables
}

/// Gateways with an address of their own; [`GATEWAY_LINK_LOCAL`] is on every port's link anyway.
fn gateways(plan: &VpcPlan) -> impl Iterator<Item = IpAddr> {
    let all = plan.ports.iter().flat_map(|port| &port.gateways).copied();
    all.filter(|address| !is_link_local6(*address))
}

/// Whether the uplink carries IPv6.
pub(crate) fn wants_ipv6(plan: &VpcPlan) -> bool {
    plan.uplink.as_ref().is_some_and(|uplink| {
        uplink.nat.iter().chain(&uplink.egress).any(|network| network.addr().is_ipv6())
            || uplink.floating.iter().any(|(outside, _)| outside.is_ipv6())
            || uplink.shared.iter().any(|shared| shared.address.is_ipv6())
    })
}

fn add_port(tables: &mut Tables, port: &PortPlan, plan: &VpcPlan, device: u32) {
    let speaks_ipv6 = port.addresses.iter().any(IpAddr::is_ipv6);
    if speaks_ipv6 {
        tables.addresses.insert(Address { device, address: GATEWAY_LINK_LOCAL.into(), prefix: 64 });
    }
    for address in &port.addresses {
        tables.routes.insert(Route::main(single(*address), device, None));
        // A guest that claims another's address gains nothing: nobody asks.
        tables.neighbours.insert(Neighbour { device, address: *address, mac: Some(port.mac.0) });
    }
    // IPv4 answers for all it has a route to (proxy_arp); IPv6 wants each named.
    let endpoints = plan.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let named = port.gateways.iter().chain(endpoints);
    let named = named.filter(|a| speaks_ipv6 && a.is_ipv6() && !is_link_local6(**a));
    for address in named {
        tables.neighbours.insert(Neighbour { device, address: *address, mac: None });
    }
}

fn add_remotes(tables: &mut Tables, plan: &VpcPlan, device: u32) {
    for remote in &plan.remotes {
        tables.routes.insert(Route::main(single(remote.address), device, Some(tunnel_hop(remote.host))));
    }
    for host in other_hosts(plan) {
        let (hop, mac) = (tunnel_hop(host), tunnel_mac(host));
        tables.neighbours.insert(Neighbour { device, address: hop, mac: Some(mac) });
        tables.forwardings.insert(Forwarding { device, mac, host });
    }
}

fn add_uplink(tables: &mut Tables, addresses: UplinkAddresses, device: u32, with_ipv6: bool) {
    let mut add = |own: IpAddr, peer: IpAddr, prefix: u8| {
        tables.addresses.insert(Address { device, address: own, prefix });
        tables.neighbours.insert(Neighbour { device, address: peer, mac: Some(GATEWAY_MAC) });
    };
    add(addresses.vpc4(), addresses.host4(), 31);
    if with_ipv6 {
        add(addresses.vpc6(), addresses.host6(), 127);
    }
}

pub(crate) fn is_link_local6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

pub(crate) fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The network of one address.
pub(crate) fn single(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// The network of all addresses of a family.
pub(crate) fn all(unspecified: IpAddr) -> IpNet {
    IpNet::new(unspecified, 0).unwrap_or_else(|_| single(unspecified))
}

#[cfg(test)]
mod tests {
    use driver::{Link, Mac};

    use crate::rtnl::Way;

    use super::*;

    fn port(uid: &str, address: &str) -> PortPlan {
        PortPlan {
            uid: Uid::parse(uid).unwrap(),
            link: Link::Tap { user_id: 0 },
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec![address.parse().unwrap()],
            gateways: vec!["10.0.0.1".parse().unwrap()],
            source_check: true,
            groups: Vec::new(),
            rate_bits: None,
            logs_flows: false,
        }
    }

    fn plan() -> VpcPlan {
        VpcPlan {
            uid: Uid::parse("a").unwrap(),
            vni: 7,
            underlay: Some("192.0.2.1".parse().unwrap()),
            ports: vec![port("b", "10.0.0.2")],
            remotes: vec![RemotePlan {
                address: "10.0.0.3".parse().unwrap(),
                host: "192.0.2.2".parse().unwrap(),
            }],
            ..VpcPlan::default()
        }
    }

    fn refused(plan: &VpcPlan) -> String {
        check(plan).unwrap_err().to_string()
    }

    #[test]
    fn plans_that_cannot_be_are_refused() {
        check(&plan()).unwrap();
        assert_eq!(refused(&VpcPlan { vni: 0, ..plan() }), "0 is no VXLAN identifier: use 1 to 16777215");
        let twice = VpcPlan { ports: vec![port("b", "10.0.0.2"), port("c", "10.0.0.2")], ..plan() };
        assert_eq!(refused(&twice), "ports b and c both have 10.0.0.2");
        let alone = VpcPlan { underlay: None, ..plan() };
        assert_eq!(refused(&alone), "10.0.0.3 is on another host, but this one has no address between hosts");
    }

    #[test]
    fn a_remote_is_one_route_and_its_host_one_neighbour() {
        let devices = Devices { overlay: Some(3), ..Devices::default() };
        let mut plan = plan();
        plan.remotes.push(RemotePlan { address: "fd00::3".parse().unwrap(), ..plan.remotes[0].clone() });
        let tables = tables(&plan, &devices, None);
        assert_eq!((tables.routes.len(), tables.neighbours.len(), tables.forwardings.len()), (2, 1, 1));
        let via = tunnel_hop(plan.remotes[0].host);
        assert!(tables.routes.iter().all(|r| r.way == Way::Device { device: 3, via: Some(via) }));
    }

    #[test]
    fn a_port_without_a_device_has_nothing_yet() {
        let tables = tables(&plan(), &Devices::default(), None);
        assert!(tables.routes.is_empty() && tables.neighbours.is_empty());
        assert_eq!(tables.addresses.len(), 3, "the gateway and the metadata service");
    }
}

//! Where packets of a VPC's namespace go that are for no port of it: route tables, and what leads to them. Pure.
//!
//! The main table holds a route of full length to each port, and says of the rest of the VPC's networks that nothing
//! is there. It is looked at first, so what is inside never goes out. Then a port that may send from any address
//! follows the table of its own subnet, and all others that of their source.

use std::collections::BTreeMap;
use std::net::IpAddr;

use driver::{Hop, PeerPlan, Reach, RouteTablePlan, VpcPlan};
use ipnet::IpNet;
use model::Uid;

use crate::layout::{Devices, all, single, wants_ipv6};
use crate::names::{UplinkAddresses, peer_mac, route_table, tunnel_hop, tunnel_link_local};
use crate::rtnl::{Lookup, MAIN, Neighbour, Route, Way};
use crate::tables::Tables;

const INSIDE_FIRST: u32 = 100;
const BY_PORT: u32 = 200;
const BY_SOURCE: u32 = 300;

/// Adds what leads beyond the ports. The routes to these are in `tables` already.
pub(crate) fn add(tables: &mut Tables, plan: &VpcPlan, devices: &Devices, uplink: Option<UplinkAddresses>) {
    let taken: Vec<IpNet> = tables.routes.iter().map(|route| route.destination).collect();
    for range in plan.ranges.iter().map(IpNet::trunc).filter(|range| !taken.contains(range)) {
        tables.routes.insert(Route { table: MAIN, destination: range, way: Way::Unreachable });
    }
    let map = Map { plan, devices, uplink };
    for peer in &plan.peers {
        tables.neighbours.extend(map.peer_neighbour(peer));
    }
    for unspecified in ["0.0.0.0", "::"].iter().filter_map(|text| text.parse().ok()) {
        let source = all(unspecified);
        let first = Lookup { priority: INSIDE_FIRST, source, input: None, table: MAIN, skips_default: true };
        tables.lookups.insert(first);
    }
    for planned in &plan.tables {
        let table = route_table(&planned.uid);
        let routes = map.routes(planned).into_iter();
        tables.routes.extend(routes.map(|(destination, way)| Route { table, destination, way }));
        let from = |source: &IpNet, priority, input| Lookup {
            priority,
            source: source.trunc(),
            input,
            table,
            skips_default: false,
        };
        tables.lookups.extend(planned.sources.iter().map(|source| from(source, BY_SOURCE, None)));
        for (device, everything) in map.unchecked(planned) {
            tables.lookups.insert(from(&everything, BY_PORT, Some(device)));
        }
    }
}

/// What ways are made of.
struct Map<'a> {
    plan: &'a VpcPlan,
    devices: &'a Devices,
    uplink: Option<UplinkAddresses>,
}

impl Map<'_> {
    /// A table's routes. A route to a peer whose packets we carry becomes one to each of its ports, where no other
    /// route is narrower.
    fn routes(&self, planned: &RouteTablePlan) -> BTreeMap<IpNet, Way> {
        let mut hops: BTreeMap<IpNet, &Hop> = BTreeMap::new();
        for route in &planned.routes {
            hops.entry(route.destination.trunc()).or_insert(&route.target);
        }
        let mut ways: BTreeMap<IpNet, Way> =
            hops.iter().map(|(destination, hop)| (*destination, self.way(hop, *destination))).collect();
        for peer in self.plan.peers.iter().filter(|peer| hops.values().any(|hop| leads_to(hop, &peer.uid))) {
            for (address, way) in self.carried(peer) {
                let covering = hops.iter().filter(|(destination, _)| destination.contains(&address));
                let narrowest = covering.max_by_key(|(destination, _)| destination.prefix_len());
                if narrowest.is_some_and(|(_, hop)| leads_to(hop, &peer.uid)) {
                    ways.insert(single(address), way);
                }
            }
        }
        ways
    }

    fn way(&self, hop: &Hop, destination: IpNet) -> Way {
        let is_ipv4 = destination.addr().is_ipv4();
        match hop {
            // Told to the sender: a guest that tries IPv6 first goes on to IPv4 at once.
            Hop::Uplink => self.outside(is_ipv4).unwrap_or(Way::Unreachable),
            Hop::Host(host) => self.overlay(*host).unwrap_or(Way::Blackhole),
            Hop::Port(address) if address.is_ipv4() == is_ipv4 => self.port(*address),
            Hop::Port(_) | Hop::Blackhole => Way::Blackhole,
            Hop::Peer(uid) => match self.plan.peers.iter().find(|peer| peer.uid == *uid) {
                Some(peer) if peer.reach == Reach::Link => self.link(peer).unwrap_or(Way::Blackhole),
                // Its ports have ways of their own; nobody has the other addresses.
                Some(_) => Way::Unreachable,
                None => Way::Blackhole,
            },
        }
    }

    fn outside(&self, is_ipv4: bool) -> Option<Way> {
        let (device, pair) = (self.devices.uplink?, self.uplink?);
        let via = if is_ipv4 { pair.host4() } else { pair.host6() };
        (is_ipv4 || wants_ipv6(self.plan)).then_some(Way::Device { device, via: Some(via) })
    }

    fn port(&self, address: IpAddr) -> Way {
        let here = self.plan.ports.iter().find(|port| port.addresses.contains(&address));
        if let Some(port) = here {
            let device = self.devices.ports.get(&port.uid);
            return device.map_or(Way::Blackhole, |d| Way::Device { device: *d, via: Some(address) });
        }
        let remote = self.plan.remotes.iter().find(|remote| remote.address == address);
        remote.and_then(|remote| self.overlay(remote.host)).unwrap_or(Way::Blackhole)
    }

    fn overlay(&self, host: IpAddr) -> Option<Way> {
        Some(Way::Device { device: self.devices.overlay?, via: Some(tunnel_hop(host)) })
    }

    fn link(&self, peer: &PeerPlan) -> Option<Way> {
        let device = *self.devices.peers.get(&peer.uid)?;
        Some(Way::Device { device, via: Some(tunnel_link_local(peer_mac(&peer.uid, &self.plan.uid))) })
    }

    fn peer_neighbour(&self, peer: &PeerPlan) -> Option<Neighbour> {
        let device = *self.devices.peers.get(&peer.uid)?;
        let mac = peer_mac(&peer.uid, &self.plan.uid);
        Some(Neighbour { device, address: tunnel_link_local(mac), mac: Some(mac) })
    }

    /// The ways to a peer's ports, when we carry.
    fn carried(&self, peer: &PeerPlan) -> Vec<(IpAddr, Way)> {
        let Reach::Carried { here, remotes } = &peer.reach else { return Vec::new() };
        let link = self.link(peer);
        let near = here.iter().filter_map(|address| Some((*address, link.clone()?)));
        let far = remotes.iter().filter_map(|remote| Some((remote.address, self.overlay(remote.host)?)));
        near.chain(far).collect()
    }

    /// Devices of ports of a table's subnets that may send from any address, per family.
    fn unchecked(&self, planned: &RouteTablePlan) -> Vec<(String, IpNet)> {
        let mut found = Vec::new();
        for port in self.plan.ports.iter().filter(|port| !port.source_check) {
            let Some(name) = self.devices.names.get(&port.uid) else { continue };
            for is_ipv4 in [true, false] {
                let own = port.addresses.iter().find(|address| address.is_ipv4() == is_ipv4);
                let Some(own) = own else { continue };
                if planned.sources.iter().any(|source| source.contains(own)) {
                    let unspecified: IpAddr = if is_ipv4 { [0_u8; 4].into() } else { [0_u8; 16].into() };
                    found.push((name.clone(), all(unspecified)));
                }
            }
        }
        found
    }
}

fn leads_to(hop: &Hop, peer: &Uid) -> bool {
    matches!(hop, Hop::Peer(uid) if uid == peer)
}

#[cfg(test)]
mod tests {
    use driver::{RemotePlan, RoutePlan, UplinkPlan};

    use super::*;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap()
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn remote(address: &str) -> RemotePlan {
        RemotePlan { address: address.parse().unwrap(), host: "192.0.2.2".parse().unwrap() }
    }

    fn route(destination: &str, target: Hop) -> RoutePlan {
        RoutePlan { destination: net(destination), target }
    }

    fn ways(plan: &VpcPlan) -> BTreeMap<String, Way> {
        let devices = Devices {
            overlay: Some(7),
            uplink: plan.uplink.as_ref().map(|_| 8),
            peers: plan.peers.iter().filter(|p| p.is_linked()).map(|p| (p.uid.clone(), 9)).collect(),
            ..Devices::default()
        };
        let mut tables = Tables::default();
        add(&mut tables, plan, &devices, Some(UplinkAddresses { slot: 0 }));
        let routes = tables.routes.into_iter();
        routes.map(|route| (format!("{}", route.destination), route.way)).collect()
    }

    fn plan(routes: Vec<RoutePlan>) -> VpcPlan {
        VpcPlan {
            uid: uid("b"),
            underlay: Some("192.0.2.1".parse().unwrap()),
            ranges: vec![net("10.0.0.0/16")],
            remotes: vec![remote("10.0.0.9")],
            tables: vec![RouteTablePlan { uid: uid("e"), sources: vec![net("10.0.0.0/24")], routes }],
            ..VpcPlan::default()
        }
    }

    fn by(device: u32, way: Option<&Way>) -> bool {
        matches!(way, Some(Way::Device { device: found, .. }) if *found == device)
    }

    #[test]
    fn what_leads_nowhere_is_dropped() {
        let far = Hop::Port("10.0.0.9".parse().unwrap());
        let gone = Hop::Port("10.0.0.8".parse().unwrap());
        let all = [route("0.0.0.0/0", Hop::Uplink), route("10.1.0.0/16", far), route("10.2.0.0/16", gone)];
        let mut plan = plan(all.to_vec());
        let found = ways(&plan);
        assert_eq!(found["10.0.0.0/16"], Way::Unreachable, "the VPC's own");
        assert_eq!(found["0.0.0.0/0"], Way::Unreachable, "no uplink here");
        assert!(by(7, found.get("10.1.0.0/16")));
        assert_eq!(found["10.2.0.0/16"], Way::Blackhole);
        let nat = vec![net("10.0.0.0/24")];
        plan.uplink = Some(UplinkPlan { nat, ..UplinkPlan::default() });
        plan.tables[0].routes.push(route("::/0", Hop::Uplink));
        let found = ways(&plan);
        assert!(by(8, found.get("0.0.0.0/0")));
        assert_eq!(found["::/0"], Way::Unreachable, "nothing of IPv6 goes out");
    }

    #[test]
    fn a_carried_peer_is_reached_port_by_port() {
        let peer = |text: &str, reach| PeerPlan { uid: uid(text), ranges: vec![net("10.9.0.0/16")], reach };
        let here = vec!["10.9.0.2".parse().unwrap(), "10.9.1.2".parse().unwrap()];
        let carried = Reach::Carried { here, remotes: vec![remote("10.9.0.3"), remote("10.9.1.3")] };
        let routes = vec![
            route("10.9.0.0/16", Hop::Peer(uid("c"))),
            route("10.9.1.0/24", Hop::Blackhole),
            route("10.9.2.0/24", Hop::Peer(uid("f"))),
        ];
        let mut plan = plan(routes);
        plan.peers = vec![peer("c", carried)];
        let found = ways(&plan);
        assert!(by(9, found.get("10.9.0.2/32")) && by(7, found.get("10.9.0.3/32")));
        assert!(
            !found.contains_key("10.9.1.2/32") && !found.contains_key("10.9.1.3/32"),
            "narrower ones win"
        );
        assert_eq!(found["10.9.0.0/16"], Way::Unreachable, "nobody has the rest");
        assert_eq!(found["10.9.2.0/24"], Way::Blackhole);

        plan.tables[0].routes = vec![route("10.9.0.0/16", Hop::Peer(uid("a")))];
        plan.peers = vec![peer("a", Reach::Link)];
        assert!(by(9, ways(&plan).get("10.9.0.0/16")), "it carries: all of it over the link");
    }
}

//! From route tables and gateways to where a VPC's packets go, and to its way out of this host. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use driver::{Hop, RoutePlan, RouteTablePlan, SharedPlan, UplinkPlan};
use ipnet::IpNet;
use model::network::{
    Cidr, FloatingIp, Gateway, GatewayType, Port, Route, RouteTable, RouteTarget, Subnet, Vpc,
};

use super::peers::Peer;
use super::plan::{View, addresses};

impl View {
    /// The VPC's route tables, each with the subnets that follow it. The same on all hosts.
    pub(super) fn tables(&self, vpc: &Vpc, ports: &[&Arc<Port>], peers: &[Peer<'_>]) -> Vec<RouteTablePlan> {
        let subnets = self.subnets_of(&vpc.metadata.name);
        let own = self.tables.iter().filter(|table| table.spec.vpc == vpc.metadata.name);
        let plan = |table: &Arc<RouteTable>| {
            let follows = |subnet: &&&Arc<Subnet>| {
                self.table_of(subnet).is_some_and(|found| found.metadata.uid == table.metadata.uid)
            };
            let sources = subnets.values().filter(follows).flat_map(|subnet| subnet.spec.cidrs());
            let routes = table.spec.routes.iter().flat_map(|route| {
                let to = |destination: IpNet| RoutePlan {
                    destination,
                    target: self.hop(vpc, &route.target, destination, ports, peers),
                };
                self.destinations(route).into_iter().map(to)
            });
            RouteTablePlan {
                uid: table.metadata.uid.clone(),
                sources: sources.map(Cidr::net).collect(),
                routes: routes.collect(),
            }
        };
        let mut tables: Vec<RouteTablePlan> = own.map(plan).collect();
        tables.retain(|table| !table.sources.is_empty());
        tables
    }

    /// What of the VPC here may leave this host by itself, and how. A subnet that leads to a gateway that translates
    /// and to another as well is translated at both.
    pub(super) fn uplink(&self, vpc: &Vpc, local: &[&Arc<Port>]) -> Option<UplinkPlan> {
        let subnets = self.subnets_of(&vpc.metadata.name);
        let leading = |wanted: &dyn Fn(&Gateway) -> bool| -> Vec<IpNet> {
            let cidrs = subnets.values().flat_map(|subnet| subnet.spec.cidrs().map(move |c| (subnet, c)));
            let leads = cidrs.filter(|(subnet, cidr)| self.leads(subnet, cidr.is_v4(), wanted));
            leads.map(|(_, cidr)| cidr.net()).collect()
        };
        let of_guests_here = |wanted: &dyn Fn(&Gateway) -> bool| {
            if local.is_empty() { Vec::new() } else { leading(wanted) }
        };
        let is_nat = |gateway: &Gateway| self.is_everywhere(gateway);
        let nat = of_guests_here(&is_nat);
        let mut egress = of_guests_here(&|gateway| gateway.spec.gateway_type == GatewayType::Egress);
        egress.retain(|net| net.addr().is_ipv6());
        let is_open = |port: &Port, v4: bool| {
            let wanted = |g: &Gateway| g.spec.gateway_type == GatewayType::Internet || is_nat(g);
            let subnet = subnets.get(port.spec.subnet.as_str());
            subnet.is_some_and(|subnet| self.leads(subnet, v4, &wanted))
        };
        let shared = self.shared_here(vpc).map(|(gateway, address)| {
            let mut networks = leading(&|other| other.metadata.uid == gateway.metadata.uid);
            networks.retain(|network| network.addr().is_ipv4() == address.is_ipv4());
            SharedPlan { address, networks }
        });
        let floating = local.iter().flat_map(|port| {
            let all = self.floating_of(port).map(|(_, outside, inside)| (outside, inside));
            all.filter(|(outside, _)| is_open(port, outside.is_ipv4()))
        });
        let cloud = self.closed.iter().map(|address| IpNet::from(*address));
        let closed = vpc.spec.ranges().map(Cidr::net).chain(cloud).collect();
        let (floating, shared) = (floating.collect(), shared.collect());
        let uplink = UplinkPlan { nat, floating, shared, egress, closed };
        let ways = [&uplink.nat, &uplink.egress];
        let leads_out = !(uplink.floating.is_empty() && uplink.shared.is_empty());
        (leads_out || ways.iter().any(|networks| !networks.is_empty())).then_some(uplink)
    }

    /// Gateways of the VPC that translate on this host for all others, each with the address that it gives.
    pub(super) fn shared_here(&self, vpc: &Vpc) -> impl Iterator<Item = (&Arc<Gateway>, IpAddr)> {
        let own = self.gateways.iter().filter(|gateway| gateway.spec.vpc == vpc.metadata.name);
        let here = own.filter(|gateway| gateway.has_one_place() && gateway.status.host == self.host);
        let here = here.filter(|gateway| self.stands_outside(gateway));
        here.filter_map(|gateway| Some((gateway, self.address_of(gateway)?.spec.address?.0)))
    }

    /// The floating address of a gateway.
    pub(super) fn address_of(&self, gateway: &Gateway) -> Option<&Arc<FloatingIp>> {
        self.floating.iter().find(|floating| floating.metadata.name == gateway.spec.floating_ip)
    }

    /// Whether a gateway translates, and every host does it for its own guests.
    fn is_everywhere(&self, gateway: &Gateway) -> bool {
        let translates = gateway.spec.gateway_type == GatewayType::Nat && !gateway.has_one_place();
        translates && self.stands_outside(gateway)
    }

    /// A gateway in a subnet reaches no farther than the subnet does.
    fn stands_outside(&self, gateway: &Gateway) -> bool {
        if gateway.spec.subnet.is_empty() {
            return true;
        }
        let subnet = self.subnets.iter().find(|subnet| subnet.metadata.name == gateway.spec.subnet);
        let is_internet = |gateway: &Gateway| gateway.spec.gateway_type == GatewayType::Internet;
        subnet.is_some_and(|subnet| self.leads(subnet, true, &is_internet))
    }

    /// Where packets go that are led to a gateway, if it takes them.
    fn hop_to(&self, gateway: &Gateway, v4: bool) -> Option<Hop> {
        match gateway.spec.gateway_type {
            GatewayType::Egress if v4 => None,
            GatewayType::Nat if !self.stands_outside(gateway) => None,
            GatewayType::Nat if gateway.has_one_place() => {
                let address = self.address_of(gateway)?.spec.address?.0;
                if address.is_ipv4() != v4 {
                    return None;
                }
                if gateway.status.host == self.host {
                    return Some(Hop::Uplink);
                }
                let host = gateway.status.host_address?.0;
                let reached = self.underlay.is_some_and(|own| own != host && own.is_ipv4() == host.is_ipv4());
                reached.then_some(Hop::Host(host))
            }
            _ => Some(Hop::Uplink),
        }
    }

    /// The table that a subnet follows: the one it names, or the VPC's main one.
    pub(super) fn table_of(&self, subnet: &Subnet) -> Option<&Arc<RouteTable>> {
        let mut own = self.tables.iter().filter(|table| table.spec.vpc == subnet.spec.vpc);
        let named = &subnet.spec.route_table;
        own.find(|table| if named.is_empty() { table.spec.is_main } else { table.metadata.name == *named })
    }

    /// Whether a route of the family leads a subnet to such a gateway.
    fn leads(&self, subnet: &Subnet, v4: bool, wanted: &dyn Fn(&Gateway) -> bool) -> bool {
        let routes = self.table_of(subnet).map(|table| table.spec.routes.as_slice()).unwrap_or_default();
        routes.iter().any(|route| {
            let gateway = self.gateway(&subnet.spec.vpc, &route.target.gateway);
            gateway.is_some_and(|gateway| wanted(gateway))
                && self.destinations(route).iter().any(|net| net.addr().is_ipv4() == v4)
        })
    }

    fn destinations(&self, route: &Route) -> Vec<IpNet> {
        let list = self.lists.iter().find(|list| list.metadata.name == route.prefix_list);
        let entries = list.into_iter().flat_map(|list| &list.spec.entries).filter_map(|entry| entry.cidr);
        entries.chain(route.destination).map(|cidr| cidr.net()).collect()
    }

    /// A route to what is gone drops.
    fn hop(
        &self,
        vpc: &Vpc,
        target: &RouteTarget,
        destination: IpNet,
        ports: &[&Arc<Port>],
        peers: &[Peer<'_>],
    ) -> Hop {
        let v4 = destination.addr().is_ipv4();
        let found = if !target.gateway.is_empty() {
            self.gateway(&vpc.metadata.name, &target.gateway).and_then(|gateway| self.hop_to(gateway, v4))
        } else if !target.peering.is_empty() {
            let peer = peers.iter().find(|peer| peer.peering == target.peering);
            peer.map(|peer| Hop::Peer(peer.vpc.metadata.uid.clone()))
        } else {
            let named = |port: &&&Arc<Port>| {
                if target.port.is_empty() {
                    !target.instance.is_empty() && port.spec.instance == target.instance
                } else {
                    port.metadata.name == target.port
                }
            };
            // Of an instance's ports the primary one.
            let port = ports.iter().filter(named).min_by_key(|port| port.spec.interface);
            port.and_then(|port| next_hop(port, v4)).map(Hop::Port)
        };
        // What is local and yet not in the VPC's ranges is nowhere.
        found.unwrap_or(Hop::Blackhole)
    }

    fn gateway(&self, vpc: &str, name: &str) -> Option<&Arc<Gateway>> {
        let own = |gateway: &&Arc<Gateway>| gateway.spec.vpc == vpc;
        self.gateways.iter().filter(own).find(|gateway| gateway.metadata.name == name)
    }
}

/// The address by which a port takes packets for others. One whose destination is checked takes none.
fn next_hop(port: &Port, v4: bool) -> Option<IpAddr> {
    let takes = !port.spec.source_destination_check;
    addresses(port).into_iter().find(|address| address.is_ipv4() == v4).filter(|_| takes)
}

#[cfg(test)]
mod tests {
    use driver::VpcPlan;
    use model::network::{GatewaySpec, PrefixEntry, PrefixListSpec, RouteTableSpec, SubnetSpec};

    use super::super::plan::tests::{object, port, route, view};
    use super::*;

    fn hops(plan: &VpcPlan, table: usize) -> Vec<(String, Hop)> {
        plan.tables[table].routes.iter().map(|r| (r.destination.to_string(), r.target.clone())).collect()
    }

    fn to_gateway(name: &str) -> RouteTarget {
        RouteTarget { gateway: name.into(), ..RouteTarget::default() }
    }

    fn table(name: &str, number: u8, routes: Vec<Route>) -> Arc<RouteTable> {
        object(name, number, RouteTableSpec { vpc: "v".into(), routes, is_main: false })
    }

    #[test]
    fn a_subnet_follows_its_own_table_or_the_main_one() {
        let (mut view, vpc) = view();
        let spec = SubnetSpec {
            vpc: "v".into(),
            cidr: "10.0.1.0/24".parse().ok(),
            route_table: "private".into(),
            ..SubnetSpec::default()
        };
        view.subnets.push(object("private", 110, spec));
        view.tables.push(table("private", 111, Vec::new()));
        view.tables.push(table("idle", 112, Vec::new()));
        let plan = view.plan(&vpc);
        let sources: Vec<_> = plan.tables.iter().map(|table| table.sources.clone()).collect();
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert_eq!(sources, [[net("10.0.0.0/24")], [net("10.0.1.0/24")]], "and none is followed by nobody");
        assert_eq!(hops(&plan, 0), [("0.0.0.0/0".into(), Hop::Uplink)]);
        assert_eq!(plan.uplink.expect("a way out").nat, [net("10.0.0.0/24")], "only who is led there");
        view.tables.clear();
        let plan = view.plan(&vpc);
        assert!(plan.tables.is_empty() && plan.uplink.is_none(), "without a table there is the inside only");
    }

    #[test]
    fn targets_that_are_gone_or_take_nothing_for_others_drop() {
        let (mut view, vpc) = view();
        let by = |port: &str, instance: &str| RouteTarget {
            port: port.into(),
            instance: instance.into(),
            ..RouteTarget::default()
        };
        let mut made = (*port("nat-0", 20, &[])).clone();
        made.spec.instance = "nat".into();
        made.spec.source_destination_check = false;
        let mut second = (*port("nat-1", 21, &[])).clone();
        second.spec.instance = "nat".into();
        second.spec.interface = 1;
        view.ports.extend([Arc::new(second), Arc::new(made)]);
        let entries = ["192.0.2.0/24", "2001:db8::/32"]
            .map(|cidr| PrefixEntry { cidr: cidr.parse().ok(), ..PrefixEntry::default() });
        view.lists.push(object("list", 113, PrefixListSpec { entries: entries.to_vec() }));
        let by_list = Route { prefix_list: "list".into(), target: by("", "nat"), destination: None };
        let mut main = (*view.tables[0]).clone();
        main.spec.routes = vec![
            by_list,
            route("198.51.100.0/24", by("web", "")),
            route("203.0.113.0/24", by("gone", "")),
            route("10.64.0.0/10", to_gateway("gone")),
            route("10.0.0.0/8", RouteTarget { local: true, ..RouteTarget::default() }),
        ];
        view.tables = vec![Arc::new(main)];
        let nat = Hop::Port(IpAddr::from([10, 0, 0, 20]));
        let expected = [
            ("192.0.2.0/24", nat),
            ("2001:db8::/32", Hop::Blackhole),
            ("198.51.100.0/24", Hop::Blackhole),
            ("203.0.113.0/24", Hop::Blackhole),
            ("10.64.0.0/10", Hop::Blackhole),
            ("10.0.0.0/8", Hop::Blackhole),
        ];
        let found = hops(&view.plan(&vpc), 0);
        assert_eq!(found, expected.map(|(destination, hop)| (destination.to_owned(), hop)));
    }

    /// What leads out through a gateway of an address of its own, for a host of this name.
    fn of_gateway(host: &str, at: &str, there: Option<&str>) -> (Option<UplinkPlan>, Vec<(String, Hop)>) {
        let (mut view, vpc) = view();
        view.host = host.into();
        view.underlay = Some("192.0.2.1".parse().unwrap());
        let mut gateway = (*view.gateways[0]).clone();
        gateway.spec.floating_ip = "fip".into();
        gateway.status.host = at.into();
        gateway.status.host_address = there.and_then(|address| address.parse().ok());
        view.gateways = vec![Arc::new(gateway)];
        let mut floating = (*super::super::plan::tests::floating("")).clone();
        floating.metadata.name = "fip".into();
        view.floating = vec![Arc::new(floating)];
        let plan = view.plan(&vpc);
        let hops = hops(&plan, 0);
        (plan.uplink, hops)
    }

    #[test]
    fn a_gateway_with_an_address_is_on_one_host() {
        let all = "0.0.0.0/0".to_owned();
        let (uplink, hops) = of_gateway("h1", "h1", None);
        assert_eq!(hops, [(all.clone(), Hop::Uplink)]);
        let uplink = uplink.expect("a way out");
        let networks = vec!["10.0.0.0/24".parse().unwrap()];
        let address = "198.51.100.7".parse().unwrap();
        assert_eq!((uplink.shared, uplink.nat), (vec![SharedPlan { address, networks }], Vec::new()));
        let (uplink, hops) = of_gateway("h1", "h2", Some("192.0.2.2"));
        assert_eq!((uplink, hops), (None, vec![(all.clone(), Hop::Host("192.0.2.2".parse().unwrap()))]));
        for nowhere in [of_gateway("h1", "h2", None), of_gateway("h1", "", None)] {
            assert_eq!(nowhere, (None, vec![(all.clone(), Hop::Blackhole)]), "it is not ready yet");
        }
    }

    #[test]
    fn a_gateway_in_a_subnet_reaches_what_the_subnet_reaches() {
        let (mut view, vpc) = view();
        let spec = SubnetSpec {
            vpc: "v".into(),
            cidr: "10.0.1.0/24".parse().ok(),
            route_table: "public".into(),
            ..SubnetSpec::default()
        };
        view.subnets.push(object("public", 110, spec));
        let mut gateway = (*view.gateways[0]).clone();
        gateway.spec.subnet = "public".into();
        view.gateways = vec![Arc::new(gateway)];
        view.tables.push(table("public", 111, Vec::new()));
        assert_eq!((hops(&view.plan(&vpc), 0)[0].1.clone(), view.plan(&vpc).uplink), (Hop::Blackhole, None));
        let internet = GatewaySpec { vpc: "v".into(), ..GatewaySpec::default() };
        view.gateways.push(object("inet", 112, internet));
        let mut public = (*view.tables[1]).clone();
        public.spec.routes = vec![route("0.0.0.0/0", to_gateway("inet"))];
        view.tables[1] = Arc::new(public);
        let plan = view.plan(&vpc);
        assert_eq!(hops(&plan, 0)[0].1, Hop::Uplink);
        assert_eq!(plan.uplink.expect("a way out").nat, ["10.0.0.0/24".parse().unwrap()]);
    }

    #[test]
    fn a_gateway_lets_out_what_its_kind_is_for() {
        let check = |kind: GatewayType, destination: &str, expected: [bool; 3], hop: Hop| {
            let (mut view, vpc) = view();
            let mut subnet = (*view.subnets[0]).clone();
            subnet.spec.ipv6_cidr = "fd00:1::/64".parse().ok();
            view.subnets = vec![Arc::new(subnet)];
            let mut gateway = (*view.gateways[0]).clone();
            gateway.spec.gateway_type = kind;
            view.gateways = vec![Arc::new(gateway)];
            let mut main = (*view.tables[0]).clone();
            main.spec.routes = vec![route(destination, to_gateway("g"))];
            view.tables = vec![Arc::new(main)];
            view.floating = vec![super::super::plan::tests::floating("web")];
            let plan = view.plan(&vpc);
            let found = plan.uplink.as_ref().map_or([false; 3], |uplink| {
                [!uplink.nat.is_empty(), !uplink.floating.is_empty(), !uplink.egress.is_empty()]
            });
            assert_eq!(found, expected, "{kind:?} {destination}");
            assert_eq!(hops(&plan, 0), [(destination.to_owned(), hop)]);
        };
        check(GatewayType::Nat, "0.0.0.0/0", [true, true, false], Hop::Uplink);
        check(GatewayType::Nat, "::/0", [true, false, false], Hop::Uplink);
        check(GatewayType::Internet, "0.0.0.0/0", [false, true, false], Hop::Uplink);
        check(GatewayType::Internet, "::/0", [false, false, false], Hop::Uplink);
        check(GatewayType::Egress, "::/0", [false, false, true], Hop::Uplink);
        check(GatewayType::Egress, "0.0.0.0/0", [false, false, false], Hop::Blackhole);
    }
}

//! From what the cloud says of a VPC to this host's part of it. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use driver::{GroupPlan, Link, Mac, Peer, PortPlan, Protocol, RemotePlan, RulePlan, SegmentPlan, VpcPlan};
use model::Uid;
use model::compute::Instance;
use model::network::{
    self, DhcpOptions, Direction, DnsRecord, DnsZone, FloatingIp, FlowLog, Gateway, NetworkAcl, Peering,
    Port, PrefixList, RouteTable, SecurityGroup, SecurityRule, Subnet, SubnetMode, Vpc, VpcEndpoint,
};

/// Bytes of a guest's packet: what is left of 1,500 inside of VXLAN over IPv4 (RFC 7348), with IPv6 to spare.
pub(super) const GUEST_MTU: u16 = 1430;

/// Of guests on a physical segment: what Ethernet carries.
const SEGMENT_MTU: u16 = 1500;

/// Security groups by name.
type Groups<'a> = HashMap<&'a str, &'a Arc<SecurityGroup>>;

/// All that a plan is made of: the objects of one project, and of those that it has peerings with.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) vpcs: Vec<Arc<Vpc>>,
    pub(super) subnets: Vec<Arc<Subnet>>,
    pub(super) ports: Vec<Arc<Port>>,
    pub(super) groups: Vec<Arc<SecurityGroup>>,
    pub(super) lists: Vec<Arc<PrefixList>>,
    pub(super) acls: Vec<Arc<NetworkAcl>>,
    pub(super) options: Vec<Arc<DhcpOptions>>,
    pub(super) flow_logs: Vec<Arc<FlowLog>>,
    pub(super) gateways: Vec<Arc<Gateway>>,
    pub(super) tables: Vec<Arc<RouteTable>>,
    pub(super) peerings: Vec<Arc<Peering>>,
    pub(super) endpoints: Vec<Arc<VpcEndpoint>>,
    /// Other projects that this one has peerings with, by name; they have no others in turn.
    pub(super) others: BTreeMap<String, View>,
    /// Where guests of this host have their end of a port, by the port's name.
    pub(super) links: BTreeMap<String, Link>,
    /// Whose ports those are.
    pub(super) owners: BTreeMap<String, Arc<Instance>>,
    pub(super) floating: Vec<Arc<FloatingIp>>,
    pub(super) zones: Vec<Arc<DnsZone>>,
    pub(super) records: Vec<Arc<DnsRecord>>,
    /// This host's name.
    pub(super) host: String,
    /// Its address between hosts.
    pub(super) underlay: Option<IpAddr>,
    /// PEM of the authority of the cloud's API.
    pub(super) authority: Arc<str>,
    /// Addresses of the cloud itself: guests have no business there.
    pub(super) closed: Vec<IpAddr>,
}

impl View {
    /// This host's part of `vpc`.
    pub(super) fn plan(&self, vpc: &Vpc) -> VpcPlan {
        let subnets = self.subnets_of(&vpc.metadata.name);
        let ports = self.ports_of(vpc);
        let local: Vec<&Arc<Port>> = ports.iter().copied().filter(|port| self.is_here(port)).collect();
        let groups = self.groups_by_name();
        let mut here: Vec<PortPlan> =
            local.iter().filter_map(|port| self.port(port, &subnets, &groups)).collect();
        for port in &mut here {
            port.logs_flows |= vpc.spec.flow_logs;
        }
        let peers = self.peers_of(vpc);
        VpcPlan {
            uid: vpc.metadata.uid.clone(),
            label: vpc.metadata.key(),
            vni: vpc.status.vni,
            mtu: GUEST_MTU,
            underlay: self.underlay,
            remotes: self.remotes(&ports),
            groups: self.groups(vpc, &groups, &local, &self.named_ports(vpc, &peers)),
            endpoints: self.endpoint_plans(vpc, &local),
            uplink: self.uplink(vpc, &local),
            acls: self.acls(vpc, &local),
            ports: here,
            ranges: vpc.spec.ranges().map(network::Cidr::net).collect(),
            tables: self.tables(vpc, &ports, &peers),
            peers: peers.iter().filter_map(|peer| self.peer_plan(vpc, peer)).collect(),
            segment: None,
        }
    }

    /// All that this host has to do with `vpc`: its network, and the segments of its bridge subnets.
    pub(super) fn plans(&self, vpc: &Vpc) -> Vec<VpcPlan> {
        let subnets = self.subnets_of(&vpc.metadata.name);
        let bridged = subnets.values().filter(|subnet| subnet.spec.mode == SubnetMode::Bridge);
        [self.plan(vpc)].into_iter().chain(bridged.map(|subnet| self.segment(subnet, &subnets))).collect()
    }

    /// The ports here of a bridge subnet.
    fn segment(&self, subnet: &Subnet, subnets: &BTreeMap<&str, &Arc<Subnet>>) -> VpcPlan {
        let name = &subnet.metadata.name;
        let own = self.ports.iter().filter(|port| port.spec.subnet == *name && self.is_here(port));
        let groups = self.groups_by_name();
        VpcPlan {
            uid: subnet.metadata.uid.clone(),
            label: subnet.metadata.key(),
            mtu: SEGMENT_MTU,
            ports: own.filter_map(|port| self.port(port, subnets, &groups)).collect(),
            segment: Some(SegmentPlan {
                link: subnet.spec.link.clone(),
                vlan: subnet.spec.vlan,
                networks: subnet.spec.cidrs().map(network::Cidr::net).collect(),
            }),
            ..VpcPlan::default()
        }
    }

    /// All ports of the VPC's own network.
    pub(super) fn ports_of(&self, vpc: &Vpc) -> Vec<&Arc<Port>> {
        let mut subnets = self.subnets_of(&vpc.metadata.name);
        subnets.retain(|_, subnet| subnet.spec.mode == SubnetMode::Routed);
        self.ports.iter().filter(|port| subnets.contains_key(port.spec.subnet.as_str())).collect()
    }

    /// Whether a port is on this host.
    pub(super) fn is_here(&self, port: &Port) -> bool {
        self.links.contains_key(&port.metadata.name)
    }

    /// Subnets of a VPC by name.
    pub(super) fn subnets_of(&self, vpc: &str) -> BTreeMap<&str, &Arc<Subnet>> {
        let own = self.subnets.iter().filter(|subnet| subnet.spec.vpc == vpc);
        own.map(|subnet| (subnet.metadata.name.as_str(), subnet)).collect()
    }

    fn port(
        &self,
        port: &Port,
        subnets: &BTreeMap<&str, &Arc<Subnet>>,
        groups: &Groups<'_>,
    ) -> Option<PortPlan> {
        let subnet = subnets.get(port.spec.subnet.as_str())?;
        let uid = |name: &String| groups.get(name.as_str()).map(|group| group.metadata.uid.clone());
        Some(PortPlan {
            uid: port.metadata.uid.clone(),
            link: self.links.get(&port.metadata.name)?.clone(),
            mac: Mac(port.spec.mac?.bytes()),
            addresses: addresses(port),
            gateways: gateways(subnet),
            source_check: port.spec.source_destination_check,
            groups: port.spec.security_groups.iter().filter_map(uid).collect(),
            rate_bits: port.spec.rate_bits,
            logs_flows: self.is_logged(port, &subnet.spec.vpc),
        })
    }

    /// Whether a port of this Vpc asks to be recorded, or a flow log covers it.
    pub(super) fn is_logged(&self, port: &Port, vpc: &str) -> bool {
        let (name, subnet) = (&port.metadata.name, &port.spec.subnet);
        port.spec.flow_logs || self.flow_logs.iter().any(|log| log.spec.covers(name, subnet, vpc))
    }

    /// Addresses of the VPC that are on other hosts. A port whose host has no address of our family is not reached.
    pub(super) fn remotes(&self, ports: &[&Arc<Port>]) -> Vec<RemotePlan> {
        let Some(own) = self.underlay else { return Vec::new() };
        let elsewhere = ports.iter().filter(|port| !self.is_here(port) && port.status.host != self.host);
        let remotes = elsewhere.flat_map(|port| {
            let host = port.status.host_address.map(|address| address.0);
            let host = host.filter(|host| host.is_ipv4() == own.is_ipv4() && *host != own);
            let to = move |address| host.map(|host| RemotePlan { address, host });
            addresses(port).into_iter().filter_map(to)
        });
        let mut remotes: Vec<RemotePlan> = remotes.collect();
        remotes.sort_unstable();
        remotes.dedup();
        remotes
    }

    /// The groups that ports and endpoints here are in, and those that their rules name.
    fn groups(
        &self,
        vpc: &Vpc,
        known: &Groups<'_>,
        local: &[&Arc<Port>],
        all: &[&Arc<Port>],
    ) -> Vec<GroupPlan> {
        let of_endpoints =
            self.endpoints_of(vpc, local).flat_map(|endpoint| endpoint.spec.security_groups.as_slice());
        let of_ports = local.iter().flat_map(|port| &port.spec.security_groups);
        let own: BTreeSet<&str> = of_ports.chain(of_endpoints).map(String::as_str).collect();
        let mut wanted = own.clone();
        for group in own.iter().filter_map(|name| known.get(name)) {
            wanted.extend(
                group.spec.rules.iter().map(|rule| rule.peer.group.as_str()).filter(|g| !g.is_empty()),
            );
        }
        let mut members = members(&wanted, all);
        let plan = |name: &str| {
            let group = known.get(name)?;
            let rules = |direction| {
                let rules = group.spec.rules.iter().filter(|rule| rule.direction == direction);
                if own.contains(name) {
                    rules.filter_map(|rule| self.rule(rule, known)).collect()
                } else {
                    Vec::new()
                }
            };
            Some(GroupPlan {
                uid: group.metadata.uid.clone(),
                members: members.remove(name).unwrap_or_default(),
                ingress: rules(Direction::Ingress),
                egress: rules(Direction::Egress),
            })
        };
        wanted.into_iter().filter_map(plan).collect()
    }

    fn rule(&self, rule: &SecurityRule, groups: &Groups<'_>) -> Option<RulePlan> {
        let peer = if let Some(cidr) = &rule.peer.cidr {
            Peer::Networks(vec![cidr.net()])
        } else if rule.peer.group.is_empty() {
            let list = self.lists.iter().find(|list| list.metadata.name == rule.peer.prefix_list)?;
            Peer::Networks(list.spec.entries.iter().filter_map(|e| e.cidr.map(|cidr| cidr.net())).collect())
        } else {
            Peer::Group(groups.get(rule.peer.group.as_str())?.metadata.uid.clone())
        };
        let protocol = protocol(rule.protocol, rule.ports, (rule.icmp_type, rule.icmp_code));
        Some(RulePlan { protocol, peer })
    }

    /// What the VPC's guests are told, where that is not its own domain and name service.
    pub(super) fn options_of(&self, vpc: &Vpc) -> Option<&Arc<DhcpOptions>> {
        self.options.iter().find(|options| options.metadata.name == vpc.spec.dhcp_options)
    }

    fn groups_by_name(&self) -> Groups<'_> {
        self.groups.iter().map(|group| (group.metadata.name.as_str(), group)).collect()
    }

    /// The floating addresses of a port, each with the port's address that it stands for.
    pub(super) fn floating_of<'a>(
        &'a self,
        port: &'a Port,
    ) -> impl Iterator<Item = (&'a Arc<FloatingIp>, IpAddr, IpAddr)> {
        let named = self.floating.iter().filter(|floating| floating.spec.port == port.metadata.name);
        named.filter_map(|floating| {
            let outside = floating.spec.address?.0;
            let of_family = |address: &IpAddr| address.is_ipv4() == outside.is_ipv4();
            let first = || addresses(port).into_iter().find(of_family);
            let inside = floating.spec.port_address.map(|address| address.0).or_else(first)?;
            Some((floating, outside, inside))
        })
    }
}

/// What a rule says above IP.
pub(super) fn protocol(
    named: network::Protocol,
    ports: Option<network::PortRange>,
    (kind, code): (Option<u8>, Option<u8>),
) -> Protocol {
    let (from, to) = ports.map_or((0, u16::MAX), |ports| (ports.from, ports.to));
    match named {
        network::Protocol::Any => Protocol::Any,
        network::Protocol::Tcp => Protocol::Tcp(from, to),
        network::Protocol::Udp => Protocol::Udp(from, to),
        network::Protocol::Icmp => Protocol::Icmp { kind, code },
        network::Protocol::Other(number) => Protocol::Other(number),
    }
}

/// Where guests of a subnet send what is not for it, and ask for names: one address of each family.
pub(super) fn gateways(subnet: &Subnet) -> Vec<IpAddr> {
    subnet.spec.cidrs().map(network::Cidr::gateway).collect()
}

pub(super) fn addresses(port: &Port) -> Vec<IpAddr> {
    port.spec.addresses.iter().map(|address| address.0).collect()
}

/// Addresses of all ports in each of the wanted groups, sorted. One walk for all groups: there may be many of both.
fn members<'a>(wanted: &BTreeSet<&'a str>, ports: &[&Arc<Port>]) -> HashMap<&'a str, Vec<IpAddr>> {
    let mut members: HashMap<&str, Vec<IpAddr>> = wanted.iter().map(|name| (*name, Vec::new())).collect();
    for port in ports {
        for group in &port.spec.security_groups {
            if let Some(members) = members.get_mut(group.as_str()) {
                members.extend(port.spec.addresses.iter().map(|address| address.0));
            }
        }
    }
    for members in members.values_mut() {
        members.sort_unstable();
        members.dedup();
    }
    members
}

/// What a plan's ports are called on the way back.
pub(super) fn names(ports: &[Arc<Port>]) -> BTreeMap<&Uid, &Arc<Port>> {
    ports.iter().map(|port| (&port.metadata.uid, port)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use model::network::{
        Address, FloatingIpSpec, FlowLogSpec, GatewaySpec, GatewayType, PortRange, PortSpec,
        Protocol as Named, Route, RouteTableSpec, RouteTarget, RulePeer, SecurityGroupSpec, SubnetSpec,
        VpcSpec,
    };
    use model::{Object, ObjectMeta, Spec};

    pub(in super::super) fn object<S: Spec>(name: &str, number: u8, spec: S) -> Arc<Object<S>> {
        let mut object = Object::new(ObjectMeta::in_project("p", name), spec);
        object.metadata.uid = Uid::from_random([number; 16]);
        Arc::new(object)
    }

    pub(in super::super) fn port(name: &str, number: u8, groups: &[&str]) -> Arc<Port> {
        let spec = PortSpec {
            subnet: "s".into(),
            addresses: vec![Address(IpAddr::from([10, 0, 0, number]))],
            mac: "02:00:00:00:00:01".parse().ok(),
            security_groups: groups.iter().map(ToString::to_string).collect(),
            ..PortSpec::default()
        };
        object(name, number, spec)
    }

    pub(in super::super) fn route(destination: &str, target: RouteTarget) -> Route {
        Route { destination: destination.parse().ok(), target, ..Route::default() }
    }

    /// An address outside that stands for a port.
    pub(in super::super) fn floating(port: &str) -> Arc<FloatingIp> {
        let spec = FloatingIpSpec {
            address: Some(Address(IpAddr::from([198, 51, 100, 7]))),
            port: port.into(),
            ..FloatingIpSpec::default()
        };
        object("front", 105, spec)
    }

    /// Two ports here and one elsewhere; the group of one lets the other's members in to its port 80.
    pub(in super::super) fn view() -> (View, Arc<Vpc>) {
        let vpc = VpcSpec { ipv4_ranges: vec!["10.0.0.0/16".parse().unwrap()], ..VpcSpec::default() };
        let subnet =
            SubnetSpec { vpc: "v".into(), cidr: "10.0.0.0/24".parse().ok(), ..SubnetSpec::default() };
        let rule = SecurityRule {
            direction: Direction::Ingress,
            protocol: Named::Tcp,
            ports: Some(PortRange { from: 80, to: 80 }),
            peer: RulePeer { group: "clients".into(), ..RulePeer::default() },
            ..SecurityRule::default()
        };
        let group = |rules| SecurityGroupSpec { vpc: "v".into(), rules, ..SecurityGroupSpec::default() };
        let gateway =
            GatewaySpec { vpc: "v".into(), gateway_type: GatewayType::Nat, ..GatewaySpec::default() };
        let out = RouteTarget { gateway: "g".into(), ..RouteTarget::default() };
        let table = RouteTableSpec { vpc: "v".into(), routes: vec![route("0.0.0.0/0", out)], is_main: true };
        let links = ["web", "both"].map(|name| (name.to_owned(), Link::Tap { user_id: 7 }));
        let view = View {
            host: "here".into(),
            subnets: vec![object("s", 101, subnet)],
            ports: vec![
                port("web", 7, &["servers"]),
                port("both", 8, &["servers", "clients"]),
                port("far", 9, &["clients"]),
            ],
            groups: vec![
                object("servers", 102, group(vec![rule])),
                object("clients", 103, group(Vec::new())),
            ],
            gateways: vec![object("g", 104, gateway)],
            tables: vec![object("main", 106, table)],
            links: BTreeMap::from(links),
            closed: vec![IpAddr::from([192, 0, 2, 1])],
            ..View::default()
        };
        (view, object("v", 100, vpc))
    }

    #[test]
    fn a_host_has_its_own_ports_and_every_member_of_the_groups_that_matter() {
        let (view, vpc) = view();
        let plan = view.plan(&vpc);
        let here: Vec<IpAddr> = plan.ports.iter().flat_map(|port| port.addresses.clone()).collect();
        assert_eq!(here, [IpAddr::from([10, 0, 0, 7]), IpAddr::from([10, 0, 0, 8])]);
        assert_eq!(plan.ports[0].gateways, [IpAddr::from([10, 0, 0, 1])]);
        let [clients, servers] = plan.groups.as_slice() else { panic!("{:?}", plan.groups) };
        assert_eq!(clients.members, [IpAddr::from([10, 0, 0, 8]), IpAddr::from([10, 0, 0, 9])]);
        let rule = RulePlan { protocol: Protocol::Tcp(80, 80), peer: Peer::Group(clients.uid.clone()) };
        assert_eq!(servers.ingress, [rule]);
        assert_eq!(plan.ports[1].groups, [servers.uid.clone(), clients.uid.clone()]);
    }

    #[test]
    fn ports_elsewhere_are_reached_at_the_address_that_their_host_gave() {
        let (mut view, vpc) = view();
        assert_eq!(view.plan(&vpc).remotes, [], "nothing is known of the other host");
        view.underlay = Some(IpAddr::from([192, 0, 2, 1]));
        let elsewhere = IpAddr::from([192, 0, 2, 2]);
        for port in &mut view.ports {
            let mut known = (**port).clone();
            known.status.host_address = Some(Address(elsewhere));
            *port = Arc::new(known);
        }
        let far = RemotePlan { address: IpAddr::from([10, 0, 0, 9]), host: elsewhere };
        assert_eq!(
            view.plan(&vpc).remotes,
            [far],
            "ports here are not elsewhere, whatever is written of them"
        );
        view.underlay = Some("fd00::1".parse().unwrap());
        assert_eq!(view.plan(&vpc).remotes, [], "a host of another family is not reached");
    }

    #[test]
    fn what_a_flow_log_covers_is_recorded() {
        let (mut view, vpc) = view();
        let recorded =
            |view: &View| view.plan(&vpc).ports.iter().map(|port| port.logs_flows).collect::<Vec<_>>();
        assert_eq!(recorded(&view), [false, false]);
        let none = FlowLogSpec::default;
        for (spec, expected) in [
            (FlowLogSpec { port: "both".into(), ..none() }, [false, true]),
            (FlowLogSpec { subnet: "s".into(), ..none() }, [true, true]),
            (FlowLogSpec { vpc: "v".into(), ..none() }, [true, true]),
            (FlowLogSpec { vpc: "s".into(), ..none() }, [false, false]),
        ] {
            view.flow_logs = vec![object("log", 107, spec.clone())];
            assert_eq!(recorded(&view), expected, "{spec:?}");
        }
    }

    #[test]
    fn floating_addresses_stand_for_ports_here() {
        let (mut view, vpc) = view();
        view.floating = vec![floating("far")];
        assert_eq!(view.plan(&vpc).uplink.expect("a way out").floating, [], "its port is elsewhere");
        view.floating = vec![floating("web")];
        let uplink = view.plan(&vpc).uplink.expect("a way out");
        assert_eq!(uplink.floating, [(IpAddr::from([198, 51, 100, 7]), IpAddr::from([10, 0, 0, 7]))]);
    }

    #[test]
    fn the_way_out_does_not_lead_into_the_cloud() {
        let (mut view, vpc) = view();
        let closed = view.plan(&vpc).uplink.expect("a way out").closed;
        assert!(closed.contains(&"192.0.2.1/32".parse().unwrap()), "{closed:?}");
        view.gateways.clear();
        assert_eq!(view.plan(&vpc).uplink, None, "without a gateway there is no way out");
    }

    /// Says how long it took; the bound is far above that, for machines that do other things.
    #[test]
    fn ten_thousand_ports_in_a_hundred_groups_are_planned_at_once() {
        const PORTS: u16 = 10_000;
        let (mut view, vpc) = view();
        view.underlay = Some(IpAddr::from([192, 0, 2, 1]));
        let rule = |peer: String| SecurityRule {
            direction: Direction::Ingress,
            peer: RulePeer { group: peer, ..RulePeer::default() },
            ..SecurityRule::default()
        };
        let name = |number: u16| format!("group{}", number % 100);
        for number in 0..100_u8 {
            let rules = vec![rule(name(u16::from(number) + 1))];
            let spec = SecurityGroupSpec { vpc: "v".into(), rules, ..SecurityGroupSpec::default() };
            view.groups.push(object(&name(u16::from(number)), number, spec));
        }
        for number in 0..PORTS {
            let mut made = (*port(&format!("port{number}"), 0, &[])).clone();
            let [high, low] = number.to_be_bytes();
            made.metadata.uid = Uid::from_random([7, 7, high, low, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
            made.spec.addresses = vec![Address(IpAddr::from([10, 1, high, low]))];
            made.spec.security_groups = vec![name(number), name(number + 50)];
            made.status.host_address = Some(Address(IpAddr::from([192, 0, 2, 2])));
            if number < 1000 {
                view.links.insert(made.metadata.name.clone(), Link::Tap { user_id: 7 });
                let mut outside = (*floating(&made.metadata.name)).clone();
                outside.spec.address = Some(Address(IpAddr::from([198, 51, high, low])));
                view.floating.push(Arc::new(outside));
            }
            view.ports.push(Arc::new(made));
        }
        let began = std::time::Instant::now();
        let plan = view.plan(&vpc);
        let took = began.elapsed();
        println!("10,000 ports, 1,000 of them here: {took:?}");
        assert_eq!((plan.ports.len(), plan.remotes.len(), plan.groups.len()), (1002, 9000, 102));
        assert!(plan.groups.iter().filter(|group| group.members.len() == 200).count() >= 100);
        assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    }
}

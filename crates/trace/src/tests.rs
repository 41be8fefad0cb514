//! Traces over a small cloud: what passes, what is stopped, where, and what would help.

use std::net::IpAddr;

use model::compute::{Instance, InstanceNetwork, InstancePhase, InstanceSpec};
use model::network::{
    Address, Direction, FloatingIp, FloatingIpSpec, Gateway, GatewaySpec, GatewayType, Peering, PeeringSpec,
    Port, PortRange, PortSpec, PortState, Protocol, Route, RouteTable, RouteTableSpec, RouteTarget, RulePeer,
    SecurityGroup, SecurityGroupSpec, SecurityRule, Subnet, SubnetSpec, Vpc, VpcSpec,
};
use model::{Object, ObjectMeta, Spec};

use crate::{Objects, Packet, Stage, Trace, Traffic, trace};

fn object<S: Spec>(name: &str, spec: S) -> Object<S> {
    Object::new(ObjectMeta::in_project("default", name), spec)
}

fn rule(direction: Direction, protocol: Protocol, port: Option<u16>, peer: &str) -> SecurityRule {
    let peer = match peer.parse() {
        Ok(cidr) => RulePeer { cidr: Some(cidr), ..RulePeer::default() },
        Err(_) => RulePeer { group: peer.into(), ..RulePeer::default() },
    };
    SecurityRule {
        direction,
        protocol,
        ports: port.map(|port| PortRange { from: port, to: port }),
        peer,
        ..SecurityRule::default()
    }
}

fn group(name: &str, ingress: Vec<SecurityRule>) -> SecurityGroup {
    let out = |peer| rule(Direction::Egress, Protocol::Any, None, peer);
    let rules = [vec![out("0.0.0.0/0"), out("::/0")], ingress].concat();
    object(name, SecurityGroupSpec { vpc: "v".into(), rules, ..SecurityGroupSpec::default() })
}

fn port(name: &str, addresses: &[&str], groups: &[&str], host: &str) -> Port {
    let spec = PortSpec {
        subnet: "s".into(),
        addresses: addresses.iter().map(|a| Address(a.parse().unwrap())).collect(),
        security_groups: groups.iter().map(ToString::to_string).collect(),
        instance: format!("i-{name}"),
        ..PortSpec::default()
    };
    let mut port = object(name, spec);
    port.status.host = host.into();
    port.status.host_address = format!("198.51.100.{}", &host[1..]).parse().ok();
    port.status.state = PortState::Up;
    port
}

/// Clients and servers of one VPC on two hosts; servers let clients in to their port 80.
fn cloud() -> Objects {
    let ingress = vec![rule(Direction::Ingress, Protocol::Tcp, Some(80), "clients")];
    let vpc = VpcSpec {
        ipv4_ranges: vec!["10.0.0.0/16".parse().unwrap()],
        ipv6_range: "fd00:1::/48".parse().ok(),
        ..VpcSpec::default()
    };
    let subnet = SubnetSpec {
        vpc: "v".into(),
        cidr: "10.0.0.0/24".parse().ok(),
        ipv6_cidr: "fd00:1::/64".parse().ok(),
        ..SubnetSpec::default()
    };
    Objects {
        vpcs: vec![object("v", vpc)],
        subnets: vec![object("s", subnet)],
        ports: vec![
            port("client", &["10.0.0.10", "fd00:1::10"], &["clients"], "h1"),
            port("server", &["10.0.0.20", "fd00:1::20"], &["servers"], "h1"),
            port("far", &["10.0.0.30"], &["servers"], "h2"),
            port("lone", &["10.0.0.40"], &[], "h1"),
        ],
        groups: vec![group("clients", Vec::new()), group("servers", ingress)],
        ..Objects::default()
    }
}

fn with_nat() -> Objects {
    let gateway = GatewaySpec { vpc: "v".into(), gateway_type: GatewayType::Nat, ..GatewaySpec::default() };
    let out = RouteTarget { gateway: "out".into(), ..RouteTarget::default() };
    let tables = vec![table(&[("0.0.0.0/0", out.clone()), ("::/0", out)])];
    Objects { gateways: vec![object("out", gateway)], tables, ..cloud() }
}

fn floating(address: &str, port: &str) -> FloatingIp {
    let spec = FloatingIpSpec {
        pool: "p".into(),
        address: address.parse().ok(),
        port: port.into(),
        ..FloatingIpSpec::default()
    };
    object("fip", spec)
}

fn tcp(to: u16) -> Traffic {
    Traffic::Tcp { from: 40000, to }
}

fn from(objects: &Objects, port: &str, to: &str, traffic: Traffic) -> Trace {
    let destination: IpAddr = to.parse().unwrap();
    let port = objects.port("default", port).unwrap();
    trace(objects, port, &Packet { source: None, destination, traffic })
}

fn passes(objects: &Objects, port: &str, to: &str, traffic: Traffic) -> Trace {
    let trace = from(objects, port, to, traffic);
    assert!(trace.allowed, "{trace}");
    trace
}

/// Where it stops, and what would help.
fn stops(objects: &Objects, port: &str, to: &str, traffic: Traffic) -> (Stage, String, String) {
    let trace = from(objects, port, to, traffic);
    assert!(!trace.allowed, "{trace}");
    let last = trace.steps.last().unwrap().clone();
    (last.stage, last.what, trace.remedy)
}

#[test]
fn a_group_lets_in_what_its_rule_says() {
    let cloud = cloud();
    for to in ["10.0.0.20", "fd00:1::20"] {
        let trace = passes(&cloud, "client", to, tcp(80));
        let rule = trace.steps.last().unwrap().rule.clone().unwrap();
        assert_eq!((rule.group.as_str(), rule.index), ("servers", 2));
        assert_eq!(rule.text, "tcp/80 from group clients");
    }
    assert_eq!(passes(&cloud, "client", "10.0.0.30", tcp(80)).hosts(), ["h1", "h2"]);
    let (stage, what, remedy) = stops(&cloud, "client", "10.0.0.20", tcp(81));
    assert_eq!(stage, Stage::Ingress);
    assert_eq!(what, "no rule of group servers lets tcp/81 in from 10.0.0.10");
    assert_eq!(remedy, "corten security-group allow servers --ingress tcp/81 --from clients");
    assert_eq!(stops(&cloud, "client", "10.0.0.20", Traffic::Icmp { kind: 8, code: 0 }).0, Stage::Ingress);
    assert_eq!(stops(&cloud, "server", "10.0.0.10", tcp(80)).0, Stage::Ingress, "not the other way round");
}

#[test]
fn a_port_in_no_group_sends_and_gets_nothing() {
    let cloud = cloud();
    let (stage, what, _) = stops(&cloud, "lone", "10.0.0.20", tcp(80));
    assert_eq!((stage, what.as_str()), (Stage::Egress, "port lone is in no group: nothing passes"));
    let (stage, _, remedy) = stops(&cloud, "client", "10.0.0.40", tcp(80));
    assert_eq!(
        (stage, remedy.as_str()),
        (Stage::Ingress, "name a group in spec.securityGroups of port lone")
    );
}

#[test]
fn a_port_speaks_for_its_own_addresses() {
    let mut cloud = cloud();
    let packet = |source: &str| Packet {
        source: source.parse().ok(),
        destination: "10.0.0.20".parse().unwrap(),
        traffic: tcp(80),
    };
    let spoofed = trace(&cloud, &cloud.ports[0], &packet("10.0.0.99"));
    assert!(!spoofed.allowed);
    assert_eq!(spoofed.steps.last().unwrap().stage, Stage::AntiSpoofing);
    cloud.ports[0].spec.source_destination_check = false;
    let stranger = trace(&cloud, &cloud.ports[0], &packet("10.0.0.99"));
    assert_eq!(stranger.steps.last().unwrap().stage, Stage::Ingress, "but that one is no client");
    assert!(trace(&cloud, &cloud.ports[0], &packet("10.0.0.10")).allowed);
    let other = trace(&cloud, &cloud.ports[0], &packet("fd00:1::10"));
    assert_eq!(other.steps.last().unwrap().stage, Stage::Port, "of another family");
}

#[test]
fn ports_that_are_down_are_said_to_be() {
    let mut cloud = cloud();
    cloud.ports[1].status.state = PortState::Down;
    let (stage, what, _) = stops(&cloud, "client", "10.0.0.20", tcp(80));
    assert_eq!((stage, what.as_str()), (Stage::Route, "port server is on no host"));
    assert_eq!(stops(&cloud, "server", "10.0.0.10", tcp(80)).0, Stage::Port);
    let (stage, what, _) = stops(&cloud, "client", "10.0.9.9", tcp(80));
    assert_eq!((stage, what.as_str()), (Stage::Route, "no port of vpc v has 10.0.9.9"));
    assert!(
        passes(&cloud, "client", "10.0.0.10", tcp(1)).steps.iter().all(|step| step.stage != Stage::Egress)
    );
}

#[test]
fn a_guest_that_does_not_run_gets_nothing() {
    let mut cloud = cloud();
    let networks = vec![InstanceNetwork { port: "server".into(), ..InstanceNetwork::default() }];
    let spec = InstanceSpec { networks, ..InstanceSpec::default() };
    let mut web = Instance::new(ObjectMeta::in_project("default", "web"), spec);
    web.status.phase = InstancePhase::Running;
    cloud.instances = vec![web];
    assert_eq!(cloud.port_of_instance("default", "web").unwrap().metadata.name, "server");
    passes(&cloud, "client", "10.0.0.20", tcp(80));
    cloud.instances[0].status.phase = InstancePhase::Stopped;
    let (stage, what, remedy) = stops(&cloud, "client", "10.0.0.20", tcp(80));
    assert_eq!((stage, what.as_str()), (Stage::Route, "instance web of port server is Stopped"));
    assert_eq!(remedy, "corten start web");
    assert_eq!(stops(&cloud, "server", "10.0.0.10", tcp(80)).0, Stage::Port);
}

#[test]
fn hosts_that_do_not_know_each_other_have_no_tunnel() {
    let mut cloud = cloud();
    for address in [None, "2001:db8::2".parse().ok()] {
        cloud.ports[2].status.host_address = address;
        let (stage, what, _) = stops(&cloud, "client", "10.0.0.30", tcp(80));
        assert_eq!(stage, Stage::Route);
        assert_eq!(what, "port far is on host h2, to which no tunnel leads from h1");
    }
}

#[test]
fn the_network_answers_for_itself() {
    let cloud = cloud();
    passes(&cloud, "client", "10.0.0.1", Traffic::Udp { from: 1, to: 53 });
    passes(&cloud, "lone", "169.254.169.254", tcp(80));
    passes(&cloud, "client", "fd00:ec2::254", tcp(80));
    assert_eq!(stops(&cloud, "client", "10.0.0.1", tcp(22)).0, Stage::Service);
    assert_eq!(stops(&cloud, "client", "169.254.1.1", tcp(80)).0, Stage::Route);
    let (_, what, _) = stops(&with_nat(), "client", "198.51.100.2", tcp(443));
    assert_eq!(what, "198.51.100.2 is a host of the cloud: guests have no business there");
}

#[test]
fn the_way_out_is_a_gateways() {
    let (stage, _, remedy) = stops(&cloud(), "client", "192.0.2.9", tcp(443));
    assert_eq!(stage, Stage::Route);
    assert!(remedy.contains("RouteTable"), "{remedy}");
    let out = passes(&with_nat(), "client", "192.0.2.9", tcp(443));
    assert!(out.steps.last().unwrap().what.contains("gateway out: out as the host's own address"), "{out}");
    passes(&with_nat(), "client", "2001:db8::9", tcp(443));
    let mut egress = with_nat();
    egress.gateways[0].spec.gateway_type = GatewayType::Egress;
    let own = passes(&egress, "client", "2001:db8::9", tcp(443));
    assert!(own.steps.last().unwrap().what.ends_with("out as fd00:1::10, its own address"), "{own}");
    let (_, what, _) = stops(&egress, "client", "192.0.2.9", tcp(443));
    assert!(what.ends_with("which is for IPv6 only"), "{what}");
    let named = Objects { floating: vec![floating("192.0.2.7", "client")], ..with_nat() };
    let out = passes(&named, "client", "192.0.2.9", tcp(443));
    assert!(out.steps.last().unwrap().what.ends_with("out as 192.0.2.7, floating ip fip"), "{out}");
}

fn table(routes: &[(&str, RouteTarget)]) -> RouteTable {
    let routes = routes.iter().map(|(to, target)| Route {
        destination: to.parse().ok(),
        target: target.clone(),
        ..Route::default()
    });
    object("t", RouteTableSpec { vpc: "v".into(), routes: routes.collect(), is_main: true })
}

#[test]
fn the_narrowest_route_of_the_subnets_table_wins() {
    let gateway = |name: &str| RouteTarget { gateway: name.into(), ..RouteTarget::default() };
    let mut cloud = with_nat();
    cloud.tables = vec![table(&[("192.0.2.0/24", gateway("gone")), ("0.0.0.0/0", gateway("out"))])];
    passes(&cloud, "client", "203.0.113.1", tcp(443));
    let (_, what, remedy) = stops(&cloud, "client", "192.0.2.9", tcp(443));
    assert_eq!(what, "route table t: 192.0.2.0/24 leads to gateway gone, which is gone");
    assert!(!remedy.is_empty());
    cloud.tables = vec![table(&[("192.0.2.0/24", gateway("out"))])];
    let (_, what, _) = stops(&cloud, "client", "203.0.113.1", tcp(443));
    assert_eq!(what, "route table t has no route to 203.0.113.1");
    // An appliance: the port that a route leads to filters as well.
    let appliance = RouteTarget { port: "server".into(), ..RouteTarget::default() };
    cloud.tables = vec![table(&[("0.0.0.0/0", appliance)])];
    let (_, what, _) = stops(&cloud, "client", "203.0.113.1", tcp(80));
    assert!(what.ends_with("takes only what is for itself"), "{what}");
    cloud.ports[1].spec.source_destination_check = false;
    passes(&cloud, "client", "203.0.113.1", tcp(80));
    assert_eq!(stops(&cloud, "client", "203.0.113.1", tcp(81)).0, Stage::Ingress);
}

#[test]
fn an_internet_gateway_is_for_ports_with_a_floating_address() {
    let mut cloud = cloud();
    let spec = GatewaySpec { vpc: "v".into(), ..GatewaySpec::default() };
    cloud.gateways = vec![Gateway::new(ObjectMeta::in_project("default", "inet"), spec)];
    let out = RouteTarget { gateway: "inet".into(), ..RouteTarget::default() };
    cloud.tables = vec![table(&[("0.0.0.0/0", out)])];
    let (_, _, remedy) = stops(&cloud, "client", "192.0.2.9", tcp(443));
    assert!(remedy.starts_with("corten floating-ip allocate"), "{remedy}");
    cloud.floating = vec![floating("192.0.2.7", "client")];
    passes(&cloud, "client", "192.0.2.9", tcp(443));
}

#[test]
fn a_gateway_with_an_address_translates_on_one_host() {
    let mut cloud = with_nat();
    cloud.floating = vec![floating("192.0.2.8", "")];
    cloud.gateways[0].spec.floating_ip = "fip".into();
    let (stage, what, _) = stops(&cloud, "client", "192.0.2.9", tcp(443));
    assert_eq!(stage, Stage::Route);
    assert!(what.ends_with("gateway out, which is on no host"), "{what}");
    cloud.gateways[0].status.host = "h2".into();
    let out = passes(&cloud, "client", "192.0.2.9", tcp(443));
    let seen = "out as 192.0.2.8, floating ip fip of the gateway, translated on host h2";
    assert!(out.steps.last().unwrap().what.ends_with(seen), "{out}");
    let (_, what, _) = stops(&cloud, "client", "2001:db8::9", tcp(443));
    assert!(what.ends_with("sends from 192.0.2.8, which is of the other family"), "{what}");
    // In a subnet it reaches what the subnet reaches.
    cloud.gateways[0].spec.subnet = "s".into();
    let (_, what, remedy) = stops(&cloud, "client", "192.0.2.9", tcp(443));
    assert!(what.ends_with("stands in subnet s, which no route leads to an internet gateway"), "{what}");
    assert!(remedy.contains("spec.type internet"), "{remedy}");
}

#[test]
fn a_floating_address_is_its_port() {
    let near = Objects { floating: vec![floating("192.0.2.7", "server")], ..with_nat() };
    let trace = passes(&near, "client", "192.0.2.7", tcp(80));
    assert!(trace.steps.iter().any(|step| step.stage == Stage::Floating));
    assert_eq!(trace.destination.port.unwrap().name, "server");
    assert_eq!(stops(&near, "server", "192.0.2.7", tcp(80)).0, Stage::Route, "not for itself");
    // From another host it comes from outside, as the host: no client any more.
    let mut far = Objects { floating: vec![floating("192.0.2.7", "far")], ..with_nat() };
    let (stage, what, remedy) = stops(&far, "client", "192.0.2.7", tcp(80));
    assert_eq!(stage, Stage::Ingress);
    assert!(what.ends_with("in from the host's own address"), "{what}");
    assert_eq!(remedy, "corten security-group allow servers --ingress tcp/80 --from 0.0.0.0/0");
    far.groups[1].spec.rules.push(rule(Direction::Ingress, Protocol::Any, None, "0.0.0.0/0"));
    passes(&far, "client", "192.0.2.7", tcp(80));
}

#[test]
fn peers_are_reached_when_both_sides_agreed() {
    let mut cloud = cloud();
    let spec = VpcSpec { ipv4_ranges: vec!["10.9.0.0/16".parse().unwrap()], ..VpcSpec::default() };
    cloud.vpcs.push(Vpc::new(ObjectMeta::in_project("default", "w"), spec));
    let subnet = SubnetSpec { vpc: "w".into(), cidr: "10.9.0.0/24".parse().ok(), ..SubnetSpec::default() };
    cloud.subnets.push(Subnet::new(ObjectMeta::in_project("default", "sw"), subnet));
    let open = SecurityGroupSpec {
        vpc: "w".into(),
        rules: vec![rule(Direction::Ingress, Protocol::Any, None, "10.0.0.0/16")],
        ..SecurityGroupSpec::default()
    };
    cloud.groups.push(object("open", open));
    let mut there = port("there", &["10.9.0.9"], &["open"], "h1");
    there.spec.subnet = "sw".into();
    cloud.ports.push(there);
    cloud.tables =
        vec![table(&[("10.9.0.0/16", RouteTarget { peering: "p".into(), ..RouteTarget::default() })])];
    let spec = PeeringSpec { vpc: "v".into(), peer_vpc: "w".into(), ..PeeringSpec::default() };
    cloud.peerings = vec![Peering::new(ObjectMeta::in_project("default", "p"), spec)];
    let (_, what, _) = stops(&cloud, "client", "10.9.0.9", tcp(80));
    assert_eq!(what, "peering p is not active: vpc default/w has not agreed");
    cloud.peerings[0].status.active = true;
    let (_, what, _) = stops(&cloud, "client", "10.9.0.9", tcp(80));
    assert_eq!(what, "peering p: no route of vpc default/w leads back to 10.0.0.10");
    let spec = PeeringSpec { vpc: "w".into(), peer_vpc: "v".into(), ..PeeringSpec::default() };
    cloud.peerings.push(Peering::new(ObjectMeta::in_project("default", "q"), spec));
    let mut back = table(&[("10.0.0.0/8", RouteTarget { peering: "q".into(), ..RouteTarget::default() })]);
    back.spec.vpc = "w".into();
    cloud.tables.push(back);
    let trace = passes(&cloud, "client", "10.9.0.9", tcp(80));
    assert_eq!(trace.destination.port.unwrap().vpc, "w");
}

#[test]
fn a_trace_is_told_line_by_line() {
    let told = from(&cloud(), "client", "10.0.0.20", tcp(81)).to_string();
    let expected = "\
from      10.0.0.10 (port client of vpc v, instance i-client, on host h1)
to        10.0.0.20 (port server of vpc v, instance i-server, on host h1) tcp/81
pass  port      port client is up on host h1
pass  source    10.0.0.10 is its address
pass  egress    group clients, rules[0]: any to 0.0.0.0/0
pass  route     port server, on the same host
STOP  ingress   no rule of group servers lets tcp/81 in from 10.0.0.10
stopped
remedy: corten security-group allow servers --ingress tcp/81 --from clients
";
    assert_eq!(told, expected);
    let json = serde_json::to_value(from(&cloud(), "client", "10.0.0.20", tcp(80))).unwrap();
    assert_eq!(json["allowed"], true);
    assert_eq!(json["traffic"], serde_json::json!({ "protocol": "tcp", "from": 40000, "to": 80 }));
    assert_eq!(json["steps"][4]["rule"]["group"], "servers");
}

#[test]
fn an_acl_is_asked_at_the_edge_of_its_subnet() {
    use model::network::{AclAction, AclRule, NetworkAclSpec};
    let mut cloud = with_nat();
    let rule = |number, direction, action, cidr: &str| AclRule {
        number,
        direction,
        action,
        cidr: cidr.parse().ok(),
        ..AclRule::default()
    };
    let deny = |cidr: &str| {
        vec![
            rule(200, Direction::Egress, AclAction::Allow, "0.0.0.0/0"),
            rule(100, Direction::Egress, AclAction::Deny, cidr),
        ]
    };
    let acl = |rules| object("edge", NetworkAclSpec { vpc: "v".into(), rules, is_default: true });
    cloud.acls = vec![acl(deny("192.0.2.0/24"))];
    passes(&cloud, "client", "10.0.0.20", tcp(80));
    let open = passes(&cloud, "client", "203.0.113.9", tcp(80));
    let step = open.steps.iter().find(|step| step.stage == Stage::Acl).expect("it crosses the edge");
    assert_eq!(step.what, "network acl edge, rule 200: allow any to 0.0.0.0/0");
    let (stage, what, remedy) = stops(&cloud, "client", "192.0.2.1", tcp(80));
    assert_eq!((stage, what.as_str()), (Stage::Acl, "network acl edge, rule 100: deny any to 192.0.2.0/24"));
    assert!(remedy.contains("a number below 100"), "{remedy}");
    cloud.acls = vec![acl(Vec::new())];
    let (stage, what, _) = stops(&cloud, "client", "203.0.113.9", tcp(80));
    assert_eq!(
        (stage, what.as_str()),
        (Stage::Acl, "no rule of network acl edge lets tcp/80 out to 203.0.113.9")
    );
}

//! Random objects and packets: few names, addresses and numbers, so that they meet often.

use std::net::IpAddr;

use model::network::{
    AclAction, AclRule, Address, Cidr, Direction, FloatingIp, FloatingIpSpec, Gateway, GatewaySpec,
    GatewayType, NetworkAcl, NetworkAclSpec, Port, PortRange, PortSpec, PortState, PrefixEntry, PrefixList,
    PrefixListSpec, Protocol, RulePeer, SecurityGroup, SecurityGroupSpec, SecurityRule, Subnet, SubnetSpec,
    Vpc, VpcSpec,
};
use model::{Object, ObjectMeta, Spec, Uid};
use trace::{Objects, Packet, Traffic};

use super::OUTSIDE;

pub(super) const HOSTS: [&str; 2] = ["h1", "h2"];
const GROUPS: [&str; 4] = ["g0", "g1", "g2", "g3"];
const LISTS: [&str; 2] = ["l0", "l1"];
const ACLS: [&str; 2] = ["acl0", "acl1"];
const FLOATING: &str = "192.0.2.77";
/// Reserved for experiments (RFC 3692).
const EXPERIMENT: u8 = 253;
const FIRST_PORT: u16 = 1000;
const PORTS: usize = 6;
/// Questions of ICMP and of ICMPv6 that begin something, for the kernel's connection tracking.
const ICMP: [u8; 2] = [8, 13];
const ICMPV6: [u8; 2] = [128, 139];
/// None of them holds a host's own address: under which of them a host is seen, a trace cannot know.
const NETWORKS: [&str; 7] =
    ["0.0.0.0/0", "::/0", "10.0.0.0/24", "10.0.1.0/24", "10.0.0.10/31", "fd00:1:0:1::/64", "fd00:1::11/128"];

/// splitmix64.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("small")
    }

    /// True in one of `n` cases.
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// What is said of one VPC this time.
    pub(super) fn objects(&mut self, vpc: &Vpc, ports: &[Port]) -> Objects {
        let mut ports = ports.to_vec();
        for port in &mut ports {
            port.spec.security_groups.clear();
            for group in GROUPS {
                if self.below(10) < 4 {
                    port.spec.security_groups.push(group.into());
                }
            }
        }
        Objects {
            vpcs: vec![vpc.clone()],
            subnets: self.subnets(),
            groups: GROUPS.iter().map(|name| self.group(name)).collect(),
            lists: LISTS.iter().map(|name| self.list(name)).collect(),
            acls: ACLS.iter().map(|name| self.acl(name)).collect(),
            gateways: if self.one_in(3) { Vec::new() } else { vec![gateway()] },
            floating: if self.one_in(3) { Vec::new() } else { vec![self.floating(&ports)] },
            ports,
            ..Objects::default()
        }
    }

    fn group(&mut self, name: &str) -> SecurityGroup {
        let mut rules: Vec<SecurityRule> = (0..self.below(7)).map(|_| self.rule()).collect();
        if !self.one_in(3) {
            for everyone in ["0.0.0.0/0", "::/0"] {
                let peer = RulePeer { cidr: everyone.parse().ok(), ..RulePeer::default() };
                rules.push(SecurityRule { direction: Direction::Egress, peer, ..SecurityRule::default() });
            }
        }
        object(name, SecurityGroupSpec { vpc: "v".into(), rules, ..SecurityGroupSpec::default() })
    }

    /// Subnets with an ACL of their own, with the VPC's default one, or with none at all.
    fn subnets(&mut self) -> Vec<Subnet> {
        let mut subnets = subnets();
        for subnet in &mut subnets {
            subnet.spec.network_acl = (*self.of(&["", "acl0", "acl1"])).into();
        }
        subnets
    }

    /// Half of them let through what no rule of theirs refuses. The first may be the VPC's default one.
    fn acl(&mut self, name: &str) -> NetworkAcl {
        let mut rules: Vec<AclRule> = (0..self.below(6)).map(|n| self.acl_rule(n)).collect();
        if self.one_in(2) {
            let both = [Direction::Ingress, Direction::Egress].into_iter();
            let all = both.flat_map(|direction| ["0.0.0.0/0", "::/0"].map(|cidr| (direction, cidr)));
            rules.extend(all.enumerate().map(|(n, (direction, cidr))| AclRule {
                number: 1000 + u16::try_from(n).expect("small"),
                direction,
                cidr: cidr.parse().ok(),
                ..AclRule::default()
            }));
        }
        let is_default = name == ACLS[0] && self.one_in(2);
        object(name, NetworkAclSpec { vpc: "v".into(), rules, is_default })
    }

    fn acl_rule(&mut self, place: usize) -> AclRule {
        let SecurityRule { direction, protocol, ports, icmp_type, icmp_code, .. } = self.rule();
        AclRule {
            // Not in the order in which they are written.
            number: u16::try_from((place * 7) % 6 * 10 + 1).expect("small"),
            direction,
            action: if self.one_in(2) { AclAction::Deny } else { AclAction::Allow },
            protocol,
            ports,
            icmp_type,
            icmp_code,
            cidr: self.of(&NETWORKS).parse().ok(),
        }
    }

    fn rule(&mut self) -> SecurityRule {
        let all = [Protocol::Any, Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::Other(EXPERIMENT)];
        let mut rule = SecurityRule {
            direction: if self.one_in(3) { Direction::Egress } else { Direction::Ingress },
            protocol: *self.of(&all),
            peer: self.peer(),
            ..SecurityRule::default()
        };
        if matches!(rule.protocol, Protocol::Tcp | Protocol::Udp) && !self.one_in(4) {
            let from = self.number();
            let length = u16::try_from(self.below(3)).expect("small");
            rule.ports = Some(PortRange { from, to: from + length });
        }
        if rule.protocol == Protocol::Icmp && !self.one_in(3) {
            rule.icmp_type = Some(*self.of(&[ICMP, ICMPV6].concat()));
            rule.icmp_code = [None, Some(0), Some(1)][self.below(3)];
        }
        rule
    }

    fn peer(&mut self) -> RulePeer {
        match self.below(5) {
            0 => RulePeer { prefix_list: (*self.of(&LISTS)).into(), ..RulePeer::default() },
            1 | 2 => RulePeer { group: (*self.of(&GROUPS)).into(), ..RulePeer::default() },
            _ => RulePeer { cidr: self.of(&NETWORKS).parse().ok(), ..RulePeer::default() },
        }
    }

    fn list(&mut self, name: &str) -> PrefixList {
        let mut entries: Vec<PrefixEntry> = Vec::new();
        for network in NETWORKS {
            if self.one_in(4) {
                let cidr: Option<Cidr> = network.parse().ok();
                entries.push(PrefixEntry { cidr, ..PrefixEntry::default() });
            }
        }
        object(name, PrefixListSpec { entries })
    }

    fn floating(&mut self, ports: &[Port]) -> FloatingIp {
        let spec = FloatingIpSpec {
            pool: "p".into(),
            address: FLOATING.parse().ok(),
            port: self.of(ports).metadata.name.clone(),
            ..FloatingIpSpec::default()
        };
        object("f", spec)
    }

    fn number(&mut self) -> u16 {
        FIRST_PORT + u16::try_from(self.below(PORTS)).expect("small")
    }

    /// Who sends what to whom.
    pub(super) fn packet<'a>(&mut self, objects: &'a Objects) -> (&'a Port, Packet) {
        loop {
            let sender = self.of(&objects.ports);
            let receiver = self.of(&objects.ports);
            let destination = match self.below(12) {
                0 => address(OUTSIDE),
                // Without a port behind it, nobody has it.
                1 | 2 if !objects.floating.is_empty() => address(FLOATING),
                3 => address(self.of::<&str>(&["10.0.0.200", "fd00:1::200", "192.0.2.2", "192.0.2.1"])),
                _ => self.of(&receiver.spec.addresses).0,
            };
            let source = self.source(objects, destination);
            let traffic = self.traffic(destination.is_ipv4());
            // The kernel tells connections of other protocols by their addresses alone: only one way is tried.
            let other = matches!(traffic, Traffic::Other { .. });
            let forth = sender.metadata.name < receiver.metadata.name;
            let plain = source.is_none() && receiver.spec.addresses.iter().any(|own| own.0 == destination);
            // A guest drops what claims to come from itself.
            let itself =
                source.is_some_and(|source| receiver.spec.addresses.iter().any(|own| own.0 == source));
            if itself || other && !(forth && plain) {
                continue;
            }
            return (sender, Packet { source, destination, traffic });
        }
    }

    /// Mostly its own.
    fn source(&mut self, objects: &Objects, destination: IpAddr) -> Option<IpAddr> {
        if !self.one_in(8) {
            return None;
        }
        let others = objects.ports.iter().flat_map(|port| &port.spec.addresses).map(|address| address.0);
        let strangers = ["10.0.0.201", "fd00:1::201"].map(address);
        let all: Vec<IpAddr> =
            others.chain(strangers).filter(|address| address.is_ipv4() == destination.is_ipv4()).collect();
        Some(*self.of(&all))
    }

    fn traffic(&mut self, ipv4: bool) -> Traffic {
        match self.below(7) {
            0 | 1 => Traffic::Tcp { from: 0, to: self.number() },
            2 | 3 => Traffic::Udp { from: 0, to: self.number() },
            4 | 5 => {
                let kind = *self.of(if ipv4 { &ICMP } else { &ICMPV6 });
                Traffic::Icmp { kind, code: u8::from(self.one_in(2)) }
            }
            _ => Traffic::Other { number: EXPERIMENT },
        }
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn object<S: Spec>(name: &str, spec: S) -> Object<S> {
    let mut object = Object::new(ObjectMeta::in_project("p", name), spec);
    // Other runs may be on the same machine; within this one, a name is a uid.
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
    for (byte, from) in bytes[4..].iter_mut().zip(name.bytes()) {
        *byte = from;
    }
    object.metadata.uid = Uid::from_random(bytes);
    object
}

pub(super) fn vpc() -> Vpc {
    let spec = VpcSpec {
        ipv4_ranges: vec!["10.0.0.0/16".parse().expect("a network")],
        ipv6_range: "fd00:1::/48".parse().ok(),
        ..VpcSpec::default()
    };
    let mut vpc: Vpc = object("v", spec);
    vpc.status.vni = 4_711;
    vpc
}

fn subnets() -> Vec<Subnet> {
    let subnet = |name, cidr: &str, ipv6: &str| {
        let (cidr, ipv6_cidr) = (cidr.parse().ok(), ipv6.parse().ok());
        object(name, SubnetSpec { vpc: "v".into(), cidr, ipv6_cidr, ..SubnetSpec::default() })
    };
    vec![subnet("s0", "10.0.0.0/24", "fd00:1::/64"), subnet("s1", "10.0.1.0/24", "fd00:1:0:1::/64")]
}

fn gateway() -> Gateway {
    let gateway_type = GatewayType::Nat;
    object("gw", GatewaySpec { vpc: "v".into(), gateway_type, ..GatewaySpec::default() })
}

/// Three on each host, in both subnets; one of a single family, and one that may send as anybody.
pub(super) fn ports() -> Vec<Port> {
    let port = |number: usize, subnet: &str, addresses: &[&str]| {
        let spec = PortSpec {
            subnet: subnet.into(),
            addresses: addresses.iter().map(|text| Address(address(text))).collect(),
            mac: format!("02:11:00:00:00:{number:02x}").parse().ok(),
            source_destination_check: number != 1,
            ..PortSpec::default()
        };
        let mut port: Port = object(&format!("port{number}"), spec);
        let host = number / 3;
        port.status.host = HOSTS[host].into();
        port.status.host_address = format!("192.0.2.{}", host + 1).parse().ok();
        port.status.state = PortState::Up;
        port
    };
    vec![
        port(0, "s0", &["10.0.0.10", "fd00:1::10"]),
        port(1, "s0", &["10.0.0.11", "fd00:1::11"]),
        port(2, "s1", &["10.0.1.12"]),
        port(3, "s0", &["10.0.0.13", "fd00:1::13"]),
        port(4, "s1", &["10.0.1.14", "fd00:1:0:1::14"]),
        port(5, "s1", &["10.0.1.15", "fd00:1:0:1::15"]),
    ]
}

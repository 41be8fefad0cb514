//! Security groups: a chain per direction, and the members as sets.

use std::net::IpAddr;

use driver::{Peer, Protocol, RulePlan, VpcPlan};
use ipnet::IpNet;
use model::Uid;
use nft::{Element, Field, KeyType, Rule, Set, Table, Verdict, intervals, key};

use super::MAY_LEAVE;
use crate::names::fnv;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

pub(super) fn egress_chain(group: &Uid) -> String {
    format!("group-out-{group}")
}

pub(super) fn ingress_chain(group: &Uid) -> String {
    format!("group-in-{group}")
}

pub(super) fn add(table: &mut Table, plan: &VpcPlan) {
    for group in &plan.groups {
        for family in [Version::V4, Version::V6] {
            let members = group.members.iter().filter(|address| family.has(**address));
            let elements = members.map(|address| Element::new(key([(*address).into()])));
            table.set(Set::new(members_set(&group.uid, family), &[family.key_type()]), elements);
        }
    }
    for group in &plan.groups {
        let mut chain = |name: String, rules: &[RulePlan], way: Way| {
            let rules = rules.iter().flat_map(|rule| compile(table, plan, rule, way)).collect();
            table.chain(&name, rules);
        };
        chain(egress_chain(&group.uid), &group.egress, Way::Out);
        chain(ingress_chain(&group.uid), &group.ingress, Way::In);
    }
}

/// As seen from the port that the rule protects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

impl Version {
    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    fn key_type(self) -> KeyType {
        match self {
            Self::V4 => KeyType::Ipv4Address,
            Self::V6 => KeyType::Ipv6Address,
        }
    }

    fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    pub(super) fn rule(self) -> Rule {
        match self {
            Self::V4 => Rule::new().ipv4(),
            Self::V6 => Rule::new().ipv6(),
        }
    }

    /// The address of the peer.
    pub(super) fn field(self, way: Way) -> Field {
        match (self, way) {
            (Self::V4, Way::Out) => Field::Ip4Destination,
            (Self::V4, Way::In) => Field::Ip4Source,
            (Self::V6, Way::Out) => Field::Ip6Destination,
            (Self::V6, Way::In) => Field::Ip6Source,
        }
    }
}

fn members_set(group: &Uid, family: Version) -> String {
    format!("members{}-{group}", family.digit())
}

/// One rule of the kernel's per family; none for a family that the peer has no address of.
fn compile(table: &mut Table, plan: &VpcPlan, rule: &RulePlan, way: Way) -> Vec<Rule> {
    [Version::V4, Version::V6]
        .into_iter()
        .filter_map(|family| match_peer(table, plan, &rule.peer, family, way).map(|r| (family, r)))
        .map(|(family, matched)| {
            let matched = match_protocol(matched, rule.protocol, family);
            match way {
                Way::Out => matched.set_mark(MAY_LEAVE).verdict(&Verdict::Return),
                Way::In => matched.accept(),
            }
        })
        .collect()
}

fn match_peer(table: &mut Table, plan: &VpcPlan, peer: &Peer, family: Version, way: Way) -> Option<Rule> {
    let field = family.field(way);
    match peer {
        // A group that the plan does not bring has no members here.
        Peer::Group(group) if !plan.groups.iter().any(|g| g.uid == *group) => None,
        Peer::Group(group) => Some(family.rule().in_set(&[field], &members_set(group, family))),
        Peer::Networks(networks) => {
            let mut networks: Vec<IpNet> =
                networks.iter().filter(|n| family.has(n.addr())).copied().collect();
            networks.sort();
            match networks.as_slice() {
                [] => None,
                [one] => Some(family.rule().in_network(field, one.addr(), one.prefix_len())),
                many => Some(family.rule().in_set(&[field], &networks_set(table, many, family))),
            }
        }
    }
}

/// A list of networks is a set named by its contents: equal lists share one, and a changed list is another one.
fn networks_set(table: &mut Table, networks: &[IpNet], family: Version) -> String {
    let text: Vec<String> = networks.iter().map(ToString::to_string).collect();
    let name = format!("networks{}-{:032x}", family.digit(), fnv(text.join(",").as_bytes()));
    let ranges = networks.iter().map(|network| (network.network(), network.broadcast()));
    table.set(Set::of_intervals(name.clone(), family.key_type()), intervals(ranges));
    name
}

pub(super) fn match_protocol(rule: Rule, protocol: Protocol, family: Version) -> Rule {
    match protocol {
        Protocol::Any => rule,
        Protocol::Tcp(from, to) => match_ports(rule.protocol(TCP), from, to),
        Protocol::Udp(from, to) => match_ports(rule.protocol(UDP), from, to),
        Protocol::Other(number) => rule.protocol(number),
        Protocol::Icmp { kind, code } => {
            let mut rule = rule.protocol(if family == Version::V4 { ICMP } else { ICMPV6 });
            if let Some(kind) = kind {
                rule = rule.equal(Field::IcmpType, kind);
            }
            if let Some(code) = code {
                rule = rule.equal(Field::IcmpCode, code);
            }
            rule
        }
    }
}

fn match_ports(rule: Rule, from: u16, to: u16) -> Rule {
    match (from, to) {
        (0, u16::MAX) => rule,
        (from, to) if from == to => rule.equal(Field::DestinationPort, from),
        (from, to) => rule.between(Field::DestinationPort, from, to),
    }
}

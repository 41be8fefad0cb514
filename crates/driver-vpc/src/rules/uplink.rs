//! The way out of a VPC: what may use it, and under which address.

use std::net::IpAddr;

use driver::{UplinkPlan, VpcPlan};
use ipnet::IpNet;
use nft::{Base, ChainKind, Element, Family, Field, Hook, KeyType, Policy, Rule, Set, Table, intervals, key};

use super::MAY_LEAVE;

/// Maps from floating addresses to those of ports, per family.
pub(super) const FLOATING_IN: [&str; 2] = ["floating-in4", "floating-in6"];
/// Bit of a connection's status: its destination was translated (IPS_DST_NAT).
const TRANSLATED: u32 = 0x20;
/// Never outside: the link-local networks hold the uplinks themselves, and the metadata service of whatever cloud
/// the host itself may be a machine of.
const ALWAYS_CLOSED: [&str; 2] = ["169.254.0.0/16", "fe80::/10"];

pub(super) fn add(table: &mut Table, plan: &VpcPlan, uplink: &UplinkPlan, device: u32) {
    let link_local = ALWAYS_CLOSED.iter().filter_map(|network| network.parse().ok());
    let closed: Vec<IpNet> = uplink.closed.iter().copied().chain(link_local).collect();
    let inside: Vec<IpNet> =
        plan.ranges.iter().chain(plan.peers.iter().flat_map(|peer| &peer.ranges)).copied().collect();
    let floating = uplink.floating.iter().map(|(_, inside)| IpNet::from(*inside));
    let leaving: Vec<IpNet> = uplink.nat.iter().chain(&uplink.egress).copied().chain(floating).collect();
    add_networks(table, "closed", &closed);
    add_networks(table, "inside", &inside);
    add_networks(table, "leaving", &leaving);
    add_networks(table, "nat", &uplink.nat);
    add_floating(table, uplink);
    table.chain("to-uplink", to_uplink());
    // Nobody outside begins to talk but to a floating address, which was translated by now.
    let called = Rule::new().any_bit(Field::ConnectionStatus, TRANSLATED).set_mark(MAY_LEAVE);
    table.chain("from-uplink", vec![called]);
    add_return_check(table, device);
    let nat = |hook, priority| Base { kind: ChainKind::Nat, hook, priority, policy: Policy::Accept };
    table.base_chain("destinations", nat(Hook::Prerouting, -100), destinations());
    table.base_chain("sources", nat(Hook::Postrouting, 100), sources(device));
}

fn to_uplink() -> Vec<Rule> {
    vec![
        Rule::new().ipv4().in_set(&[Field::Ip4Destination], "closed4").reject(),
        Rule::new().ipv6().in_set(&[Field::Ip6Destination], "closed6").reject(),
        Rule::new().ipv4().in_set(&[Field::Ip4Source], "leaving4").accept(),
        Rule::new().ipv6().in_set(&[Field::Ip6Source], "leaving6").accept(),
        Rule::new().drop().comment("no address outside"),
    ]
}

/// From outside nobody speaks for an address inside, and other hosts' guests and peers have ways out of their own.
fn add_return_check(table: &mut Table, device: u32) {
    if let Some(chain) = table.chains.get_mut("prerouting") {
        let from = || Rule::new().equal(Field::InputDevice, device);
        let why = "an inner address from outside";
        let inner4 = from().ipv4().in_set(&[Field::Ip4Source], "inside4").drop().comment(why);
        let inner6 = from().ipv6().in_set(&[Field::Ip6Source], "inside6").drop().comment(why);
        chain.rules.splice(0..0, [inner4, inner6]);
    }
    if let Some(chain) = table.chains.get_mut("forward") {
        let across =
            Rule::new().equal(Field::OutputDevice, device).in_set(&[Field::InputDevice], "inner").drop();
        chain.rules.insert(0, across);
    }
}

/// For every packet and not only for those from outside: guests reach a floating address of a neighbour as well.
fn destinations() -> Vec<Rule> {
    vec![
        Rule::new().ipv4().destination_from(Family::Ip, Field::Ip4Destination, FLOATING_IN[0]),
        Rule::new().ipv6().destination_from(Family::Ip6, Field::Ip6Destination, FLOATING_IN[1]),
    ]
}

fn sources(device: u32) -> Vec<Rule> {
    let out = || Rule::new().equal(Field::OutputDevice, device);
    vec![
        out().ipv4().source_from(Family::Ip, Field::Ip4Source, "floating-out4"),
        out().ipv6().source_from(Family::Ip6, Field::Ip6Source, "floating-out6"),
        // To the link's own address, which is no other VPC's: their ranges meet in the host's namespace.
        out().ipv4().in_set(&[Field::Ip4Source], "nat4").masquerade(),
        out().ipv6().in_set(&[Field::Ip6Source], "nat6").masquerade(),
    ]
}

fn add_networks(table: &mut Table, name: &str, networks: &[IpNet]) {
    for (digit, key_type, v4) in [('4', KeyType::Ipv4Address, true), ('6', KeyType::Ipv6Address, false)] {
        let of_family = networks.iter().filter(|network| network.addr().is_ipv4() == v4);
        let ranges = of_family.map(|network| (network.network(), network.broadcast()));
        table.set(Set::of_intervals(format!("{name}{digit}"), key_type), intervals(ranges));
    }
}

fn add_floating(table: &mut Table, uplink: &UplinkPlan) {
    let families = [('4', KeyType::Ipv4Address, true), ('6', KeyType::Ipv6Address, false)];
    for ((digit, key_type, v4), inward_map) in families.into_iter().zip(FLOATING_IN) {
        let pairs = uplink
            .floating
            .iter()
            .filter(|(outside, inside)| outside.is_ipv4() == v4 && inside.is_ipv4() == v4);
        let pair = |from: &IpAddr, to: &IpAddr| Element::with_value(key([(*from).into()]), *to);
        let inward = pairs.clone().map(|(outside, inside)| pair(outside, inside));
        table.set(Set::map(inward_map, &[key_type], key_type), inward);
        // Of several floating addresses of one port, the first is what it is seen as.
        let mut seen = std::collections::BTreeSet::new();
        let outward =
            pairs.filter(|(_, inside)| seen.insert(*inside)).map(|(outside, inside)| pair(inside, outside));
        let outward: Vec<Element> = outward.collect();
        table.set(Set::map(format!("floating-out{digit}"), &[key_type], key_type), outward);
    }
}

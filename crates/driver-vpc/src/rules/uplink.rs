//! The way out of a VPC: what may use it, and under which address.

use std::net::IpAddr;

use driver::{SharedPlan, UplinkPlan, VpcPlan};
use ipnet::IpNet;
use nft::{
    Base, ChainKind, Element, Family, Field, Hook, KeyType, Policy, Rule, Set, Table, Verdict, intervals, key,
};

use super::MAY_LEAVE;
use crate::layout::Devices;

/// Maps from floating addresses to those of ports, per family.
pub(super) const FLOATING_IN: [&str; 2] = ["floating-in4", "floating-in6"];
/// Addresses that ports of all hosts leave as, per family.
pub(super) const SHARED_AS: [&str; 2] = ["shared-as4", "shared-as6"];
const ACROSS: &str = "across";
/// Bit of a connection's status: its destination was translated (IPS_DST_NAT).
const TRANSLATED: u32 = 0x20;
/// Never outside: the link-local networks hold the uplinks themselves, and the metadata service of whatever cloud
/// the host itself may be a machine of.
const ALWAYS_CLOSED: [&str; 2] = ["169.254.0.0/16", "fe80::/10"];

pub(super) fn add(table: &mut Table, plan: &VpcPlan, uplink: &UplinkPlan, devices: &Devices, device: u32) {
    let link_local = ALWAYS_CLOSED.iter().filter_map(|network| network.parse().ok());
    let closed: Vec<IpNet> = uplink.closed.iter().copied().chain(link_local).collect();
    let inside: Vec<IpNet> =
        plan.ranges.iter().chain(plan.peers.iter().flat_map(|peer| &peer.ranges)).copied().collect();
    let floating = uplink.floating.iter().map(|(_, inside)| IpNet::from(*inside));
    let shared: Vec<IpNet> = uplink.shared.iter().flat_map(networks_of).collect();
    let leaving = uplink.nat.iter().chain(&uplink.egress).chain(&shared).copied().chain(floating);
    let leaving: Vec<IpNet> = leaving.collect();
    add_networks(table, "closed", &closed);
    add_networks(table, "inside", &inside);
    add_networks(table, "leaving", &leaving);
    add_networks(table, "nat", &uplink.nat);
    add_networks(table, "shared", &shared);
    add_floating(table, uplink);
    add_shared(table, uplink);
    table.chain("to-uplink", to_uplink());
    // Nobody outside begins to talk but to a floating address, which was translated by now.
    let called = Rule::new().any_bit(Field::ConnectionStatus, TRANSLATED).set_mark(MAY_LEAVE);
    table.chain("from-uplink", vec![called]);
    add_return_check(table, device);
    add_across(table, devices.overlay, device);
    let nat = |hook, priority| Base { kind: ChainKind::Nat, hook, priority, policy: Policy::Accept };
    table.base_chain("destinations", nat(Hook::Prerouting, -100), destinations());
    table.base_chain("sources", nat(Hook::Postrouting, 100), sources(uplink, device));
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

/// From outside nobody speaks for an address inside.
fn add_return_check(table: &mut Table, device: u32) {
    if let Some(chain) = table.chains.get_mut("prerouting") {
        let from = || Rule::new().equal(Field::InputDevice, device);
        let why = "an inner address from outside";
        let inner4 = from().ipv4().in_set(&[Field::Ip4Source], "inside4").drop().comment(why);
        let inner6 = from().ipv6().in_set(&[Field::Ip6Source], "inside6").drop().comment(why);
        chain.rules.splice(0..0, [inner4, inner6]);
    }
}

/// Other hosts' guests and peers have ways out of their own, but for those that leave by this host.
fn add_across(table: &mut Table, overlay: Option<u32>, device: u32) {
    let mut rules = Vec::new();
    if let Some(overlay) = overlay {
        let from = || Rule::new().equal(Field::InputDevice, overlay);
        rules.push(from().ipv4().in_set(&[Field::Ip4Source], "shared4").verdict(&Verdict::Return));
        rules.push(from().ipv6().in_set(&[Field::Ip6Source], "shared6").verdict(&Verdict::Return));
    }
    rules.push(Rule::new().drop().comment("has another way out"));
    table.chain(ACROSS, rules);
    if let Some(chain) = table.chains.get_mut("forward") {
        let inner = Rule::new().equal(Field::OutputDevice, device).in_set(&[Field::InputDevice], "inner");
        chain.rules.insert(0, inner.jump(ACROSS));
    }
}

/// For every packet and not only for those from outside: guests reach a floating address of a neighbour as well.
fn destinations() -> Vec<Rule> {
    vec![
        Rule::new().ipv4().destination_from(Family::Ip, Field::Ip4Destination, FLOATING_IN[0]),
        Rule::new().ipv6().destination_from(Family::Ip6, Field::Ip6Destination, FLOATING_IN[1]),
    ]
}

fn sources(uplink: &UplinkPlan, device: u32) -> Vec<Rule> {
    let out = || Rule::new().equal(Field::OutputDevice, device);
    let as_one = |(network, address): (IpNet, IpAddr)| {
        let (rule, field) = if address.is_ipv4() {
            (out().ipv4(), Field::Ip4Source)
        } else {
            (out().ipv6(), Field::Ip6Source)
        };
        rule.in_network(field, network.network(), network.prefix_len()).source_to(address)
    };
    let shared = uplink.shared.iter().flat_map(|shared| {
        let address = shared.address;
        networks_of(shared).into_iter().map(move |network| (network, address))
    });
    let mut rules = vec![
        out().ipv4().source_from(Family::Ip, Field::Ip4Source, "floating-out4"),
        out().ipv6().source_from(Family::Ip6, Field::Ip6Source, "floating-out6"),
    ];
    rules.extend(shared.map(as_one));
    rules.extend([
        // To the link's own address, which is no other VPC's: their ranges meet in the host's namespace.
        out().ipv4().in_set(&[Field::Ip4Source], "nat4").masquerade(),
        out().ipv6().in_set(&[Field::Ip6Source], "nat6").masquerade(),
    ]);
    rules
}

/// Those that can leave as the address.
fn networks_of(shared: &SharedPlan) -> Vec<IpNet> {
    let fits = |network: &&IpNet| network.addr().is_ipv4() == shared.address.is_ipv4();
    shared.networks.iter().filter(fits).copied().collect()
}

/// No rule asks for these sets: they tell which addresses go when the table changes.
fn add_shared(table: &mut Table, uplink: &UplinkPlan) {
    let families = [(KeyType::Ipv4Address, true), (KeyType::Ipv6Address, false)];
    for ((key_type, v4), name) in families.into_iter().zip(SHARED_AS) {
        let own = uplink.shared.iter().map(|shared| shared.address).filter(|a| a.is_ipv4() == v4);
        table.set(Set::new(name, &[key_type]), own.map(|address| Element::new(key([address.into()]))));
    }
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

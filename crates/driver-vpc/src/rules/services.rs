//! What guests may ask of the namespace itself: addresses, names, metadata, and nothing else.

use std::collections::BTreeSet;
use std::net::IpAddr;

use driver::VpcPlan;
use nft::{Element, Field, Hook, KeyType, Policy, Rule, Set, Table, key, states};

use super::{endpoints, filter_chain};
use crate::layout::{LOOPBACK, METADATA4, METADATA6};

const DHCP: u16 = 67;
const DHCPV6: u16 = 547;
const DNS: u16 = 53;
const HTTP: u16 = 80;
/// Router solicitation, neighbour solicitation and advertisement (RFC 4861).
const DISCOVERY: [u8; 3] = [133, 135, 136];

pub(super) fn add(table: &mut Table, plan: &VpcPlan) {
    let gateways: BTreeSet<IpAddr> = plan.ports.iter().flat_map(|port| &port.gateways).copied().collect();
    let elements = |v4: bool| gateways.iter().copied().filter(move |a| a.is_ipv4() == v4).map(element);
    table.set(Set::new("gateways4", &[KeyType::Ipv4Address]), elements(true));
    table.set(Set::new("gateways6", &[KeyType::Ipv6Address]), elements(false));
    table.base_chain("input", filter_chain(Hook::Input, 0, Policy::Drop), input(plan));
}

fn element(address: IpAddr) -> Element {
    Element::new(key([address.into()]))
}

fn input(plan: &VpcPlan) -> Vec<Rule> {
    let known = states::ESTABLISHED | states::RELATED;
    let (tcp, udp, icmpv6) = (6, 17, 58);
    let to = |rule: Rule, protocol: u8, port: u16| {
        rule.protocol(protocol).equal(Field::DestinationPort, port).accept()
    };
    let gateway4 = || Rule::new().ipv4().in_set(&[Field::Ip4Destination], "gateways4");
    let gateway6 = || Rule::new().ipv6().in_set(&[Field::Ip6Destination], "gateways6");
    let mut rules = vec![
        Rule::new().copy_to_mark(Field::InputDevice).comment("names the port to sockets"),
        Rule::new().equal(Field::InputDevice, LOOPBACK).accept(),
        Rule::new().any_bit(Field::ConnectionState, known).accept(),
        Rule::new().not_in_set(&[Field::InputDevice], "ports").drop().comment("guests here only"),
        to(Rule::new().ipv4(), udp, DHCP),
        to(Rule::new().ipv6(), udp, DHCPV6),
    ];
    rules.extend(endpoints::input(plan));
    rules.extend(DISCOVERY.map(|kind| Rule::new().protocol(icmpv6).equal(Field::IcmpType, kind).accept()));
    for protocol in [udp, tcp] {
        rules.extend([to(gateway4(), protocol, DNS), to(gateway6(), protocol, DNS)]);
    }
    rules.extend([
        to(Rule::new().ipv4().equal(Field::Ip4Destination, METADATA4), tcp, HTTP),
        to(Rule::new().ipv6().equal(Field::Ip6Destination, METADATA6), tcp, HTTP),
    ]);
    rules
}

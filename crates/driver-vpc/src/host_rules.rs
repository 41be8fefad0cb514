//! The packet filter of the host's own namespace, as far as it concerns uplinks. A table of its own, shared by all
//! VPCs of one cloud; the host's other rules stay as they are. Pure.

use std::net::IpAddr;

use nft::{Base, ChainKind, Element, Family, Field, Hook, KeyType, Policy, Rule, Set, Table, key};

use crate::names::UplinkAddresses;

/// Before the filters that a host usually has at 0.
const PRIORITY: i32 = -10;

/// One VPC's uplink, as it shows in the host's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostUplink {
    /// The host's end.
    pub(crate) device: u32,
    pub(crate) addresses: UplinkAddresses,
    pub(crate) floating: Vec<IpAddr>,
}

pub(crate) fn table_name(tag: &str) -> String {
    format!("corten-{tag}")
}

pub(crate) fn table(tag: &str, uplinks: &[HostUplink], vxlan_port: u16) -> Table {
    let mut table = Table::new(Family::Inet, table_name(tag));
    let devices = uplinks.iter().map(|uplink| Element::new(key([uplink.device.into()])));
    table.set(Set::new("uplinks", &[KeyType::InterfaceIndex]), devices);
    for (digit, key_type, v4) in [('4', KeyType::Ipv4Address, true), ('6', KeyType::Ipv6Address, false)] {
        let link = |uplink: &HostUplink| if v4 { uplink.addresses.vpc4() } else { uplink.addresses.vpc6() };
        let links = uplinks.iter().map(|uplink| Element::new(key([link(uplink).into()])));
        table.set(Set::new(format!("links{digit}"), &[key_type]), links);
        let sources = uplinks.iter().flat_map(|uplink| {
            let floating = uplink.floating.iter().copied().filter(move |address| address.is_ipv4() == v4);
            let all = floating.chain([link(uplink)]);
            all.map(|address| Element::new(key([uplink.device.into(), address.into()])))
        });
        let sources: Vec<Element> = sources.collect();
        table.set(Set::new(format!("sources{digit}"), &[KeyType::InterfaceIndex, key_type]), sources);
    }
    let filter = |hook| Base { kind: ChainKind::Filter, hook, priority: PRIORITY, policy: Policy::Accept };
    table.base_chain("forward", filter(Hook::Forward), forward());
    table.base_chain("input", filter(Hook::Input), input(vxlan_port));
    let nat = Base { kind: ChainKind::Nat, hook: Hook::Postrouting, priority: 100, policy: Policy::Accept };
    table.base_chain("sources", nat, sources());
    table
}

/// A VPC sends as its link or as its floating addresses, whatever happens inside its namespace.
fn strangers() -> Vec<Rule> {
    let from = || Rule::new().in_set(&[Field::InputDevice], "uplinks");
    vec![
        from().ipv4().not_in_set(&[Field::InputDevice, Field::Ip4Source], "sources4").drop(),
        from()
            .ipv6()
            .not_in_set(&[Field::InputDevice, Field::Ip6Source], "sources6")
            .not_equal(Field::Protocol, 58_u8)
            .drop(),
    ]
}

fn forward() -> Vec<Rule> {
    let mut rules = strangers();
    rules.extend([
        Rule::new().in_set(&[Field::InputDevice], "uplinks").accept(),
        Rule::new().in_set(&[Field::OutputDevice], "uplinks").accept(),
    ]);
    rules
}

/// Guests never speak the protocol between hosts.
fn input(vxlan_port: u16) -> Vec<Rule> {
    let mut rules = strangers();
    let tunnel = Rule::new().in_set(&[Field::InputDevice], "uplinks").protocol(17);
    rules.push(tunnel.equal(Field::DestinationPort, vxlan_port).drop());
    rules
}

fn sources() -> Vec<Rule> {
    let out = || Rule::new().not_in_set(&[Field::OutputDevice], "uplinks");
    vec![
        out().ipv4().in_set(&[Field::Ip4Source], "links4").masquerade(),
        out().ipv6().in_set(&[Field::Ip6Source], "links6").masquerade(),
    ]
}

//! From a plan to the packet filter of a VPC's namespace. Pure.
//!
//! What a packet that is forwarded meets, in order; what nothing lets through is dropped:
//!
//! ```text
//! prerouting  from another host? -> rate -> from a port: its MAC and address? -> from a peer: its address?
//!             -> (dnat of floating addresses)
//! forward     (of a subnet with an ACL: map `acl-out`, then map `acl-in`, for every packet)
//!             rate -> of a connection that was let through? -> mark := 0
//!             -> map `out`: by input device to the chains of the port's groups, which set mark 1
//!             -> mark is 1?
//!             -> map `in`: by output device to the chains of the port's groups, which accept
//!                or to outside: a floating address, translated, or IPv6 that may leave?
//! postrouting snat of floating addresses, masquerade
//! input       mark := input device -> what may be asked here?
//!             (to an endpoint: map `out` as above, then its route or its groups)
//! ```
//!
//! A mark says that a packet may leave its port, rather than a jump to the second half: the kernel walks all paths
//! through jumps at each commit, and there would be one per pair of ports instead of one per port. A group's chain
//! is shared by all its ports; its members are a set, which changes by elements. Every chain and set is named by what
//! it is for, so that the difference to what the kernel has is small whenever the change is.

mod acls;
mod endpoints;
mod groups;
mod peers;
mod ports;
mod services;
mod uplink;

use std::net::IpAddr;

use driver::VpcPlan;
use nft::{Base, ChainKind, Family, Field, Hook, KeyType, Policy, Rule, Set, Table, key};

use crate::layout::{Devices, LOOPBACK};
pub(crate) use ports::SPOOFING;

/// Both tables of a VPC's namespace have this name.
pub(crate) const TABLE: &str = "corten";

/// Whose tables those are.
pub(crate) const FAMILIES: [Family; 2] = [Family::Inet, Family::Arp];

/// On a packet that may leave the port it came from.
const MAY_LEAVE: u32 = 1;
/// Before connections are tracked.
const PRIORITY_RAW: i32 = -300;

/// All of a VPC's filter.
pub(crate) fn tables(plan: &VpcPlan, devices: &Devices) -> [Table; 2] {
    [filter(plan, devices), arp(plan, devices)]
}

/// The filter of IP packets.
fn filter(plan: &VpcPlan, devices: &Devices) -> Table {
    let mut table = Table::new(Family::Inet, TABLE);
    ports::add(&mut table, plan, devices);
    groups::add(&mut table, plan);
    acls::add(&mut table, plan, devices);
    peers::add(&mut table, plan, devices);
    services::add(&mut table, plan);
    endpoints::add(&mut table, plan, devices);
    if let (Some(uplink), Some(device)) = (&plan.uplink, devices.uplink) {
        uplink::add(&mut table, plan, uplink, devices, device);
    }
    table
}

/// Floating and shared addresses that the table there was still translates and the wanted one does not. `elements` are those of a
/// set of the table there was.
pub(crate) fn lost_floating<'a, I: Iterator<Item = &'a nft::Element>>(
    wanted: &Table,
    elements: impl Fn(&'static str) -> I,
) -> Vec<IpAddr> {
    let lost = uplink::FLOATING_IN.into_iter().chain(uplink::SHARED_AS).flat_map(|map| {
        let kept = wanted.sets.get(map).map(|set| &set.elements);
        elements(map).filter(move |element| kept.is_none_or(|kept| !kept.contains(element)))
    });
    lost.filter_map(|element| crate::rtnl::address(&element.key)).collect()
}

/// The filter of ARP: a port speaks for its own addresses only.
fn arp(plan: &VpcPlan, devices: &Devices) -> Table {
    let mut table = Table::new(Family::Arp, TABLE);
    ports::add_identities(&mut table, plan, devices);
    let device = Field::InputDevice;
    let rules = vec![
        Rule::new().in_set(&[device], "trusted").accept(),
        ports::spoofed(Rule::new().not_in_set(&[device, Field::ArpSenderMac], "macs")),
        // Who asks whether an address is in use names none as its own (RFC 5227).
        Rule::new().equal(Field::ArpSender, std::net::Ipv4Addr::UNSPECIFIED).accept(),
        Rule::new().in_set(&[device, Field::ArpSenderMac, Field::ArpSender], "sources4").accept(),
        ports::spoofed(Rule::new()),
    ];
    table.base_chain("input", filter_chain(Hook::Input, 0, Policy::Accept), rules);
    table
}

fn filter_chain(hook: Hook, priority: i32, policy: Policy) -> Base {
    Base { kind: ChainKind::Filter, hook, priority, policy }
}

/// Devices whose packets are not checked for their source.
fn trusted(plan: &VpcPlan, devices: &Devices) -> impl Iterator<Item = u32> {
    let unchecked = plan.ports.iter().filter(|port| !port.source_check);
    let ports: Vec<u32> = unchecked.filter_map(|port| devices.ports.get(&port.uid).copied()).collect();
    [Some(LOOPBACK), devices.overlay, devices.uplink].into_iter().flatten().chain(ports)
}

fn device_set(table: &mut Table, name: &str, devices: impl IntoIterator<Item = u32>) {
    let elements = devices.into_iter().map(|device| nft::Element::new(key([device.into()])));
    table.set(Set::new(name, &[KeyType::InterfaceIndex]), elements);
}

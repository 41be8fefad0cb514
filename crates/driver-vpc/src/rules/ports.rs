//! What holds per port: who it may claim to be, its rate, and the way to the chains of its groups.

use std::net::IpAddr;

use driver::{PortPlan, VpcPlan};
use nft::{Element, Field, Hook, KeyType, Policy, Rule, Set, Table, Verdict, key, states};

use super::groups::{egress_chain, ingress_chain};
use super::{MAY_LEAVE, PRIORITY_RAW, device_set, filter_chain, trusted};
use crate::flows::{ENTERING, LEAVING, LOG_GROUP};
use crate::layout::Devices;

/// What may go beyond a rate at once: twice the largest packet that segmentation offload makes. After a silence the
/// kernel grants a second's worth besides.
const BURST_BYTES: u32 = 128 << 10;
/// Refused packets of one port that are noted, for each direction.
const NOTED_PER_SECOND: u64 = 100;
const NOTED_PER_SECOND_BURST: u32 = 500;

pub(super) fn add(table: &mut Table, plan: &VpcPlan, devices: &Devices) {
    add_identities(table, plan, devices);
    device_set(table, "ports", devices.ports.values().copied());
    let mut ways = Ways::default();
    for port in &plan.ports {
        if let Some(device) = devices.ports.get(&port.uid) {
            ways.add(table, plan, port, *device);
        }
    }
    ways.add_others(table, plan, devices);
    ways.declare(table);
    table.base_chain(
        "prerouting",
        filter_chain(Hook::Prerouting, PRIORITY_RAW, Policy::Accept),
        prerouting(),
    );
    table.base_chain("forward", filter_chain(Hook::Forward, 0, Policy::Drop), forward());
}

/// Sets that say which devices have to prove their sources, and what each may claim.
pub(super) fn add_identities(table: &mut Table, plan: &VpcPlan, devices: &Devices) {
    device_set(table, "trusted", trusted(plan, devices));
    let mut macs = Vec::new();
    let (mut sources4, mut sources6) = (Vec::new(), Vec::new());
    for port in &plan.ports {
        let Some(device) = devices.ports.get(&port.uid).copied() else { continue };
        macs.push(Element::new(key([device.into(), port.mac.0.into()])));
        for address in &port.addresses {
            let element = Element::new(key([device.into(), (*address).into()]));
            if address.is_ipv4() { sources4.push(element) } else { sources6.push(element) }
        }
    }
    let index = KeyType::InterfaceIndex;
    table.set(Set::new("macs", &[index, KeyType::EtherAddress]), macs);
    table.set(Set::new("sources4", &[index, KeyType::Ipv4Address]), sources4);
    if table.family != nft::Family::Arp {
        table.set(Set::new("sources6", &[index, KeyType::Ipv6Address]), sources6);
    }
}

/// Verdict maps from devices to chains.
#[derive(Default)]
struct Ways {
    out: Vec<Element>,
    into: Vec<Element>,
    rate_out: Vec<Element>,
    rate_in: Vec<Element>,
}

impl Ways {
    fn add(&mut self, table: &mut Table, plan: &VpcPlan, port: &PortPlan, device: u32) {
        let of = |verb: &str| format!("{verb}-{}", port.uid);
        let known: Vec<_> = port.groups.iter().filter(|g| plan.groups.iter().any(|p| p.uid == **g)).collect();
        let mut out: Vec<Rule> = known.iter().map(|group| Rule::new().jump(&egress_chain(group))).collect();
        let mut into: Vec<Rule> = known.iter().map(|group| Rule::new().jump(&ingress_chain(group))).collect();
        if port.logs_flows {
            out.push(noted(Rule::new().not_equal(Field::Mark, MAY_LEAVE), LEAVING));
            into.push(noted(Rule::new(), ENTERING));
        }
        table.chain(&of("out"), out);
        table.chain(&of("in"), into);
        self.out.push(Element::with_verdict(key([device.into()]), Verdict::Jump(of("out"))));
        self.into.push(Element::with_verdict(key([device.into()]), Verdict::Goto(of("in"))));
        if let Some(bits) = port.rate_bits {
            // One chain per direction: each has a count of its own.
            for (verb, elements) in [("rate-out", &mut self.rate_out), ("rate-in", &mut self.rate_in)] {
                table.chain(&of(verb), vec![beyond(bits).drop()]);
                elements.push(Element::with_verdict(key([device.into()]), Verdict::Jump(of(verb))));
            }
        }
    }

    /// What comes from other hosts and from peers passed its sender's filter there; what leaves is checked where it
    /// arrives.
    fn add_others(&mut self, table: &mut Table, plan: &VpcPlan, devices: &Devices) {
        table.chain("outside", vec![Rule::new().set_mark(MAY_LEAVE)]);
        let inner: Vec<u32> = devices.overlay.into_iter().chain(devices.peers.values().copied()).collect();
        for device in &inner {
            let element = |verdict| Element::with_verdict(key([(*device).into()]), verdict);
            self.out.push(element(Verdict::Jump("outside".into())));
            self.into.push(element(Verdict::Accept));
        }
        device_set(table, "inner", inner);
        if let Some(device) = devices.uplink.filter(|_| plan.uplink.is_some()) {
            let element = |verdict| Element::with_verdict(key([device.into()]), verdict);
            self.out.push(element(Verdict::Jump("from-uplink".into())));
            self.into.push(element(Verdict::Goto("to-uplink".into())));
        }
    }

    fn declare(self, table: &mut Table) {
        let maps =
            [("out", self.out), ("in", self.into), ("rate-out", self.rate_out), ("rate-in", self.rate_in)];
        for (name, elements) in maps {
            table.set(Set::verdict_map(name, &[KeyType::InterfaceIndex]), elements);
        }
    }
}

/// Keeps what got so far for whoever looks; a flood of it is not worth the time.
fn noted(rule: Rule, what: &str) -> Rule {
    rule.within_rate(NOTED_PER_SECOND, NOTED_PER_SECOND_BURST).log(LOG_GROUP, what)
}

fn beyond(bits: u64) -> Rule {
    Rule::new().over_rate((bits / 8).max(1), BURST_BYTES)
}

fn prerouting() -> Vec<Rule> {
    let device = Field::InputDevice;
    let link_local: IpAddr = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into();
    let dhcp = Rule::new().ipv4().equal(Field::Ip4Source, std::net::Ipv4Addr::UNSPECIFIED);
    vec![
        Rule::new().copy_to_mark(device).comment("names the port to sockets"),
        Rule::new().verdict_of(&[device], "rate-out"),
        Rule::new().verdict_of(&[device], super::peers::SOURCES),
        Rule::new().in_set(&[device], "trusted").accept(),
        Rule::new()
            .by_ethernet()
            .not_in_set(&[device, Field::EtherSource], "macs")
            .drop()
            .comment("not its MAC address"),
        Rule::new().ipv4().in_set(&[device, Field::Ip4Source], "sources4").accept(),
        dhcp.protocol(17).equal(Field::DestinationPort, 67_u16).accept(),
        Rule::new().ipv6().in_set(&[device, Field::Ip6Source], "sources6").accept(),
        // Neighbour discovery and DHCPv6; the kernel never forwards these.
        Rule::new().ipv6().in_network(Field::Ip6Source, link_local, 10).accept(),
        Rule::new().ipv6().equal(Field::Ip6Source, std::net::Ipv6Addr::UNSPECIFIED).protocol(58).accept(),
        Rule::new().drop().comment("not its address"),
    ]
}

fn forward() -> Vec<Rule> {
    let known = states::ESTABLISHED | states::RELATED;
    vec![
        Rule::new().verdict_of(&[Field::OutputDevice], "rate-in"),
        Rule::new().any_bit(Field::ConnectionState, known).accept(),
        Rule::new().any_bit(Field::ConnectionState, states::INVALID).drop(),
        Rule::new().set_mark(0),
        Rule::new().verdict_of(&[Field::InputDevice], "out"),
        Rule::new().not_equal(Field::Mark, MAY_LEAVE).drop().comment("may not leave its port"),
        Rule::new().verdict_of(&[Field::OutputDevice], "in"),
    ]
}

//! What holds per port: who it may claim to be, its rate, and the way to the chains of its groups.

use std::net::IpAddr;

use driver::{PortPlan, VpcPlan};
use model::Uid;
use nft::{Element, Field, Hook, KeyType, Policy, Rule, Set, Table, Verdict, key, states};

use super::groups::{egress_chain, ingress_chain};
use super::{MAY_LEAVE, PRIORITY_RAW, device_set, filter_chain, trusted};
use crate::flows::{ENTERING, LEAVING, LOG_GROUP};
use crate::layout::Devices;
use crate::names::fnv;

/// What may go beyond a rate at once: twice the largest packet that segmentation offload makes. After a silence the
/// kernel grants a second's worth besides.
const BURST_BYTES: u32 = 128 << 10;
/// Bit of a connection's status: a packet of it has passed the whole filter (IPS_CONFIRMED).
const CONFIRMED: u32 = 0x8;
/// Refused packets of one port that are noted, for each direction.
const NOTED_PER_SECOND: u64 = 100;
const NOTED_PER_SECOND_BURST: u32 = 500;
/// Devices of ports, each with a count of what they should not have sent.
pub(crate) const SPOOFING: &str = "spoofing";
const SPOOFED: &str = "spoofed";
/// By input device, the groups that let a packet out.
pub(super) const OUT: &str = "out";

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
        prerouting(plan, devices),
    );
    table.base_chain("forward", filter_chain(Hook::Forward, 0, Policy::Drop), forward(plan));
}

/// Sets that say which devices have to prove their sources, and what each may claim: an Ethernet address, and with it an
/// address of IP.
pub(super) fn add_identities(table: &mut Table, plan: &VpcPlan, devices: &Devices) {
    device_set(table, "trusted", trusted(plan, devices));
    add_spoofing(table, devices);
    let mut macs = Vec::new();
    let (mut sources4, mut sources6) = (Vec::new(), Vec::new());
    for port in &plan.ports {
        let Some(device) = devices.ports.get(&port.uid).copied() else { continue };
        let mac = || [device.into(), port.mac.0.into()];
        macs.push(Element::new(key(mac())));
        for address in &port.addresses {
            let element = Element::new(key(mac().into_iter().chain([(*address).into()])));
            if address.is_ipv4() { sources4.push(element) } else { sources6.push(element) }
        }
    }
    let card = [KeyType::InterfaceIndex, KeyType::EtherAddress];
    table.set(Set::new("macs", &card), macs);
    table.set(Set::new("sources4", &[&card[..], &[KeyType::Ipv4Address]].concat()), sources4);
    if table.family != nft::Family::Arp {
        table.set(Set::new("sources6", &[&card[..], &[KeyType::Ipv6Address]].concat()), sources6);
    }
}

/// Where packets end that are not what their port may send: each counts for its port.
fn add_spoofing(table: &mut Table, devices: &Devices) {
    let elements = devices.ports.values().map(|device| Element::new(key([(*device).into()])));
    table.set(Set::counting(SPOOFING, &[KeyType::InterfaceIndex]), elements);
    let counted = Rule::new().in_set(&[Field::InputDevice], SPOOFING).drop();
    table.chain(SPOOFED, vec![counted, Rule::new().drop()]);
}

/// Drops a packet that its port may not send.
pub(super) fn spoofed(rule: Rule) -> Rule {
    rule.verdict(&Verdict::Goto(SPOOFED.into()))
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
        let known: Vec<&Uid> =
            port.groups.iter().filter(|g| plan.groups.iter().any(|p| p.uid == **g)).collect();
        let (out, into) = match known.as_slice() {
            [group] if !port.logs_flows => (egress_chain(group), ingress_chain(group)),
            groups => add_chains(table, port, groups),
        };
        self.out.push(Element::with_verdict(key([device.into()]), Verdict::Jump(out)));
        self.into.push(Element::with_verdict(key([device.into()]), Verdict::Goto(into)));
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
            [(OUT, self.out), ("in", self.into), ("rate-out", self.rate_out), ("rate-in", self.rate_in)];
        for (name, elements) in maps {
            table.set(Set::verdict_map(name, &[KeyType::InterfaceIndex]), elements);
        }
    }
}

/// Chains that ask several groups in turn, or none. Ports of the same groups share them; one that has what is refused
/// noted has its own, for it has a rate of its own.
fn add_chains(table: &mut Table, port: &PortPlan, groups: &[&Uid]) -> (String, String) {
    let owner = if port.logs_flows {
        port.uid.to_string()
    } else {
        let all: Vec<&str> = groups.iter().map(|group| group.as_str()).collect();
        format!("of-{:032x}", fnv(all.join(",").as_bytes()))
    };
    let (out, into) = (format!("out-{owner}"), format!("in-{owner}"));
    if table.chains.contains_key(&out) {
        return (out, into);
    }
    let mut leaving: Vec<Rule> = groups.iter().map(|group| Rule::new().jump(&egress_chain(group))).collect();
    let mut entering: Vec<Rule> =
        groups.iter().map(|group| Rule::new().jump(&ingress_chain(group))).collect();
    if port.logs_flows {
        leaving.push(noted(Rule::new().not_equal(Field::Mark, MAY_LEAVE), LEAVING));
        entering.push(noted(Rule::new(), ENTERING));
    }
    table.chain(&out, leaving);
    table.chain(&into, entering);
    (out, into)
}

/// Keeps what got so far for whoever looks; a flood of it is not worth the time.
pub(super) fn noted(rule: Rule, what: &str) -> Rule {
    rule.within_rate(NOTED_PER_SECOND, NOTED_PER_SECOND_BURST).log(LOG_GROUP, what)
}

fn beyond(bits: u64) -> Rule {
    Rule::new().over_rate((bits / 8).max(1), BURST_BYTES)
}

/// What comes most often is decided first: packets of other hosts, and of ports that say who they are.
fn prerouting(plan: &VpcPlan, devices: &Devices) -> Vec<Rule> {
    let device = Field::InputDevice;
    let link_local: IpAddr = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into();
    let dhcp = Rule::new().ipv4().equal(Field::Ip4Source, std::net::Ipv4Addr::UNSPECIFIED);
    let overlay = devices.overlay.map(|overlay| Rule::new().equal(device, overlay).accept());
    let limited = has_rates(plan).then(|| Rule::new().verdict_of(&[device], "rate-out"));
    let from_peers = !plan.peers.is_empty();
    let from_peers = from_peers.then(|| Rule::new().verdict_of(&[device], super::peers::SOURCES));
    let claims = |source| [device, Field::EtherSource, source];
    let rest = [
        Rule::new().in_set(&[device], "trusted").accept(),
        spoofed(Rule::new().by_ethernet().not_in_set(&[device, Field::EtherSource], "macs"))
            .comment("not its MAC address"),
        dhcp.protocol(17).equal(Field::DestinationPort, 67_u16).accept(),
        // Neighbour discovery and DHCPv6; the kernel never forwards these.
        Rule::new().ipv6().in_network(Field::Ip6Source, link_local, 10).accept(),
        Rule::new().ipv6().equal(Field::Ip6Source, std::net::Ipv6Addr::UNSPECIFIED).protocol(58).accept(),
        spoofed(Rule::new()).comment("not its address"),
    ];
    let known = [
        Rule::new().ipv4().in_set(&claims(Field::Ip4Source), "sources4").accept(),
        Rule::new().ipv6().in_set(&claims(Field::Ip6Source), "sources6").accept(),
    ];
    overlay.into_iter().chain(limited).chain(known).chain(from_peers).chain(rest).collect()
}

fn forward(plan: &VpcPlan) -> Vec<Rule> {
    let mut rules = Vec::new();
    rules.extend(has_rates(plan).then(|| Rule::new().verdict_of(&[Field::OutputDevice], "rate-in")));
    rules.extend([
        // Also where nobody answers: what was let through once is looked at again when the rules change.
        Rule::new().any_bit(Field::ConnectionStatus, CONFIRMED).accept(),
        Rule::new().any_bit(Field::ConnectionState, states::INVALID).drop(),
        Rule::new().set_mark(0),
        Rule::new().verdict_of(&[Field::InputDevice], OUT),
        Rule::new().not_equal(Field::Mark, MAY_LEAVE).drop().comment("may not leave its port"),
        Rule::new().verdict_of(&[Field::OutputDevice], "in"),
    ]);
    rules
}

fn has_rates(plan: &VpcPlan) -> bool {
    plan.ports.iter().any(|port| port.rate_bits.is_some())
}

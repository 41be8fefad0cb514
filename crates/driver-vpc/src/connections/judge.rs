//! Whether a plan's filter would let a connection begin. Says the same as `rules`; where it cannot know, it lets go
//! on. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use driver::{GroupPlan, Peer, PortPlan, Protocol, Reach, RulePlan, VpcPlan};
use model::Uid;

use super::kernel::{Connection, Tuple};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

pub(super) struct Judge<'a> {
    plan: &'a VpcPlan,
    ports: BTreeMap<IpAddr, &'a PortPlan>,
    groups: BTreeMap<&'a Uid, Group<'a>>,
    /// Addresses that somebody has: ports anywhere, and the namespace itself.
    known: BTreeSet<IpAddr>,
    own: BTreeSet<IpAddr>,
    gone: &'a [IpAddr],
}

struct Group<'a> {
    plan: &'a GroupPlan,
    members: BTreeSet<IpAddr>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(plan: &'a VpcPlan, own: &[IpAddr], gone: &'a [IpAddr]) -> Self {
        let ports = plan.ports.iter().flat_map(|port| port.addresses.iter().map(move |a| (*a, port)));
        let ports: BTreeMap<IpAddr, &PortPlan> = ports.collect();
        let remotes = plan.remotes.iter().map(|remote| remote.address);
        let group = |plan: &'a GroupPlan| Group { plan, members: plan.members.iter().copied().collect() };
        Self {
            known: ports.keys().copied().chain(remotes).chain(own.iter().copied()).collect(),
            groups: plan.groups.iter().map(|plan| (&plan.uid, group(plan))).collect(),
            own: own.iter().copied().collect(),
            plan,
            ports,
            gone,
        }
    }

    pub(super) fn allows(&self, connection: &Connection) -> bool {
        let (original, reply) = (&connection.original, &connection.reply);
        // Where it really went, which is what the filter saw.
        let way = Tuple {
            destination: reply.source,
            destination_port: if has_ports(original.protocol) { reply.source_port } else { 0 },
            ..*original
        };
        if self.gone.contains(&original.destination) || self.gone.contains(&reply.destination) {
            return false;
        }
        // To and from the namespace itself: that is another chain's, and what answers there asks for itself.
        if self.own.contains(&way.source) || self.own.contains(&way.destination) || is_many(way.destination) {
            return true;
        }
        if self.is_nobody(way.source) || self.is_nobody(way.destination) {
            return false;
        }
        let leaves = self.ports.get(&way.source).is_none_or(|port| self.passes(port, &way, Way::Out));
        leaves && self.ports.get(&way.destination).is_none_or(|port| self.passes(port, &way, Way::In))
    }

    /// An address of the VPC's, or of a peer's whose ports we know, that no port has.
    fn is_nobody(&self, address: IpAddr) -> bool {
        if self.plan.ranges.iter().any(|range| range.contains(&address)) {
            let is_forwarded = |port: &&PortPlan| !port.source_check;
            // A port that sends from any address may use those that nobody has.
            return !self.known.contains(&address) && !self.plan.ports.iter().any(|p| is_forwarded(&p));
        }
        let peer = self.plan.peers.iter().find(|peer| peer.ranges.iter().any(|r| r.contains(&address)));
        match peer.map(|peer| &peer.reach) {
            Some(Reach::Carried { here, remotes }) => {
                !here.contains(&address) && !remotes.iter().any(|remote| remote.address == address)
            }
            Some(Reach::Link) | None => false,
        }
    }

    fn passes(&self, port: &PortPlan, tuple: &Tuple, way: Way) -> bool {
        let groups = port.groups.iter().filter_map(|uid| self.groups.get(uid));
        groups.into_iter().any(|group| {
            let rules = if way == Way::Out { &group.plan.egress } else { &group.plan.ingress };
            rules.iter().any(|rule| self.matches(rule, tuple, way))
        })
    }

    fn matches(&self, rule: &RulePlan, tuple: &Tuple, way: Way) -> bool {
        let peer = if way == Way::Out { tuple.destination } else { tuple.source };
        let is_peer = match &rule.peer {
            Peer::Networks(networks) => networks.iter().any(|network| network.contains(&peer)),
            Peer::Group(uid) => self.groups.get(uid).is_some_and(|group| group.members.contains(&peer)),
        };
        let in_range =
            |protocol, from, to| tuple.protocol == protocol && (from..=to).contains(&tuple.destination_port);
        is_peer
            && match rule.protocol {
                Protocol::Any => true,
                Protocol::Tcp(from, to) => in_range(TCP, from, to),
                Protocol::Udp(from, to) => in_range(UDP, from, to),
                Protocol::Other(number) => tuple.protocol == number,
                Protocol::Icmp { kind, code } => {
                    let wanted = if peer.is_ipv4() { ICMP } else { ICMPV6 };
                    let (found_kind, found_code) = tuple.icmp.unwrap_or_default();
                    tuple.protocol == wanted
                        && kind.is_none_or(|kind| kind == found_kind)
                        && code.is_none_or(|code| code == found_code)
                }
            }
    }
}

/// As seen from the port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

/// Those whose ports the kernel tracks: TCP, UDP, DCCP, SCTP and UDP-Lite.
fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// Many receivers, or a link's own: never forwarded.
fn is_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use driver::{Link, Mac, RemotePlan};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap()
    }

    fn port(number: &str, address: &str, group: &str) -> PortPlan {
        PortPlan {
            uid: uid(number),
            link: Link::Tap { user_id: 0 },
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec![ip(address)],
            gateways: Vec::new(),
            source_check: true,
            groups: vec![uid(group)],
            rate_bits: None,
            logs_flows: false,
        }
    }

    /// A server that takes port 80 from clients, and a client that may send anywhere.
    fn plan() -> VpcPlan {
        let rule = |protocol, peer| RulePlan { protocol, peer };
        let everywhere = Peer::Networks(vec!["0.0.0.0/0".parse().unwrap()]);
        let servers = GroupPlan {
            uid: uid("a"),
            ingress: vec![rule(Protocol::Tcp(80, 80), Peer::Group(uid("b")))],
            ..GroupPlan::default()
        };
        let clients = GroupPlan {
            uid: uid("b"),
            members: vec![ip("10.0.0.3"), ip("10.0.0.9")],
            egress: vec![rule(Protocol::Any, everywhere)],
            ..GroupPlan::default()
        };
        let remote = RemotePlan { address: ip("10.0.0.9"), host: ip("192.0.2.2") };
        VpcPlan {
            uid: uid("c"),
            ranges: vec!["10.0.0.0/16".parse().unwrap()],
            ports: vec![port("d", "10.0.0.2", "a"), port("e", "10.0.0.3", "b")],
            remotes: vec![remote],
            groups: vec![servers, clients],
            ..VpcPlan::default()
        }
    }

    fn tuple(source: &str, destination: &str, protocol: u8, ports: (u16, u16)) -> Tuple {
        let (source_port, destination_port) = ports;
        let icmp = (protocol == ICMP).then_some((8, 0));
        let (source, destination) = (ip(source), ip(destination));
        Tuple { source, destination, protocol, source_port, destination_port, icmp }
    }

    fn plain(source: &str, destination: &str, protocol: u8, port: u16) -> Connection {
        let there = tuple(source, destination, protocol, (4000, port));
        Connection::of(there, tuple(destination, source, protocol, (port, 4000)))
    }

    fn allows(plan: &VpcPlan, connection: &Connection) -> bool {
        Judge::new(plan, &[ip("10.0.0.1")], &[ip("198.51.100.7")]).allows(connection)
    }

    #[test]
    fn rules_decide_as_they_would_for_a_first_packet() {
        let check = |source: &str, destination: &str, protocol: u8, port: u16, expected: bool| {
            let connection = plain(source, destination, protocol, port);
            assert_eq!(allows(&plan(), &connection), expected, "{connection:?}");
        };
        check("10.0.0.3", "10.0.0.2", TCP, 80, true);
        check("10.0.0.9", "10.0.0.2", TCP, 80, true);
        check("10.0.0.3", "10.0.0.2", TCP, 81, false);
        check("10.0.0.3", "10.0.0.2", UDP, 80, false);
        check("10.0.0.2", "192.0.2.7", TCP, 80, false);
        check("10.0.0.3", "192.0.2.7", ICMP, 0, true);
        check("10.0.0.3", "10.0.0.77", TCP, 80, false);
        check("10.0.0.77", "10.0.0.9", TCP, 80, false);
        // To and from the namespace, and what is never forwarded.
        check("10.0.0.2", "10.0.0.1", UDP, 53, true);
        check("10.0.0.1", "10.0.0.2", TCP, 22, true);
        check("10.0.0.2", "224.0.0.251", UDP, 5353, true);
    }

    #[test]
    fn what_was_translated_is_judged_by_where_it_went() {
        let there = tuple("10.0.0.3", "198.51.100.9", TCP, (4000, 8080));
        let back = tuple("10.0.0.2", "10.0.0.3", TCP, (80, 4000));
        assert!(allows(&plan(), &Connection::of(there, back)));
        let back = tuple("10.0.0.2", "10.0.0.3", TCP, (81, 4000));
        assert!(!allows(&plan(), &Connection::of(there, back)));
        let gone = tuple("10.0.0.3", "198.51.100.7", TCP, (4000, 80));
        let back = tuple("10.0.0.2", "10.0.0.3", TCP, (80, 4000));
        assert!(!allows(&plan(), &Connection::of(gone, back)), "its floating address was taken away");
    }
}

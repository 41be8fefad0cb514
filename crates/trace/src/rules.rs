//! Rules of security groups: which of them lets a packet through, and how a rule is written.

use std::net::IpAddr;

use model::network::{Direction, Port, PortRange, Protocol, SecurityRule, Vpc};

use crate::objects::{Objects, has};
use crate::{RuleAt, Traffic};

/// What a rule is asked: traffic of this kind, with `peer` on the other side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) direction: Direction,
    /// `None`: an address of the outside that only the host knows. Nothing but a network of all addresses has it.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) ipv4: bool,
    pub(crate) traffic: Traffic,
}

/// The first rule of the port's groups that lets it through, in the order in which the port names them.
pub(crate) fn first_match(objects: &Objects, vpc: &Vpc, port: &Port, wish: Wish) -> Option<RuleAt> {
    let project = &port.metadata.namespace;
    let groups = port.spec.security_groups.iter().filter_map(|name| objects.group(project, name));
    for group in groups {
        let mut rules = group.spec.rules.iter().enumerate();
        let matched = rules.find(|(_, rule)| matches(objects, vpc, rule, wish));
        if let Some((index, rule)) = matched {
            return Some(RuleAt { group: group.metadata.name.clone(), index, text: text(rule) });
        }
    }
    None
}

fn matches(objects: &Objects, vpc: &Vpc, rule: &SecurityRule, wish: Wish) -> bool {
    rule.direction == wish.direction
        && matches_traffic(rule.protocol, rule.ports, (rule.icmp_type, rule.icmp_code), wish.traffic)
        && matches_peer(objects, vpc, rule, wish)
}

/// Whether what a rule says above IP is of this traffic.
pub(crate) fn matches_traffic(
    protocol: Protocol,
    ports: Option<PortRange>,
    (icmp_type, icmp_code): (Option<u8>, Option<u8>),
    traffic: Traffic,
) -> bool {
    let in_range = |port: u16| ports.is_none_or(|range| (range.from..=range.to).contains(&port));
    match (protocol, traffic) {
        (Protocol::Any, _) => true,
        (Protocol::Tcp, Traffic::Tcp { to, .. }) | (Protocol::Udp, Traffic::Udp { to, .. }) => in_range(to),
        (Protocol::Icmp, Traffic::Icmp { kind, code }) => {
            icmp_type.is_none_or(|wanted| wanted == kind) && icmp_code.is_none_or(|wanted| wanted == code)
        }
        (Protocol::Other(wanted), Traffic::Other { number }) => wanted == number,
        _ => false,
    }
}

fn matches_peer(objects: &Objects, vpc: &Vpc, rule: &SecurityRule, wish: Wish) -> bool {
    let project = &vpc.metadata.namespace;
    let holds = |cidr: &model::network::Cidr| match wish.peer {
        Some(address) => cidr.contains(address),
        None => cidr.prefix_len() == 0 && cidr.is_v4() == wish.ipv4,
    };
    if let Some(cidr) = &rule.peer.cidr {
        return holds(cidr);
    }
    if rule.peer.group.is_empty() {
        let list = objects.list(project, &rule.peer.prefix_list);
        return list.is_some_and(|list| list.spec.entries.iter().filter_map(|e| e.cidr.as_ref()).any(holds));
    }
    let is_member = |port: &Port| port.spec.security_groups.contains(&rule.peer.group);
    wish.peer.is_some_and(|address| objects.ports_in(vpc).any(|port| is_member(port) && has(port, address)))
}

/// A rule in words: `tcp/80-90 from group web`.
pub(crate) fn text(rule: &SecurityRule) -> String {
    let traffic = traffic_text(rule.protocol, rule.ports, (rule.icmp_type, rule.icmp_code));
    let side = if rule.direction == Direction::Ingress { "from" } else { "to" };
    let peer = &rule.peer;
    let peer = match (&peer.cidr, peer.group.as_str(), peer.prefix_list.as_str()) {
        (Some(cidr), ..) => cidr.to_string(),
        (None, "", list) => format!("prefix list {list}"),
        (None, group, _) => format!("group {group}"),
    };
    format!("{traffic} {side} {peer}")
}

/// What a rule says above IP: `tcp/80-90`, `icmp type 8`.
pub(crate) fn traffic_text(
    protocol: Protocol,
    ports: Option<PortRange>,
    (icmp_type, icmp_code): (Option<u8>, Option<u8>),
) -> String {
    let ports = match ports {
        Some(ports) if ports.from == ports.to => format!("/{}", ports.from),
        Some(ports) => format!("/{}-{}", ports.from, ports.to),
        None => String::new(),
    };
    let kind = icmp_type.map(|kind| format!(" type {kind}")).unwrap_or_default();
    let code = icmp_code.map(|code| format!(" code {code}")).unwrap_or_default();
    format!("{protocol}{ports}{kind}{code}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::network::{PortRange, RulePeer};

    #[test]
    fn rules_in_words() {
        let rule = |protocol, ports: Option<(u16, u16)>, direction| SecurityRule {
            direction,
            protocol,
            ports: ports.map(|(from, to)| PortRange { from, to }),
            peer: RulePeer { group: "web".into(), ..RulePeer::default() },
            ..SecurityRule::default()
        };
        assert_eq!(text(&rule(Protocol::Tcp, Some((80, 80)), Direction::Ingress)), "tcp/80 from group web");
        assert_eq!(text(&rule(Protocol::Udp, Some((5, 9)), Direction::Egress)), "udp/5-9 to group web");
        let mut ping = rule(Protocol::Icmp, None, Direction::Egress);
        (ping.icmp_type, ping.icmp_code) = (Some(8), Some(0));
        ping.peer = RulePeer { cidr: "::/0".parse().ok(), ..RulePeer::default() };
        assert_eq!(text(&ping), "icmp type 8 code 0 to ::/0");
    }

    #[test]
    fn traffic_of_its_protocol_and_ports() {
        let matches_traffic = |rule: &SecurityRule, traffic: Traffic| {
            super::matches_traffic(rule.protocol, rule.ports, (rule.icmp_type, rule.icmp_code), traffic)
        };
        let rule = SecurityRule {
            protocol: Protocol::Tcp,
            ports: Some(PortRange { from: 80, to: 90 }),
            ..SecurityRule::default()
        };
        for (to, expected) in [(79, false), (80, true), (90, true), (91, false)] {
            assert_eq!(matches_traffic(&rule, Traffic::Tcp { from: 1, to }), expected, "{to}");
            assert!(!matches_traffic(&rule, Traffic::Udp { from: 1, to }));
        }
        let ping = SecurityRule { protocol: Protocol::Icmp, icmp_type: Some(8), ..SecurityRule::default() };
        assert!(matches_traffic(&ping, Traffic::Icmp { kind: 8, code: 3 }));
        assert!(!matches_traffic(&ping, Traffic::Icmp { kind: 0, code: 0 }));
        let gre = SecurityRule { protocol: Protocol::Other(47), ..SecurityRule::default() };
        assert!(matches_traffic(&gre, Traffic::Other { number: 47 }));
        assert!(!matches_traffic(&gre, Traffic::Other { number: 50 }));
    }
}

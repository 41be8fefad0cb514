//! Network ACLs: which rule decides about a packet that crosses the edge of a subnet.

use std::net::IpAddr;

use model::network::{AclAction, AclRule, Direction, NetworkAcl, Port, Subnet};

use crate::objects::Objects;
use crate::rules::{Wish, matches_traffic, traffic_text};

/// What an ACL says of a packet.
pub(crate) struct Decision<'a> {
    pub(crate) acl: &'a NetworkAcl,
    /// `None`: none matches, so it is dropped.
    pub(crate) rule: Option<&'a AclRule>,
}

impl Decision<'_> {
    pub(crate) fn allows(&self) -> bool {
        self.rule.is_some_and(|rule| rule.action == AclAction::Allow)
    }

    /// In words: `network acl edge, rule 100: deny tcp/80 to 10.0.0.0/8`.
    pub(crate) fn text(&self, wish: &Wish) -> String {
        let name = &self.acl.metadata.name;
        if let Some(rule) = self.rule {
            return format!("network acl {name}, rule {}: {}", rule.number, text(rule));
        }
        let (way, side) = words(wish.direction);
        let peer = wish.peer.map_or_else(|| "the host's own address".into(), |peer| peer.to_string());
        format!("no rule of network acl {name} lets {} {way} {side} {peer}", wish.traffic)
    }

    /// A rule that would be asked before the one that refuses.
    pub(crate) fn remedy(&self, wish: &Wish) -> String {
        let (way, _) = words(wish.direction);
        let before = match self.rule {
            Some(rule) => format!("a number below {}", rule.number),
            None => "a free number".into(),
        };
        format!(
            "add a rule with {before} to spec.rules of networkacl {} that allows {} {way}, and one for the answers",
            self.acl.metadata.name, wish.traffic
        )
    }
}

/// Which rule is asked about a packet of this port, if any is: not for what stays within its subnet, nor where everything
/// passes.
pub(crate) fn decide<'a>(objects: &'a Objects, port: &Port, wish: &Wish) -> Option<Decision<'a>> {
    let subnet = objects.subnet_of(port)?;
    let acl = acl_of(objects, subnet).filter(|acl| !acl.spec.lets_everything_through())?;
    if wish.peer.is_some_and(|peer| subnet.spec.cidrs().any(|cidr| cidr.contains(peer))) {
        return None;
    }
    let mut rules = acl.spec.ordered(wish.direction).into_iter();
    Some(Decision { acl, rule: rules.find(|rule| matches(rule, wish)) })
}

fn acl_of<'a>(objects: &'a Objects, subnet: &Subnet) -> Option<&'a NetworkAcl> {
    let named = &subnet.spec.network_acl;
    let is_it = |acl: &&NetworkAcl| {
        let own = acl.metadata.namespace == subnet.metadata.namespace && acl.spec.vpc == subnet.spec.vpc;
        own && if named.is_empty() { acl.spec.is_default } else { acl.metadata.name == *named }
    };
    objects.acls.iter().find(is_it)
}

fn matches(rule: &AclRule, wish: &Wish) -> bool {
    let Some(cidr) = &rule.cidr else { return false };
    let holds = |peer: IpAddr| cidr.contains(peer);
    // An address that only a host knows is in the network of all.
    let everyone = cidr.prefix_len() == 0 && cidr.is_v4() == wish.ipv4;
    wish.peer.map_or(everyone, holds)
        && matches_traffic(rule.protocol, rule.ports, (rule.icmp_type, rule.icmp_code), wish.traffic)
}

fn words(direction: Direction) -> (&'static str, &'static str) {
    if direction == Direction::Egress { ("out", "to") } else { ("in", "from") }
}

fn text(rule: &AclRule) -> String {
    let action = if rule.action == AclAction::Allow { "allow" } else { "deny" };
    let traffic = traffic_text(rule.protocol, rule.ports, (rule.icmp_type, rule.icmp_code));
    let peer = rule.cidr.map(|cidr| cidr.to_string()).unwrap_or_default();
    format!("{action} {traffic} {} {peer}", words(rule.direction).1)
}

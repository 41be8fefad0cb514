//! Rules of security groups, in both of EC2's forms: permissions, which bundle peers, and single rules with ids.

use std::borrow::Borrow;

use model::network::{Direction, Protocol, RulePeer, SecurityGroup, SecurityGroupSpec, SecurityRule};

use super::asked_rules::{parse, rule};
use super::endpoint_services;
use super::groups::named;
use super::rule_notes::{self, no_rule, rule_id, rule_tags};
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

const PERMISSIONS: &[&str] = &[
    "GroupId",
    "GroupName",
    "IpPermissions",
    "IpProtocol",
    "FromPort",
    "ToPort",
    "CidrIp",
    "SourceSecurityGroupName",
    "TagSpecification",
];
const REVOKED: &[&str] = &[
    "GroupId",
    "GroupName",
    "IpPermissions",
    "IpProtocol",
    "FromPort",
    "ToPort",
    "CidrIp",
    "SourceSecurityGroupName",
    "SecurityGroupRuleId",
];

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("AuthorizeSecurityGroupIngress", PERMISSIONS, |c| Box::pin(authorize(c, Direction::Ingress)))
        .noting("icmpv6 is icmp: one rule is for both families."),
    Action::ec2("AuthorizeSecurityGroupEgress", PERMISSIONS, |c| Box::pin(authorize(c, Direction::Egress))),
    Action::ec2("RevokeSecurityGroupIngress", REVOKED, |c| Box::pin(revoke(c, Direction::Ingress))),
    Action::ec2("RevokeSecurityGroupEgress", REVOKED, |c| Box::pin(revoke(c, Direction::Egress))),
    Action::ec2("DescribeSecurityGroupRules", describe!["SecurityGroupRuleId"], |c| Box::pin(describe(c)))
        .noting("A rule's id follows from what it said first."),
    Action::ec2("ModifySecurityGroupRules", &["GroupId", "SecurityGroupRule"], |c| Box::pin(modify(c))),
];

/// The word of a protocol. One rule here stands for ICMP of both families.
pub(super) fn protocol_word(rule: &SecurityRule) -> String {
    match rule.protocol {
        Protocol::Any => "-1".into(),
        Protocol::Icmp if rule.peer.cidr.is_some_and(|cidr| !cidr.is_v4()) => "icmpv6".into(),
        other => other.to_string(),
    }
}

/// From and to: ports, or type and code; -1 for all.
pub(super) fn span(rule: &SecurityRule) -> (i64, i64) {
    match rule.protocol {
        Protocol::Tcp | Protocol::Udp => {
            rule.ports.map_or((0, 65_535), |p| (i64::from(p.from), i64::from(p.to)))
        }
        Protocol::Icmp => (rule.icmp_type.map_or(-1, i64::from), rule.icmp_code.map_or(-1, i64::from)),
        _ => (-1, -1),
    }
}

/// Rules of one direction that differ only in their peers.
pub(crate) struct Permission {
    protocol: String,
    span: (i64, i64),
    peers: Vec<Peer>,
}

struct Peer {
    cidr: Option<String>,
    group: Option<String>,
    prefix_list: Option<String>,
    description: String,
}

impl Peer {
    fn of(groups: &[impl Borrow<SecurityGroup>], rule: &SecurityRule) -> Self {
        let group = Some(&rule.peer.group).filter(|group| !group.is_empty());
        let of_service = rule.peer.cidr.and_then(endpoint_services::list_of);
        let list = Some(rule.peer.prefix_list.clone()).filter(|list| !list.is_empty());
        Self {
            cidr: rule.peer.cidr.filter(|_| of_service.is_none()).map(|cidr| cidr.to_string()),
            group: group.map(|group| ids::id_of(groups, group)),
            prefix_list: of_service.or(list),
            description: rule.description.clone(),
        }
    }

    fn is_v6(&self) -> bool {
        self.cidr.as_ref().is_some_and(|cidr| cidr.contains(':'))
    }
}

pub(crate) fn permissions(
    groups: &[impl Borrow<SecurityGroup>],
    group: &SecurityGroup,
    direction: Direction,
) -> Vec<Permission> {
    let mut permissions: Vec<Permission> = Vec::new();
    for rule in group.spec.rules.iter().filter(|rule| rule.direction == direction) {
        let (protocol, span, peer) = (protocol_word(rule), span(rule), Peer::of(groups, rule));
        match permissions.iter_mut().find(|p| p.protocol == protocol && p.span == span) {
            Some(permission) => permission.peers.push(peer),
            None => permissions.push(Permission { protocol, span, peers: vec![peer] }),
        }
    }
    permissions
}

impl Permission {
    pub(crate) fn facts(&self, filter: &str) -> Vec<String> {
        match filter {
            "ip-permission.cidr" => self.peers.iter().filter_map(|peer| peer.cidr.clone()).collect(),
            "ip-permission.protocol" => vec![self.protocol.clone()],
            "ip-permission.from-port" => vec![self.span.0.to_string()],
            "ip-permission.to-port" => vec![self.span.1.to_string()],
            _ => self.peers.iter().filter_map(|peer| peer.group.clone()).collect(),
        }
    }

    pub(crate) fn write(&self, x: &mut Xml, owner: &str) {
        x.text("ipProtocol", &self.protocol);
        if self.protocol != "-1" {
            x.text("fromPort", self.span.0).text("toPort", self.span.1);
        }
        let of = |choose: fn(&Peer) -> bool| self.peers.iter().filter(move |peer| choose(peer));
        x.list("groups", of(|p| p.group.is_some()), |x, peer| {
            x.text("userId", owner)
                .given("groupId", peer.group.as_deref().unwrap_or(""))
                .given("description", &peer.description);
        })
        .list("ipRanges", of(|p| p.cidr.is_some() && !p.is_v6()), |x, peer| {
            x.given("cidrIp", peer.cidr.as_deref().unwrap_or("")).given("description", &peer.description);
        })
        .list("ipv6Ranges", of(Peer::is_v6), |x, peer| {
            x.given("cidrIpv6", peer.cidr.as_deref().unwrap_or("")).given("description", &peer.description);
        })
        .list("prefixListIds", of(|p| p.prefix_list.is_some()), |x, peer| {
            x.given("prefixListId", peer.prefix_list.as_deref().unwrap_or(""))
                .given("description", &peer.description);
        });
    }
}

/// A rule with an id of its own.
struct Single {
    id: String,
    group_id: String,
    owner: String,
    egress: bool,
    protocol: String,
    span: (i64, i64),
    peer: Peer,
    tags: Tags,
}

impl Single {
    fn of(
        owner: &str,
        groups: &[impl Borrow<SecurityGroup>],
        group: &SecurityGroup,
        rule: &SecurityRule,
    ) -> Self {
        Self {
            id: rule_id(group, rule),
            group_id: ids::id(group),
            owner: owner.to_owned(),
            egress: rule.direction == Direction::Egress,
            protocol: protocol_word(rule),
            span: span(rule),
            peer: Peer::of(groups, rule),
            tags: rule_tags(group, rule),
        }
    }
}

fn same(a: &SecurityRule, b: &SecurityRule) -> bool {
    SecurityRule { description: String::new(), ..a.clone() }
        == SecurityRule { description: String::new(), ..b.clone() }
}

impl Item for Single {
    const FILTERS: &'static [&'static str] = &["group-id", "security-group-rule-id"];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![if filter == "group-id" { self.group_id.clone() } else { self.id.clone() }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("securityGroupRuleId", &self.id)
            .text("groupId", &self.group_id)
            .text("groupOwnerId", &self.owner)
            .text("isEgress", self.egress)
            .text("ipProtocol", &self.protocol)
            .text("fromPort", self.span.0)
            .text("toPort", self.span.1);
        if let Some(cidr) = &self.peer.cidr {
            x.text(if self.peer.is_v6() { "cidrIpv6" } else { "cidrIpv4" }, cidr);
        }
        if let Some(group) = &self.peer.group {
            x.node("referencedGroupInfo", |x| {
                x.given("groupId", group).text("userId", &self.owner);
            });
        }
        x.given("prefixListId", self.peer.prefix_list.as_deref().unwrap_or(""))
            .given("description", &self.peer.description);
        tags::write(x, &self.tags);
    }
}

async fn describe(c: &Context) -> Answer {
    let groups = c.list::<SecurityGroupSpec>().await?;
    let owner = c.account();
    let of = |group: &SecurityGroup| -> Vec<Single> {
        group.spec.rules.iter().map(|rule| Single::of(&owner, &groups, group, rule)).collect()
    };
    let singles = groups.iter().flat_map(of).collect();
    let ids = Ids { parameter: "SecurityGroupRuleId", none: no_rule };
    Ok(answer("securityGroupRuleSet", &select(&c.params, &ids, singles)?))
}

async fn authorize(c: &Context, direction: Direction) -> Answer {
    let group = named(c).await?;
    let groups = c.list::<SecurityGroupSpec>().await?;
    let rules = parse(&c.params, &groups, &group, direction)?;
    let tags = tags::for_new(&c.params, "security-group-rule")?;
    let change = |group: &mut SecurityGroup| {
        for rule in &rules {
            if group.spec.rules.iter().any(|known| same(known, rule)) {
                let message = format!("the specified rule \"{}\" already exists", sentence(rule));
                return Err(Failure::new("InvalidPermission.Duplicate", message));
            }
            rule_notes::add(c, group, rule, &tags);
        }
        Ok(())
    };
    let group = c.change::<SecurityGroupSpec>(&group.metadata.name, change).await?;
    let owner = c.account();
    let mut x = super::done();
    x.list("securityGroupRuleSet", &rules, |x, rule| Single::of(&owner, &groups, &group, rule).write(x));
    Ok(x)
}

fn sentence(rule: &SecurityRule) -> String {
    let (from, to) = span(rule);
    let peer = rule.peer.cidr.map_or_else(|| rule.peer.group.clone(), |cidr| cidr.to_string());
    format!("peer: {peer}, {}, from port: {from}, to port: {to}, ALLOW", protocol_word(rule))
}

async fn revoke(c: &Context, direction: Direction) -> Answer {
    let group = named(c).await?;
    let groups = c.list::<SecurityGroupSpec>().await?;
    let by_id = c.params.list("SecurityGroupRuleId");
    let rules = if by_id.is_empty() { parse(&c.params, &groups, &group, direction)? } else { Vec::new() };
    let mut gone = Vec::new();
    c.change::<SecurityGroupSpec>(&group.metadata.name, |group| {
        gone.clear();
        let mut take = |is: &dyn Fn(&SecurityRule) -> bool| {
            let at = group.spec.rules.iter().position(|rule| rule.direction == direction && is(rule))?;
            gone.push(group.spec.rules.remove(at));
            Some(())
        };
        let whole = groups.iter().find(|g| g.metadata.name == group.metadata.name).cloned();
        for id in &by_id {
            let is = |rule: &SecurityRule| whole.as_ref().is_some_and(|group| rule_id(group, rule) == *id);
            take(&is).ok_or_else(|| no_rule(id))?;
        }
        for wanted in &rules {
            take(&|rule| same(rule, wanted)).ok_or_else(|| {
                let message = format!("The specified rule does not exist: {}", sentence(wanted));
                Failure::new("InvalidPermission.NotFound", message)
            })?;
        }
        rule_notes::prune(group);
        Ok(())
    })
    .await?;
    let mut x = super::done();
    x.list("revokedSecurityGroupRuleSet", &gone, |x, rule| {
        x.text("securityGroupRuleId", rule_id(&group, rule))
            .text("groupId", ids::id(&group))
            .text("isEgress", rule.direction == Direction::Egress)
            .text("ipProtocol", protocol_word(rule))
            .text("fromPort", span(rule).0)
            .text("toPort", span(rule).1);
    });
    Ok(x)
}

async fn modify(c: &Context) -> Answer {
    let group = named(c).await?;
    let groups = c.list::<SecurityGroupSpec>().await?;
    let updates = c.params.structs("SecurityGroupRule");
    if updates.is_empty() {
        return Err(Failure::missing("SecurityGroupRule"));
    }
    c.change::<SecurityGroupSpec>(&group.metadata.name, |changed| {
        for update in &updates {
            let id = update.require("SecurityGroupRuleId")?;
            let known = changed.spec.rules.iter().find(|rule| rule_id(changed, rule) == id);
            let known = known.ok_or_else(|| no_rule(id))?;
            let wanted = update.below("SecurityGroupRule");
            let peer = if let Some(other) = wanted.get("ReferencedGroupId") {
                let found = ids::by_id(&groups, other)?;
                RulePeer { group: found.metadata.name.clone(), ..RulePeer::default() }
            } else if wanted.get("CidrIpv6").is_some() {
                RulePeer { cidr: wanted.parsed("CidrIpv6")?, ..RulePeer::default() }
            } else if wanted.get("CidrIpv4").is_some() {
                RulePeer { cidr: wanted.parsed("CidrIpv4")?, ..RulePeer::default() }
            } else {
                known.peer.clone()
            };
            let old = protocol_word(known);
            let protocol = wanted.get("IpProtocol").unwrap_or(&old);
            let new = rule(&wanted, protocol, known.direction, peer, wanted.text("Description"))?;
            rule_notes::replace(changed, id, new);
        }
        Ok(())
    })
    .await?;
    Ok(super::done())
}

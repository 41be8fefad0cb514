//! Network ACLs. A VPC has a default one from the start, which lets everything through: it has no object of its own until
//! something of it is changed, under the id that was shown before.

use model::network::{
    AclAction, AclRule, Direction, NetworkAcl, NetworkAclSpec, PortRange, Protocol, Subnet, SubnetSpec, Vpc,
    VpcSpec,
};
use model::{Object, ObjectMeta};
use serde_json::json;

use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// Numbers of the rules that refuse what no other lets through.
const LAST_RULES: [(u32, &str); 2] = [(32_767, "0.0.0.0/0"), (32_768, "::/0")];
/// Numbers of the rules that a default ACL begins with.
const FIRST_RULES: [(u16, &str); 2] = [(100, "0.0.0.0/0"), (101, "::/0")];
const ASSOCIATION: &str = "aclassoc";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("CreateNetworkAcl", &["VpcId", "ClientToken", "TagSpecification"], |c| Box::pin(create(c))),
    Action::ec2("DeleteNetworkAcl", &["NetworkAclId"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeNetworkAcls", describe!["NetworkAclId"], |c| Box::pin(describe(c))),
    Action::ec2("ReplaceNetworkAclAssociation", &["AssociationId", "NetworkAclId"], |c| Box::pin(replace(c))),
];

/// An ACL with all that is shown of it.
struct Acl {
    id: String,
    vpc_id: String,
    owner: String,
    is_default: bool,
    has_ipv6: bool,
    rules: Vec<AclRule>,
    /// Ids of its subnets.
    subnets: Vec<String>,
    tags: Tags,
}

/// The objects that ACLs are shown from.
struct Known {
    vpcs: Vec<Vpc>,
    subnets: Vec<Subnet>,
    acls: Vec<NetworkAcl>,
}

impl Known {
    async fn load(c: &Context) -> Result<Self, Failure> {
        Ok(Self {
            vpcs: c.list_if_allowed::<VpcSpec>().await?,
            subnets: c.list_if_allowed::<SubnetSpec>().await?,
            acls: c.list::<NetworkAclSpec>().await?,
        })
    }

    fn default_of(&self, vpc: &str) -> Option<&NetworkAcl> {
        self.acls.iter().find(|acl| acl.spec.is_default && acl.spec.vpc == vpc)
    }

    /// The id of the ACL that a subnet follows.
    fn id_of(&self, subnet: &Subnet) -> String {
        let named = ids::find(&self.acls, &subnet.spec.network_acl);
        match named.or_else(|| self.default_of(&subnet.spec.vpc)) {
            Some(acl) => ids::id(acl),
            None => ids::find(&self.vpcs, &subnet.spec.vpc).map(default_id).unwrap_or_default(),
        }
    }

    fn shown(&self, c: &Context) -> Vec<Acl> {
        let made = self.acls.iter().map(|acl| {
            let vpc = ids::find(&self.vpcs, &acl.spec.vpc);
            let (rules, is_default) = (acl.spec.rules.clone(), acl.spec.is_default);
            self.acl(c, ids::id(acl), vpc, (rules, is_default), tags::of(&acl.metadata))
        });
        let unmade = self.vpcs.iter().filter(|vpc| self.default_of(&vpc.metadata.name).is_none());
        let unmade =
            unmade.map(|vpc| self.acl(c, default_id(vpc), Some(vpc), (first_rules(), true), Tags::new()));
        made.chain(unmade).collect()
    }

    fn acl(
        &self,
        c: &Context,
        id: String,
        vpc: Option<&Vpc>,
        (mut rules, is_default): (Vec<AclRule>, bool),
        tags: Tags,
    ) -> Acl {
        let has_ipv6 = vpc.is_some_and(|vpc| vpc.spec.ipv6_range.is_some());
        // What a default ACL says of a family that the VPC has not is not shown, as with AWS.
        let first = first_rules();
        rules.retain(|rule| has_ipv6 || !is_default || !is_ipv6(rule) || !first.contains(rule));
        rules.sort_by_key(|rule| (rule.direction == Direction::Ingress, rule.number));
        let own = self.subnets.iter().filter(|subnet| self.id_of(subnet) == id);
        Acl {
            subnets: own.map(ids::id).collect(),
            vpc_id: vpc.map(ids::id).unwrap_or_default(),
            owner: c.account(),
            id,
            is_default,
            has_ipv6,
            rules,
            tags,
        }
    }
}

fn is_ipv6(rule: &AclRule) -> bool {
    rule.cidr.is_some_and(|cidr| !cidr.is_v4())
}

/// The id of a VPC's default ACL that has no object yet.
fn default_id(vpc: &Vpc) -> String {
    ids::derived("acl", &vpc.metadata, "vpc")
}

fn first_rules() -> Vec<AclRule> {
    let both = [Direction::Egress, Direction::Ingress].into_iter();
    let rule = |direction, (number, cidr): (u16, &str)| AclRule {
        number,
        direction,
        cidr: cidr.parse().ok(),
        ..AclRule::default()
    };
    both.flat_map(|direction| FIRST_RULES.map(|first| rule(direction, first))).collect()
}

/// The ACL of an id; a default one that has no object gets it now.
pub(super) async fn find(c: &Context, id: &str) -> Result<NetworkAcl, Failure> {
    let known = Known::load(c).await?;
    if let Ok(acl) = ids::by_id(&known.acls, id) {
        return Ok(acl.clone());
    }
    let is_it = |vpc: &&Vpc| default_id(vpc) == id && known.default_of(&vpc.metadata.name).is_none();
    let vpc = known.vpcs.iter().find(is_it).ok_or_else(|| ids::none::<NetworkAclSpec>(id))?;
    let spec = NetworkAclSpec { vpc: vpc.metadata.name.clone(), rules: first_rules(), is_default: true };
    let acl: NetworkAcl = Object::new(ObjectMeta::in_project(c.project(), id), spec);
    if c.dry_run {
        return Ok(acl);
    }
    match c.api::<NetworkAclSpec>().create(&acl).await {
        // Another request was faster.
        Err(e) if e.reason == model::Reason::AlreadyExists => Ok(c.api::<NetworkAclSpec>().get(id).await?),
        result => Ok(result?),
    }
}

/// What a VPC's default ACL has beside its rules goes with the VPC.
pub(super) async fn remove_default(c: &Context, vpc: &str) -> Result<(), Failure> {
    for acl in c.list::<NetworkAclSpec>().await? {
        if acl.spec.vpc == vpc && acl.spec.is_default {
            c.delete::<NetworkAclSpec>(&acl.metadata.name, "DependencyViolation").await?;
        }
    }
    Ok(())
}

/// Whether a VPC has ACLs beside its default one.
pub(super) async fn has_own(c: &Context, vpc: &str) -> Result<bool, Failure> {
    let acls = c.list::<NetworkAclSpec>().await?;
    Ok(acls.iter().any(|acl| acl.spec.vpc == vpc && !acl.spec.is_default))
}

impl Item for Acl {
    const FILTERS: &'static [&'static str] = &[
        "network-acl-id",
        "vpc-id",
        "default",
        "owner-id",
        "association.subnet-id",
        "association.network-acl-id",
        "association.association-id",
        "entry.cidr",
        "entry.ipv6-cidr",
        "entry.egress",
        "entry.protocol",
        "entry.rule-action",
        "entry.rule-number",
        "entry.port-range.from",
        "entry.port-range.to",
        "entry.icmp.type",
        "entry.icmp.code",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        let rules = self.rules.iter();
        let network = |v4: bool| rules.clone().filter_map(|rule| rule.cidr).filter(move |c| c.is_v4() == v4);
        match filter {
            "vpc-id" => vec![self.vpc_id.clone()],
            "default" => vec![super::word(self.is_default)],
            "owner-id" => vec![self.owner.clone()],
            "association.subnet-id" => self.subnets.clone(),
            "association.association-id" => {
                self.subnets.iter().map(|subnet| association(subnet, &self.id)).collect()
            }
            "entry.cidr" => network(true).map(|cidr| cidr.to_string()).collect(),
            "entry.ipv6-cidr" => network(false).map(|cidr| cidr.to_string()).collect(),
            "entry.egress" => rules.map(|rule| super::word(rule.direction == Direction::Egress)).collect(),
            "entry.protocol" => rules.map(protocol).collect(),
            "entry.rule-action" => rules.map(|rule| action(rule).to_owned()).collect(),
            "entry.rule-number" => rules.map(|rule| rule.number.to_string()).collect(),
            "entry.port-range.from" => rules.filter_map(ports).map(|p| p.from.to_string()).collect(),
            "entry.port-range.to" => rules.filter_map(ports).map(|p| p.to.to_string()).collect(),
            "entry.icmp.type" => rules.filter_map(|rule| rule.icmp_type).map(|n| n.to_string()).collect(),
            "entry.icmp.code" => rules.filter_map(|rule| rule.icmp_code).map(|n| n.to_string()).collect(),
            _ => vec![self.id.clone()],
        }
    }
    fn write(&self, x: &mut Xml) {
        x.text("networkAclId", &self.id)
            .text("vpcId", &self.vpc_id)
            .text("ownerId", &self.owner)
            .text("default", self.is_default)
            .list("associationSet", &self.subnets, |x, subnet| {
                x.text("networkAclAssociationId", association(subnet, &self.id))
                    .text("networkAclId", &self.id)
                    .text("subnetId", subnet);
            });
        let last = LAST_RULES.iter().filter(|(_, cidr)| self.has_ipv6 || !cidr.contains(':'));
        let last = last.flat_map(|rule| [(rule, true), (rule, false)]);
        let entries =
            self.rules.iter().map(Entry::Of).chain(last.map(|((n, cidr), out)| Entry::Last(*n, cidr, out)));
        x.list("entrySet", entries, |x, entry| entry.write(x));
        tags::write(x, &self.tags);
    }
}

enum Entry<'a> {
    Of(&'a AclRule),
    /// The one that refuses what no other lets through; out or in.
    Last(u32, &'a str, bool),
}

impl Entry<'_> {
    fn write(&self, x: &mut Xml) {
        let cidr = |x: &mut Xml, text: &str| {
            x.text(if text.contains(':') { "ipv6CidrBlock" } else { "cidrBlock" }, text);
        };
        match self {
            Self::Last(number, network, egress) => {
                x.text("ruleNumber", number)
                    .text("protocol", "-1")
                    .text("ruleAction", "deny")
                    .text("egress", egress);
                cidr(x, network);
            }
            Self::Of(rule) => {
                x.text("ruleNumber", rule.number)
                    .text("protocol", protocol(rule))
                    .text("ruleAction", action(rule))
                    .text("egress", rule.direction == Direction::Egress);
                cidr(x, &rule.cidr.map(|cidr| cidr.to_string()).unwrap_or_default());
                if let Some(ports) = ports(rule) {
                    x.node("portRange", |x| {
                        x.text("from", ports.from).text("to", ports.to);
                    });
                }
                if rule.protocol == Protocol::Icmp {
                    let number = |n: Option<u8>| n.map_or(-1, i32::from);
                    x.node("icmpTypeCode", |x| {
                        x.text("code", number(rule.icmp_code)).text("type", number(rule.icmp_type));
                    });
                }
            }
        }
    }
}

fn action(rule: &AclRule) -> &'static str {
    if rule.action == AclAction::Allow { "allow" } else { "deny" }
}

/// As a number, which is how EC2 shows it.
fn protocol(rule: &AclRule) -> String {
    match rule.protocol {
        Protocol::Any => "-1".into(),
        Protocol::Tcp => "6".into(),
        Protocol::Udp => "17".into(),
        Protocol::Icmp => if is_ipv6(rule) { "58" } else { "1" }.into(),
        Protocol::Other(number) => number.to_string(),
    }
}

fn ports(rule: &AclRule) -> Option<PortRange> {
    let has_ports = matches!(rule.protocol, Protocol::Tcp | Protocol::Udp);
    has_ports.then(|| rule.ports.unwrap_or(PortRange { from: 0, to: u16::MAX }))
}

fn association(subnet: &str, acl: &str) -> String {
    ids::hashed(ASSOCIATION, &format!("{subnet}/{acl}"))
}

async fn describe(c: &Context) -> Answer {
    let shown = Known::load(c).await?.shown(c);
    let ids = Ids { parameter: "NetworkAclId", none: ids::none::<NetworkAclSpec> };
    Ok(answer("networkAclSet", &select(&c.params, &ids, shown)?))
}

async fn create(c: &Context) -> Answer {
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("acl", 0));
    tags::give(&mut meta, tags::for_new(&c.params, "network-acl")?);
    let spec = NetworkAclSpec { vpc: vpc.metadata.name.clone(), ..NetworkAclSpec::default() };
    let made: NetworkAcl = c.create(Object::new(meta, spec)).await?;
    let known = Known { vpcs: vec![vpc], subnets: Vec::new(), acls: vec![made] };
    let mut x = Xml::new();
    if let Some(acl) = known.shown(c).into_iter().find(|acl| !acl.is_default) {
        x.node("networkAcl", |x| acl.write(x));
    }
    x.given("clientToken", c.params.text("ClientToken"));
    Ok(x)
}

async fn delete(c: &Context) -> Answer {
    let id = c.params.require("NetworkAclId")?;
    let shown = Known::load(c).await?.shown(c);
    let acl = shown.iter().find(|acl| acl.id == id).ok_or_else(|| ids::none::<NetworkAclSpec>(id))?;
    if acl.is_default {
        let message = format!("The network acl '{id}' is the default one of its VPC and cannot be deleted");
        return Err(Failure::new("CannotDelete", message));
    }
    let name = c.find::<NetworkAclSpec>(id).await?.metadata.name;
    c.delete::<NetworkAclSpec>(&name, "DependencyViolation").await?;
    Ok(super::done())
}

async fn replace(c: &Context) -> Answer {
    let wanted = c.params.require("AssociationId")?;
    let id = c.params.require("NetworkAclId")?;
    let known = Known::load(c).await?;
    let shown = known.shown(c);
    let acl = shown.iter().find(|acl| acl.id == id).ok_or_else(|| ids::none::<NetworkAclSpec>(id))?;
    let is_it = |subnet: &&Subnet| association(&ids::id(*subnet), &known.id_of(subnet)) == wanted;
    let subnet = known.subnets.iter().find(is_it).ok_or_else(|| {
        let wanted: String = wanted.chars().take(80).collect();
        Failure::new("InvalidAssociationID.NotFound", format!("The association ID '{wanted}' does not exist"))
    })?;
    let vpc = ids::find(&known.vpcs, &subnet.spec.vpc).map(ids::id).unwrap_or_default();
    if acl.vpc_id != vpc {
        let message = format!("network acl {id} and subnet {} belong to different networks", ids::id(subnet));
        return Err(Failure::value(message));
    }
    let named = known.acls.iter().find(|acl| ids::id(*acl) == id && !acl.spec.is_default);
    let name = named.map(|acl| acl.metadata.name.as_str()).unwrap_or_default();
    let patch = json!({ "spec": { "networkAcl": name } });
    c.merge::<SubnetSpec>(&subnet.metadata.name, &patch).await?;
    let mut x = Xml::new();
    x.text("newAssociationId", association(&ids::id(subnet), id));
    Ok(x)
}

//! VPCs, with what EC2 makes together with each: a main route table and a default security group.

use model::network::{
    Cidr, DhcpOptions, DhcpOptionsSpec, Direction, Gateway, GatewaySpec, GatewayType, Protocol, Route,
    RouteTable, RouteTableSpec, RouteTarget, RulePeer, SecurityGroup, SecurityGroupSpec, SecurityRule,
    SubnetSpec, Vpc, VpcSpec,
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

/// The range of a default VPC, and of its subnet.
const DEFAULT_RANGE: &str = "10.0.0.0/16";
const DEFAULT_SUBNET: &str = "10.0.0.0/18";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreateVpc",
        &["CidrBlock", "InstanceTenancy", "AmazonProvidedIpv6CidrBlock", "TagSpecification"],
        |c| Box::pin(create(c)),
    ),
    Action::ec2("CreateDefaultVpc", &[], |c| Box::pin(create_default(c)))
        .noting("With a NAT gateway, through which everything goes out; it has no internet gateway."),
    Action::ec2("DeleteVpc", &["VpcId"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeVpcs", describe!["VpcId"], |c| Box::pin(describe(c))),
    Action::ec2("DescribeVpcAttribute", &["VpcId", "Attribute"], |c| Box::pin(attribute(c))),
    Action::ec2(
        "ModifyVpcAttribute",
        &["VpcId", "EnableDnsSupport", "EnableDnsHostnames", "EnableNetworkAddressUsageMetrics"],
        |c| Box::pin(modify(c)),
    )
    .noting("Instances always have names, private ones."),
];

struct Network {
    id: String,
    ranges: Vec<String>,
    range_v6: Option<String>,
    is_default: bool,
    dhcp_options: String,
    owner: String,
    tags: Tags,
}

impl Network {
    fn of(c: &Context, vpc: &Vpc, options: &[DhcpOptions]) -> Self {
        let options = ids::find(options, &vpc.spec.dhcp_options).map(ids::id);
        Self {
            dhcp_options: options.unwrap_or_else(|| super::dhcp_options::DEFAULT.into()),
            id: ids::id(vpc),
            ranges: vpc.spec.ipv4_ranges.iter().map(ToString::to_string).collect(),
            range_v6: vpc.spec.ipv6_range.map(|range| range.to_string()),
            is_default: vpc.spec.is_default,
            owner: c.account(),
            tags: tags::of(&vpc.metadata),
        }
    }
}

impl Item for Network {
    const FILTERS: &'static [&'static str] = &[
        "vpc-id",
        "cidr",
        "cidr-block",
        "cidrBlock",
        "cidr-block-association.cidr-block",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "state",
        "isDefault",
        "is-default",
        "owner-id",
        "dhcp-options-id",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        match filter {
            "vpc-id" => vec![self.id.clone()],
            "cidr" | "cidr-block" | "cidrBlock" => self.ranges.first().cloned().into_iter().collect(),
            "cidr-block-association.cidr-block" => self.ranges.clone(),
            "ipv6-cidr-block-association.ipv6-cidr-block" => self.range_v6.clone().into_iter().collect(),
            "state" => vec!["available".into()],
            "owner-id" => vec![self.owner.clone()],
            "dhcp-options-id" => vec![self.dhcp_options.clone()],
            _ => vec![super::word(self.is_default)],
        }
    }
    fn write(&self, x: &mut Xml) {
        x.text("vpcId", &self.id)
            .text("ownerId", &self.owner)
            .text("state", "available")
            .given("cidrBlock", self.ranges.first().map_or("", String::as_str))
            .list("cidrBlockAssociationSet", &self.ranges, |x, range| {
                x.text("cidrBlock", range)
                    .text("associationId", ids::hashed("vpc-cidr-assoc", &format!("{}/{range}", self.id)))
                    .node("cidrBlockState", |x| {
                        x.text("state", "associated");
                    });
            })
            .list("ipv6CidrBlockAssociationSet", &self.range_v6, |x, range| {
                x.text("ipv6CidrBlock", range)
                    .text("associationId", ids::hashed("vpc-cidr-assoc", &format!("{}/{range}", self.id)))
                    .node("ipv6CidrBlockState", |x| {
                        x.text("state", "associated");
                    });
            })
            .text("dhcpOptionsId", &self.dhcp_options)
            .text("instanceTenancy", "default")
            .text("isDefault", self.is_default);
        tags::write(x, &self.tags);
    }
}

async fn describe(c: &Context) -> Answer {
    let vpcs = c.list::<VpcSpec>().await?;
    let has_options = vpcs.iter().any(|vpc| !vpc.spec.dhcp_options.is_empty());
    let options = if has_options { c.list_if_allowed::<DhcpOptionsSpec>().await? } else { Vec::new() };
    let vpcs = vpcs.iter().map(|vpc| Network::of(c, vpc, &options)).collect();
    let ids = Ids { parameter: "VpcId", none: ids::none::<VpcSpec> };
    Ok(answer("vpcSet", &select(&c.params, &ids, vpcs)?))
}

async fn create(c: &Context) -> Answer {
    let range = range(c, "CidrBlock")?;
    if c.params.get("InstanceTenancy").is_some_and(|tenancy| tenancy != "default") {
        return Err(Failure::unsupported("InstanceTenancy can only be default in this cloud"));
    }
    if c.params.flag("AmazonProvidedIpv6CidrBlock")? == Some(true) {
        return Err(Failure::unsupported("IPv6 ranges are given with `corten`, in the VPC's own object"));
    }
    let spec = VpcSpec { ipv4_ranges: vec![range], ..VpcSpec::default() };
    let vpc = make(c, spec, tags::for_new(&c.params, "vpc")?, Vec::new()).await?;
    Ok(made(c, &vpc))
}

fn made(c: &Context, vpc: &Vpc) -> Xml {
    let mut x = Xml::new();
    x.node("vpc", |x| Network::of(c, vpc, &[]).write(x));
    x
}

/// A network of a parameter, as EC2 reads it: host bits are cut off.
pub(crate) fn range(c: &Context, parameter: &str) -> Result<Cidr, Failure> {
    let text = c.params.require(parameter)?;
    let net = text
        .split_once('/')
        .and_then(|(address, length)| Cidr::around(address.parse().ok()?, length.parse().ok()?));
    net.ok_or_else(|| c.params.invalid(parameter, text, "is not a valid CIDR block"))
}

/// The VPC, its default group and its main table: all of them or none.
async fn make(c: &Context, spec: VpcSpec, tags: Tags, routes: Vec<Route>) -> Result<Vpc, Failure> {
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("vpc", 0));
    tags::give(&mut meta, tags);
    let vpc = c.create(Object::new(meta, spec)).await?;
    let name = &vpc.metadata.name;
    let group = default_group(c, name, &c.new_id("sg", 0));
    let table = ObjectMeta::in_project(c.project(), c.new_id("rtb", 0));
    let table: RouteTable = Object::new(table, RouteTableSpec { vpc: name.clone(), routes, is_main: true });
    let rest = async {
        c.create(group).await?;
        c.create(table).await
    };
    if let Err(failure) = rest.await {
        // What cannot be taken back is in the way of nothing, and is deleted as any other.
        if let Err(e) = remove(c, name).await {
            tracing::warn!(vpc = name, error = e.message, "a VPC was not taken back");
        }
        return Err(failure);
    }
    Ok(vpc)
}

/// As EC2's: in from its own members, out to everyone.
fn default_group(c: &Context, vpc: &str, name: &str) -> SecurityGroup {
    let rule = |direction, peer| SecurityRule {
        direction,
        protocol: Protocol::Any,
        peer,
        ..SecurityRule::default()
    };
    let members = RulePeer { group: name.to_owned(), ..RulePeer::default() };
    let rules = vec![rule(Direction::Ingress, members), rule(Direction::Egress, everyone())];
    let spec = SecurityGroupSpec {
        vpc: vpc.to_owned(),
        description: "default VPC security group".into(),
        rules,
        is_default: true,
    };
    Object::new(ObjectMeta::in_project(c.project(), name), spec)
}

pub(crate) fn everyone() -> RulePeer {
    RulePeer { cidr: "0.0.0.0/0".parse().ok(), ..RulePeer::default() }
}

async fn create_default(c: &Context) -> Answer {
    if let Some(vpc) = c.list::<VpcSpec>().await?.iter().find(|vpc| vpc.spec.is_default) {
        let message = format!("A Default VPC already exists for this account: {}", ids::id(vpc));
        return Err(Failure::new("DefaultVpcAlreadyExists", message));
    }
    let range = |text: &str| text.parse::<Cidr>().map_err(|e| Failure::value(e.to_string()));
    let spec = VpcSpec { ipv4_ranges: vec![range(DEFAULT_RANGE)?], is_default: true, ..VpcSpec::default() };
    let vpc = make(c, spec, Tags::new(), Vec::new()).await?;
    let name = vpc.metadata.name.clone();
    let meta = |prefix: &str| ObjectMeta::in_project(c.project(), c.new_id(prefix, 0));
    let subnet = SubnetSpec {
        vpc: name.clone(),
        cidr: Some(range(DEFAULT_SUBNET)?),
        is_default: true,
        ..SubnetSpec::default()
    };
    c.create(Object::new(meta("subnet"), subnet)).await?;
    let gateway = GatewaySpec { vpc: name.clone(), gateway_type: GatewayType::Nat, ..GatewaySpec::default() };
    let gateway: Gateway = c.create(Object::new(meta("nat"), gateway)).await?;
    let tables = c.list::<RouteTableSpec>().await?;
    if let Some(main) = tables.iter().find(|table| table.spec.is_main && table.spec.vpc == name) {
        let target = RouteTarget { gateway: gateway.metadata.name, ..RouteTarget::default() };
        let route = Route { destination: "0.0.0.0/0".parse().ok(), target, ..Route::default() };
        c.change::<RouteTableSpec>(&main.metadata.name, |table| {
            table.spec.routes.push(route.clone());
            Ok(())
        })
        .await?;
    }
    Ok(made(c, &vpc))
}

async fn delete(c: &Context) -> Answer {
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    remove(c, &vpc.metadata.name).await?;
    Ok(super::done())
}

/// What came with the VPC goes with it, once nothing else is in it.
async fn remove(c: &Context, name: &str) -> Result<(), Failure> {
    let subnets = c.list::<SubnetSpec>().await?.iter().any(|subnet| subnet.spec.vpc == name);
    let gateways = c.list::<GatewaySpec>().await?.iter().any(|gateway| gateway.spec.vpc == name);
    let groups = c.list::<SecurityGroupSpec>().await?;
    let tables = c.list::<RouteTableSpec>().await?;
    let (default, others): (Vec<_>, Vec<_>) =
        groups.into_iter().filter(|group| group.spec.vpc == name).partition(|group| group.spec.is_default);
    let (main, more): (Vec<_>, Vec<_>) =
        tables.into_iter().filter(|table| table.spec.vpc == name).partition(|table| table.spec.is_main);
    let acls = super::acls::has_own(c, name).await?;
    if subnets || gateways || acls || !others.is_empty() || !more.is_empty() {
        let message = format!("The vpc '{name}' has dependencies and cannot be deleted.");
        return Err(Failure::new("DependencyViolation", message));
    }
    c.end_dry_run()?;
    super::acls::remove_default(c, name).await?;
    for table in main {
        c.delete::<RouteTableSpec>(&table.metadata.name, "DependencyViolation").await?;
    }
    for group in default {
        c.delete::<SecurityGroupSpec>(&group.metadata.name, "DependencyViolation").await?;
    }
    c.delete::<VpcSpec>(name, "DependencyViolation").await
}

async fn attribute(c: &Context) -> Answer {
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    let name = c.params.require("Attribute")?;
    let value = match name {
        "enableDnsSupport" => !vpc.spec.dns.disabled,
        "enableDnsHostnames" => true,
        "enableNetworkAddressUsageMetrics" => false,
        other => return Err(c.params.invalid("Attribute", other, "is no attribute of a VPC")),
    };
    let mut x = Xml::new();
    x.text("vpcId", ids::id(&vpc)).node(name, |x| {
        x.text("value", value);
    });
    Ok(x)
}

async fn modify(c: &Context) -> Answer {
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    let fixed = [("EnableDnsHostnames", true), ("EnableNetworkAddressUsageMetrics", false)];
    for (name, value) in fixed {
        if c.params.flag(&format!("{name}.Value"))?.is_some_and(|given| given != value) {
            return Err(Failure::unsupported(format!("{name} can only be {value} in this cloud")));
        }
    }
    if let Some(on) = c.params.flag("EnableDnsSupport.Value")? {
        let patch = json!({ "spec": { "dns": { "disabled": !on } } });
        c.merge::<VpcSpec>(&vpc.metadata.name, &patch).await?;
    }
    Ok(super::done())
}

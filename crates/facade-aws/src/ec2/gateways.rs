//! Internet and NAT gateways: both are Gateways, told apart by their type.

use model::network::{FloatingIpSpec, Gateway, GatewaySpec, GatewayType, SubnetSpec, VpcSpec};
use model::{Object, ObjectMeta, short_id};
use serde_json::json;

use super::egress_gateways;
use super::world::World;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("CreateInternetGateway", &["TagSpecification"], |c| Box::pin(create_internet(c))),
    Action::ec2("AttachInternetGateway", &["InternetGatewayId", "VpcId"], |c| Box::pin(attach(c))),
    Action::ec2("DetachInternetGateway", &["InternetGatewayId", "VpcId"], |c| Box::pin(detach(c))),
    Action::ec2("DeleteInternetGateway", &["InternetGatewayId"], |c| Box::pin(delete_internet(c))),
    Action::ec2("DescribeInternetGateways", describe!["InternetGatewayId"], |c| {
        Box::pin(describe_internet(c))
    }),
    Action::ec2(
        "CreateNatGateway",
        &["SubnetId", "AllocationId", "ConnectivityType", "ClientToken", "TagSpecification"],
        |c| Box::pin(create_nat(c)),
    )
    .noting("One host translates for all, under the address, and another one when it is lost; a deleted one is gone at once."),
    Action::ec2("DeleteNatGateway", &["NatGatewayId"], |c| Box::pin(delete_nat(c))),
    Action::ec2("DescribeNatGateways", describe!["NatGatewayId"], |c| Box::pin(describe_nat(c))),
];

pub(crate) fn is_nat(gateway: &Gateway) -> bool {
    gateway.spec.gateway_type == GatewayType::Nat
}

/// A gateway's id, by its type.
pub(crate) fn id(gateway: &Gateway) -> String {
    let prefix = match gateway.spec.gateway_type {
        GatewayType::Internet => "igw",
        GatewayType::Nat => "nat",
        GatewayType::Egress => "eigw",
    };
    short_id(prefix, &gateway.metadata)
}

fn none_nat(id: &str) -> Failure {
    let id: String = id.chars().take(80).collect();
    if ids::is_id("nat", &id) {
        return Failure::new("NatGatewayNotFound", format!("NAT gateway {id} was not found"));
    }
    Failure::new("NatGatewayMalformed", format!("The NAT gateway ID '{id}' is malformed"))
}

/// The gateway of an id, of either type.
pub(crate) async fn find(c: &Context, wanted: &str) -> Result<Gateway, Failure> {
    let found = c.list::<GatewaySpec>().await?.into_iter().find(|gateway| id(gateway) == wanted);
    found.ok_or_else(|| match wanted.split_once('-') {
        Some(("nat", _)) => none_nat(wanted),
        Some(("eigw", _)) => egress_gateways::none(wanted),
        _ => ids::none::<GatewaySpec>(wanted),
    })
}

struct Internet {
    id: String,
    vpc_id: Option<String>,
    owner: String,
    tags: Tags,
}

impl Internet {
    fn of(c: &Context, world: &World, gateway: &Gateway) -> Self {
        let vpc = Some(&gateway.spec.vpc).filter(|vpc| !vpc.is_empty());
        Self {
            id: id(gateway),
            vpc_id: vpc.map(|vpc| ids::id_of(&world.vpcs, vpc)),
            owner: c.account(),
            tags: tags::of(&gateway.metadata),
        }
    }
}

impl Item for Internet {
    const FILTERS: &'static [&'static str] =
        &["internet-gateway-id", "attachment.vpc-id", "attachment.state", "owner-id"];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        match filter {
            "internet-gateway-id" => vec![self.id.clone()],
            "attachment.vpc-id" => self.vpc_id.clone().into_iter().collect(),
            "attachment.state" => self.vpc_id.iter().map(|_| "available".into()).collect(),
            _ => vec![self.owner.clone()],
        }
    }
    fn write(&self, x: &mut Xml) {
        x.text("internetGatewayId", &self.id).text("ownerId", &self.owner).list(
            "attachmentSet",
            &self.vpc_id,
            |x, vpc| {
                x.text("vpcId", vpc).text("state", "available");
            },
        );
        tags::write(x, &self.tags);
    }
}

async fn describe_internet(c: &Context) -> Answer {
    let world = World::load(c).await?;
    let gateways = c.list::<GatewaySpec>().await?;
    let internet = gateways.iter().filter(|g| g.spec.gateway_type == GatewayType::Internet);
    let shown = internet.map(|gateway| Internet::of(c, &world, gateway)).collect();
    let ids = Ids { parameter: "InternetGatewayId", none: ids::none::<GatewaySpec> };
    Ok(answer("internetGatewaySet", &select(&c.params, &ids, shown)?))
}

async fn create_internet(c: &Context) -> Answer {
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("igw", 0));
    tags::give(&mut meta, tags::for_new(&c.params, "internet-gateway")?);
    let made = c.create(Object::new(meta, GatewaySpec::default())).await?;
    let mut x = Xml::new();
    x.node("internetGateway", |x| Internet::of(c, &World::default(), &made).write(x));
    Ok(x)
}

/// The internet gateway that a request names.
async fn internet(c: &Context) -> Result<Gateway, Failure> {
    let wanted = c.params.require("InternetGatewayId")?;
    let found = find(c, wanted).await?;
    if found.spec.gateway_type == GatewayType::Internet {
        Ok(found)
    } else {
        Err(ids::none::<GatewaySpec>(wanted))
    }
}

async fn attach(c: &Context) -> Answer {
    let gateway = internet(c).await?;
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    let wanted = id(&gateway);
    let taken = |what: &str| {
        let message = format!("resource {wanted} cannot be attached: {what}");
        Failure::new("Resource.AlreadyAssociated", message)
    };
    if gateway.spec.vpc == vpc.metadata.name {
        return Err(taken("it is attached to this VPC already"));
    }
    if !gateway.spec.vpc.is_empty() {
        return Err(taken("it is attached to another VPC"));
    }
    let patch = json!({ "spec": { "vpc": vpc.metadata.name } });
    let attached = c.merge::<GatewaySpec>(&gateway.metadata.name, &patch).await;
    attached.map_err(|e| match e.code.as_ref() {
        "InvalidParameterValue" => taken("the VPC has an internet gateway already"),
        _ => e,
    })?;
    Ok(super::done())
}

async fn detach(c: &Context) -> Answer {
    let gateway = internet(c).await?;
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    if gateway.spec.vpc != vpc.metadata.name {
        let message = format!("resource {} is not attached to network {}", id(&gateway), ids::id(&vpc));
        return Err(Failure::new("Gateway.NotAttached", message));
    }
    let patch = json!({ "spec": { "vpc": "" } });
    c.merge::<GatewaySpec>(&gateway.metadata.name, &patch).await?;
    Ok(super::done())
}

async fn delete_internet(c: &Context) -> Answer {
    let gateway = internet(c).await?;
    if !gateway.spec.vpc.is_empty() {
        let message =
            format!("The internetGateway '{}' has dependencies and cannot be deleted.", id(&gateway));
        return Err(Failure::new("DependencyViolation", message));
    }
    c.delete::<GatewaySpec>(&gateway.metadata.name, "DependencyViolation").await?;
    Ok(super::done())
}

struct Nat {
    id: String,
    vpc_id: String,
    subnet_id: String,
    created_at: String,
    /// Allocation and address.
    address: Option<(String, String)>,
    tags: Tags,
}

impl Nat {
    fn of(world: &World, gateway: &Gateway) -> Self {
        let floating = ids::find(&world.floating, &gateway.spec.floating_ip);
        Self {
            id: id(gateway),
            vpc_id: ids::id_of(&world.vpcs, &gateway.spec.vpc),
            subnet_id: ids::id_of(&world.subnets, &gateway.spec.subnet),
            created_at: super::created_at(&gateway.metadata),
            address: floating.map(|floating| {
                let address = floating.spec.address.map(|a| a.to_string()).unwrap_or_default();
                (ids::id(floating), address)
            }),
            tags: tags::of(&gateway.metadata),
        }
    }
}

impl Item for Nat {
    const FILTERS: &'static [&'static str] = &["nat-gateway-id", "state", "subnet-id", "vpc-id"];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "nat-gateway-id" => self.id.clone(),
            "subnet-id" => self.subnet_id.clone(),
            "vpc-id" => self.vpc_id.clone(),
            _ => "available".into(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("natGatewayId", &self.id)
            .given("subnetId", &self.subnet_id)
            .given("vpcId", &self.vpc_id)
            .text("state", "available")
            .given("createTime", &self.created_at)
            .text("connectivityType", "public")
            .list("natGatewayAddressSet", &self.address, |x, (allocation, address)| {
                x.text("allocationId", allocation)
                    .given("publicIp", address)
                    .text("isPrimary", true)
                    .text("status", "succeeded");
            });
        tags::write(x, &self.tags);
    }
}

async fn describe_nat(c: &Context) -> Answer {
    let world = World::load(c).await?;
    let gateways = c.list::<GatewaySpec>().await?;
    let shown = gateways.iter().filter(|gateway| is_nat(gateway)).map(|g| Nat::of(&world, g)).collect();
    let ids = Ids { parameter: "NatGatewayId", none: none_nat };
    Ok(answer("natGatewaySet", &select(&c.params, &ids, shown)?))
}

async fn create_nat(c: &Context) -> Answer {
    let subnet = c.named::<SubnetSpec>("SubnetId").await?;
    match c.params.get("ConnectivityType") {
        None | Some("public") => {}
        Some(_) => return Err(Failure::unsupported("ConnectivityType can only be public in this cloud")),
    }
    let floating = c.named::<FloatingIpSpec>("AllocationId").await?;
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("nat", 0));
    tags::give(&mut meta, tags::for_new(&c.params, "natgateway")?);
    let spec = GatewaySpec {
        vpc: subnet.spec.vpc.clone(),
        gateway_type: GatewayType::Nat,
        subnet: subnet.metadata.name,
        floating_ip: floating.metadata.name,
    };
    let made = c.create(Object::new(meta, spec)).await.map_err(|e| match e.code.as_ref() {
        "InvalidParameterValue" if e.message.contains("floating ip") => {
            Failure::new("Resource.AlreadyAssociated", e.message)
        }
        _ => e,
    })?;
    let world = World::load(c).await?;
    let mut x = Xml::new();
    x.given("clientToken", c.params.text("ClientToken"))
        .node("natGateway", |x| Nat::of(&world, &made).write(x));
    Ok(x)
}

async fn delete_nat(c: &Context) -> Answer {
    let wanted = c.params.require("NatGatewayId")?;
    let gateway = find(c, wanted).await?;
    if !is_nat(&gateway) {
        return Err(none_nat(wanted));
    }
    c.delete::<GatewaySpec>(&gateway.metadata.name, "DependencyViolation").await?;
    let mut x = Xml::new();
    x.text("natGatewayId", wanted);
    Ok(x)
}

//! Subnets.

use model::network::{Subnet, SubnetSpec, VpcSpec};
use model::topology::ZoneSpec;
use model::{Object, ObjectMeta};
use serde_json::json;

use super::vpcs::range;
use super::world::{World, zone_name, zone_of};
use crate::REGION;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreateSubnet",
        &["VpcId", "CidrBlock", "AvailabilityZone", "AvailabilityZoneId", "TagSpecification"],
        |c| Box::pin(create(c)),
    ),
    Action::ec2("DeleteSubnet", &["SubnetId"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeSubnets", describe!["SubnetId"], |c| Box::pin(describe(c))),
    Action::ec2(
        "ModifySubnetAttribute",
        &["SubnetId", "MapPublicIpOnLaunch", "AssignIpv6AddressOnCreation", "EnableDns64"],
        |c| Box::pin(modify(c)),
    ),
];

struct Part {
    id: String,
    vpc_id: String,
    cidr: String,
    cidr_v6: String,
    zone: String,
    free: u128,
    is_default: bool,
    maps_public: bool,
    owner: String,
    tags: Tags,
}

impl Part {
    fn of(c: &Context, world: &World, subnet: &Subnet) -> Self {
        let spec = &subnet.spec;
        let vpc = world.vpc_of(subnet);
        let ports = world.ports.iter().filter(|port| port.spec.subnet == subnet.metadata.name);
        let taken = ports.flat_map(|port| &port.spec.addresses).filter(|a| a.0.is_ipv4()).count();
        let all = spec.cidr.and_then(|cidr| cidr.for_ports()).map_or(0, |pool| pool.count());
        Self {
            id: ids::id(subnet),
            vpc_id: vpc.map(ids::id).unwrap_or_default(),
            cidr: spec.cidr.map(|cidr| cidr.to_string()).unwrap_or_default(),
            cidr_v6: spec.ipv6_cidr.map(|cidr| cidr.to_string()).unwrap_or_default(),
            zone: zone_name(&spec.zone),
            free: all.saturating_sub(u128::try_from(taken).unwrap_or(0)),
            is_default: spec.is_default && vpc.is_some_and(|vpc| vpc.spec.is_default),
            maps_public: spec.assign_public_address,
            owner: c.account(),
            tags: tags::of(&subnet.metadata),
        }
    }

    fn arn(&self) -> String {
        format!("arn:aws:ec2:{REGION}:{}:subnet/{}", self.owner, self.id)
    }
}

impl Item for Part {
    const FILTERS: &'static [&'static str] = &[
        "subnet-id",
        "vpc-id",
        "cidr",
        "cidr-block",
        "cidrBlock",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "availability-zone",
        "availabilityZone",
        "availability-zone-id",
        "available-ip-address-count",
        "default-for-az",
        "defaultForAz",
        "map-public-ip-on-launch",
        "state",
        "owner-id",
        "subnet-arn",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "subnet-id" => self.id.clone(),
            "vpc-id" => self.vpc_id.clone(),
            "cidr" | "cidr-block" | "cidrBlock" => self.cidr.clone(),
            "ipv6-cidr-block-association.ipv6-cidr-block" => self.cidr_v6.clone(),
            "availability-zone" | "availabilityZone" | "availability-zone-id" => self.zone.clone(),
            "available-ip-address-count" => self.free.to_string(),
            "map-public-ip-on-launch" => super::word(self.maps_public),
            "state" => "available".into(),
            "owner-id" => self.owner.clone(),
            "subnet-arn" => self.arn(),
            _ => super::word(self.is_default),
        }]
    }
    fn write(&self, x: &mut Xml) {
        let v6 = Some(&self.cidr_v6).filter(|cidr| !cidr.is_empty());
        x.text("subnetId", &self.id)
            .text("subnetArn", self.arn())
            .text("state", "available")
            .text("ownerId", &self.owner)
            .given("vpcId", &self.vpc_id)
            .given("cidrBlock", &self.cidr)
            .list("ipv6CidrBlockAssociationSet", v6, |x, cidr| {
                x.text("ipv6CidrBlock", cidr)
                    .text("associationId", ids::hashed("subnet-cidr-assoc", &format!("{}/{cidr}", self.id)))
                    .node("ipv6CidrBlockState", |x| {
                        x.text("state", "associated");
                    });
            })
            .text("availableIpAddressCount", self.free)
            .text("availabilityZone", &self.zone)
            .text("availabilityZoneId", &self.zone)
            .text("defaultForAz", self.is_default)
            .text("mapPublicIpOnLaunch", self.maps_public)
            .text("assignIpv6AddressOnCreation", v6.is_some())
            .text("enableDns64", false)
            .text("ipv6Native", false)
            .text("mapCustomerOwnedIpOnLaunch", false);
        tags::write(x, &self.tags);
    }
}

async fn describe(c: &Context) -> Answer {
    let world = World::load(c).await?;
    let subnets = c.list::<SubnetSpec>().await?;
    let parts = subnets.iter().map(|subnet| Part::of(c, &world, subnet)).collect();
    let ids = Ids { parameter: "SubnetId", none: ids::none::<SubnetSpec> };
    Ok(answer("subnetSet", &select(&c.params, &ids, parts)?))
}

async fn create(c: &Context) -> Answer {
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    let zone = match c.params.get("AvailabilityZone").or_else(|| c.params.get("AvailabilityZoneId")) {
        None => String::new(),
        Some(name) => {
            let zone = zone_of(name)?;
            if !c.list::<ZoneSpec>().await?.iter().any(|known| known.metadata.name == zone) {
                return Err(Failure::value(format!("Invalid availability zone: [{name}]")));
            }
            zone.to_owned()
        }
    };
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("subnet", 0));
    tags::give(&mut meta, tags::for_new(&c.params, "subnet")?);
    let spec = SubnetSpec {
        vpc: vpc.metadata.name,
        cidr: Some(range(c, "CidrBlock")?),
        zone,
        ..SubnetSpec::default()
    };
    let made = c.create(Object::new(meta, spec)).await.map_err(|e| {
        let code = if e.message.contains(" overlaps ") {
            "InvalidSubnet.Conflict"
        } else if e.message.contains("outside of vpc") || e.message.contains("must be a /") {
            "InvalidSubnet.Range"
        } else {
            return e;
        };
        Failure::new(code, e.message)
    })?;
    let world = World::load(c).await?;
    let mut x = Xml::new();
    x.node("subnet", |x| Part::of(c, &world, &made).write(x));
    Ok(x)
}

async fn delete(c: &Context) -> Answer {
    let subnet = c.named::<SubnetSpec>("SubnetId").await?;
    c.delete::<SubnetSpec>(&subnet.metadata.name, "DependencyViolation").await?;
    Ok(super::done())
}

async fn modify(c: &Context) -> Answer {
    let subnet = c.named::<SubnetSpec>("SubnetId").await?;
    for (name, value) in
        [("AssignIpv6AddressOnCreation", subnet.spec.ipv6_cidr.is_some()), ("EnableDns64", false)]
    {
        if c.params.flag(&format!("{name}.Value"))?.is_some_and(|given| given != value) {
            return Err(Failure::unsupported(format!("{name} can only be {value} for this subnet")));
        }
    }
    if let Some(on) = c.params.flag("MapPublicIpOnLaunch.Value")? {
        let patch = json!({ "spec": { "assignPublicAddress": on } });
        c.merge::<SubnetSpec>(&subnet.metadata.name, &patch).await?;
    }
    Ok(super::done())
}

//! Security groups.

use model::network::{Direction, Protocol, SecurityGroup, SecurityGroupSpec, SecurityRule, VpcSpec};
use model::{Object, ObjectMeta};

use super::rules::{Permission, permissions};
use super::shown::is_group;
use super::vpcs::everyone;
use super::world::{GROUP_NAME, World, group_name};
use crate::REGION;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

const NAME_MAX: usize = 255;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreateSecurityGroup",
        &["GroupName", "GroupDescription", "VpcId", "TagSpecification"],
        |c| Box::pin(create(c)),
    ),
    Action::ec2("DeleteSecurityGroup", &["GroupId", "GroupName"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeSecurityGroups", describe!["GroupId", "GroupName"], |c| Box::pin(describe(c))),
];

struct Group {
    id: String,
    name: String,
    description: String,
    vpc_id: String,
    owner: String,
    ingress: Vec<Permission>,
    egress: Vec<Permission>,
    tags: Tags,
}

impl Group {
    fn of(c: &Context, world: &World, group: &SecurityGroup) -> Self {
        Self {
            id: ids::id(group),
            name: group_name(group).to_owned(),
            description: group.spec.description.clone(),
            vpc_id: ids::id_of(&world.vpcs, &group.spec.vpc),
            owner: c.account(),
            ingress: permissions(&world.groups, group, Direction::Ingress),
            egress: permissions(&world.groups, group, Direction::Egress),
            tags: tags::of(&group.metadata),
        }
    }

    fn arn(&self) -> String {
        format!("arn:aws:ec2:{REGION}:{}:security-group/{}", self.owner, self.id)
    }
}

impl Item for Group {
    const FILTERS: &'static [&'static str] = &[
        "group-id",
        "group-name",
        "description",
        "vpc-id",
        "owner-id",
        "ip-permission.cidr",
        "ip-permission.protocol",
        "ip-permission.from-port",
        "ip-permission.to-port",
        "ip-permission.group-id",
        "egress.ip-permission.cidr",
        "egress.ip-permission.protocol",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        let (side, filter) = match filter.strip_prefix("egress.") {
            Some(rest) => (&self.egress, rest),
            None => (&self.ingress, filter),
        };
        match filter {
            "group-id" => vec![self.id.clone()],
            "group-name" => vec![self.name.clone()],
            "description" => vec![self.description.clone()],
            "vpc-id" => vec![self.vpc_id.clone()],
            "owner-id" => vec![self.owner.clone()],
            other => side.iter().flat_map(|p| p.facts(other)).collect(),
        }
    }
    fn write(&self, x: &mut Xml) {
        x.text("ownerId", &self.owner)
            .text("groupId", &self.id)
            .text("securityGroupArn", self.arn())
            .text("groupName", &self.name)
            .text("groupDescription", &self.description)
            .given("vpcId", &self.vpc_id)
            .list("ipPermissions", &self.ingress, |x, p| p.write(x, &self.owner))
            .list("ipPermissionsEgress", &self.egress, |x, p| p.write(x, &self.owner));
        tags::write(x, &self.tags);
    }
}

async fn describe(c: &Context) -> Answer {
    let world = World::load(c).await?;
    let mut groups: Vec<SecurityGroup> = c.list::<SecurityGroupSpec>().await?;
    let names = c.params.list("GroupName");
    if let Some(missing) = names.iter().find(|name| !groups.iter().any(|g| group_name(g) == name.as_str())) {
        return Err(no_name(missing));
    }
    groups.retain(|group| names.is_empty() || names.iter().any(|name| name == group_name(group)));
    let shown = groups.iter().map(|group| Group::of(c, &world, group)).collect();
    let ids = Ids { parameter: "GroupId", none: ids::none::<SecurityGroupSpec> };
    Ok(answer("securityGroupInfo", &select(&c.params, &ids, shown)?))
}

fn no_name(name: &str) -> Failure {
    let name: String = name.chars().take(80).collect();
    Failure::new("InvalidGroup.NotFound", format!("The security group '{name}' does not exist"))
}

/// The group that a request names, by its id, or by its name in the default VPC.
pub(crate) async fn named(c: &Context) -> Result<SecurityGroup, Failure> {
    if c.params.get("GroupId").is_some() {
        return c.named("GroupId").await;
    }
    let name = c.params.get("GroupName").ok_or_else(|| Failure::missing("GroupId"))?;
    let vpcs = c.list::<VpcSpec>().await?;
    let default = vpcs.iter().find(|vpc| vpc.spec.is_default).map(|vpc| vpc.metadata.name.clone());
    let groups = c.list::<SecurityGroupSpec>().await?.into_iter();
    let of_default = |vpc: String| groups.into_iter().find(|group| is_group(group, &vpc, name));
    default.and_then(of_default).ok_or_else(|| no_name(name))
}

async fn create(c: &Context) -> Answer {
    let name = c.params.require("GroupName")?;
    let description = c.params.require("GroupDescription")?;
    if name.chars().count() > NAME_MAX || name.starts_with("sg-") {
        return Err(c.params.invalid(
            "GroupName",
            name,
            "must not begin with sg-, and have at most 255 characters",
        ));
    }
    let vpc = if let Some(id) = c.params.get("VpcId") {
        c.find::<VpcSpec>(id).await?
    } else {
        let default = c.list::<VpcSpec>().await?.into_iter().find(|vpc| vpc.spec.is_default);
        default.ok_or_else(|| Failure::new("VPCIdNotSpecified", "No default VPC for this user"))?
    };
    let groups = c.list::<SecurityGroupSpec>().await?;
    if name == "default" || groups.iter().any(|group| is_group(group, &vpc.metadata.name, name)) {
        let message = format!("The security group '{name}' already exists for VPC '{}'", ids::id(&vpc));
        return Err(Failure::new("InvalidGroup.Duplicate", message));
    }
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("sg", 0));
    meta.annotations.insert(GROUP_NAME.into(), name.into());
    tags::give(&mut meta, tags::for_new(&c.params, "security-group")?);
    // As EC2's: nothing comes in, everything may go out.
    let out = SecurityRule {
        direction: Direction::Egress,
        protocol: Protocol::Any,
        peer: everyone(),
        ..SecurityRule::default()
    };
    let spec = SecurityGroupSpec {
        vpc: vpc.metadata.name,
        description: description.into(),
        rules: vec![out],
        is_default: false,
    };
    let made = c.create(Object::new(meta, spec)).await?;
    let mut x = super::done();
    x.text("groupId", ids::id(&made));
    tags::write(&mut x, &tags::of(&made.metadata));
    Ok(x)
}

async fn delete(c: &Context) -> Answer {
    let group = named(c).await?;
    if group.spec.is_default {
        let message = format!(
            "the specified group: \"{}\" name: \"default\" cannot be deleted by a user",
            ids::id(&group)
        );
        return Err(Failure::new("CannotDelete", message));
    }
    c.delete::<SecurityGroupSpec>(&group.metadata.name, "DependencyViolation").await?;
    let mut x = super::done();
    x.text("groupId", ids::id(&group));
    Ok(x)
}

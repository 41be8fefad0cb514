//! Egress-only internet gateways: out for IPv6, and nothing in.

use model::network::{Gateway, GatewaySpec, GatewayType, VpcSpec};
use model::{Object, ObjectMeta};

use super::gateways::id;
use super::world::World;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

const PARAMETER: &str = "EgressOnlyInternetGatewayId";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("CreateEgressOnlyInternetGateway", &["VpcId", "ClientToken", "TagSpecification"], |c| {
        Box::pin(create(c))
    }),
    Action::ec2("DeleteEgressOnlyInternetGateway", &[PARAMETER], |c| Box::pin(delete(c))),
    Action::ec2("DescribeEgressOnlyInternetGateways", describe!["EgressOnlyInternetGatewayId"], |c| {
        Box::pin(describe(c))
    }),
];

pub(crate) fn is_egress(gateway: &Gateway) -> bool {
    gateway.spec.gateway_type == GatewayType::Egress
}

pub(crate) fn none(id: &str) -> Failure {
    let id: String = id.chars().take(80).collect();
    if ids::is_id("eigw", &id) {
        let message = format!("The egressOnlyInternetGateway ID '{id}' does not exist");
        return Failure::new("InvalidEgressOnlyInternetGatewayId.NotFound", message);
    }
    Failure::new("InvalidEgressOnlyInternetGatewayId.Malformed", format!("Invalid id: \"{id}\""))
}

struct Shown {
    id: String,
    vpc_id: String,
    tags: Tags,
}

impl Shown {
    fn of(world: &World, gateway: &Gateway) -> Self {
        Self {
            id: id(gateway),
            vpc_id: ids::id_of(&world.vpcs, &gateway.spec.vpc),
            tags: tags::of(&gateway.metadata),
        }
    }
}

impl Item for Shown {
    const FILTERS: &'static [&'static str] = &[];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn write(&self, x: &mut Xml) {
        x.list("attachmentSet", [&self.vpc_id], |x, vpc| {
            x.text("state", "attached").text("vpcId", vpc);
        })
        .text("egressOnlyInternetGatewayId", &self.id);
        tags::write(x, &self.tags);
    }
}

async fn describe(c: &Context) -> Answer {
    let world = World::load(c).await?;
    let gateways = c.list::<GatewaySpec>().await?;
    let shown = gateways.iter().filter(|gateway| is_egress(gateway)).map(|g| Shown::of(&world, g)).collect();
    let page = select(&c.params, &Ids { parameter: PARAMETER, none }, shown)?;
    Ok(answer("egressOnlyInternetGatewaySet", &page))
}

async fn create(c: &Context) -> Answer {
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("eigw", 0));
    tags::give(&mut meta, tags::for_new(&c.params, "egress-only-internet-gateway")?);
    let spec =
        GatewaySpec { vpc: vpc.metadata.name, gateway_type: GatewayType::Egress, ..GatewaySpec::default() };
    let made = c.create(Object::new(meta, spec)).await?;
    let world = World::load(c).await?;
    let mut x = Xml::new();
    x.given("clientToken", c.params.text("ClientToken"))
        .node("egressOnlyInternetGateway", |x| Shown::of(&world, &made).write(x));
    Ok(x)
}

async fn delete(c: &Context) -> Answer {
    let wanted = c.params.require(PARAMETER)?;
    let found = c.list::<GatewaySpec>().await?.into_iter().find(|g| is_egress(g) && id(g) == wanted);
    let found = found.ok_or_else(|| none(wanted))?;
    c.delete::<GatewaySpec>(&found.metadata.name, "DependencyViolation").await?;
    let mut x = Xml::new();
    x.text("returnCode", true);
    Ok(x)
}

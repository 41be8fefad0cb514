//! Route tables and their routes.

use futures::try_join;
use model::compute::InstanceSpec;
use model::network::{
    Cidr, Gateway, GatewaySpec, Peering, PeeringSpec, PortSpec, Route, RouteTable, RouteTableSpec,
    RouteTarget, VpcEndpoint, VpcEndpointSpec, VpcSpec,
};
use model::{Object, ObjectMeta};

use super::associations::{main_association, subnet_association};
use super::egress_gateways::is_egress;
use super::world::World;
use super::{endpoint_services, gateways, peerings};
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

const ROUTE: &[&str] = &[
    "RouteTableId",
    "DestinationCidrBlock",
    "DestinationIpv6CidrBlock",
    "GatewayId",
    "NatGatewayId",
    "EgressOnlyInternetGatewayId",
    "VpcPeeringConnectionId",
    "NetworkInterfaceId",
    "InstanceId",
];

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("CreateRouteTable", &["VpcId", "ClientToken", "TagSpecification"], |c| Box::pin(create(c))),
    Action::ec2("DeleteRouteTable", &["RouteTableId"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeRouteTables", describe!["RouteTableId"], |c| Box::pin(describe(c))),
    Action::ec2("CreateRoute", ROUTE, |c| Box::pin(create_route(c))),
    Action::ec2("ReplaceRoute", ROUTE, |c| Box::pin(replace_route(c))),
    Action::ec2("DeleteRoute", &["RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock"], |c| {
        Box::pin(delete_route(c))
    }),
];

/// What routes lead to, beside what is in the VPC.
#[derive(Default)]
struct Ways {
    gateways: Vec<Gateway>,
    peerings: Vec<Peering>,
    endpoints: Vec<VpcEndpoint>,
}

impl Ways {
    async fn load(c: &Context) -> Result<Self, Failure> {
        let (gateways, peerings, endpoints) = try_join!(
            c.list_if_allowed::<GatewaySpec>(),
            c.list_if_allowed::<PeeringSpec>(),
            c.list_if_allowed::<VpcEndpointSpec>(),
        )?;
        Ok(Self { gateways, peerings, endpoints })
    }
}

struct Way {
    destination: String,
    /// The element's name, and the id of where it leads.
    target: (&'static str, String),
    is_there: bool,
    origin: &'static str,
}

struct Association {
    id: String,
    subnet_id: Option<String>,
}

struct Table {
    id: String,
    vpc_id: String,
    owner: String,
    ways: Vec<Way>,
    associations: Vec<Association>,
    tags: Tags,
}

impl Table {
    fn of(c: &Context, world: &World, ways: &Ways, table: &RouteTable) -> Self {
        let vpc = ids::find(&world.vpcs, &table.spec.vpc);
        let local = vpc.into_iter().flat_map(|vpc| vpc.spec.ranges()).map(|range| Way {
            destination: range.to_string(),
            target: ("gatewayId", "local".into()),
            is_there: true,
            origin: "CreateRouteTable",
        });
        let own = table.spec.routes.iter().map(|route| way(world, ways, route));
        let led = ways.endpoints.iter().filter(|e| e.spec.route_tables.contains(&table.metadata.name));
        let to_services = led.map(|endpoint| Way {
            destination: endpoint_services::prefix_list_id(endpoint.spec.service),
            target: ("gatewayId", ids::id(endpoint)),
            is_there: true,
            origin: "CreateRoute",
        });
        let main = table.spec.is_main.then(|| Association { id: main_association(table), subnet_id: None });
        let subnets = world.subnets.iter().filter(|subnet| subnet.spec.route_table == table.metadata.name);
        let associated = subnets.map(|subnet| Association {
            id: subnet_association(subnet, table),
            subnet_id: Some(ids::id(subnet)),
        });
        Self {
            id: ids::id(table),
            vpc_id: vpc.map(ids::id).unwrap_or_default(),
            owner: c.account(),
            ways: local.chain(own).chain(to_services).collect(),
            associations: main.into_iter().chain(associated).collect(),
            tags: tags::of(&table.metadata),
        }
    }
}

fn way(world: &World, ways: &Ways, route: &Route) -> Way {
    let target = &route.target;
    let (name, id) = if target.local {
        ("gatewayId", "local".to_owned())
    } else if !target.gateway.is_empty() {
        match ids::find(&ways.gateways, &target.gateway) {
            Some(gateway) if gateways::is_nat(gateway) => ("natGatewayId", gateways::id(gateway)),
            Some(gateway) if is_egress(gateway) => ("egressOnlyInternetGatewayId", gateways::id(gateway)),
            Some(gateway) => ("gatewayId", gateways::id(gateway)),
            None => ("gatewayId", String::new()),
        }
    } else if !target.port.is_empty() {
        ("networkInterfaceId", ids::id_of(&world.ports, &target.port))
    } else if !target.instance.is_empty() {
        ("instanceId", ids::id_of(&world.instances, &target.instance))
    } else {
        ("vpcPeeringConnectionId", peerings::id_of(&ways.peerings, &target.peering))
    };
    // A gateway that was detached leads nowhere.
    let detached =
        ids::find(&ways.gateways, &target.gateway).is_some_and(|gateway| gateway.spec.vpc.is_empty());
    let destination = route.destination.map_or_else(|| route.prefix_list.clone(), |cidr| cidr.to_string());
    Way { destination, is_there: !id.is_empty() && !detached, target: (name, id), origin: "CreateRoute" }
}

impl Item for Table {
    const FILTERS: &'static [&'static str] = &[
        "route-table-id",
        "vpc-id",
        "owner-id",
        "association.main",
        "association.subnet-id",
        "association.route-table-id",
        "association.route-table-association-id",
        "route.destination-cidr-block",
        "route.destination-ipv6-cidr-block",
        "route.gateway-id",
        "route.nat-gateway-id",
        "route.vpc-peering-connection-id",
        "route.egress-only-internet-gateway-id",
        "route.instance-id",
        "route.state",
        "route.origin",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        let leading = |name: &str| {
            self.ways.iter().filter(|w| w.target.0 == name).map(|w| w.target.1.clone()).collect()
        };
        match filter {
            "vpc-id" => vec![self.vpc_id.clone()],
            "owner-id" => vec![self.owner.clone()],
            "association.main" => {
                self.associations.iter().map(|a| super::word(a.subnet_id.is_none())).collect()
            }
            "association.subnet-id" => self.associations.iter().filter_map(|a| a.subnet_id.clone()).collect(),
            "association.route-table-association-id" => {
                self.associations.iter().map(|a| a.id.clone()).collect()
            }
            "route.destination-cidr-block" => {
                self.ways.iter().map(|w| w.destination.clone()).filter(|d| !d.contains(':')).collect()
            }
            "route.destination-ipv6-cidr-block" => {
                self.ways.iter().map(|w| w.destination.clone()).filter(|d| d.contains(':')).collect()
            }
            "route.gateway-id" => leading("gatewayId"),
            "route.vpc-peering-connection-id" => leading("vpcPeeringConnectionId"),
            "route.egress-only-internet-gateway-id" => leading("egressOnlyInternetGatewayId"),
            "route.nat-gateway-id" => leading("natGatewayId"),
            "route.instance-id" => leading("instanceId"),
            "route.state" => self.ways.iter().map(|w| state(w).to_owned()).collect(),
            "route.origin" => self.ways.iter().map(|w| w.origin.to_owned()).collect(),
            _ => vec![self.id.clone()],
        }
    }
    fn write(&self, x: &mut Xml) {
        x.text("routeTableId", &self.id).given("vpcId", &self.vpc_id).text("ownerId", &self.owner);
        x.list("routeSet", &self.ways, |x, way| {
            let name = if way.destination.contains(':') {
                "destinationIpv6CidrBlock"
            } else if way.destination.contains('/') {
                "destinationCidrBlock"
            } else {
                "destinationPrefixListId"
            };
            x.text(name, &way.destination)
                .given(way.target.0, &way.target.1)
                .text("state", state(way))
                .text("origin", way.origin);
        })
        .list("associationSet", &self.associations, |x, association| {
            x.text("routeTableAssociationId", &association.id)
                .text("routeTableId", &self.id)
                .given("subnetId", association.subnet_id.as_deref().unwrap_or(""))
                .text("main", association.subnet_id.is_none())
                .node("associationState", |x| {
                    x.text("state", "associated");
                });
        })
        .list("propagatingVgwSet", std::iter::empty::<()>(), |_, ()| {});
        tags::write(x, &self.tags);
    }
}

fn state(way: &Way) -> &'static str {
    if way.is_there { "active" } else { "blackhole" }
}

async fn describe(c: &Context) -> Answer {
    let world = World::load(c).await?;
    let ways = Ways::load(c).await?;
    let tables = c.list::<RouteTableSpec>().await?;
    let shown = tables.iter().map(|table| Table::of(c, &world, &ways, table)).collect();
    let ids = Ids { parameter: "RouteTableId", none: ids::none::<RouteTableSpec> };
    Ok(answer("routeTableSet", &select(&c.params, &ids, shown)?))
}

async fn create(c: &Context) -> Answer {
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("rtb", 0));
    tags::give(&mut meta, tags::for_new(&c.params, "route-table")?);
    let spec = RouteTableSpec { vpc: vpc.metadata.name, ..RouteTableSpec::default() };
    let made = c.create(Object::new(meta, spec)).await?;
    let world = World::load(c).await?;
    let mut x = Xml::new();
    x.node("routeTable", |x| Table::of(c, &world, &Ways::default(), &made).write(x))
        .given("clientToken", c.params.text("ClientToken"));
    Ok(x)
}

async fn delete(c: &Context) -> Answer {
    let table = c.named::<RouteTableSpec>("RouteTableId").await?;
    if table.spec.is_main {
        let message =
            format!("The routeTable '{}' is the main one of its VPC and stays with it.", ids::id(&table));
        return Err(Failure::new("DependencyViolation", message));
    }
    c.delete::<RouteTableSpec>(&table.metadata.name, "DependencyViolation").await?;
    Ok(super::done())
}

fn destination(c: &Context) -> Result<Cidr, Failure> {
    let names = ["DestinationCidrBlock", "DestinationIpv6CidrBlock"];
    let name = names.into_iter().find(|name| c.params.get(name).is_some());
    super::vpcs::range(c, name.unwrap_or(names[0]))
}

/// Where the route of a request leads.
async fn target(c: &Context, vpc: &str) -> Result<RouteTarget, Failure> {
    let params = &c.params;
    let names = [
        "GatewayId",
        "NatGatewayId",
        "EgressOnlyInternetGatewayId",
        "VpcPeeringConnectionId",
        "NetworkInterfaceId",
        "InstanceId",
    ];
    let given: Vec<&str> = names.into_iter().filter(|name| params.get(name).is_some()).collect();
    let [name] = given.as_slice() else {
        let message = format!("The request must contain exactly one of {}", names.join(", "));
        return Err(Failure::new("InvalidParameterCombination", message));
    };
    let id = params.require(name)?;
    let mut target = RouteTarget::default();
    match *name {
        "GatewayId" if id == "local" => target.local = true,
        "VpcPeeringConnectionId" => target.peering = peerings::side_in(c, id, vpc).await?.metadata.name,
        "GatewayId" | "NatGatewayId" | "EgressOnlyInternetGatewayId" => {
            let gateway = gateways::find(c, id).await.map_err(|e| match e.code.as_ref() {
                "InvalidInternetGatewayID.NotFound" => Failure::new("InvalidGatewayID.NotFound", e.message),
                _ => e,
            })?;
            if gateway.spec.vpc != vpc {
                let message = format!("route table and gateway {id} belong to different networks");
                return Err(Failure::value(message));
            }
            target.gateway = gateway.metadata.name;
        }
        "NetworkInterfaceId" => target.port = c.find::<PortSpec>(id).await?.metadata.name,
        _ => target.instance = c.find::<InstanceSpec>(id).await?.metadata.name,
    }
    Ok(target)
}

async fn create_route(c: &Context) -> Answer {
    let table = c.named::<RouteTableSpec>("RouteTableId").await?;
    let destination = destination(c)?;
    let target = target(c, &table.spec.vpc).await?;
    c.change::<RouteTableSpec>(&table.metadata.name, |table| {
        let same = |route: &Route| route.destination == Some(destination);
        if let Some(route) = table.spec.routes.iter().find(|route| same(route)) {
            // The same once more is no other route.
            if route.target == target {
                return Ok(());
            }
            let message = format!("The route identified by {destination} already exists.");
            return Err(Failure::new("RouteAlreadyExists", message));
        }
        let route = Route { destination: Some(destination), target: target.clone(), ..Route::default() };
        table.spec.routes.push(route);
        Ok(())
    })
    .await?;
    Ok(super::done())
}

fn no_route(table: &RouteTable, destination: Cidr) -> Failure {
    let id = ids::id(table);
    let message = format!("no route with destination-cidr-block {destination} in route table {id}");
    Failure::new("InvalidRoute.NotFound", message)
}

async fn replace_route(c: &Context) -> Answer {
    let table = c.named::<RouteTableSpec>("RouteTableId").await?;
    let destination = destination(c)?;
    let target = target(c, &table.spec.vpc).await?;
    c.change::<RouteTableSpec>(&table.metadata.name, |table| {
        let found = table.spec.routes.iter_mut().find(|route| route.destination == Some(destination));
        match found {
            Some(route) => route.target.clone_from(&target),
            None => return Err(no_route(table, destination)),
        }
        Ok(())
    })
    .await?;
    Ok(super::done())
}

async fn delete_route(c: &Context) -> Answer {
    let table = c.named::<RouteTableSpec>("RouteTableId").await?;
    let destination = destination(c)?;
    c.change::<RouteTableSpec>(&table.metadata.name, |table| {
        let before = table.spec.routes.len();
        table.spec.routes.retain(|route| route.destination != Some(destination));
        if table.spec.routes.len() == before { Err(no_route(table, destination)) } else { Ok(()) }
    })
    .await?;
    Ok(super::done())
}

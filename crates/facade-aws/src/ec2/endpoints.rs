//! VPC endpoints: ways from inside of a VPC to the cloud's own API.

use futures::try_join;
use model::network::{
    EndpointService, EndpointType, Port, RouteTableSpec, SecurityGroupSpec, SubnetSpec, VpcEndpoint,
    VpcEndpointSpec, VpcSpec,
};
use model::{Object, ObjectMeta};

use super::world::World;
use super::{endpoint_services, unsuccessful};
use crate::REGION;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// What an endpoint without a policy has.
const FULL_ACCESS: &str = r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreateVpcEndpoint",
        &[
            "VpcId",
            "ServiceName",
            "VpcEndpointType",
            "RouteTableId",
            "SubnetId",
            "SecurityGroupId",
            "PolicyDocument",
            "PrivateDnsEnabled",
            "IpAddressType",
            "ClientToken",
            "TagSpecification",
        ],
        |c| Box::pin(create(c)),
    )
    .noting(
        "Gateways for S3, interfaces for every service here. Families of addresses follow from the subnets.",
    ),
    Action::ec2(
        "ModifyVpcEndpoint",
        &[
            "VpcEndpointId",
            "PolicyDocument",
            "ResetPolicy",
            "AddRouteTableId",
            "RemoveRouteTableId",
            "AddSubnetId",
            "RemoveSubnetId",
            "AddSecurityGroupId",
            "RemoveSecurityGroupId",
            "PrivateDnsEnabled",
        ],
        |c| Box::pin(modify(c)),
    ),
    Action::ec2("DeleteVpcEndpoints", &["VpcEndpointId"], |c| Box::pin(delete(c)))
        .noting("They are gone at once, and connections by them end."),
    Action::ec2("DescribeVpcEndpoints", describe!["VpcEndpointId"], |c| Box::pin(describe(c))),
];

/// What endpoints are shown with.
struct Around {
    world: World,
    tables: Vec<Object<RouteTableSpec>>,
}

impl Around {
    async fn load(c: &Context) -> Result<Self, Failure> {
        let (world, tables) = try_join!(World::load(c), c.list_if_allowed::<RouteTableSpec>())?;
        Ok(Self { world, tables })
    }
}

struct Shown {
    id: String,
    owner: String,
    vpc_id: String,
    service: String,
    is_interface: bool,
    state: &'static str,
    policy: String,
    tables: Vec<String>,
    subnets: Vec<String>,
    groups: Vec<(String, String)>,
    interfaces: Vec<String>,
    address_type: &'static str,
    private_dns: bool,
    names: Vec<String>,
    created: String,
    tags: Tags,
}

impl Shown {
    fn of(c: &Context, around: &Around, endpoint: &VpcEndpoint) -> Self {
        let (world, spec) = (&around.world, &endpoint.spec);
        let listed = |names: &[String], id: &dyn Fn(&str) -> String| -> Vec<String> {
            names.iter().map(|name| id(name)).filter(|id| !id.is_empty()).collect()
        };
        let ports: Vec<&Port> = spec
            .subnets
            .iter()
            .filter_map(|subnet| super::world::by_name(&world.ports, &endpoint.port_name(subnet)))
            .collect();
        Self {
            id: ids::id(endpoint),
            owner: c.account(),
            vpc_id: ids::id_of(&world.vpcs, &spec.vpc),
            service: spec.service.full_name(),
            is_interface: endpoint.is_interface(),
            state: if endpoint.metadata.is_deleting() { "deleting" } else { "available" },
            policy: if spec.policy.is_empty() { FULL_ACCESS.to_owned() } else { spec.policy.clone() },
            tables: listed(&spec.route_tables, &|name| ids::id_of(&around.tables, name)),
            subnets: listed(&spec.subnets, &|name| ids::id_of(&world.subnets, name)),
            groups: world.group_refs(&spec.security_groups),
            interfaces: ports.iter().map(|port| ids::id(*port)).collect(),
            address_type: address_type(
                ports.iter().flat_map(|port| &port.spec.addresses).map(|a| a.0.is_ipv4()),
            ),
            private_dns: spec.private_dns,
            names: if endpoint.is_interface() { endpoint.names() } else { Vec::new() },
            created: super::created_at(&endpoint.metadata),
            tags: tags::of(&endpoint.metadata),
        }
    }
}

/// Of addresses, each of IPv4 or not.
fn address_type(families: impl Iterator<Item = bool> + Clone) -> &'static str {
    match (families.clone().any(|v4| v4), families.clone().any(|v4| !v4)) {
        (true, true) => "dualstack",
        (false, true) => "ipv6",
        _ => "ipv4",
    }
}

impl Item for Shown {
    const FILTERS: &'static [&'static str] = &[
        "vpc-endpoint-id",
        "vpc-endpoint-state",
        "vpc-endpoint-type",
        "vpc-id",
        "service-name",
        "service-region",
        "ip-address-type",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "vpc-endpoint-state" => self.state.into(),
            "vpc-endpoint-type" => kind(self.is_interface).into(),
            "vpc-id" => self.vpc_id.clone(),
            "service-name" => self.service.clone(),
            "service-region" => REGION.into(),
            "ip-address-type" => self.address_type.into(),
            _ => self.id.clone(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        let plain = |x: &mut Xml, id: &String| {
            x.out_text(id);
        };
        x.text("vpcEndpointId", &self.id)
            .text("vpcEndpointType", kind(self.is_interface))
            .text("vpcId", &self.vpc_id)
            .text("serviceName", &self.service)
            .text("serviceRegion", REGION)
            .text("state", self.state)
            .text("policyDocument", &self.policy)
            .list("routeTableIdSet", &self.tables, plain)
            .list("subnetIdSet", &self.subnets, plain)
            .list("groupSet", &self.groups, |x, (id, name)| {
                x.text("groupId", id).text("groupName", name);
            })
            .text("ipAddressType", self.address_type)
            .node("dnsOptions", |x| {
                x.text("dnsRecordIpType", self.address_type);
            })
            .text("privateDnsEnabled", self.private_dns)
            .text("requesterManaged", false)
            .list("networkInterfaceIdSet", &self.interfaces, plain)
            .list("dnsEntrySet", &self.names, |x, name| {
                x.text("dnsName", name);
            })
            .given("creationTimestamp", &self.created)
            .text("ownerId", &self.owner);
        tags::write(x, &self.tags);
    }
}

fn kind(is_interface: bool) -> &'static str {
    if is_interface { "Interface" } else { "Gateway" }
}

async fn describe(c: &Context) -> Answer {
    let around = Around::load(c).await?;
    let endpoints = c.list::<VpcEndpointSpec>().await?;
    let shown = endpoints.iter().map(|endpoint| Shown::of(c, &around, endpoint)).collect();
    let ids = Ids { parameter: "VpcEndpointId", none: ids::none::<VpcEndpointSpec> };
    Ok(answer("vpcEndpointSet", &select(&c.params, &ids, shown)?))
}

/// The names of objects that a parameter lists by their ids.
async fn names_of<S: ids::Known>(c: &Context, parameter: &str) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for id in c.params.list(parameter) {
        names.push(c.find::<S>(&id).await?.metadata.name);
    }
    Ok(names)
}

/// What only one of the two forms has.
fn check_form(c: &Context, is_interface: bool, prefix: &str) -> Result<(), Failure> {
    let (others, of, them) = if is_interface {
        (&["RouteTableId"][..], "Gateway", "Route table IDs")
    } else {
        (&["SubnetId", "SecurityGroupId"][..], "Interface", "Subnet and security group IDs")
    };
    if others.iter().any(|name| c.params.has(&format!("{prefix}{name}"))) {
        let message = format!("{them} are only supported for {of} type VPC Endpoints");
        return Err(Failure::new("InvalidParameter", message));
    }
    Ok(())
}

fn private_dns(c: &Context, is_interface: bool) -> Result<Option<bool>, Failure> {
    let asked = c.params.flag("PrivateDnsEnabled")?;
    if !is_interface && asked == Some(true) {
        let message = "Private DNS is only supported for Interface type VPC Endpoints";
        return Err(Failure::new("InvalidParameter", message));
    }
    Ok(asked)
}

fn refused(e: Failure) -> Failure {
    if e.message.contains("the route to ") && e.message.contains("is held by") {
        return Failure::new("RouteAlreadyExists", e.message);
    }
    if e.message.contains("the names of ") && e.message.contains("is held by") {
        let message = format!(
            "private-dns-enabled cannot be set because there is already a conflicting DNS domain: {}",
            e.message
        );
        return Failure::new("InvalidParameter", message);
    }
    if e.message.contains("spec.policy: ") {
        return Failure::new("InvalidPolicyDocument", e.message);
    }
    e
}

async fn create(c: &Context) -> Answer {
    let params = &c.params;
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    let name = params.require("ServiceName")?;
    let service = EndpointService::of_full_name(name).ok_or_else(|| endpoint_services::none(name))?;
    let endpoint_type = match params.get("VpcEndpointType") {
        None | Some("Gateway") => EndpointType::Gateway,
        Some("Interface") => EndpointType::Interface,
        Some(other) => {
            let message = format!(
                "VpcEndpointType {} is not made in this cloud",
                other.chars().take(40).collect::<String>()
            );
            return Err(Failure::unsupported(message));
        }
    };
    let is_interface = endpoint_type == EndpointType::Interface;
    if !is_interface && !service.has_gateway() {
        let message = format!(
            "Endpoint type (Gateway) does not match available service types ([Interface]) for {name}"
        );
        return Err(Failure::new("InvalidParameter", message));
    }
    check_form(c, is_interface, "")?;
    let private_dns = private_dns(c, is_interface)?;
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("vpce", 0));
    tags::give(&mut meta, tags::for_new(params, "vpc-endpoint")?);
    let spec = VpcEndpointSpec {
        vpc: vpc.metadata.name,
        service,
        endpoint_type,
        route_tables: names_of::<RouteTableSpec>(c, "RouteTableId").await?,
        subnets: names_of::<SubnetSpec>(c, "SubnetId").await?,
        security_groups: names_of::<SecurityGroupSpec>(c, "SecurityGroupId").await?,
        private_dns: private_dns.unwrap_or(is_interface),
        policy: params.text("PolicyDocument").to_owned(),
    };
    check_address_type(c, &spec).await?;
    let made = c.create(Object::new(meta, spec)).await.map_err(refused)?;
    let around = Around::load(c).await?;
    let mut x = Xml::new();
    x.node("vpcEndpoint", |x| Shown::of(c, &around, &made).write(x))
        .given("clientToken", params.text("ClientToken"));
    Ok(x)
}

/// The families of an endpoint are those of its subnets; who wants others is told so.
async fn check_address_type(c: &Context, spec: &VpcEndpointSpec) -> Result<(), Failure> {
    let Some(wanted) = c.params.get("IpAddressType") else { return Ok(()) };
    let mut families = Vec::new();
    for name in &spec.subnets {
        let subnet = c.api::<SubnetSpec>().get(name).await?;
        families.extend(subnet.spec.cidrs().map(model::network::Cidr::is_v4));
    }
    let own = address_type(families.into_iter());
    if wanted == own {
        return Ok(());
    }
    Err(Failure::unsupported(format!(
        "IpAddressType follows from the subnets in this cloud, and is {own} here"
    )))
}

async fn modify(c: &Context) -> Answer {
    let params = &c.params;
    let endpoint = c.named::<VpcEndpointSpec>("VpcEndpointId").await?;
    let is_interface = endpoint.is_interface();
    check_form(c, is_interface, "Add")?;
    check_form(c, is_interface, "Remove")?;
    let resets = params.flag("ResetPolicy")?.unwrap_or(false);
    if resets && params.has("PolicyDocument") {
        let message = "PolicyDocument and ResetPolicy exclude each other";
        return Err(Failure::new("InvalidParameterCombination", message));
    }
    let private_dns = private_dns(c, is_interface)?;
    let tables = changes::<RouteTableSpec>(c, "RouteTableId").await?;
    let subnets = changes::<SubnetSpec>(c, "SubnetId").await?;
    let groups = changes::<SecurityGroupSpec>(c, "SecurityGroupId").await?;
    c.change::<VpcEndpointSpec>(&endpoint.metadata.name, |endpoint| {
        let spec = &mut endpoint.spec;
        tables.apply(&mut spec.route_tables);
        subnets.apply(&mut spec.subnets);
        groups.apply(&mut spec.security_groups);
        if resets {
            spec.policy.clear();
        } else if let Some(policy) = params.get("PolicyDocument") {
            policy.clone_into(&mut spec.policy);
        }
        if let Some(private_dns) = private_dns {
            spec.private_dns = private_dns;
        }
        Ok(())
    })
    .await
    .map_err(refused)?;
    Ok(super::done())
}

/// What is added to a list and what is taken from it.
struct Changes {
    added: Vec<String>,
    removed: Vec<String>,
}

async fn changes<S: ids::Known>(c: &Context, parameter: &str) -> Result<Changes, Failure> {
    Ok(Changes {
        added: names_of::<S>(c, &format!("Add{parameter}")).await?,
        removed: names_of::<S>(c, &format!("Remove{parameter}")).await?,
    })
}

impl Changes {
    fn apply(&self, list: &mut Vec<String>) {
        list.retain(|name| !self.removed.contains(name));
        for name in &self.added {
            if !list.contains(name) {
                list.push(name.clone());
            }
        }
    }
}

async fn delete(c: &Context) -> Answer {
    let wanted = c.params.list("VpcEndpointId");
    if wanted.is_empty() {
        return Err(Failure::missing("VpcEndpointId"));
    }
    let mut failed = Vec::new();
    for id in &wanted {
        let one = async {
            let endpoint = c.find::<VpcEndpointSpec>(id).await?;
            c.delete::<VpcEndpointSpec>(&endpoint.metadata.name, "DependencyViolation").await
        };
        match one.await {
            Ok(()) => {}
            Err(e) if e.code == "DryRunOperation" => {}
            Err(failure) => unsuccessful::note(&mut failed, id, failure)?,
        }
    }
    c.end_dry_run()?;
    let mut x = Xml::new();
    unsuccessful::write(&mut x, &failed);
    Ok(x)
}

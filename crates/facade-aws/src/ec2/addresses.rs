//! Elastic addresses.

use model::compute::InstanceSpec;
use model::network::{Address, FloatingIp, FloatingIpSpec, LoadBalancerSpec, PortSpec};
use model::{Object, ObjectMeta, Spec};
use serde_json::json;

use super::world::World;
use crate::REGION;
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "AllocateAddress",
        &["Domain", "Address", "PublicIpv4Pool", "NetworkBorderGroup", "TagSpecification"],
        |c| Box::pin(allocate(c)),
    )
    .noting("PublicIpv4Pool names an AddressPool; it may be left out where there is only one."),
    Action::ec2("ReleaseAddress", &["AllocationId", "PublicIp", "NetworkBorderGroup"], |c| {
        Box::pin(release(c))
    }),
    Action::ec2("DescribeAddresses", &["Filter", "AllocationId", "PublicIp"], |c| Box::pin(describe(c))),
    Action::ec2(
        "DescribeAddressesAttribute",
        &["AllocationId", "Attribute", "MaxResults", "NextToken"],
        |c| Box::pin(attributes(c)),
    )
    .noting("No address has a name of the outside: the record is left out."),
    Action::ec2(
        "AssociateAddress",
        &[
            "AllocationId",
            "PublicIp",
            "InstanceId",
            "NetworkInterfaceId",
            "PrivateIpAddress",
            "AllowReassociation",
        ],
        |c| Box::pin(associate(c)),
    ),
    Action::ec2("DisassociateAddress", &["AssociationId", "PublicIp"], |c| Box::pin(disassociate(c))),
];

/// Whether an address is its project's, and not one that an instance got with its network card, or a load balancer, and
/// that goes with it.
pub(crate) fn is_elastic(floating: &FloatingIp) -> bool {
    let owners = [InstanceSpec::KIND.kind, LoadBalancerSpec::KIND.kind];
    !floating.metadata.owner_references.iter().any(|owner| owners.contains(&owner.kind.as_str()))
}

fn association_id(floating: &FloatingIp) -> String {
    ids::derived("eipassoc", &floating.metadata, "eipalloc")
}

struct Elastic {
    id: String,
    address: String,
    pool: String,
    owner: String,
    association_id: String,
    interface_id: String,
    instance_id: String,
    private: String,
    tags: Tags,
}

impl Elastic {
    fn of(c: &Context, world: &World, floating: &FloatingIp) -> Self {
        let port = ids::find(&world.ports, &floating.spec.port);
        let instance = port.and_then(|port| world.holder_of(port)).map(ids::id);
        let private = floating
            .spec
            .port_address
            .or_else(|| port.and_then(|port| port.spec.addresses.iter().copied().find(|a| a.0.is_ipv4())));
        Self {
            id: ids::id(floating),
            address: floating.spec.address.map(|a| a.to_string()).unwrap_or_default(),
            pool: floating.spec.pool.clone(),
            owner: c.account(),
            association_id: port.map(|_| association_id(floating)).unwrap_or_default(),
            interface_id: port.map(ids::id).unwrap_or_default(),
            instance_id: instance.unwrap_or_default(),
            private: private.filter(|_| port.is_some()).map(|a| a.to_string()).unwrap_or_default(),
            tags: tags::of(&floating.metadata),
        }
    }
}

impl Item for Elastic {
    const FILTERS: &'static [&'static str] = &[
        "allocation-id",
        "association-id",
        "domain",
        "instance-id",
        "network-interface-id",
        "network-interface-owner-id",
        "private-ip-address",
        "public-ip",
        "public-ipv4-pool",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "allocation-id" => self.id.clone(),
            "association-id" => self.association_id.clone(),
            "domain" => "vpc".into(),
            "instance-id" => self.instance_id.clone(),
            "network-interface-id" => self.interface_id.clone(),
            "network-interface-owner-id" => self.owner.clone(),
            "private-ip-address" => self.private.clone(),
            "public-ip" => self.address.clone(),
            _ => self.pool.clone(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("publicIp", &self.address)
            .text("allocationId", &self.id)
            .text("domain", "vpc")
            .given("associationId", &self.association_id)
            .given("instanceId", &self.instance_id)
            .given("networkInterfaceId", &self.interface_id)
            .given("networkInterfaceOwnerId", if self.interface_id.is_empty() { "" } else { &self.owner })
            .given("privateIpAddress", &self.private)
            .text("publicIpv4Pool", &self.pool)
            .text("networkBorderGroup", REGION);
        tags::write(x, &self.tags);
    }
}

/// What is said of an address's name outside: that it has none.
struct Unnamed(Elastic);

impl Item for Unnamed {
    const FILTERS: &'static [&'static str] = &[];

    fn id(&self) -> &str {
        &self.0.id
    }
    fn facts(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn write(&self, x: &mut Xml) {
        x.text("publicIp", &self.0.address).text("allocationId", &self.0.id);
    }
}

async fn attributes(c: &Context) -> Answer {
    if let Some(other) = c.params.get("Attribute").filter(|name| *name != "domain-name") {
        return Err(c.params.invalid("Attribute", other, "is no attribute of an address"));
    }
    let world = World::load(c).await?;
    let own = c.list::<FloatingIpSpec>().await?.into_iter().filter(is_elastic);
    let shown = own.map(|floating| Unnamed(Elastic::of(c, &world, &floating))).collect();
    let ids = Ids { parameter: "AllocationId", none: ids::none::<FloatingIpSpec> };
    Ok(answer("addressSet", &select(&c.params, &ids, shown)?))
}

async fn describe(c: &Context) -> Answer {
    let world = World::load(c).await?;
    let mut floating = c.list::<FloatingIpSpec>().await?;
    floating.retain(is_elastic);
    let wanted = c.params.list("PublicIp");
    let text = |f: &FloatingIp| f.spec.address.map(|a| a.to_string()).unwrap_or_default();
    if let Some(missing) = wanted.iter().find(|ip| !floating.iter().any(|f| text(f) == **ip)) {
        return Err(no_address(missing));
    }
    floating.retain(|f| wanted.is_empty() || wanted.contains(&text(f)));
    let shown = floating.iter().map(|f| Elastic::of(c, &world, f)).collect();
    let ids = Ids { parameter: "AllocationId", none: ids::none::<FloatingIpSpec> };
    Ok(answer("addressesSet", &select(&c.params, &ids, shown)?))
}

fn no_address(address: &str) -> Failure {
    let address: String = address.chars().take(80).collect();
    Failure::new("InvalidAddress.NotFound", format!("Address '{address}' not found."))
}

async fn allocate(c: &Context) -> Answer {
    if c.params.get("Domain").is_some_and(|domain| domain != "vpc") {
        return Err(Failure::unsupported("Domain can only be vpc"));
    }
    if c.params.get("NetworkBorderGroup").is_some_and(|group| group != REGION) {
        return Err(Failure::value("There is no such network border group"));
    }
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("eipalloc", 0));
    tags::give(&mut meta, tags::for_new(&c.params, "elastic-ip")?);
    let spec = FloatingIpSpec {
        pool: c.params.text("PublicIpv4Pool").to_owned(),
        address: c.params.parsed::<Address>("Address")?,
        ..FloatingIpSpec::default()
    };
    let made = c.create(Object::new(meta, spec)).await.map_err(|e| match e.code.as_ref() {
        "InvalidParameterValue" => Failure::new("InsufficientAddressCapacity", e.message),
        _ => e,
    })?;
    let mut x = Xml::new();
    x.text("publicIp", made.spec.address.map(|a| a.to_string()).unwrap_or_default())
        .text("allocationId", ids::id(&made))
        .text("publicIpv4Pool", &made.spec.pool)
        .text("networkBorderGroup", REGION)
        .text("domain", "vpc");
    Ok(x)
}

/// The elastic address that a request names, by its allocation or by itself.
async fn named(c: &Context) -> Result<FloatingIp, Failure> {
    if let Some(id) = c.params.get("AllocationId") {
        return c.find(id).await;
    }
    let address = c.params.get("PublicIp").ok_or_else(|| Failure::missing("AllocationId"))?;
    let all = c.list::<FloatingIpSpec>().await?;
    let is = |f: &FloatingIp| is_elastic(f) && f.spec.address.is_some_and(|a| a.to_string() == address);
    all.into_iter().find(is).ok_or_else(|| no_address(address))
}

async fn release(c: &Context) -> Answer {
    let floating = named(c).await?;
    let in_use = "InvalidIPAddress.InUse";
    // An address may still name a port that went with its instance.
    let port = &floating.spec.port;
    if !port.is_empty() && c.api::<PortSpec>().find(port).await?.is_some() {
        let id = ids::id(&floating);
        return Err(Failure::new(in_use, format!("Address with allocation id [{id}] is in use.")));
    }
    c.delete::<FloatingIpSpec>(&floating.metadata.name, in_use).await?;
    Ok(super::done())
}

async fn associate(c: &Context) -> Answer {
    let floating = named(c).await?;
    let world = World::load(c).await?;
    let port = match (c.params.get("NetworkInterfaceId"), c.params.get("InstanceId")) {
        (Some(id), _) => c.find::<PortSpec>(id).await?,
        (None, Some(id)) => {
            let instance = c.find::<InstanceSpec>(id).await?;
            let ports = world.ports_of(&instance);
            let none =
                || Failure::new("InvalidInstanceID", format!("The instance {id} has no network interface"));
            (*ports.first().ok_or_else(none)?.1).clone()
        }
        (None, None) => return Err(Failure::missing("InstanceId")),
    };
    let name = &port.metadata.name;
    let address: Option<Address> = c.params.parsed("PrivateIpAddress")?;
    if let Some(address) = address.filter(|address| !port.spec.addresses.contains(address)) {
        return Err(Failure::value(format!("{address} is no address of {}", ids::id(&port))));
    }
    let moves = !floating.spec.port.is_empty() && floating.spec.port != *name;
    if moves && c.params.flag("AllowReassociation")? == Some(false) {
        let message = format!("resource {} is already associated", ids::id(&floating));
        return Err(Failure::new("Resource.AlreadyAssociated", message));
    }
    c.end_dry_run()?;
    // The address that the instance got of itself makes room.
    if let Some(own) = world.floating_of(&port).filter(|own| !is_elastic(own)) {
        c.delete::<FloatingIpSpec>(&own.metadata.name, "DependencyViolation").await?;
    }
    let patch = json!({ "spec": { "port": name, "portAddress": address } });
    let changed = c.merge::<FloatingIpSpec>(&floating.metadata.name, &patch).await;
    let changed = changed.map_err(|e| match e.code.as_ref() {
        "InvalidParameterValue" => Failure::new("Resource.AlreadyAssociated", e.message),
        _ => e,
    })?;
    let mut x = super::done();
    x.text("associationId", association_id(&changed));
    Ok(x)
}

async fn disassociate(c: &Context) -> Answer {
    let floating = match c.params.get("AssociationId") {
        None => named(c).await?,
        Some(id) => {
            let all = c.list::<FloatingIpSpec>().await?;
            let is = |f: &FloatingIp| !f.spec.port.is_empty() && association_id(f) == id;
            all.into_iter().find(is).ok_or_else(|| {
                let message = format!("The association ID '{id}' does not exist");
                Failure::new("InvalidAssociationID.NotFound", message)
            })?
        }
    };
    let patch = json!({ "spec": { "port": "", "portAddress": null } });
    c.merge::<FloatingIpSpec>(&floating.metadata.name, &patch).await?;
    Ok(super::done())
}

//! Network interfaces.

use model::network::{Address, PortSpec, SecurityGroupSpec, SubnetSpec};
use model::{Object, ObjectMeta};
use serde_json::json;

use super::instances::groups;
use super::shown::{DESCRIPTION, Interface};
use super::world::World;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreateNetworkInterface",
        &[
            "SubnetId",
            "Description",
            "PrivateIpAddress",
            "SecurityGroupId",
            "InterfaceType",
            "ClientToken",
            "TagSpecification",
        ],
        |c| Box::pin(create(c)),
    ),
    Action::ec2("DeleteNetworkInterface", &["NetworkInterfaceId"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeNetworkInterfaces", describe!["NetworkInterfaceId"], |c| Box::pin(describe(c))),
    Action::ec2("DescribeNetworkInterfaceAttribute", &["NetworkInterfaceId", "Attribute"], |c| {
        Box::pin(attribute(c))
    }),
    Action::ec2(
        "ModifyNetworkInterfaceAttribute",
        &["NetworkInterfaceId", "SourceDestCheck", "SecurityGroupId", "Description", "Attachment"],
        |c| Box::pin(modify(c)),
    ),
    Action::ec2(
        "AssignPrivateIpAddresses",
        &["NetworkInterfaceId", "PrivateIpAddress", "AllowReassignment"],
        |c| Box::pin(assign(c)),
    )
    .noting("Addresses are named, not counted."),
    Action::ec2("UnassignPrivateIpAddresses", &["NetworkInterfaceId", "PrivateIpAddress"], |c| {
        Box::pin(unassign(c))
    }),
];

/// An interface, and whose it is.
struct Owned {
    owner: String,
    interface: Interface,
}

impl Item for Owned {
    const FILTERS: &'static [&'static str] = &[
        "network-interface-id",
        "subnet-id",
        "vpc-id",
        "availability-zone",
        "description",
        "status",
        "mac-address",
        "owner-id",
        "private-ip-address",
        "addresses.private-ip-address",
        "private-dns-name",
        "group-id",
        "group-name",
        "attachment.instance-id",
        "attachment.attachment-id",
        "attachment.device-index",
        "attachment.status",
        "attachment.attach-time",
        "attachment.delete-on-termination",
        "association.public-ip",
        "association.allocation-id",
        "association.association-id",
        "source-dest-check",
        "interface-type",
    ];

    fn id(&self) -> &str {
        &self.interface.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.interface.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        let i = &self.interface;
        let (attachment, association) = (i.attachment.iter(), i.association.iter());
        match filter {
            "network-interface-id" => vec![i.id.clone()],
            "subnet-id" => vec![i.subnet_id.clone()],
            "vpc-id" => vec![i.vpc_id.clone()],
            "availability-zone" => vec![i.zone.clone()],
            "description" => vec![i.description.clone()],
            "status" => vec![i.status().into()],
            "mac-address" => vec![i.mac.clone()],
            "private-ip-address" => i.addresses.first().cloned().into_iter().collect(),
            "addresses.private-ip-address" => i.addresses.clone(),
            "private-dns-name" => vec![i.dns_name.clone()],
            "group-id" => i.groups.iter().map(|(id, _)| id.clone()).collect(),
            "group-name" => i.groups.iter().map(|(_, name)| name.clone()).collect(),
            "attachment.instance-id" => attachment.map(|a| a.instance_id.clone()).collect(),
            "attachment.attachment-id" => attachment.map(|a| a.id.clone()).collect(),
            "attachment.device-index" => attachment.map(|a| a.index.to_string()).collect(),
            "attachment.status" => attachment.map(|a| a.state.into()).collect(),
            "attachment.attach-time" => attachment.map(|a| a.at.clone()).collect(),
            "attachment.delete-on-termination" => attachment.map(|a| super::word(a.goes_along)).collect(),
            "association.public-ip" => association.map(|a| a.public_ip.clone()).collect(),
            "association.allocation-id" => association.map(|a| a.allocation_id.clone()).collect(),
            "association.association-id" => association.map(|a| a.association_id.clone()).collect(),
            "source-dest-check" => vec![super::word(i.checks_source)],
            "interface-type" => vec![i.kind().into()],
            _ => vec![self.owner.clone()],
        }
    }
    fn write(&self, x: &mut Xml) {
        let i = &self.interface;
        x.text("networkInterfaceId", &i.id)
            .given("subnetId", &i.subnet_id)
            .given("vpcId", &i.vpc_id)
            .text("availabilityZone", &i.zone)
            .text("description", &i.description)
            .text("ownerId", &self.owner)
            .text("requesterManaged", i.is_of_endpoint)
            .text("status", i.status())
            .text("macAddress", &i.mac)
            .given("privateIpAddress", i.addresses.first().map_or("", String::as_str))
            .given("privateDnsName", &i.dns_name)
            .text("sourceDestCheck", i.checks_source)
            .text("interfaceType", i.kind());
        groups(x, &i.groups);
        if let Some(a) = &i.attachment {
            x.node("attachment", |x| {
                x.text("attachmentId", &a.id)
                    .text("instanceId", &a.instance_id)
                    .text("instanceOwnerId", &self.owner)
                    .text("deviceIndex", a.index)
                    .text("status", a.state)
                    .given("attachTime", &a.at)
                    .text("deleteOnTermination", a.goes_along);
            });
        }
        let association = |x: &mut Xml| {
            if let Some(a) = &i.association {
                x.node("association", |x| {
                    x.text("publicIp", &a.public_ip)
                        .text("publicDnsName", "")
                        .text("ipOwnerId", &self.owner)
                        .text("allocationId", &a.allocation_id)
                        .text("associationId", &a.association_id);
                });
            }
        };
        association(x);
        tags::write(x, &i.tags);
        x.list("privateIpAddressesSet", i.addresses.iter().enumerate(), |x, (n, address)| {
            x.text("privateIpAddress", address).given("privateDnsName", &i.dns_name).text("primary", n == 0);
            if n == 0 {
                association(x);
            }
        })
        .list("ipv6AddressesSet", &i.addresses_v6, |x, address| {
            x.text("ipv6Address", address);
        });
    }
}

async fn describe(c: &Context) -> Answer {
    let world = World::load(c).await?;
    let ports = c.list::<PortSpec>().await?;
    let shown = ports.iter().map(|port| Owned { owner: c.account(), interface: Interface::of(&world, port) });
    let ids = Ids { parameter: "NetworkInterfaceId", none: ids::none::<PortSpec> };
    Ok(answer("networkInterfaceSet", &select(&c.params, &ids, shown.collect())?))
}

async fn group_names(c: &Context) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for id in c.params.list("SecurityGroupId") {
        names.push(c.find::<SecurityGroupSpec>(&id).await?.metadata.name);
    }
    Ok(names)
}

async fn create(c: &Context) -> Answer {
    let subnet = c.named::<SubnetSpec>("SubnetId").await?;
    if c.params.get("InterfaceType").is_some_and(|sort| sort != "interface") {
        return Err(Failure::unsupported("InterfaceType can only be interface in this cloud"));
    }
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("eni", 0));
    tags::give(&mut meta, tags::for_new(&c.params, "network-interface")?);
    if let Some(description) = c.params.get("Description") {
        meta.annotations.insert(DESCRIPTION.into(), description.into());
    }
    let spec = PortSpec {
        subnet: subnet.metadata.name,
        addresses: c.params.parsed::<Address>("PrivateIpAddress")?.into_iter().collect(),
        security_groups: group_names(c).await?,
        ..PortSpec::default()
    };
    let made = c.create(Object::new(meta, spec)).await.map_err(|e| {
        if e.message.contains("is held by") {
            Failure::new("InvalidIPAddress.InUse", e.message)
        } else if e.message.contains("are in use; delete ports") {
            Failure::new("InsufficientFreeAddressesInSubnet", e.message)
        } else {
            e
        }
    })?;
    let world = World::load(c).await?;
    let shown = Owned { owner: c.account(), interface: Interface::of(&world, &made) };
    let mut x = Xml::new();
    x.node("networkInterface", |x| shown.write(x)).given("clientToken", c.params.text("ClientToken"));
    Ok(x)
}

async fn delete(c: &Context) -> Answer {
    let port = c.named::<PortSpec>("NetworkInterfaceId").await?;
    let in_use = super::cards::IN_USE;
    if World::load(c).await?.holder_of(&port).is_some() {
        let message = format!("Network interface '{}' is currently in use.", ids::id(&port));
        return Err(Failure::new(in_use, message));
    }
    c.delete::<PortSpec>(&port.metadata.name, in_use).await?;
    Ok(super::done())
}

async fn attribute(c: &Context) -> Answer {
    let port = c.named::<PortSpec>("NetworkInterfaceId").await?;
    let world = World::load(c).await?;
    let i = Interface::of(&world, &port);
    let mut x = Xml::new();
    x.text("networkInterfaceId", &i.id);
    match c.params.require("Attribute")? {
        "description" => {
            x.node("description", |x| {
                x.text("value", &i.description);
            });
        }
        "sourceDestCheck" => {
            x.node("sourceDestCheck", |x| {
                x.text("value", i.checks_source);
            });
        }
        "groupSet" => groups(&mut x, &i.groups),
        "attachment" => {
            if let Some(a) = &i.attachment {
                x.node("attachment", |x| {
                    x.text("attachmentId", &a.id)
                        .text("instanceId", &a.instance_id)
                        .text("instanceOwnerId", c.account())
                        .text("deviceIndex", a.index)
                        .text("status", a.state)
                        .given("attachTime", &a.at)
                        .text("deleteOnTermination", a.goes_along);
                });
            }
        }
        other => return Err(c.params.invalid("Attribute", other, "is no attribute of a network interface")),
    }
    Ok(x)
}

async fn modify(c: &Context) -> Answer {
    let port = c.named::<PortSpec>("NetworkInterfaceId").await?;
    if c.params.has("Attachment") {
        return super::cards::modify(c, &port).await;
    }
    let names = group_names(c).await?;
    let patch = if let Some(on) = c.params.flag("SourceDestCheck.Value")? {
        json!({ "spec": { "sourceDestinationCheck": on } })
    } else if let Some(text) = c.params.get("Description.Value") {
        Context::annotate(DESCRIPTION, Some(text))
    } else if names.is_empty() {
        return Err(Failure::missing("SecurityGroupId"));
    } else {
        json!({ "spec": { "securityGroups": names } })
    };
    c.merge::<PortSpec>(&port.metadata.name, &patch).await?;
    Ok(super::done())
}

fn addresses(c: &Context) -> Result<Vec<Address>, Failure> {
    let named = c.params.list("PrivateIpAddress");
    if named.is_empty() {
        return Err(Failure::missing("PrivateIpAddress"));
    }
    let parse = |text: &String| text.parse::<Address>().map_err(|e| Failure::value(e.to_string()));
    named.iter().map(parse).collect()
}

async fn assign(c: &Context) -> Answer {
    let port = c.named::<PortSpec>("NetworkInterfaceId").await?;
    let more = addresses(c)?;
    c.change::<PortSpec>(&port.metadata.name, |port| {
        let new = more.iter().filter(|address| !port.spec.addresses.contains(address));
        let new: Vec<Address> = new.copied().collect();
        port.spec.addresses.extend(new);
        Ok(())
    })
    .await?;
    let mut x = super::done();
    x.text("networkInterfaceId", ids::id(&port)).list(
        "assignedPrivateIpAddressesSet",
        &more,
        |x, address| {
            x.text("privateIpAddress", address);
        },
    );
    Ok(x)
}

async fn unassign(c: &Context) -> Answer {
    let port = c.named::<PortSpec>("NetworkInterfaceId").await?;
    let gone = addresses(c)?;
    c.change::<PortSpec>(&port.metadata.name, |port| {
        if let Some(strange) = gone.iter().find(|address| !port.spec.addresses.contains(address)) {
            let message = format!("Some of the addresses are not assigned to the interface: {strange}");
            return Err(Failure::value(message));
        }
        if port.spec.addresses.first().is_some_and(|primary| gone.contains(primary)) {
            return Err(Failure::value("The primary address stays with its interface"));
        }
        port.spec.addresses.retain(|address| !gone.contains(address));
        Ok(())
    })
    .await?;
    Ok(super::done())
}

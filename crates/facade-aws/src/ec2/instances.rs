//! DescribeInstances and DescribeInstanceStatus.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use client::ListParams;
use model::compute::{Instance, InstancePhase, InstanceSpec};
use model::event::Event;
use model::{ApiError, ObjectMeta, Reason};

use super::attachments::Attached;
use super::candidates::Candidate;
use super::places::architecture;
use super::shown::{Interface, Shown, TERMINATED};
use super::world::World;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::Tags;
use crate::xml::Xml;

/// The event that a host leaves when nothing of an instance is left on it.
const REMOVED: &str = "Removed";
/// Up to so many instances that are named are looked up one by one.
const NAMED_MAX: usize = 100;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("DescribeInstances", describe!["InstanceId"], |c| Box::pin(describe(c)))
        .noting("What is `instance-store` can be stopped all the same, and keeps its disk."),
    Action::ec2("DescribeInstanceStatus", describe!["InstanceId", "IncludeAllInstances"], |c| {
        Box::pin(status(c))
    }),
];

pub(crate) const IDS: Ids = Ids { parameter: "InstanceId", none: ids::none::<InstanceSpec> };

impl Item for Shown {
    const FILTERS: &'static [&'static str] = &[
        "instance-id",
        "instance-state-name",
        "instance-state-code",
        "instance-type",
        "image-id",
        "key-name",
        "vpc-id",
        "subnet-id",
        "availability-zone",
        "private-ip-address",
        "private-dns-name",
        "ip-address",
        "architecture",
        "client-token",
        "reservation-id",
        "launch-index",
        "owner-id",
        "instance.group-id",
        "instance.group-name",
        "group-id",
        "group-name",
        "network-interface.network-interface-id",
        "network-interface.subnet-id",
        "network-interface.vpc-id",
        "network-interface.group-id",
        "network-interface.addresses.private-ip-address",
        "root-device-type",
        "root-device-name",
        "virtualization-type",
        "monitoring-state",
        "tenancy",
        "dns-name",
        "iam-instance-profile.arn",
        "iam-instance-profile.id",
        "placement-group-name",
        "block-device-mapping.volume-id",
        "block-device-mapping.device-name",
        "block-device-mapping.status",
        "block-device-mapping.attach-time",
        "block-device-mapping.delete-on-termination",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        let primary = |of: fn(&Interface) -> &String| self.primary().map(of).cloned().into_iter().collect();
        let each = |of: fn(&Interface) -> &String| self.interfaces.iter().map(of).cloned().collect();
        let one = |text: &str| vec![text.to_owned()];
        let disks = |of: fn(&Attached) -> String| self.volumes.iter().map(|(_, a)| of(a)).collect();
        match filter {
            "instance-id" => one(&self.id),
            "instance-state-name" => one(self.state.0),
            "instance-state-code" => vec![self.state.1.to_string()],
            "instance-type" => one(&self.instance_type),
            "image-id" => one(&self.image_id),
            "key-name" => one(&self.key_name),
            "vpc-id" => primary(|i| &i.vpc_id),
            "subnet-id" => primary(|i| &i.subnet_id),
            "availability-zone" => one(&self.zone),
            "private-ip-address" => {
                self.primary().iter().filter_map(|i| i.addresses.first().cloned()).collect()
            }
            "private-dns-name" => one(&self.dns_name),
            "iam-instance-profile.arn" => self.profile.iter().map(|p| p.0.clone()).collect(),
            "iam-instance-profile.id" => self.profile.iter().map(|p| p.1.clone()).collect(),
            "ip-address" => one(self.public_ip()),
            "architecture" => one(architecture()),
            "client-token" => one(&self.client_token),
            "reservation-id" => one(&self.reservation),
            "launch-index" => one(&self.launch_index),
            "instance.group-id" | "group-id" => self.groups().iter().map(|(id, _)| id.clone()).collect(),
            "instance.group-name" | "group-name" => {
                self.groups().iter().map(|(_, name)| name.clone()).collect()
            }
            "network-interface.network-interface-id" => each(|i| &i.id),
            "network-interface.subnet-id" => each(|i| &i.subnet_id),
            "network-interface.vpc-id" => each(|i| &i.vpc_id),
            "network-interface.group-id" => {
                self.interfaces.iter().flat_map(|i| &i.groups).map(|(id, _)| id.clone()).collect()
            }
            "network-interface.addresses.private-ip-address" => {
                self.interfaces.iter().flat_map(|i| i.addresses.clone()).collect()
            }
            "placement-group-name" => self.group.iter().map(|(name, _)| name.clone()).collect(),
            "block-device-mapping.volume-id" => self.volumes.iter().map(|(id, _)| id.clone()).collect(),
            "block-device-mapping.device-name" => disks(|a| a.device.clone()),
            "block-device-mapping.status" => disks(|a| a.state.into()),
            "block-device-mapping.attach-time" => disks(|a| a.at.clone()),
            "block-device-mapping.delete-on-termination" => disks(|a| super::word(a.goes_along)),
            "root-device-type" => one(self.root_device_type()),
            "root-device-name" => one(&self.root_device),
            "virtualization-type" => one("hvm"),
            "monitoring-state" => one("disabled"),
            "tenancy" => one("default"),
            _ => Vec::new(),
        }
    }

    fn write(&self, x: &mut Xml) {
        x.text("instanceId", &self.id).given("imageId", &self.image_id).node("instanceState", |x| {
            x.text("code", self.state.1).text("name", self.state.0);
        });
        x.text("privateDnsName", &self.dns_name).text("dnsName", "").text("reason", &self.reason);
        if !self.reason.is_empty() {
            x.node("stateReason", |x| {
                x.text("code", "Server.InternalError").text("message", &self.reason);
            });
        }
        x.given("keyName", &self.key_name)
            .text("amiLaunchIndex", &self.launch_index)
            .list("productCodes", std::iter::empty::<()>(), |_, ()| {})
            .given("instanceType", &self.instance_type)
            .given("launchTime", &self.launched_at)
            .node("placement", |x| {
                let (name, id) = self.group.clone().unwrap_or_default();
                x.text("availabilityZone", &self.zone)
                    .text("groupName", name)
                    .given("groupId", id)
                    .text("tenancy", "default");
            })
            .node("monitoring", |x| {
                x.text("state", "disabled");
            });
        if let Some(primary) = self.primary() {
            x.given("subnetId", &primary.subnet_id)
                .given("vpcId", &primary.vpc_id)
                .given("privateIpAddress", primary.addresses.first().map_or("", String::as_str))
                .given("ipAddress", self.public_ip())
                .given("ipv6Address", primary.addresses_v6.first().map_or("", String::as_str))
                .text("sourceDestCheck", primary.checks_source);
        }
        groups(x, self.groups());
        x.text("architecture", architecture())
            .text("rootDeviceType", self.root_device_type())
            .given("rootDeviceName", &self.root_device)
            .list("blockDeviceMapping", &self.volumes, mapping)
            .text("virtualizationType", "hvm")
            .text("clientToken", &self.client_token);
        crate::tags::write(x, &self.tags);
        x.list("networkInterfaceSet", &self.interfaces, write_interface)
            .text("ebsOptimized", false)
            .text("enaSupport", false)
            .text("bootMode", if self.uefi { "uefi" } else { "legacy-bios" })
            .text("currentInstanceBootMode", if self.uefi { "uefi" } else { "legacy-bios" })
            .node("cpuOptions", |x| {
                x.text("coreCount", self.cores).text("threadsPerCore", 1);
            })
            .node("metadataOptions", metadata_options)
            .text("platformDetails", "Linux/UNIX")
            .text("usageOperation", "RunInstances");
        if let Some((arn, id)) = &self.profile {
            x.node("iamInstanceProfile", |x| {
                x.text("arn", arn).text("id", id);
            });
        }
    }
}

pub(crate) fn mapping(x: &mut Xml, (id, attached): &(String, Attached)) {
    x.text("deviceName", &attached.device).node("ebs", |x| {
        x.text("volumeId", id)
            .text("status", attached.state)
            .given("attachTime", &attached.at)
            .text("deleteOnTermination", attached.goes_along);
    });
}

/// What holds for every instance: tokens are required, and nothing is set for one alone.
pub(crate) fn metadata_options(x: &mut Xml) {
    x.text("state", "applied")
        .text("httpTokens", "required")
        .text("httpPutResponseHopLimit", 1)
        .text("httpEndpoint", "enabled")
        .text("httpProtocolIpv6", "disabled")
        .text("instanceMetadataTags", "disabled");
}

pub(crate) fn groups(x: &mut Xml, groups: &[(String, String)]) {
    x.list("groupSet", groups, |x, (id, name)| {
        x.text("groupId", id).text("groupName", name);
    });
}

fn write_interface(x: &mut Xml, i: &Interface) {
    x.text("networkInterfaceId", &i.id)
        .given("subnetId", &i.subnet_id)
        .given("vpcId", &i.vpc_id)
        .text("description", &i.description)
        .text("status", i.status())
        .text("macAddress", &i.mac)
        .given("privateIpAddress", i.addresses.first().map_or("", String::as_str))
        .given("privateDnsName", &i.dns_name)
        .text("sourceDestCheck", i.checks_source)
        .text("interfaceType", "interface");
    groups(x, &i.groups);
    if let Some(a) = &i.attachment {
        x.node("attachment", |x| {
            x.text("attachmentId", &a.id)
                .text("deviceIndex", a.index)
                .text("status", a.state)
                .given("attachTime", &a.at)
                .text("deleteOnTermination", a.goes_along);
        });
    }
    association(x, i);
    x.list("privateIpAddressesSet", i.addresses.iter().enumerate(), |x, (n, address)| {
        x.text("privateIpAddress", address).given("privateDnsName", &i.dns_name).text("primary", n == 0);
        if n == 0 {
            association(x, i);
        }
    })
    .list("ipv6AddressesSet", &i.addresses_v6, |x, address| {
        x.text("ipv6Address", address);
    });
}

pub(crate) fn association(x: &mut Xml, i: &Interface) {
    if let Some(a) = &i.association {
        x.node("association", |x| {
            x.text("publicIp", &a.public_ip).text("publicDnsName", "").text("ipOwnerId", "amazon");
        });
    }
}

/// Reservations with what was launched in each.
pub(crate) fn reservations<'a>(account: &str, shown: impl IntoIterator<Item = &'a Shown>) -> Xml {
    let mut by_name: BTreeMap<&str, Vec<&Shown>> = BTreeMap::new();
    for shown in shown {
        by_name.entry(&shown.reservation).or_default().push(shown);
    }
    let mut x = Xml::new();
    x.list("reservationSet", by_name, |x, (name, own)| reservation(x, account, name, &own));
    x
}

pub(crate) fn reservation(x: &mut Xml, account: &str, name: &str, own: &[&Shown]) {
    x.text("reservationId", name).text("ownerId", account);
    groups(x, &[]);
    x.list("instancesSet", own, |x, shown| shown.write(x));
}

async fn describe(c: &Context) -> Answer {
    let (world, gone) = match named(c).await? {
        Some(world) => (world, Vec::new()),
        None => all(c).await?,
    };
    let there = world.instances.iter().map(|instance| Candidate::there(&world, instance));
    let mut candidates: Vec<Candidate> = there.collect();
    if !gone.is_empty() {
        let ids: HashSet<String> = candidates.iter().map(|candidate| candidate.id.clone()).collect();
        candidates.extend(gone.into_iter().filter(|gone| !ids.contains(&gone.id)).map(Candidate::gone));
    }
    let page = select(&c.params, &IDS, candidates)?;
    let mut x = reservations(&c.account(), page.items.iter().map(Candidate::shown));
    x.given("nextToken", page.next.as_deref().unwrap_or(""));
    Ok(x)
}

/// The few instances that a request names, where it names some and all are there: nothing else is read.
async fn named(c: &Context) -> Result<Option<World>, Failure> {
    let wanted = c.params.list(IDS.parameter);
    if wanted.is_empty() || wanted.len() > NAMED_MAX {
        return Ok(None);
    }
    let mut found = Vec::with_capacity(wanted.len());
    for id in &wanted {
        match c.find::<InstanceSpec>(id).await {
            Ok(instance) => found.push(Arc::new(instance)),
            // It may have gone lately.
            Err(e) if e.status == 400 => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    World::around(c, found).await.map(Some)
}

/// All instances of the project, and those that went lately.
async fn all(c: &Context) -> Result<(World, Vec<Shown>), Failure> {
    let world = World::load(c).await?;
    if world.instances.is_empty() {
        // An empty list may be one that the caller must not see.
        c.list::<InstanceSpec>().await?;
    }
    let gone = terminated(c).await?;
    Ok((world, gone))
}

/// The states of a terminated instance, before and after, where its end is still known.
pub(crate) async fn terminated_state(
    c: &Context,
    id: &str,
) -> Result<Option<(String, super::shown::State, super::shown::State)>, Failure> {
    let found = terminated(c).await?.into_iter().find(|gone| gone.id == id);
    Ok(found.map(|gone| (gone.id, TERMINATED, TERMINATED)))
}

/// Instances that are gone, as far as the events of their hosts still tell.
async fn terminated(c: &Context) -> Result<Vec<Shown>, Failure> {
    let params = ListParams { field_selector: format!("reason={REMOVED}"), ..ListParams::default() };
    let events = match c.client.project::<Event>(c.project()).list(&params).await {
        Err(ApiError { reason: Reason::Forbidden, .. }) => Vec::new(),
        result => result?.items,
    };
    let of_instances = events.into_iter().filter(|event| event.involved_object.kind == "Instance");
    Ok(of_instances.map(|event| gone(&event)).collect())
}

fn gone(event: &Event) -> Shown {
    let object = &event.involved_object;
    let meta = ObjectMeta { uid: object.uid.clone(), ..ObjectMeta::named(&object.name) };
    Shown {
        id: model::short_id("i", &meta),
        state: TERMINATED,
        reason: String::new(),
        image_id: String::new(),
        key_name: String::new(),
        launch_index: "0".into(),
        reservation: ids::derived("r", &meta, "i"),
        instance_type: String::new(),
        launched_at: String::new(),
        zone: super::world::zone_name(""),
        dns_name: String::new(),
        client_token: String::new(),
        cores: 1,
        uefi: false,
        group: None,
        profile: None,
        interfaces: Vec::new(),
        root_device: String::new(),
        volumes: Vec::new(),
        tags: Tags::new(),
    }
}

/// An instance's state and whether its host and its guest are well, as far as that is known.
struct Health {
    shown: Shown,
    silent: bool,
}

impl Item for Health {
    const FILTERS: &'static [&'static str] = &[
        "availability-zone",
        "instance-state-name",
        "instance-state-code",
        "instance-status.status",
        "system-status.status",
    ];

    fn id(&self) -> &str {
        &self.shown.id
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        match filter {
            "instance-status.status" | "system-status.status" => vec![self.word().into()],
            other => self.shown.facts(other),
        }
    }
    fn write(&self, x: &mut Xml) {
        x.text("instanceId", &self.shown.id).text("availabilityZone", &self.shown.zone).node(
            "instanceState",
            |x| {
                x.text("code", self.shown.state.1).text("name", self.shown.state.0);
            },
        );
        for name in ["systemStatus", "instanceStatus"] {
            x.node(name, |x| {
                x.text("status", self.word());
                let detail = match self.word() {
                    "ok" => "passed",
                    "impaired" => "failed",
                    _ => return,
                };
                x.list("details", [detail], |x, detail| {
                    x.text("name", "reachability").text("status", detail);
                });
            });
        }
    }
}

impl Health {
    fn word(&self) -> &'static str {
        match self.shown.state.0 {
            "running" if self.silent => "impaired",
            "running" => "ok",
            "pending" => "initializing",
            _ => "not-applicable",
        }
    }
}

async fn status(c: &Context) -> Answer {
    let all = c.params.flag("IncludeAllInstances")?.unwrap_or(false);
    let world = World::load(c).await?;
    let health = |instance: &Arc<Instance>| Health {
        shown: Shown::of(&world, instance),
        silent: instance.status.phase == InstancePhase::Unknown,
    };
    let mut page = select(&c.params, &IDS, world.instances.iter().map(health).collect())?;
    page.items.retain(|health| all || health.shown.state.0 == "running");
    Ok(crate::describe::answer("instanceStatusSet", &page))
}

//! Instances and network interfaces as EC2 shows them: what is derived from several objects, derived once.

use model::compute::{Firmware, Instance, InstancePhase, Power};
use model::network::Port;

use super::attachments::{Attached, of_instance, root_device};
use super::cards::{Attachment, DETACHED};
use super::world::{World, group_name, ipv4, ipv6, zone_name};
use crate::context::CLIENT_TOKEN;
use crate::ids;
use crate::tags::{self, Tags};

/// On instances: the reservation and the place in it.
pub(crate) const RESERVATION: &str = "aws.corten.dev/reservation";
pub(crate) const LAUNCH_INDEX: &str = "aws.corten.dev/launch-index";
/// On instances: the launch template and its version, as `lt-.../2`.
pub(crate) const LAUNCH_TEMPLATE: &str = "aws.corten.dev/launch-template";
/// On ports: what the user says of them.
pub(crate) const DESCRIPTION: &str = "aws.corten.dev/description";

/// A state's name and number in EC2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(pub(crate) &'static str, pub(crate) u8);

pub(crate) const PENDING: State = State("pending", 0);
pub(crate) const RUNNING: State = State("running", 16);
pub(crate) const SHUTTING_DOWN: State = State("shutting-down", 32);
pub(crate) const TERMINATED: State = State("terminated", 48);
pub(crate) const STOPPING: State = State("stopping", 64);
pub(crate) const STOPPED: State = State("stopped", 80);

/// EC2 has no word for paused and for unknown: both are running, until they are known not to be.
pub(crate) fn state(instance: &Instance) -> State {
    if instance.metadata.is_deleting() {
        return SHUTTING_DOWN;
    }
    let wanted_off = instance.spec.power == Power::Stopped;
    match instance.status.phase {
        InstancePhase::Pending | InstancePhase::Starting if wanted_off => STOPPED,
        InstancePhase::Pending | InstancePhase::Starting => PENDING,
        InstancePhase::Running | InstancePhase::Paused | InstancePhase::Unknown if wanted_off => STOPPING,
        InstancePhase::Running | InstancePhase::Paused | InstancePhase::Unknown => RUNNING,
        InstancePhase::Stopping => STOPPING,
        // Its host has not yet taken up that it is to run.
        InstancePhase::Stopped if !wanted_off => PENDING,
        InstancePhase::Stopped | InstancePhase::Succeeded | InstancePhase::Failed => STOPPED,
    }
}

/// An instance, with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) reason: String,
    pub(crate) image_id: String,
    pub(crate) key_name: String,
    pub(crate) launch_index: String,
    pub(crate) reservation: String,
    pub(crate) instance_type: String,
    pub(crate) launched_at: String,
    pub(crate) zone: String,
    pub(crate) dns_name: String,
    pub(crate) client_token: String,
    pub(crate) cores: u64,
    pub(crate) uefi: bool,
    /// Name and id.
    pub(crate) group: Option<(String, String)>,
    /// ARN and id.
    pub(crate) profile: Option<(String, String)>,
    pub(crate) interfaces: Vec<Interface>,
    /// What the device is called that it starts from; empty where that is no volume.
    pub(crate) root_device: String,
    /// Volumes by their ids.
    pub(crate) volumes: Vec<(String, Attached)>,
    pub(crate) tags: Tags,
}

/// A network interface, with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    pub(crate) id: String,
    pub(crate) subnet_id: String,
    pub(crate) vpc_id: String,
    pub(crate) zone: String,
    pub(crate) description: String,
    /// It was made for a VPC endpoint, and stays with it.
    pub(crate) is_of_endpoint: bool,
    pub(crate) mac: String,
    pub(crate) dns_name: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) addresses_v6: Vec<String>,
    pub(crate) checks_source: bool,
    pub(crate) groups: Vec<(String, String)>,
    pub(crate) attachment: Option<Attachment>,
    pub(crate) association: Option<Association>,
    pub(crate) tags: Tags,
}

#[derive(Debug, Clone)]
pub(crate) struct Association {
    pub(crate) public_ip: String,
    pub(crate) allocation_id: String,
    pub(crate) association_id: String,
}

impl Shown {
    pub(crate) fn of(world: &World, instance: &Instance) -> Self {
        let meta = &instance.metadata;
        let annotation = |key: &str| meta.annotations.get(key).cloned().unwrap_or_default();
        let interfaces: Vec<Interface> =
            world.ports_of(instance).iter().map(|(_, port)| Interface::of(world, port)).collect();
        let reservation = Some(annotation(RESERVATION)).filter(|r| !r.is_empty());
        let image = instance.spec.payload.images().first().copied().unwrap_or("").to_owned();
        let zone = interfaces.first().map(|i| i.zone.clone());
        Self {
            id: ids::id(instance),
            state: state(instance),
            reason: reason(instance),
            image_id: match ids::find(&world.images, &image) {
                Some(found) => ids::id(found),
                // One that is gone is called as it was.
                None if ids::is_id("ami", &image) => image,
                None => String::new(),
            },
            key_name: key_name(world, &instance.spec.key_pair),
            launch_index: Some(annotation(LAUNCH_INDEX)).filter(|i| !i.is_empty()).unwrap_or("0".into()),
            reservation: reservation.unwrap_or_else(|| ids::derived("r", meta, "i")),
            instance_type: instance.spec.instance_type.clone(),
            launched_at: instance
                .status
                .started_at
                .or(meta.creation_timestamp)
                .map(|at| at.to_string())
                .unwrap_or_default(),
            zone: zone.unwrap_or_else(|| zone_name(&instance.spec.placement.zone)),
            dns_name: interfaces.first().map(|i| i.dns_name.clone()).unwrap_or_default(),
            client_token: annotation(CLIENT_TOKEN),
            cores: instance.spec.resources.cpu.0.div_ceil(1000).max(1),
            uefi: instance.spec.firmware == Firmware::Uefi,
            group: super::placement_groups::of(meta),
            profile: world.profiles.get(&instance.spec.instance_profile).cloned(),
            interfaces,
            root_device: root_device(instance),
            volumes: of_instance(world.volumes_of(instance), instance)
                .into_iter()
                .map(|(volume, attached)| (ids::id(volume), attached))
                .collect(),
            tags: instance_tags(instance),
        }
    }

    pub(crate) fn root_device_type(&self) -> &'static str {
        if self.root_device.is_empty() { "instance-store" } else { "ebs" }
    }

    pub(crate) fn primary(&self) -> Option<&Interface> {
        self.interfaces.first()
    }

    pub(crate) fn public_ip(&self) -> &str {
        self.primary().and_then(|i| i.association.as_ref()).map_or("", |a| a.public_ip.as_str())
    }

    /// The groups of the instance are those of its primary interface, as they are when they are changed.
    pub(crate) fn groups(&self) -> &[(String, String)] {
        self.primary().map(|interface| interface.groups.as_slice()).unwrap_or_default()
    }
}

/// An instance's tags, and those that EC2 itself gives to one of a launch template.
pub(crate) fn instance_tags(instance: &Instance) -> Tags {
    let mut tags = tags::of(&instance.metadata);
    let template = instance.metadata.annotations.get(LAUNCH_TEMPLATE);
    if let Some((id, version)) = template.and_then(|text| text.split_once('/')) {
        tags.insert("aws:ec2launchtemplate:id".into(), id.into());
        tags.insert("aws:ec2launchtemplate:version".into(), version.into());
    }
    tags
}

/// A key pair's name in EC2; one that is gone keeps the name it had here.
fn key_name(world: &World, name: &str) -> String {
    ids::find(&world.keys, name).map_or(name, super::key_pairs::name).to_owned()
}

/// Why it is not as it is wanted, in the words of its own conditions.
fn reason(instance: &Instance) -> String {
    if instance.status.phase == InstancePhase::Running {
        return String::new();
    }
    let conditions = instance.status.conditions.iter();
    let said = conditions.filter(|c| c.status != model::ConditionStatus::True && !c.message.is_empty());
    said.map(|c| c.message.clone()).next().unwrap_or_default()
}

impl Interface {
    pub(crate) fn of(world: &World, port: &Port) -> Self {
        let subnet = world.subnet_of(port);
        let vpc = subnet.and_then(|subnet| world.vpc_of(subnet));
        let project = &port.metadata.namespace;
        let attachment = Attachment::shown(world, port);
        let association = world.floating_of(port).map(|floating| Association {
            public_ip: floating.spec.address.map(|a| a.to_string()).unwrap_or_default(),
            allocation_id: ids::id(floating),
            association_id: ids::derived("eipassoc", &floating.metadata, "eipalloc"),
        });
        Self {
            id: ids::id(port),
            subnet_id: subnet.map(ids::id).unwrap_or_default(),
            vpc_id: vpc.map(ids::id).unwrap_or_default(),
            zone: zone_name(subnet.map_or("", |subnet| &subnet.spec.zone)),
            description: if port.spec.vpc_endpoint.is_empty() {
                port.metadata.annotations.get(DESCRIPTION).cloned().unwrap_or_default()
            } else {
                format!("VPC Endpoint Interface {}", port.spec.vpc_endpoint)
            },
            is_of_endpoint: !port.spec.vpc_endpoint.is_empty(),
            mac: port.spec.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            dns_name: world.dns_name(port, project),
            addresses: ipv4(&port.spec.addresses).collect(),
            addresses_v6: ipv6(&port.spec.addresses).collect(),
            checks_source: port.spec.source_destination_check,
            groups: world.group_refs(&port.spec.security_groups),
            attachment,
            association,
            tags: tags::of(&port.metadata),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        if self.is_of_endpoint { "vpc_endpoint" } else { "interface" }
    }

    pub(crate) fn status(&self) -> &'static str {
        let is_attached = self.attachment.as_ref().is_some_and(|attachment| attachment.state != DETACHED);
        if is_attached || self.is_of_endpoint { "in-use" } else { "available" }
    }
}

/// Whether a group has this name in EC2, in this Vpc.
pub(crate) fn is_group(group: &model::network::SecurityGroup, vpc: &str, name: &str) -> bool {
    group.spec.vpc == vpc && group_name(group) == name
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::compute::InstanceSpec;
    use model::{ObjectMeta, Timestamp};

    #[test]
    fn phases_and_what_is_wanted_make_a_state() {
        let check = |phase, power, expected: State| {
            let mut instance =
                Instance::new(ObjectMeta::named("x"), InstanceSpec { power, ..InstanceSpec::default() });
            instance.status.phase = phase;
            assert_eq!(state(&instance), expected, "{phase:?} {power:?}");
            instance.metadata.deletion_timestamp = Some(Timestamp(1));
            assert_eq!(state(&instance), SHUTTING_DOWN);
        };
        check(InstancePhase::Pending, Power::Running, PENDING);
        check(InstancePhase::Starting, Power::Running, PENDING);
        check(InstancePhase::Pending, Power::Stopped, STOPPED);
        check(InstancePhase::Running, Power::Running, RUNNING);
        check(InstancePhase::Running, Power::Stopped, STOPPING);
        check(InstancePhase::Stopping, Power::Stopped, STOPPING);
        check(InstancePhase::Stopped, Power::Stopped, STOPPED);
        check(InstancePhase::Stopped, Power::Running, PENDING);
        check(InstancePhase::Succeeded, Power::Running, STOPPED);
        check(InstancePhase::Failed, Power::Running, STOPPED);
        check(InstancePhase::Paused, Power::Paused, RUNNING);
        check(InstancePhase::Unknown, Power::Running, RUNNING);
    }
}

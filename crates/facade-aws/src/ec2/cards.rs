//! Network interfaces in instances: an entry of the instance's spec. Until its host has come to it, one that was named
//! is attaching; and one that is named no more is detaching until the guest has let go of it, and
//! for a moment after that it is shown as detached.

use std::collections::BTreeMap;
use std::time::Duration;

use model::compute::{
    Instance, InstanceNetwork, InstancePhase, InstanceSpec, NETWORKS_MAX, interfaces, port_names,
};
use model::network::{Port, PortSpec};
use serde_json::json;

use super::attachments::let_go_along;
use super::shown::{SHUTTING_DOWN, state};
use super::world::World;
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

/// On instances: number and time of what was attached after they were made, by the port, as a JSON object.
const CARDS: &str = "aws.corten.dev/cards";
const PREFIX: &str = "eni-attach";
/// An attachment that has ended.
pub(crate) const DETACHED: &str = "detached";
/// How long one is shown that has ended. Those who wait for it look every ten seconds.
const SHOWN_DETACHED: Duration = Duration::from_secs(20);
pub(crate) const IN_USE: &str = "InvalidNetworkInterface.InUse";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "AttachNetworkInterface",
        &["NetworkInterfaceId", "InstanceId", "DeviceIndex", "NetworkCardIndex", "ClientToken"],
        |c| Box::pin(attach(c)),
    )
    .noting("To a virtual machine or a container, also while it runs; to a microvm while it is stopped."),
    Action::ec2("DetachNetworkInterface", &["AttachmentId", "Force"], |c| Box::pin(detach(c)))
        .noting("A guest that does not let go of a card keeps it; Force changes nothing."),
];

/// How an interface is in an instance.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    pub(crate) id: String,
    pub(crate) instance_id: String,
    pub(crate) index: u32,
    pub(crate) state: &'static str,
    pub(crate) at: String,
    /// It goes when its instance goes.
    pub(crate) goes_along: bool,
}

impl Attachment {
    /// As it is shown: one that ended a moment ago is shown as such, to those who wait for that.
    pub(crate) fn shown(world: &World, port: &Port) -> Option<Self> {
        if let Some(instance) = world.holder_of(port) {
            return Some(Self::of(instance, port));
        }
        let (instance, at) = world.released_by(port)?;
        // Its host's clock may go before ours.
        let is_fresh =
            world.now.0.abs_diff(at.0) <= SHOWN_DETACHED.as_millis().try_into().unwrap_or(u64::MAX);
        is_fresh.then(|| Self { state: DETACHED, ..Self::of(instance, port) })
    }

    /// Of the instance that has the port.
    pub(crate) fn of(instance: &Instance, port: &Port) -> Self {
        let name = &port.metadata.name;
        let named = interfaces(instance).into_iter().find(|(_, port)| port == name).map(|(index, _)| index);
        let noted = noted(instance).remove(name);
        let (id, at) = match &noted {
            Some((_, at)) => {
                let text = format!("{}/{}/{at}", port.metadata.uid, instance.metadata.uid);
                (ids::hashed(PREFIX, &text), at.clone())
            }
            None => (ids::derived(PREFIX, &port.metadata, "eni"), super::created_at(&instance.metadata)),
        };
        let runs = matches!(
            instance.status.phase,
            InstancePhase::Running | InstancePhase::Paused | InstancePhase::Unknown
        );
        let state = match named {
            None => "detaching",
            Some(_) if runs && !instance.status.ports.contains(name) => "attaching",
            Some(_) => "attached",
        };
        let known = noted.map_or(port.spec.interface, |(index, _)| index);
        let owners = &port.metadata.owner_references;
        Self {
            id,
            instance_id: ids::id(instance),
            index: named.unwrap_or(known),
            state,
            at,
            goes_along: owners.iter().any(|owner| owner.uid == instance.metadata.uid),
        }
    }
}

/// Number and time of attachment, by the port's name.
type Noted = BTreeMap<String, (u32, String)>;

fn noted(instance: &Instance) -> Noted {
    let text = instance.metadata.annotations.get(CARDS);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Writes down since when an instance has a port. Of one that was taken out that stays as long as it can be shown.
fn note(c: &Context, instance: &mut Instance, port: &str, index: u32) {
    let mut cards = noted(instance);
    let status = &instance.status;
    let mut names = port_names(instance);
    names.extend(status.ports.iter().cloned().chain(status.released_ports.iter().map(|r| r.port.clone())));
    cards.retain(|name, _| names.contains(name));
    cards.insert(port.into(), (index, c.now().to_string()));
    instance.metadata.annotations.insert(CARDS.into(), json!(cards).to_string());
}

async fn attach(c: &Context) -> Answer {
    let index = c.params.require("DeviceIndex")?;
    let index: u32 = index.parse().map_err(|_| c.params.invalid("DeviceIndex", index, "must be a number"))?;
    let port = c.named::<PortSpec>("NetworkInterfaceId").await?;
    let instance = c.named::<InstanceSpec>("InstanceId").await?;
    if c.params.number("NetworkCardIndex")?.is_some_and(|card| card != 0) {
        return Err(Failure::value("NetworkCardIndex can only be 0 in this cloud"));
    }
    let world = World::load(c).await?;
    let (id, instance_id) = (ids::id(&port), ids::id(&instance));
    if let Some(holder) = world.holder_of(&port) {
        let attachment = Attachment::of(holder, &port);
        let same = c.params.get("ClientToken").is_some()
            && (attachment.instance_id.as_str(), attachment.index) == (&instance_id, index)
            && attachment.state != "detaching";
        return if same { Ok(answered(&attachment)) } else { Err(in_use(&id)) };
    }
    if state(&instance) == SHUTTING_DOWN {
        let message = format!("Instance '{instance_id}' is not 'running' or 'stopped'.");
        return Err(Failure::new("IncorrectState", message));
    }
    require_same_zone(&world, &port, &instance)?;
    let name = &port.metadata.name;
    let changed = c
        .change::<InstanceSpec>(&instance.metadata.name, |instance| {
            let known = interfaces(instance);
            if known.iter().any(|(number, _)| *number == index) {
                let message = format!(
                    "Instance '{instance_id}' already has an interface attached at device index '{index}'."
                );
                return Err(Failure::value(message));
            }
            if known.len() >= NETWORKS_MAX {
                let message = format!("Interface count exceeds the limit of {NETWORKS_MAX}");
                return Err(Failure::new("AttachmentLimitExceeded", message));
            }
            let card =
                InstanceNetwork { port: name.clone(), interface: Some(index), ..InstanceNetwork::default() };
            let place = known.iter().take_while(|(number, _)| *number < index).count();
            // Those behind it have their number by their place no longer.
            for (at, network) in instance.spec.networks.iter_mut().enumerate() {
                network.interface = Some(network.number(at));
            }
            instance.spec.networks.insert(place, card);
            note(c, instance, name, index);
            Ok(())
        })
        .await
        .map_err(|e| refused(e, &id))?;
    Ok(answered(&Attachment::of(&changed, &port)))
}

fn answered(attachment: &Attachment) -> Xml {
    let mut x = Xml::new();
    x.text("attachmentId", &attachment.id).text("networkCardIndex", 0);
    x
}

fn in_use(id: &str) -> Failure {
    Failure::new(IN_USE, format!("Interface: [{id}] in use."))
}

/// What the cloud says, in AWS's words: another request was faster, or the instance can have no more cards.
fn refused(e: Failure, id: &str) -> Failure {
    if e.code == "DependencyViolation" || e.message.contains("is held by instance") {
        return in_use(id);
    }
    let cannot = ["microvm change only while", "is only for isolation", "has the card that"];
    if cannot.iter().any(|words| e.message.contains(words)) {
        return Failure::unsupported(e.message);
    }
    e
}

/// An interface is where its subnet is.
fn require_same_zone(world: &World, port: &Port, instance: &Instance) -> Result<(), Failure> {
    let zone = |port: &Port| world.subnet_of(port).map(|subnet| subnet.spec.zone.clone()).unwrap_or_default();
    let theirs = world.ports_of(instance).first().map(|(_, port)| zone(port));
    let theirs = theirs.unwrap_or_else(|| instance.spec.placement.zone.clone());
    let own = zone(port);
    if own.is_empty() || theirs.is_empty() || own == theirs {
        return Ok(());
    }
    let message =
        "You may not attach a network interface to an instance if they are not in the same availability zone";
    Err(Failure::new("InvalidParameterCombination", message))
}

/// The port of an attachment, and the instance that has it.
fn find<'a>(world: &'a World, id: &str) -> Result<(&'a Port, &'a Instance, Attachment), Failure> {
    let of = |port: &'a Port| {
        let instance = world.holder_of(port)?;
        Some((port, instance, Attachment::of(instance, port)))
    };
    let found =
        world.ports.iter().map(|port| &**port).filter_map(of).find(|(_, _, attachment)| attachment.id == id);
    found.ok_or_else(|| {
        let id: String = id.chars().take(80).collect();
        if ids::is_id(PREFIX, &id) {
            Failure::new("InvalidAttachmentID.NotFound", format!("The attachment '{id}' does not exist"))
        } else {
            Failure::new("InvalidAttachmentId.Malformed", format!("Invalid id: \"{id}\""))
        }
    })
}

async fn detach(c: &Context) -> Answer {
    c.params.flag("Force")?;
    let world = World::load(c).await?;
    let (port, instance, attachment) = find(&world, c.params.require("AttachmentId")?)?;
    if attachment.index == 0 {
        let message = "The network interface at device index 0 cannot be detached.";
        return Err(Failure::new("OperationNotPermitted", message));
    }
    if attachment.state == "detaching" {
        return Ok(super::done());
    }
    let name = &port.metadata.name;
    // First it stops to be of those that go with the instance: between the two steps nothing may be lost.
    if attachment.goes_along && !c.dry_run {
        c.change::<PortSpec>(name, |port| {
            let_go_along(&mut port.metadata, instance, false);
            Ok(())
        })
        .await?;
    }
    c.change::<InstanceSpec>(&instance.metadata.name, |instance| {
        let known = interfaces(instance);
        for (network, (number, _)) in instance.spec.networks.iter_mut().zip(&known) {
            network.interface = Some(*number);
        }
        let mut ports = known.iter().map(|(_, port)| port);
        instance.spec.networks.retain(|_| ports.next() != Some(name));
        Ok(())
    })
    .await
    .map_err(|e| refused(e, &ids::id(port)))?;
    if !port.spec.instance.is_empty() {
        // It is its instance's no more, and is not called by its name.
        c.merge::<PortSpec>(name, &json!({ "spec": { "instance": "" } })).await?;
    }
    Ok(super::done())
}

/// Whether an interface goes with its instance.
pub(crate) async fn modify(c: &Context, port: &Port) -> Answer {
    let world = World::load(c).await?;
    let (found, instance, _) = find(&world, c.params.require("Attachment.AttachmentId")?)?;
    if found.metadata.name != port.metadata.name {
        let message = format!("The attachment is not one of {}", ids::id(port));
        return Err(Failure::new("InvalidAttachmentID.NotFound", message));
    }
    let Some(wanted) = c.params.flag("Attachment.DeleteOnTermination")? else {
        return Err(Failure::missing("Attachment.DeleteOnTermination"));
    };
    c.change::<PortSpec>(&port.metadata.name, |port| {
        let_go_along(&mut port.metadata, instance, wanted);
        Ok(())
    })
    .await?;
    Ok(super::done())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Object, ObjectMeta, Timestamp};

    use super::*;
    use crate::ec2::shown::Interface;

    /// The state of the attachment, if one is shown, and of the interface.
    fn shown(world: &World, port: &Port) -> (Option<&'static str>, &'static str) {
        let interface = Interface::of(world, port);
        (interface.attachment.as_ref().map(|a| a.state), interface.status())
    }

    #[test]
    fn an_attachment_ends_before_the_eyes_of_who_waits_for_it() {
        let port: Port = Object::new(ObjectMeta::in_project("p", "eni-1"), PortSpec::default());
        let mut instance = Instance::new(ObjectMeta::in_project("p", "i-1"), InstanceSpec::default());
        instance.status.phase = InstancePhase::Running;
        let world =
            |instance: &Instance, now| World::of_instances(vec![Arc::new(instance.clone())], Timestamp(now));
        let look = |instance: &Instance, now| shown(&world(instance, now), &port);
        assert_eq!(look(&instance, 0), (None, "available"));
        let card = InstanceNetwork { port: "eni-1".into(), ..InstanceNetwork::default() };
        instance.spec.networks.push(card);
        assert_eq!(look(&instance, 0), (Some("attaching"), "in-use"));
        instance.status.set_ports(vec!["eni-1".into()], Timestamp(1_000));
        assert_eq!(look(&instance, 2_000), (Some("attached"), "in-use"));
        let before = id_of(&world(&instance, 2_000), &port);
        instance.spec.networks.clear();
        assert_eq!(look(&instance, 3_000), (Some("detaching"), "in-use"));
        instance.status.set_ports(Vec::new(), Timestamp(4_000));
        assert_eq!(look(&instance, 14_000), (Some("detached"), "available"), "also ten seconds later");
        assert_eq!(before, id_of(&world(&instance, 14_000), &port), "the one that it was");
        assert_eq!(look(&instance, 40_000), (None, "available"));
        assert_eq!(look(&instance, -90_000), (None, "available"), "a clock that is far off shows nothing");
    }

    fn id_of(world: &World, port: &Port) -> Option<String> {
        Attachment::shown(world, port).map(|a| a.id)
    }
}

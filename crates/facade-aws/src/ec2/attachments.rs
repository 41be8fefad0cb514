//! Volumes in instances: an entry of the instance's spec. The device's name is what the user calls it.

use std::collections::BTreeMap;

use model::compute::{Instance, InstancePhase, InstanceSpec, InstanceVolume, VOLUMES_MAX};
use model::storage::{Volume, VolumeSpec};
use model::{Object, ObjectMeta, OwnerReference, Spec};
use serde_json::json;

use super::registered::ROOT_DEVICE;
use super::shown::{RUNNING, SHUTTING_DOWN, state};
use super::volumes::Storage;
use super::world::zone_name;
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

/// On instances: what the user calls the devices of volumes, and when they were attached, as a JSON object.
const DEVICES: &str = "aws.corten.dev/devices";
/// On volumes that are made with their instance: the same.
pub(crate) const DEVICE: &str = "aws.corten.dev/device";
/// Longest name of a device.
const DEVICE_MAX: usize = 32;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("AttachVolume", &["VolumeId", "InstanceId", "Device"], |c| Box::pin(attach(c)))
        .noting("Up to 8 volumes; those of virtual machines alone."),
    Action::ec2("DetachVolume", &["VolumeId", "InstanceId", "Device", "Force"], |c| Box::pin(detach(c)))
        .noting(
            "A guest that does not let go of a disk keeps it; Force changes nothing. A root volume stays.",
        ),
];

/// How a volume is in an instance.
#[derive(Debug, Clone)]
pub(crate) struct Attached {
    pub(crate) instance_id: String,
    /// The instance's name.
    pub(crate) instance: String,
    pub(crate) device: String,
    pub(crate) state: &'static str,
    pub(crate) at: String,
    /// It goes when its instance goes.
    pub(crate) goes_along: bool,
}

impl Attached {
    pub(crate) fn write(&self, x: &mut Xml, volume_id: &str) {
        x.text("volumeId", volume_id)
            .text("instanceId", &self.instance_id)
            .text("device", &self.device)
            .text("status", self.state)
            .given("attachTime", &self.at)
            .text("deleteOnTermination", self.goes_along);
    }
}

/// Where a volume is: what instances say counts, and until their host has let go of it, what the host says.
pub(crate) fn attached(instances: &[Instance], volume: &Volume) -> Option<Attached> {
    let name = &volume.metadata.name;
    let holder = volume.status.attachment.as_ref().map(|attachment| attachment.instance.as_str());
    let named = instances.iter().find(|i| i.spec.has_volume(name));
    let held = || instances.iter().find(|i| Some(i.metadata.name.as_str()) == holder);
    let instance = named.or_else(held)?;
    let reached = holder == Some(instance.metadata.name.as_str());
    // An instance that is off has its volumes; it opens them when it starts.
    let is_off = matches!(
        instance.status.phase,
        InstancePhase::Stopped | InstancePhase::Succeeded | InstancePhase::Failed
    );
    let noted = noted(&instance.metadata).remove(name);
    let (device, at) = noted.unwrap_or_else(|| unnamed(instance, name));
    let state = match named {
        None => "detaching",
        Some(_) if reached || is_off => "attached",
        Some(_) => "attaching",
    };
    Some(Attached {
        instance_id: ids::id(instance),
        instance: instance.metadata.name.clone(),
        device,
        state,
        at,
        goes_along: goes_along(volume, instance),
    })
}

/// Device and time of attachment, by the volume's name.
type Devices = BTreeMap<String, (String, String)>;

fn noted(meta: &ObjectMeta) -> Devices {
    let text = meta.annotations.get(DEVICES);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Writes down how the user calls a volume that an instance is to have. Of one that was taken out the name stays until
/// the next comes in: so long it is shown while the guest lets go of it.
pub(crate) fn note(c: &Context, instance: &mut Instance, volume: &str, device: &str) {
    let mut devices = noted(&instance.metadata);
    devices.retain(|name, _| instance.spec.has_volume(name));
    devices.insert(volume.into(), (device.into(), c.now().to_string()));
    instance.metadata.annotations.insert(DEVICES.into(), json!(devices).to_string());
}

/// The device and the time of a volume that was not attached through EC2: it was made with the instance, or has a place.
fn unnamed(instance: &Instance, volume: &str) -> (String, String) {
    let made = instance.spec.volume_templates().find(|(_, name, _)| *name == volume);
    let at = made.as_ref().map(|_| super::created_at(&instance.metadata)).unwrap_or_default();
    if let Some(device) = made.and_then(|(_, _, template)| template.metadata.annotations.get(DEVICE)) {
        return (device.clone(), at);
    }
    if is_root(instance, volume) {
        return (ROOT_DEVICE.into(), super::created_at(&instance.metadata));
    }
    let place = instance.spec.volumes.iter().position(|v| v.volume == volume).unwrap_or(0);
    // The first letter is the root disk's.
    let letter = u8::try_from(place).map_or('z', |n| char::from(b'b'.saturating_add(n)));
    (format!("/dev/vd{letter}"), at)
}

/// Whether an instance starts from this volume.
pub(crate) fn is_root(instance: &Instance, volume: &str) -> bool {
    instance.spec.payload.volume() == Some(volume)
}

/// What the device is called that an instance starts from; nothing where that is no volume.
pub(crate) fn root_device(instance: &Instance) -> String {
    let Some(volume) = instance.spec.payload.volume() else { return String::new() };
    noted(&instance.metadata).remove(volume).unwrap_or_else(|| unnamed(instance, volume)).0
}

/// The volumes of an instance by device.
pub(crate) fn of_instance<'a>(
    volumes: impl IntoIterator<Item = &'a Volume>,
    instance: &Instance,
) -> Vec<(&'a Volume, Attached)> {
    let own = std::slice::from_ref(instance);
    let volumes = volumes.into_iter();
    let mut found: Vec<_> = volumes.filter_map(|volume| Some((volume, attached(own, volume)?))).collect();
    found.sort_by(|(_, a), (_, b)| a.device.cmp(&b.device));
    found
}

fn goes_along(volume: &Volume, instance: &Instance) -> bool {
    volume.metadata.owner_references.iter().any(|owner| owner.uid == instance.metadata.uid)
}

/// Whether something is to go with another, such as a volume with its instance: what is owned goes with its owner.
pub(crate) fn let_go_along<S: Spec>(meta: &mut ObjectMeta, owner: &Object<S>, wanted: bool) {
    meta.owner_references.retain(|known| known.uid != owner.metadata.uid);
    if wanted {
        meta.owner_references.push(OwnerReference {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.metadata.name.clone(),
            uid: owner.metadata.uid.clone(),
            controller: None,
            block_owner_deletion: None,
        });
    }
}

pub(crate) fn check_device(device: &str) -> Result<(), Failure> {
    let plain = device.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'/');
    if plain && !device.is_empty() && device.len() <= DEVICE_MAX {
        return Ok(());
    }
    let device: String = device.chars().take(80).collect();
    Err(Failure::value(format!(
        "Value ({device}) for parameter device is invalid. It is no name of a device."
    )))
}

async fn attach(c: &Context) -> Answer {
    let storage = Storage::load(c).await?;
    let volume = c.named::<VolumeSpec>("VolumeId").await?;
    let instance = c.named::<InstanceSpec>("InstanceId").await?;
    let device = c.params.require("Device")?;
    check_device(device)?;
    let id = ids::id(&volume);
    if let Some(attached) = attached(&storage.instances, &volume) {
        let message = format!("{id} is already attached to an instance: {}", attached.instance_id);
        return Err(Failure::new("VolumeInUse", message));
    }
    if volume.metadata.is_deleting() {
        return Err(Failure::new("IncorrectState", format!("{id} is not 'available': it is being deleted.")));
    }
    if state(&instance) == SHUTTING_DOWN {
        let message = format!("Instance '{}' is not 'running'.", ids::id(&instance));
        return Err(Failure::new("IncorrectState", message));
    }
    require_same_zone(&storage, &volume, &instance)?;
    if of_instance(&storage.volumes, &instance).iter().any(|(_, other)| other.device == device) {
        let message =
            format!("Invalid value '{device}' for unixDevice. Attachment point {device} is already in use");
        return Err(Failure::value(message));
    }
    let name = &volume.metadata.name;
    let changed = c
        .change::<InstanceSpec>(&instance.metadata.name, |instance| {
            if instance.spec.volumes.len() >= VOLUMES_MAX {
                let message = format!("An instance has at most {VOLUMES_MAX} volumes");
                return Err(Failure::new("AttachmentLimitExceeded", message));
            }
            instance.spec.volumes.push(InstanceVolume { volume: name.clone(), ..InstanceVolume::default() });
            note(c, instance, name, device);
            Ok(())
        })
        .await
        .map_err(|e| in_use(e, &id))?;
    Ok(answered(&changed, &volume, None))
}

/// Another request was faster.
fn in_use(e: Failure, id: &str) -> Failure {
    if e.code == "DependencyViolation" {
        return Failure::new(
            "VolumeInUse",
            format!("{id} is already attached to an instance: {}", e.message),
        );
    }
    // EC2 has no word for the folder in which containers see a volume.
    let lacks_folder = e.message.contains("].mount: must be the path");
    if lacks_folder { Failure::unsupported(e.message) } else { e }
}

/// A volume that is kept in one zone is not reached from another.
fn require_same_zone(storage: &Storage, volume: &Volume, instance: &Instance) -> Result<(), Failure> {
    let zone = storage.zone(volume);
    let theirs = storage.zone_of_instance(instance);
    if zone.is_empty() || theirs.is_empty() || zone == theirs {
        return Ok(());
    }
    let message = format!(
        "The volume '{}' is not in the same availability zone as instance '{}': {} is not {}",
        ids::id(volume),
        ids::id(instance),
        zone_name(&zone),
        zone_name(&theirs)
    );
    Err(Failure::new("InvalidVolume.ZoneMismatch", message))
}

fn answered(instance: &Instance, volume: &Volume, word: Option<&'static str>) -> Xml {
    let mut x = Xml::new();
    if let Some(mut attached) = attached(std::slice::from_ref(instance), volume) {
        attached.state = word.unwrap_or(attached.state);
        attached.write(&mut x, &ids::id(volume));
    }
    x
}

async fn detach(c: &Context) -> Answer {
    c.params.flag("Force")?;
    let volume = c.named::<VolumeSpec>("VolumeId").await?;
    let id = ids::id(&volume);
    let instances = c.list::<InstanceSpec>().await?;
    let named = match c.params.get("InstanceId") {
        Some(id) => Some(ids::by_id(&instances, id)?),
        None => None,
    };
    let found = attached(&instances, &volume);
    let found = found.ok_or_else(|| {
        Failure::new("IncorrectState", format!("Volume '{id}' is in the 'available' state."))
    })?;
    let elsewhere = named.is_some_and(|instance| instance.metadata.name != found.instance)
        || c.params.get("Device").is_some_and(|device| device != found.device);
    if elsewhere {
        let message = format!("The volume '{id}' is attached to {} as {}.", found.instance_id, found.device);
        return Err(Failure::new("InvalidAttachment.NotFound", message));
    }
    let name = &volume.metadata.name;
    let Some(instance) = ids::find(&instances, &found.instance) else {
        return Err(ids::none::<InstanceSpec>(&found.instance_id));
    };
    if is_root(instance, name) {
        let message = format!(
            "Unable to detach root volume '{id}' from instance '{}': it has it as long as it is there",
            found.instance_id
        );
        return Err(Failure::new("OperationNotPermitted", message));
    }
    // First it stops to be of those that go with the instance: between the two steps nothing may be lost.
    if found.goes_along && !c.dry_run {
        c.change::<VolumeSpec>(name, |volume| {
            let_go_along(&mut volume.metadata, instance, false);
            Ok(())
        })
        .await?;
    }
    let before = instance.clone();
    c.change::<InstanceSpec>(&found.instance, |instance| {
        instance.spec.volumes.retain(|entry| entry.volume != *name);
        Ok(())
    })
    .await?;
    let runs = state(&before) == RUNNING;
    Ok(answered(&before, &volume, Some(if runs { "detaching" } else { "detached" })))
}

/// Whether volumes go with their instance, changed by device.
pub(crate) async fn modify_mappings(c: &Context, instance: &Instance) -> Answer {
    let volumes = c.list::<VolumeSpec>().await?;
    let own = of_instance(&volumes, instance);
    let mut changes = Vec::new();
    for mapping in c.params.structs("BlockDeviceMapping") {
        let device = mapping.require("DeviceName")?;
        let found = own.iter().find(|(_, attached)| attached.device == device);
        let (volume, _) = found.ok_or_else(|| {
            let message = format!("No device is currently mapped at {device}");
            Failure::new("InvalidInstanceAttributeValue", message)
        })?;
        if let Some(other) =
            mapping.unknown(&["DeviceName", "Ebs.DeleteOnTermination", "Ebs.VolumeId"]).next()
        {
            let message = format!("BlockDeviceMapping.N.{other} cannot be changed in this cloud");
            return Err(Failure::unsupported(message));
        }
        if mapping.get("Ebs.VolumeId").is_some_and(|id| *id != ids::id(*volume)) {
            return Err(ids::none::<VolumeSpec>(mapping.text("Ebs.VolumeId")));
        }
        if let Some(wanted) = mapping.flag("Ebs.DeleteOnTermination")? {
            changes.push((&volume.metadata.name, wanted));
        }
    }
    if changes.is_empty() {
        return Err(Failure::missing("BlockDeviceMapping.1.Ebs.DeleteOnTermination"));
    }
    for (name, wanted) in changes {
        c.change::<VolumeSpec>(name, |volume| {
            let_go_along(&mut volume.metadata, instance, wanted);
            Ok(())
        })
        .await?;
    }
    Ok(super::done())
}

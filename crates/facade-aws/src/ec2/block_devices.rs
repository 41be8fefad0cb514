//! The disks of instances that are run: the volume that one starts from, and those that are made with it.

use std::collections::BTreeMap;

use model::compute::{
    DiskPayload, Image, InstanceSpec, InstanceType, InstanceTypeSpec, InstanceVolume, Payload, TemplateMeta,
    VOLUMES_MAX, VolumeTemplate,
};
use model::storage::{VolumeSource, VolumeSpec};
use model::{Bytes, ObjectMeta};

use super::attachments::{DEVICE, check_device};
use super::registered::{Registered, least};
use super::volumes::{self, Storage, Wish, gibibytes};
use crate::context::Context;
use crate::failure::Failure;
use crate::params::Params;
use crate::tags::{self, Tags};

/// What the disk that an instance starts from may be called, whatever its image calls it.
const ROOT_DEVICES: [&str; 4] = ["/dev/sda1", "/dev/sda", "/dev/xvda", "/dev/vda"];
/// What may be said of a volume in a block device mapping.
pub(crate) const EBS: [&str; 7] =
    ["VolumeSize", "SnapshotId", "VolumeType", "Iops", "Throughput", "Encrypted", "DeleteOnTermination"];
/// The size of an instance whose user named none, as the server has it.
const DEFAULT_TYPE: &str = "small";

/// The disks of every instance of a request.
#[derive(Default)]
pub(crate) struct Disks {
    /// The volume that it starts from; none where its image cannot be one.
    root: Option<NewVolume>,
    volumes: Vec<NewVolume>,
}

struct NewVolume {
    device: String,
    keep: bool,
    wish: Wish,
}

impl NewVolume {
    fn template(&self, tags: &Tags) -> VolumeTemplate {
        let mut meta = ObjectMeta::default();
        volumes::note(&mut meta, "", self.wish.asked_type.as_deref());
        meta.annotations.insert(DEVICE.into(), self.device.clone());
        tags::give(&mut meta, tags.clone());
        let metadata = TemplateMeta { labels: meta.labels, annotations: meta.annotations };
        VolumeTemplate { metadata, spec: self.wish.spec.clone(), keep: self.keep }
    }
}

impl Disks {
    /// What the image has, changed and added to by what the request says.
    pub(crate) async fn asked(c: &Context, image: &Image) -> Result<Self, Failure> {
        let registered = Registered::of(image);
        let mut wanted: BTreeMap<String, Params> = BTreeMap::new();
        let mut root = registered.as_ref().map(|own| (own.root().to_owned(), own.devices[0].asked()));
        let mut root_size_is_asked = false;
        for device in registered.iter().flat_map(|own| own.devices.iter().skip(1)) {
            wanted.insert(device.device.clone(), device.asked());
        }
        let mut seen = Vec::new();
        for mapping in &c.params.structs("BlockDeviceMapping") {
            let (device, ebs) = read(mapping)?;
            let is_root = root.as_ref().is_some_and(|(own, _)| *own == device)
                || root.is_some() && ROOT_DEVICES.contains(&device.as_str());
            let known = if is_root { "the root".to_owned() } else { device.clone() };
            if seen.contains(&known) {
                return Err(Failure::value(format!(
                    "The device '{device}' is used in more than one block-device mapping"
                )));
            }
            seen.push(known);
            let Some(ebs) = ebs else {
                if is_root {
                    return Err(Failure::value(format!("The root device {device} cannot be left out")));
                }
                wanted.remove(&device);
                continue;
            };
            match &mut root {
                Some((name, own)) if is_root => {
                    *name = device;
                    root_size_is_asked = ebs.has("VolumeSize");
                    merge(own, &ebs);
                }
                _ => merge(wanted.entry(device).or_default(), &ebs),
            }
        }
        if wanted.len() > VOLUMES_MAX {
            let message = format!("An instance has at most {VOLUMES_MAX} volumes beside its root");
            return Err(Failure::new("AttachmentLimitExceeded", message));
        }
        let mut disks = Self::default();
        if let Some((device, ebs)) = root {
            let floor = if root_size_is_asked { Bytes(0) } else { disk_of_type(c).await? };
            disks.root = Some(root_volume(c, image, device, &ebs, floor).await?);
        }
        if !wanted.is_empty() {
            let storage = Storage::load(c).await?;
            for (device, ebs) in wanted {
                let keep = ebs.flag("DeleteOnTermination")? == Some(false);
                let wish = volumes::wish(c, &ebs, &storage, "").await?;
                disks.volumes.push(NewVolume { device, keep, wish });
            }
        }
        Ok(disks)
    }

    /// Has the volumes be made with the instance. They get their names with it.
    pub(crate) fn put(&self, spec: &mut InstanceSpec, tags: &Tags) {
        if let Some(root) = &self.root {
            let template = Some(Box::new(root.template(tags)));
            spec.payload = Payload::Disk(DiskPayload { template, ..DiskPayload::default() });
        }
        let made = |volume: &NewVolume| InstanceVolume {
            template: Some(Box::new(volume.template(tags))),
            ..InstanceVolume::default()
        };
        spec.volumes = self.volumes.iter().map(made).collect();
    }
}

/// Gives the volumes of an instance names that are ids.
pub(crate) fn name(c: &Context, spec: &mut InstanceSpec, number: usize) {
    // Beside those of data volumes, whatever the number.
    const ROOTS: usize = 1 << 20;
    if let Payload::Disk(disk) = &mut spec.payload
        && disk.template.is_some()
    {
        disk.volume = c.new_id("vol", ROOTS + number);
    }
    for (place, volume) in spec.volumes.iter_mut().enumerate() {
        volume.volume = c.new_id("vol", number * VOLUMES_MAX + place);
    }
}

/// A device and what is said of its volume; nothing where it is to be left out.
pub(crate) fn read(mapping: &Params) -> Result<(String, Option<Params>), Failure> {
    let device = mapping.require("DeviceName")?.to_owned();
    check_device(&device)?;
    if let Some(other) = mapping.unknown(&["DeviceName", "Ebs", "NoDevice"]).next() {
        let message = format!("BlockDeviceMapping.N.{other} is not supported in this cloud");
        return Err(Failure::unsupported(message));
    }
    if mapping.has("NoDevice") {
        return Ok((device, None));
    }
    let ebs = mapping.below("Ebs");
    if let Some(other) = ebs.unknown(&EBS).next() {
        let message = format!("BlockDeviceMapping.N.Ebs.{other} is not supported in this cloud");
        return Err(Failure::unsupported(message));
    }
    Ok((device, Some(ebs)))
}

/// What was said later counts. Limits belong to the type that they were given for.
pub(crate) fn merge(own: &mut Params, said: &Params) {
    if said.has("VolumeType") {
        *own = own.without("Iops").without("Throughput");
    }
    for (name, value) in said.clone().into_values() {
        own.put(&name, &value);
    }
}

/// The volume that an instance starts from: a clone of the image's disk, no smaller than the floor.
async fn root_volume(
    c: &Context,
    image: &Image,
    device: String,
    ebs: &Params,
    floor: Bytes,
) -> Result<NewVolume, Failure> {
    let own = Registered::of(image).and_then(|own| own.devices.into_iter().next()).unwrap_or_default();
    if ebs.get("SnapshotId").is_some_and(|snapshot| snapshot != own.snapshot) {
        let message = "The snapshot of a root device is that of its image: register an image of another one";
        return Err(Failure::value(message));
    }
    let encrypted = ebs.flag("Encrypted")? == Some(true);
    let volumes::AskedSort { pool, asked_type, .. } = volumes::asked_sort(c, ebs).await?;
    let least = least(image);
    let size = volumes::size(ebs)?.unwrap_or(least).max(floor);
    if size < least {
        let message = format!(
            "Volume of size {}GB is smaller than snapshot '{}', expect size >= {}GB",
            gibibytes(size),
            own.snapshot,
            gibibytes(least)
        );
        return Err(Failure::new("InvalidBlockDeviceMapping", message));
    }
    let source = VolumeSource { image: image.metadata.name.clone(), ..VolumeSource::default() };
    let spec =
        VolumeSpec { size, source, pool, limits: volumes::limits(ebs)?, encrypted, ..VolumeSpec::default() };
    let keep = ebs.flag("DeleteOnTermination")? == Some(false);
    Ok(NewVolume { device, keep, wish: Wish { spec, asked_type } })
}

/// Where no size was asked for, an instance has the disk that goes with its type.
async fn disk_of_type(c: &Context) -> Result<Bytes, Failure> {
    let named = c.params.get("InstanceType").unwrap_or(DEFAULT_TYPE);
    let found: Option<InstanceType> = c.api::<InstanceTypeSpec>().find(named).await?;
    // One that is not there is refused by the server, in its own words.
    Ok(found.map_or(Bytes(0), |found| found.spec.resources.disk))
}

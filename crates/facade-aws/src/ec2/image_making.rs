//! How images come to be: of machines, of snapshots, of what lies somewhere.

use std::collections::BTreeMap;

use client::DeleteOptions;
use model::compute::{ImageFormat, ImageSource, ImageSpec, Instance, InstanceSpec, PayloadKind};
use model::storage::{Volume, VolumeSnapshot, VolumeSnapshotSpec, VolumeSpec};
use model::{Bytes, Object, ObjectMeta};
use serde_json::json;

use super::attachments::{Attached, is_root, of_instance};
use super::block_devices::{self, merge};
use super::images::{NAME, name};
use super::places::architecture;
use super::registered::{BOOT_MODES, Device, ROOT_DEVICE, Registered, one_of};
use super::shown::{RUNNING, STOPPED, state};
use super::snapshots::{self, Wish};
use super::volumes::{Storage, gibibytes, sort};
use super::world::images;
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags;
use crate::xml::Xml;

/// Shortest and longest name of an image in EC2.
const NAME_MIN: usize = 3;
const NAME_MAX: usize = 128;
/// What one CreateImage makes, and gives tags to.
const MADE: [&str; 2] = ["image", "snapshot"];

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreateImage",
        &["InstanceId", "Name", "Description", "NoReboot", "BlockDeviceMapping", "TagSpecification"],
        |c| Box::pin(create(c)),
    )
    .noting("Of all its volumes a snapshot is taken, between the guest's end and its next start; with NoReboot at once."),
    Action::ec2(
        "RegisterImage",
        &[
            "Name",
            "Description",
            "ImageLocation",
            "Architecture",
            "VirtualizationType",
            "RootDeviceName",
            "BlockDeviceMapping",
            "BootMode",
            "EnaSupport",
            "SriovNetSupport",
            "ImdsSupport",
            "TagSpecification",
        ],
        |c| Box::pin(register(c)),
    )
    .noting("Of a snapshot (of the root device), or of an http(s) address as ImageLocation that ends in .qcow2, .vmdk, .vhdx, .iso, .raw or .img."),
];

/// A name that no image of the account has.
pub(crate) async fn free_name(c: &Context) -> Result<String, Failure> {
    let wanted = c.params.require("Name")?;
    if !(NAME_MIN..=NAME_MAX).contains(&wanted.chars().count()) {
        let message = format!("AMI names must be between {NAME_MIN} and {NAME_MAX} characters long");
        return Err(Failure::new("InvalidAMIName.Malformed", message));
    }
    if images(c).await?.iter().any(|image| image.metadata.namespace == c.project() && name(image) == wanted) {
        let message = format!("AMI name {wanted} is already in use");
        return Err(Failure::new("InvalidAMIName.Duplicate", message));
    }
    Ok(wanted.to_owned())
}

async fn create(c: &Context) -> Answer {
    let instance = c.named::<InstanceSpec>("InstanceId").await?;
    let name = free_name(c).await?;
    let id = ids::id(&instance);
    if !matches!(state(&instance), RUNNING | STOPPED) {
        let message =
            format!("The instance '{id}' is {}: it must be running or stopped.", state(&instance).0);
        return Err(Failure::new("IncorrectState", message));
    }
    if instance.spec.payload.kind() != PayloadKind::Disk {
        let message = format!(
            "The instance '{id}' starts from a {}, not from a disk: no image can be made of it",
            instance.spec.payload.kind()
        );
        return Err(Failure::unsupported(message));
    }
    let no_reboot = c.params.flag("NoReboot")?.unwrap_or(false);
    let rests = !no_reboot && state(&instance) == RUNNING;
    let has_root = instance.spec.payload.volume().is_some();
    if rests && !has_root {
        let message = format!(
            "The disk of the instance '{id}' is no volume: stop the instance first, or ask with NoReboot for the disk \
             as it is while the guest runs"
        );
        return Err(Failure::unsupported(message));
    }
    let tags = tags::for_one_of(&c.params, "image", &MADE)?;
    let volumes = c.list::<VolumeSpec>().await?;
    let mut registered = Registered { instance: id.clone(), ..Registered::default() };
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("ami", 0));
    let mut source = ImageSource::default();
    let mut made = Vec::new();
    let wanted = mapped(c, &instance, &volumes).await?;
    let result = async {
        for (number, (mut device, volume)) in wanted.into_iter().enumerate() {
            if let Some(volume) = volume {
                let snapshot = frozen(c, volume, number, &id, &meta.name, rests).await?;
                device.snapshot = ids::id(&snapshot);
                if is_root(&instance, &volume.metadata.name) {
                    source.snapshot.clone_from(&snapshot.metadata.name);
                }
                made.push(snapshot.metadata.name);
            }
            registered.devices.push(device);
        }
        if !has_root {
            source.instance.clone_from(&instance.metadata.name);
        }
        meta.annotations.insert(NAME.into(), name);
        registered.put(&mut meta);
        tags::give(&mut meta, tags);
        let description = c.params.text("Description").into();
        let spec = ImageSpec { format: ImageFormat::Qcow2, source, description, ..ImageSpec::default() };
        c.create(Object::new(meta, spec)).await
    };
    let image = match result.await {
        Ok(image) => image,
        Err(e) => {
            take_back(c, &made).await;
            return Err(e);
        }
    };
    if rests {
        // Its volumes rest between the guest's end and its next start: then the snapshots are taken.
        let patch = json!({ "spec": { "reboots": instance.spec.reboots + 1 } });
        c.merge::<InstanceSpec>(&instance.metadata.name, &patch).await?;
    }
    let mut x = Xml::new();
    x.text("imageId", ids::id(&image));
    Ok(x)
}

async fn frozen(
    c: &Context,
    volume: &Volume,
    number: usize,
    instance: &str,
    image: &str,
    at_rest: bool,
) -> Result<VolumeSnapshot, Failure> {
    let description = format!("Created by CreateImage({instance}) for {image}");
    let tags = tags::for_one_of(&c.params, "snapshot", &MADE)?;
    snapshots::take(c, Wish { volume, number, description: &description, tags, at_rest }).await
}

/// The devices that the image is to have, the root first, with the volumes of which snapshots are taken.
async fn mapped<'a>(
    c: &Context,
    instance: &Instance,
    volumes: &'a [Volume],
) -> Result<Vec<(Device, Option<&'a Volume>)>, Failure> {
    let own = of_instance(volumes, instance);
    let (root, data): (Vec<_>, Vec<_>) =
        own.into_iter().partition(|(volume, _)| is_root(instance, &volume.metadata.name));
    let root = root.into_iter().next();
    let root_device = root.as_ref().map_or(ROOT_DEVICE.to_owned(), |(_, attached)| attached.device.clone());
    let mut asked: BTreeMap<String, Option<Params>> = BTreeMap::new();
    for mapping in c.params.structs("BlockDeviceMapping") {
        let (device, ebs) = block_devices::read(&mapping)?;
        asked.insert(device, ebs);
    }
    let mut found = Vec::new();
    let said = asked.remove(&root_device);
    let first = match &root {
        Some((volume, attached)) => device_of(volume, attached),
        None => Device { device: root_device.clone(), ..Device::default() },
    };
    match said {
        Some(None) => {
            return Err(Failure::value(format!("The root device {root_device} cannot be left out")));
        }
        Some(Some(ebs)) => found.push((changed(first, &ebs)?, root.map(|(volume, _)| volume))),
        None => found.push((first, root.map(|(volume, _)| volume))),
    }
    for (volume, attached) in data {
        match asked.remove(&attached.device) {
            Some(None) => {}
            Some(Some(ebs)) => found.push((changed(device_of(volume, &attached), &ebs)?, Some(volume))),
            None => found.push((device_of(volume, &attached), Some(volume))),
        }
    }
    let new = asked.into_iter().filter_map(|(device, ebs)| Some((device, ebs?)));
    found.extend(with_sizes(c, new).await?.into_iter().map(|device| (device, None)));
    Ok(found)
}

fn device_of(volume: &Volume, attached: &Attached) -> Device {
    Device {
        device: attached.device.clone(),
        size: gibibytes(volume.spec.size.max(volume.status.size)),
        sort: sort(volume).to_owned(),
        iops: volume.spec.limits.iops,
        throughput: volume.spec.limits.bytes_per_second >> 20,
        keep: !attached.goes_along,
        snapshot: String::new(),
    }
}

/// What a mapping says of a device, over what is so.
fn changed(device: Device, said: &Params) -> Result<Device, Failure> {
    let mut ebs = device.asked();
    merge(&mut ebs, said);
    let wanted = read(device.device, &ebs)?;
    if wanted.size < device.size {
        let message = format!(
            "Volume of size {}GB is smaller than snapshot, expect size >= {}GB",
            wanted.size, device.size
        );
        return Err(Failure::new("InvalidBlockDeviceMapping", message));
    }
    Ok(wanted)
}

fn read(device: String, ebs: &Params) -> Result<Device, Failure> {
    super::image_keeping::refuse_encryption(ebs)?;
    let limits = super::volumes::limits(ebs)?;
    Ok(Device {
        device,
        snapshot: ebs.text("SnapshotId").to_owned(),
        size: gibibytes(super::volumes::size(ebs)?.unwrap_or(Bytes(0))),
        sort: ebs.text("VolumeType").to_owned(),
        iops: limits.iops,
        throughput: limits.bytes_per_second >> 20,
        keep: ebs.flag("DeleteOnTermination")? == Some(false),
    })
}

/// Devices of mappings, each as large as its snapshot at least.
async fn with_sizes(
    c: &Context,
    mappings: impl Iterator<Item = (String, Params)>,
) -> Result<Vec<Device>, Failure> {
    let mut devices = Vec::new();
    let mappings: Vec<_> = mappings.collect();
    if mappings.is_empty() {
        return Ok(devices);
    }
    let storage = Storage::load(c).await?;
    for (name, ebs) in mappings {
        super::volumes::asked_sort(c, &ebs).await?;
        let mut device = read(name, &ebs)?;
        if device.snapshot.is_empty() {
            if device.size == 0 {
                let message = "The request must contain the parameter size or snapshotId";
                return Err(Failure::new("MissingParameter", message));
            }
        } else {
            let least = gibibytes(storage.size_of(ids::by_id(&storage.snapshots, &device.snapshot)?));
            if device.size != 0 && device.size < least {
                let message = format!(
                    "Volume of size {}GB is smaller than snapshot '{}', expect size >= {least}GB",
                    device.size, device.snapshot
                );
                return Err(Failure::new("InvalidBlockDeviceMapping", message));
            }
            device.size = device.size.max(least);
        }
        devices.push(device);
    }
    Ok(devices)
}

/// Snapshots for an image that is not made: they go again.
async fn take_back(c: &Context, snapshots: &[String]) {
    for name in snapshots {
        let deleted = c.api::<VolumeSnapshotSpec>().delete(name, &DeleteOptions::default()).await;
        if let Err(e) = deleted {
            tracing::warn!(snapshot = name, error = %e, "a snapshot was not taken back");
        }
    }
}

async fn register(c: &Context) -> Answer {
    let name = free_name(c).await?;
    let params = &c.params;
    if params.get("Architecture").is_some_and(|a| a != architecture()) {
        return Err(Failure::unsupported(format!("Hosts of this cloud are {}", architecture())));
    }
    if params.get("VirtualizationType").is_some_and(|sort| sort != "hvm") {
        return Err(Failure::unsupported("Guests of this cloud are hvm"));
    }
    let mut registered = said(params)?;
    let location = params.get("ImageLocation");
    let (format, source) = match location {
        Some(location) => {
            (format_of(location)?, ImageSource { url: location.into(), ..ImageSource::default() })
        }
        None => (ImageFormat::Qcow2, ImageSource::default()),
    };
    registered.devices = devices(c, location.is_some()).await?;
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("ami", 0));
    meta.annotations.insert(NAME.into(), name);
    registered.put(&mut meta);
    tags::give(&mut meta, tags::for_new(params, "image")?);
    let mut spec =
        ImageSpec { format, source, description: params.text("Description").into(), ..ImageSpec::default() };
    if location.is_none() {
        let root = &registered.devices[0].snapshot;
        spec.source.snapshot = c.find::<VolumeSnapshotSpec>(root).await?.metadata.name;
    }
    let made = c.create(Object::new(meta, spec)).await?;
    let mut x = Xml::new();
    x.text("imageId", ids::id(&made));
    Ok(x)
}

/// What the user says of the image, and tools read again.
fn said(params: &Params) -> Result<Registered, Failure> {
    Ok(Registered {
        boot_mode: one_of(params, "BootMode", BOOT_MODES)?,
        sriov: one_of(params, "SriovNetSupport", &["simple"])?,
        imds: one_of(params, "ImdsSupport", &["v2.0"])?,
        ena: params.flag("EnaSupport")?.unwrap_or(false),
        ..Registered::default()
    })
}

/// The devices of the image, the root first: it is made of a snapshot, unless the image comes from elsewhere.
async fn devices(c: &Context, from_elsewhere: bool) -> Result<Vec<Device>, Failure> {
    let mut mappings = Vec::new();
    for mapping in c.params.structs("BlockDeviceMapping") {
        if let (device, Some(ebs)) = block_devices::read(&mapping)? {
            mappings.push((device, ebs));
        }
    }
    let only = mappings.first().filter(|_| mappings.len() == 1).map(|(device, _)| device.clone());
    let root = c.params.get("RootDeviceName").map(str::to_owned).or(only);
    let root = match root {
        Some(root) => root,
        None if from_elsewhere => ROOT_DEVICE.into(),
        None => return Err(Failure::missing("RootDeviceName")),
    };
    super::attachments::check_device(&root)?;
    let first = mappings.iter().position(|(device, _)| *device == root).map(|at| mappings.remove(at));
    let mut found = match first {
        Some((_, ebs)) if !from_elsewhere && ebs.has("SnapshotId") => {
            with_sizes(c, [(root, ebs)].into_iter()).await?
        }
        _ if !from_elsewhere => {
            let message = format!("No snapshot is given for the root device {root}");
            return Err(Failure::new("InvalidBlockDeviceMapping", message));
        }
        Some((_, ebs)) if ebs.has("SnapshotId") => {
            return Err(Failure::new(
                "InvalidParameterCombination",
                "An image comes from its ImageLocation, or from the snapshot of its root device",
            ));
        }
        Some((device, ebs)) => vec![read(device, &ebs)?],
        None => vec![Device { device: root, ..Device::default() }],
    };
    found.extend(with_sizes(c, mappings.into_iter()).await?);
    Ok(found)
}

fn format_of(location: &str) -> Result<ImageFormat, Failure> {
    let formats = [
        (".qcow2", ImageFormat::Qcow2),
        (".vmdk", ImageFormat::Vmdk),
        (".vhd", ImageFormat::Vhd),
        (".vhdx", ImageFormat::Vhdx),
        (".ova", ImageFormat::Ova),
        (".iso", ImageFormat::Iso),
        (".raw", ImageFormat::Raw),
        (".img", ImageFormat::Raw),
    ];
    let format = formats.iter().find(|(end, _)| location.ends_with(end)).map(|(_, format)| *format);
    format.ok_or_else(|| {
        Failure::value(
            "ImageLocation must end in .qcow2, .vmdk, .vhd, .vhdx, .ova, .iso, .raw or .img: a format is never guessed",
        )
    })
}

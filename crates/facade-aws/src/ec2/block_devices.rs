//! Disks that RunInstances asks for: a larger one to start from, and volumes that are made with the instance.

use client::DeleteOptions;
use model::compute::{Instance, InstanceVolume, PayloadKind, VOLUMES_MAX};
use model::storage::VolumeSpec;
use model::{Bytes, Object, ObjectMeta};

use super::attachments::{check_device, let_go_along, note};
use super::volumes::{self, Storage, Wish, too_large};
use crate::context::Context;
use crate::failure::Failure;
use crate::params::Params;
use crate::tags::{self, Tags};

/// What the disk that an instance starts from may be called.
const ROOT_DEVICES: [&str; 4] = ["/dev/sda1", "/dev/sda", "/dev/xvda", "/dev/vda"];
/// What may be said of a volume in a block device mapping.
pub(crate) const EBS: [&str; 7] =
    ["VolumeSize", "SnapshotId", "VolumeType", "Iops", "Throughput", "Encrypted", "DeleteOnTermination"];

/// The disks of every instance of a request.
#[derive(Default)]
pub(crate) struct Disks {
    /// How large the disk is that it starts from, where that was said.
    pub(crate) root: Option<Bytes>,
    volumes: Vec<NewVolume>,
}

struct NewVolume {
    device: String,
    goes_along: bool,
    wish: Wish,
}

impl Disks {
    pub(crate) async fn asked(c: &Context, payload: PayloadKind) -> Result<Self, Failure> {
        let mappings = c.params.structs("BlockDeviceMapping");
        let mut disks = Self::default();
        if mappings.is_empty() {
            return Ok(disks);
        }
        let storage = Storage::load(c).await?;
        for mapping in &mappings {
            let device = mapping.require("DeviceName")?.to_owned();
            check_device(&device)?;
            if let Some(other) = mapping.unknown(&["DeviceName", "Ebs", "NoDevice"]).next() {
                let message = format!("BlockDeviceMapping.N.{other} is not supported in this cloud");
                return Err(Failure::unsupported(message));
            }
            let is_root = payload == PayloadKind::Disk && ROOT_DEVICES.contains(&device.as_str());
            let ebs = mapping.below("Ebs");
            if mapping.has("NoDevice") {
                // Images have no other device that could be left out.
                if is_root {
                    return Err(Failure::value(format!("The root device {device} cannot be left out")));
                }
                continue;
            }
            if let Some(other) = ebs.unknown(&EBS).next() {
                let message = format!("BlockDeviceMapping.N.Ebs.{other} is not supported in this cloud");
                return Err(Failure::unsupported(message));
            }
            if is_root {
                disks.root = root(&ebs)?;
                continue;
            }
            if disks.volumes.iter().any(|other| other.device == device) {
                return Err(Failure::value(format!(
                    "The device '{device}' is used in more than one block-device mapping"
                )));
            }
            let goes_along = ebs.flag("DeleteOnTermination")?.unwrap_or(true);
            let wish = volumes::wish(c, &ebs, &storage, "").await?;
            disks.volumes.push(NewVolume { device, goes_along, wish });
        }
        if disks.volumes.len() > VOLUMES_MAX {
            let message = format!("An instance has at most {VOLUMES_MAX} volumes");
            return Err(Failure::new("AttachmentLimitExceeded", message));
        }
        Ok(disks)
    }

    /// Makes the volumes of the instance with this number, and names them in it. On a dry run they are only checked.
    pub(crate) async fn make(
        &self,
        c: &Context,
        instance: &mut Instance,
        number: usize,
        tags: &Tags,
    ) -> Result<(), Failure> {
        for (place, volume) in self.volumes.iter().enumerate() {
            let mut meta = ObjectMeta::in_project(c.project(), c.new_id("vol", number * VOLUMES_MAX + place));
            volumes::note(&mut meta, "", volume.wish.asked_type.as_deref());
            tags::give(&mut meta, tags.clone());
            match c.create(Object::new(meta, volume.wish.spec.clone())).await {
                Ok(made) => {
                    let name = made.metadata.name;
                    instance.spec.volumes.push(InstanceVolume { volume: name.clone() });
                    note(c, instance, &name, &volume.device);
                }
                Err(e) if c.dry_run && e.code == "DryRunOperation" => {}
                Err(e) => {
                    take_back(c, instance).await;
                    return Err(too_large(e));
                }
            }
        }
        Ok(())
    }

    /// Has the volumes go with their instance: those that are to, or all of them.
    pub(crate) async fn hand_over(&self, c: &Context, instance: &Instance, all: bool) -> Result<(), Failure> {
        for (entry, volume) in instance.spec.volumes.iter().zip(&self.volumes) {
            if all || volume.goes_along {
                c.change::<VolumeSpec>(&entry.volume, |volume| {
                    let_go_along(&mut volume.metadata, instance, true);
                    Ok(())
                })
                .await?;
            }
        }
        Ok(())
    }
}

/// Volumes that were made for an instance which is not: they go again.
pub(crate) async fn take_back(c: &Context, instance: &Instance) {
    for entry in &instance.spec.volumes {
        let deleted = c.api::<VolumeSpec>().delete(&entry.volume, &DeleteOptions::default()).await;
        if let Err(e) = deleted {
            tracing::warn!(volume = entry.volume, error = %e, "a volume was not taken back");
        }
    }
}

/// What is said of the disk that an instance starts from: it is the instance's own, and goes with it.
fn root(ebs: &Params) -> Result<Option<Bytes>, Failure> {
    if ebs.flag("DeleteOnTermination")? == Some(false) {
        return Err(Failure::unsupported("The disk that an instance starts from goes with the instance"));
    }
    for name in ["SnapshotId", "Iops", "Throughput"] {
        if ebs.has(name) {
            let message =
                format!("Ebs.{name} of the disk that an instance starts from is not supported in this cloud");
            return Err(Failure::unsupported(message));
        }
    }
    if ebs.flag("Encrypted")? == Some(true) {
        return Err(Failure::unsupported("Volumes of this cloud are not encrypted by it"));
    }
    let Some(size) = ebs.number("VolumeSize")? else { return Ok(None) };
    let fits = u64::try_from(size).ok().filter(|size| (1..=16_384).contains(size));
    let fits = fits.ok_or_else(|| ebs.invalid("VolumeSize", &size.to_string(), "must be 1 to 16384 GiB"))?;
    Ok(Some(Bytes::gib(fits)))
}

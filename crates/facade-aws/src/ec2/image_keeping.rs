//! Copies of images and snapshots, and what keeps an image: from being used any longer, or from being given back.

use model::compute::{ImageSource, ImageSpec};
use model::storage::VolumeSnapshotSpec;
use model::{Object, ObjectMeta, Timestamp};

use super::image_making::free_name;
use super::images::{self, NAME, own};
use super::registered::Registered;
use super::shown::DESCRIPTION;
use super::world;
use crate::REGION;
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// What one CopyImage may give tags to.
const MADE: [&str; 2] = ["image", "snapshot"];

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CopyImage",
        &[
            "Name",
            "SourceImageId",
            "SourceRegion",
            "Description",
            "ClientToken",
            "CopyImageTags",
            "Encrypted",
            "TagSpecification",
        ],
        |c| Box::pin(copy_image(c)),
    )
    .noting("Within the region. What lies on disks is not doubled; volumes beside the root are made of the same snapshots."),
    Action::ec2(
        "CopySnapshot",
        &[
            "SourceSnapshotId",
            "SourceRegion",
            "DestinationRegion",
            "PresignedUrl",
            "Description",
            "Encrypted",
            "TagSpecification",
        ],
        |c| Box::pin(copy_snapshot(c)),
    )
    .noting("Within the region, in which the PresignedUrl that clients add is not needed."),
    Action::ec2("EnableImageDeprecation", &["ImageId", "DeprecateAt"], |c| Box::pin(deprecate(c))),
    Action::ec2("DisableImageDeprecation", &["ImageId"], |c| Box::pin(revive(c))),
    Action::ec2("EnableImageDeregistrationProtection", &["ImageId", "WithCooldown"], |c| {
        Box::pin(protect(c))
    })
    .noting("Without a cooldown."),
    Action::ec2("DisableImageDeregistrationProtection", &["ImageId"], |c| Box::pin(release(c))),
];

/// Nothing encrypted comes of an image but volumes.
pub(super) fn refuse_encryption(given: &Params) -> Result<(), Failure> {
    if given.flag("Encrypted")? == Some(true) {
        let message = "Images of this cloud are not encrypted: ask for Encrypted in the block device mapping of what is \
                       run of them";
        return Err(Failure::unsupported(message));
    }
    Ok(())
}

fn check(c: &Context) -> Result<(), Failure> {
    c.params.require("SourceRegion")?;
    for name in ["SourceRegion", "DestinationRegion"] {
        if let Some(region) = c.params.get(name).filter(|region| *region != REGION) {
            return Err(c.params.invalid(name, region, &format!("there is no other region than {REGION}")));
        }
    }
    Ok(())
}

async fn copy_image(c: &Context) -> Answer {
    check(c)?;
    refuse_encryption(&c.params)?;
    let all = world::images(c).await?;
    let of = ids::by_id(&all, c.params.require("SourceImageId")?)?;
    let name = free_name(c).await?;
    let mut given = tags::for_one_of(&c.params, "image", &MADE)?;
    if !tags::for_one_of(&c.params, "snapshot", &MADE)?.is_empty() {
        return Err(Failure::unsupported(
            "A copy of an image has no snapshots of its own that could be tagged",
        ));
    }
    if c.params.flag("CopyImageTags")? == Some(true) {
        let copied: Tags = tags::of(&of.metadata);
        given = copied.into_iter().chain(given).collect();
        tags::check_count(&given)?;
    }
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("ami", 0));
    meta.annotations.insert(NAME.into(), name);
    if let Some(registered) = Registered::of(of) {
        registered.copied().put(&mut meta);
    }
    tags::give(&mut meta, given);
    let source = ImageSource { image: of.metadata.name.clone(), ..ImageSource::default() };
    let description = c.params.get("Description").unwrap_or(&of.spec.description).to_owned();
    let cmdline = of.spec.cmdline.clone();
    let spec = ImageSpec { format: of.spec.format, source, description, cmdline, ..ImageSpec::default() };
    let made = c.create(Object::new(meta, spec)).await?;
    let mut x = Xml::new();
    x.text("imageId", ids::id(&made));
    Ok(x)
}

async fn copy_snapshot(c: &Context) -> Answer {
    check(c)?;
    let of = c.named::<VolumeSnapshotSpec>("SourceSnapshotId").await?;
    if c.params.flag("Encrypted")? == Some(true) && !of.spec.is_encrypted() {
        return Err(Failure::unsupported(
            "A copy of a snapshot is encrypted as that is, and this one is not",
        ));
    }
    let given = tags::for_new(&c.params, "snapshot")?;
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("snap", 0));
    let described = c.params.get("Description").map(str::to_owned);
    let described = described.or_else(|| of.metadata.annotations.get(DESCRIPTION).cloned());
    if let Some(text) = described {
        meta.annotations.insert(DESCRIPTION.into(), text);
    }
    tags::give(&mut meta, given.clone());
    let spec = VolumeSnapshotSpec { snapshot: of.metadata.name, ..VolumeSnapshotSpec::default() };
    let made = c.create(Object::new(meta, spec)).await?;
    let mut x = Xml::new();
    x.text("snapshotId", ids::id(&made));
    tags::write(&mut x, &given);
    Ok(x)
}

async fn change(c: &Context, change: impl Fn(&mut Registered)) -> Result<(), Failure> {
    let image = own(c).await?;
    c.change::<ImageSpec>(&image.metadata.name, |image| {
        let mut registered = Registered::noted(image);
        change(&mut registered);
        registered.put(&mut image.metadata);
        Ok(())
    })
    .await
    .map(drop)
}

async fn deprecate(c: &Context) -> Answer {
    let given = c.params.require("DeprecateAt")?;
    let why = "must be a time, as in 2030-01-01T00:00:00Z";
    let at = Timestamp::parse(given).ok_or_else(|| c.params.invalid("DeprecateAt", given, why))?;
    if at < c.now() {
        return Err(c.params.invalid("DeprecateAt", given, "must be in the future"));
    }
    change(c, |registered| registered.deprecated_at = at.to_string()).await?;
    Ok(super::done())
}

async fn revive(c: &Context) -> Answer {
    change(c, |registered| registered.deprecated_at.clear()).await?;
    Ok(super::done())
}

async fn protect(c: &Context) -> Answer {
    if c.params.flag("WithCooldown")? == Some(true) {
        return Err(Failure::unsupported("Protection ends at once in this cloud: there is no cooldown"));
    }
    change(c, |registered| registered.protected = true).await?;
    Ok(said(images::PROTECTED))
}

async fn release(c: &Context) -> Answer {
    change(c, |registered| registered.protected = false).await?;
    Ok(said(images::NOT_PROTECTED))
}

fn said(word: &str) -> Xml {
    let mut x = Xml::new();
    x.text("return", word);
    x
}

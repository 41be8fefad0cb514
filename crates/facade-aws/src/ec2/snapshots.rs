//! Snapshots of volumes.

use model::compute::{ImageSpec, InstanceSpec};
use model::storage::{Volume, VolumeSnapshot, VolumeSnapshotSpec, VolumeSpec};
use model::{ConditionStatus, Object, ObjectMeta};

use super::attachments::{is_root, of_instance};
use super::registered::Registered;
use super::shown::{DESCRIPTION, STOPPED, state};
use super::volumes::gibibytes;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// Longest description.
const DESCRIPTION_MAX: usize = 255;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("CreateSnapshot", &["VolumeId", "Description", "Location", "TagSpecification"], |c| {
        Box::pin(create(c))
    })
    .noting("Taken in a moment, also while a guest uses the volume."),
    Action::ec2(
        "CreateSnapshots",
        &["InstanceSpecification", "Description", "Location", "TagSpecification", "CopyTagsFromSource"],
        |c| Box::pin(create_all(c)),
    )
    .noting("Of several volumes while the instance is stopped: they are not frozen in one moment."),
    Action::ec2("DeleteSnapshot", &["SnapshotId"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeSnapshots", describe!["SnapshotId", "Owner", "RestorableBy"], |c| {
        Box::pin(describe(c))
    }),
    Action::ec2("DescribeSnapshotAttribute", &["SnapshotId", "Attribute"], |c| Box::pin(attribute(c))),
    Action::ec2(
        "ModifySnapshotAttribute",
        &["SnapshotId", "Attribute", "CreateVolumePermission", "OperationType", "UserGroup", "UserId"],
        |c| Box::pin(modify(c)),
    )
    .noting("A snapshot is its project's alone: permissions are taken, not given."),
    Action::ec2("ResetSnapshotAttribute", &["SnapshotId", "Attribute"], |c| Box::pin(reset(c))),
];

struct Shown {
    id: String,
    volume_id: String,
    state: &'static str,
    trouble: String,
    size: u64,
    owner: String,
    started_at: String,
    description: String,
    is_encrypted: bool,
    tags: Tags,
}

impl Shown {
    fn of(c: &Context, volumes: &[Volume], snapshot: &VolumeSnapshot) -> Self {
        let meta = &snapshot.metadata;
        let volume = ids::find(volumes, &snapshot.spec.volume);
        // Whether it outlived its volume: another of the same name is not the one that it is of.
        let volume = volume.filter(|v| v.metadata.creation_timestamp <= meta.creation_timestamp);
        let size = volume.filter(|_| snapshot.status.size.is_zero()).map(|v| v.spec.size.max(v.status.size));
        let says = |c: &&model::Condition| c.status == ConditionStatus::False && !c.message.is_empty();
        Self {
            id: ids::id(snapshot),
            volume_id: match volume {
                Some(volume) => ids::id(volume),
                None if ids::is_id("vol", &snapshot.spec.volume) => snapshot.spec.volume.clone(),
                // What EC2 says where there is none.
                None => "vol-ffffffff".into(),
            },
            state: if snapshot.status.ready { "completed" } else { "pending" },
            trouble: snapshot
                .status
                .conditions
                .iter()
                .find(says)
                .map(|c| c.message.clone())
                .unwrap_or_default(),
            size: gibibytes(size.unwrap_or(snapshot.status.size)),
            owner: c.account(),
            started_at: super::created_at(meta),
            description: meta.annotations.get(DESCRIPTION).cloned().unwrap_or_default(),
            is_encrypted: snapshot.spec.is_encrypted(),
            tags: tags::of(meta),
        }
    }

    fn progress(&self) -> &'static str {
        if self.state == "completed" { "100%" } else { "0%" }
    }

    /// What all answers say of it; `state` is called otherwise in one of them.
    fn write_as(&self, x: &mut Xml, state: &str) {
        x.text("snapshotId", &self.id)
            .text("volumeId", &self.volume_id)
            .text(state, self.state)
            .given("startTime", &self.started_at)
            .text("progress", self.progress())
            .text("ownerId", &self.owner)
            .text("volumeSize", self.size)
            .text("description", &self.description)
            .text("encrypted", self.is_encrypted);
        tags::write(x, &self.tags);
    }
}

impl Item for Shown {
    const FILTERS: &'static [&'static str] = &[
        "snapshot-id",
        "volume-id",
        "volume-size",
        "status",
        "progress",
        "start-time",
        "description",
        "owner-id",
        "owner-alias",
        "encrypted",
        "storage-tier",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "snapshot-id" => self.id.clone(),
            "volume-id" => self.volume_id.clone(),
            "volume-size" => self.size.to_string(),
            "status" => self.state.into(),
            "progress" => self.progress().into(),
            "start-time" => self.started_at.clone(),
            "description" => self.description.clone(),
            "owner-id" => self.owner.clone(),
            "encrypted" => super::word(self.is_encrypted),
            "storage-tier" => "standard".into(),
            _ => return Vec::new(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        self.write_as(x, "status");
        x.given("statusMessage", &self.trouble).text("storageTier", "standard");
    }
}

async fn describe(c: &Context) -> Answer {
    let account = c.account();
    let volumes = c.list_if_allowed::<VolumeSpec>().await?;
    let mut snapshots = c.list::<VolumeSnapshotSpec>().await?;
    // What is being deleted does not come back.
    snapshots.retain(|snapshot| !snapshot.metadata.is_deleting());
    let is_own = |who: &String| who == "self" || *who == account;
    for parameter in ["Owner", "RestorableBy"] {
        let who = c.params.list(parameter);
        if !who.is_empty() && !who.iter().any(is_own) {
            snapshots.clear();
        }
    }
    let shown = snapshots.iter().map(|snapshot| Shown::of(c, &volumes, snapshot)).collect();
    let ids = Ids { parameter: "SnapshotId", none: ids::none::<VolumeSnapshotSpec> };
    Ok(answer("snapshotSet", &select(&c.params, &ids, shown)?))
}

fn require_here(c: &Context) -> Result<(), Failure> {
    match c.params.get("Location") {
        None | Some("regional") => Ok(()),
        Some(other) => Err(c.params.invalid("Location", other, "can only be regional in this cloud")),
    }
}

/// A snapshot as it is wanted.
pub(crate) struct Wish<'a> {
    pub(crate) volume: &'a Volume,
    /// Its place among those of the request.
    pub(crate) number: usize,
    pub(crate) description: &'a str,
    pub(crate) tags: Tags,
    /// When no guest has the volume open.
    pub(crate) at_rest: bool,
}

/// A new snapshot of a volume.
pub(crate) async fn take(c: &Context, wish: Wish<'_>) -> Result<VolumeSnapshot, Failure> {
    let Wish { volume, number, description, tags, at_rest } = wish;
    let id = ids::id(volume);
    if volume.metadata.is_deleting() {
        return Err(Failure::new("IncorrectState", format!("The volume '{id}' is being deleted.")));
    }
    if volume.home().is_empty() {
        let message = format!("The volume '{id}' is made by its first attachment: nothing is in it yet.");
        return Err(Failure::new("IncorrectState", message));
    }
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("snap", number));
    tags::give(&mut meta, tags);
    if description.chars().count() > DESCRIPTION_MAX {
        return Err(Failure::value(format!("A description has at most {DESCRIPTION_MAX} characters")));
    }
    if !description.is_empty() {
        meta.annotations.insert(DESCRIPTION.into(), description.into());
    }
    c.create(Object::new(
        meta,
        VolumeSnapshotSpec { volume: volume.metadata.name.clone(), at_rest, ..VolumeSnapshotSpec::default() },
    ))
    .await
}

async fn create(c: &Context) -> Answer {
    require_here(c)?;
    let volume = c.named::<VolumeSpec>("VolumeId").await?;
    let tags = tags::for_new(&c.params, "snapshot")?;
    let description = c.params.text("Description");
    let made = take(c, Wish { volume: &volume, number: 0, description, tags, at_rest: false }).await?;
    let mut x = Xml::new();
    Shown::of(c, &[volume], &made).write_as(&mut x, "status");
    Ok(x)
}

async fn create_all(c: &Context) -> Answer {
    require_here(c)?;
    let given = c.params.below("InstanceSpecification");
    let known = ["InstanceId", "ExcludeBootVolume", "ExcludeDataVolumeId"];
    if let Some(other) = given.unknown(&known).next() {
        let message = format!("InstanceSpecification.{other} is not supported in this cloud");
        return Err(Failure::unsupported(message));
    }
    let without_root = given.flag("ExcludeBootVolume")?.unwrap_or(false);
    let instance = c.find::<InstanceSpec>(given.require("InstanceId")?).await?;
    let copied = match c.params.get("CopyTagsFromSource") {
        None => false,
        Some("volume") => true,
        Some(other) => return Err(c.params.invalid("CopyTagsFromSource", other, "can only be volume")),
    };
    let volumes = c.list::<VolumeSpec>().await?;
    let left_out = given.list("ExcludeDataVolumeId");
    for id in &left_out {
        ids::by_id(&volumes, id)?;
    }
    let mut wanted = of_instance(&volumes, &instance);
    wanted.retain(|(volume, _)| {
        let is_out = without_root && is_root(&instance, &volume.metadata.name);
        !is_out && !left_out.contains(&ids::id(*volume))
    });
    if wanted.is_empty() {
        let message =
            format!("The instance '{}' has no volumes of which snapshots are taken", ids::id(&instance));
        return Err(Failure::value(message));
    }
    if wanted.len() > 1 && state(&instance) != STOPPED {
        let message = format!(
            "The volumes of the instance '{}' are not frozen in one moment while it runs: stop it first",
            ids::id(&instance)
        );
        return Err(Failure::unsupported(message));
    }
    let asked = tags::for_new(&c.params, "snapshot")?;
    let mut made = Vec::new();
    for (number, (volume, _)) in wanted.iter().enumerate() {
        let mut tags = if copied { tags::of(&volume.metadata) } else { Tags::new() };
        tags.extend(asked.clone());
        tags::check_count(&tags)?;
        let description = c.params.text("Description");
        let snapshot = take(c, Wish { volume, number, description, tags, at_rest: false }).await?;
        made.push(Shown::of(c, &volumes, &snapshot));
    }
    let mut x = Xml::new();
    x.list("snapshotSet", &made, |x, shown| shown.write_as(x, "state"));
    Ok(x)
}

async fn delete(c: &Context) -> Answer {
    let snapshot = c.named::<VolumeSnapshotSpec>("SnapshotId").await?;
    let id = ids::id(&snapshot);
    let images = c.list_if_allowed::<ImageSpec>().await?;
    if let Some(user) = images.iter().find(|image| Registered::of(image).is_some_and(|own| own.uses(&id))) {
        let message = format!("The snapshot {id} is currently in use by {}", ids::id(user));
        return Err(Failure::new("InvalidSnapshot.InUse", message));
    }
    c.delete::<VolumeSnapshotSpec>(&snapshot.metadata.name, "InvalidSnapshot.InUse").await?;
    Ok(super::done())
}

async fn attribute(c: &Context) -> Answer {
    let snapshot = c.named::<VolumeSnapshotSpec>("SnapshotId").await?;
    let name = match c.params.require("Attribute")? {
        "createVolumePermission" => "createVolumePermission",
        "productCodes" => "productCodes",
        other => return Err(c.params.invalid("Attribute", other, "is no attribute of a snapshot")),
    };
    let mut x = Xml::new();
    x.text("snapshotId", ids::id(&snapshot)).list(name, std::iter::empty::<()>(), |_, ()| {});
    Ok(x)
}

/// Nobody else may use a snapshot, so there is nothing to take; and to the own account all is given.
async fn modify(c: &Context) -> Answer {
    c.named::<VolumeSnapshotSpec>("SnapshotId").await?;
    let params = &c.params;
    let added = params.below("CreateVolumePermission").structs("Add");
    let adds = params.text("OperationType").eq_ignore_ascii_case("add");
    let others = added.iter().map(|entry| entry.get("Group").unwrap_or(entry.text("UserId")).to_owned());
    let older = params.list("UserGroup").into_iter().chain(params.list("UserId")).filter(|_| adds);
    if let Some(other) = others.chain(older).find(|who| *who != c.account()) {
        let other: String = other.chars().take(80).collect();
        let message = format!("Snapshots of this cloud are their project's alone: {other} cannot be let in");
        return Err(Failure::unsupported(message));
    }
    let asked = ["CreateVolumePermission", "OperationType"].iter().any(|name| params.has(name));
    if asked { Ok(super::done()) } else { Err(Failure::missing("CreateVolumePermission")) }
}

async fn reset(c: &Context) -> Answer {
    c.named::<VolumeSnapshotSpec>("SnapshotId").await?;
    match c.params.require("Attribute")? {
        "createVolumePermission" => Ok(super::done()),
        other => Err(c.params.invalid("Attribute", other, "cannot be reset")),
    }
}

//! Disks that are brought in: images and snapshots of what lies in a bucket or at an address. A task is nothing but the
//! image or the snapshot that it makes, looked at in another way.

use std::collections::BTreeMap;

use client::DeleteOptions;
use identity::iam::Resource;
use model::compute::{Image, ImageFormat, ImagePhase, ImageSource, ImageSpec};
use model::storage::{BucketSpec, VolumeSnapshot, VolumeSnapshotSpec};
use model::{ConditionStatus, Object, ObjectMeta, OwnerReference};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::images::NAME;
use super::places::architecture;
use super::registered::{ROOT_DEVICE, Registered, one_of};
use super::shown::DESCRIPTION;
use super::world::HELPS;
use crate::actions::{Action, Answer};
use crate::authorize;
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// On images and snapshots that are brought in: what was asked for, as a JSON object.
const IMPORT: &str = "aws.corten.dev/import";
/// Formats by the words of EC2, and those that have the same meaning here.
const FORMATS: [(&str, ImageFormat); 6] = [
    ("raw", ImageFormat::Raw),
    ("vmdk", ImageFormat::Vmdk),
    ("vhd", ImageFormat::Vhd),
    ("vhdx", ImageFormat::Vhdx),
    ("ova", ImageFormat::Ova),
    ("qcow2", ImageFormat::Qcow2),
];

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "ImportImage",
        &[
            "Architecture",
            "BootMode",
            "ClientToken",
            "Description",
            "DiskContainer",
            "Encrypted",
            "LicenseType",
            "Platform",
            "RoleName",
            "TagSpecification",
        ],
        |c| Box::pin(image(c)),
    )
    .noting(
        "One disk, of format RAW, VMDK, VHD, VHDX, OVA (with one disk) or QCOW2: in a bucket of the account, at an http(s) address, or a snapshot. The \
         caller's own rights are asked for, no role's. The task is the image: a cancelled one is gone.",
    ),
    Action::ec2(
        "ImportSnapshot",
        &["ClientToken", "Description", "DiskContainer", "Encrypted", "RoleName", "TagSpecification"],
        |c| Box::pin(snapshot(c)),
    ),
    Action::ec2("DescribeImportImageTasks", &["Filters", "MaxResults", "NextToken", "ImportTaskId"], |c| {
        Box::pin(image_tasks(c))
    })
    .noting("What has arrived so far is the DiskImageSize."),
    Action::ec2("DescribeImportSnapshotTasks", &["Filters", "MaxResults", "NextToken", "ImportTaskId"], |c| {
        Box::pin(snapshot_tasks(c))
    }),
    Action::ec2("CancelImportTask", &["ImportTaskId", "CancelReason"], |c| Box::pin(cancel(c))),
];

/// What was asked for, where no field of the object says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    disk: String,
    format: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    bucket: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    license: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    platform: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: Tags,
}

impl Asked {
    fn of(meta: &ObjectMeta) -> Option<Self> {
        serde_json::from_str(meta.annotations.get(IMPORT)?).ok()
    }
}

/// How far it is.
struct Task {
    id: String,
    asked: Asked,
    /// Of the image or the snapshot.
    made: String,
    status: &'static str,
    message: String,
    arrived: u64,
    boot_mode: String,
    device: String,
}

impl Task {
    fn of_image(image: &Image) -> Option<Self> {
        let asked = Asked::of(&image.metadata)?;
        if image.metadata.annotations.contains_key(HELPS) {
            return None;
        }
        let registered = Registered::of(image).unwrap_or_default();
        let (status, message) = progress(image);
        Some(Self {
            id: ids::derived("import-ami", &image.metadata, "ami"),
            made: ids::id(image),
            // EC2 takes away what could not be made; here it stays to be looked at.
            status: if status == "error" { "deleted" } else { status },
            message,
            arrived: image.status.received.0.max(image.status.size().0),
            device: registered.root().to_owned(),
            boot_mode: registered.boot_mode,
            asked,
        })
    }

    fn of_snapshot(images: &[Image], snapshot: &VolumeSnapshot) -> Option<Self> {
        let asked = Asked::of(&snapshot.metadata)?;
        let image = ids::find(images, &snapshot.spec.image);
        let (status, message) = match image {
            _ if snapshot.status.ready => ("completed", String::new()),
            Some(image) => match progress(image) {
                ("completed", _) => ("active", "converted: the snapshot is being made".into()),
                other => other,
            },
            None => ("active", "pending".into()),
        };
        Some(Self {
            id: ids::derived("import-snap", &snapshot.metadata, "snap"),
            made: ids::id(snapshot),
            status,
            message,
            arrived: image.map_or(0, |image| image.status.received.0.max(image.status.size().0)),
            device: String::new(),
            boot_mode: String::new(),
            asked,
        })
    }

    fn write_place(&self, x: &mut Xml) {
        x.given("description", &self.asked.disk).text("format", self.asked.format.to_uppercase());
        #[allow(
            clippy::cast_precision_loss,
            reason = "the description of EC2 has a floating point number here"
        )]
        if self.arrived > 0 {
            x.text("diskImageSize", format!("{:.1}", self.arrived as f64));
        }
        x.given("url", &self.asked.url);
        if !self.asked.bucket.is_empty() {
            x.node("userBucket", |x| {
                x.text("s3Bucket", &self.asked.bucket).text("s3Key", &self.asked.key);
            });
        }
    }

    fn is_done(&self) -> bool {
        self.status == "completed"
    }
}

/// Status and message of what is made of an image.
fn progress(image: &Image) -> (&'static str, String) {
    let said = || {
        let conditions = image.status.conditions.iter();
        let wrong = |c: &&model::Condition| c.status == ConditionStatus::False && !c.message.is_empty();
        conditions.rev().find(wrong).map(|c| c.message.clone()).unwrap_or_default()
    };
    match image.status.phase {
        ImagePhase::Ready => ("completed", String::new()),
        ImagePhase::Failed => ("error", format!("ClientError: {}", said())),
        ImagePhase::Pending => ("active", "pending".into()),
        ImagePhase::Importing if image.status.received.0 > 0 => {
            ("active", format!("downloading: {} bytes have arrived", image.status.received.0))
        }
        ImagePhase::Importing => ("active", "converting".into()),
    }
}

/// A task of an image as it is listed.
struct ImageTask(Task);
/// A task of a snapshot as it is listed.
struct SnapshotTask(Task);

impl Item for ImageTask {
    const FILTERS: &'static [&'static str] = &["task-state"];

    fn id(&self) -> &str {
        &self.0.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.0.asked.tags)
    }
    fn facts(&self, _: &str) -> Vec<String> {
        vec![self.0.status.into()]
    }
    fn write(&self, x: &mut Xml) {
        let task = &self.0;
        x.text("importTaskId", &task.id)
            .text("architecture", architecture())
            .given("description", &task.asked.description)
            .text("encrypted", false)
            .given("licenseType", &task.asked.license)
            .given("platform", &task.asked.platform)
            .text("status", task.status)
            .given("statusMessage", &task.message);
        if task.is_done() {
            x.text("imageId", &task.made).text("progress", 100);
        }
        x.list("snapshotDetailSet", [task], |x, task| {
            x.text("deviceName", &task.device)
                .text("status", task.status)
                .given("statusMessage", &task.message);
            task.write_place(x);
        })
        .given("bootMode", &task.boot_mode);
        tags::write(x, &task.asked.tags);
    }
}

impl Item for SnapshotTask {
    const FILTERS: &'static [&'static str] = &["task-state"];

    fn id(&self) -> &str {
        &self.0.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.0.asked.tags)
    }
    fn facts(&self, _: &str) -> Vec<String> {
        vec![self.0.status.into()]
    }
    fn write(&self, x: &mut Xml) {
        let task = &self.0;
        x.text("importTaskId", &task.id).given("description", &task.asked.description).node(
            "snapshotTaskDetail",
            |x| {
                x.text("status", task.status).given("statusMessage", &task.message).text("encrypted", false);
                if task.is_done() {
                    x.text("progress", 100);
                }
                x.text("snapshotId", &task.made);
                task.write_place(x);
            },
        );
        tags::write(x, &task.asked.tags);
    }
}

fn none(id: &str) -> Failure {
    let id: String = id.chars().take(80).collect();
    Failure::new("InvalidConversionTaskId.Malformed", format!("Tasks {id} not found."))
}

/// The filters of these calls have a name of their own.
fn listed(c: &Context) -> Params {
    let renamed = c.params.clone().into_values().into_iter().map(|(name, value)| {
        let name = name.strip_prefix("Filters.").map_or(name.clone(), |rest| format!("Filter.{rest}"));
        (name, value)
    });
    Params::of(renamed.collect())
}

async fn image_tasks(c: &Context) -> Answer {
    let images = c.list::<ImageSpec>().await?;
    let tasks = images.iter().filter_map(Task::of_image).map(ImageTask).collect();
    let ids = Ids { parameter: "ImportTaskId", none };
    Ok(answer("importImageTaskSet", &select(&listed(c), &ids, tasks)?))
}

async fn snapshot_tasks(c: &Context) -> Answer {
    let images = c.list_if_allowed::<ImageSpec>().await?;
    let snapshots = c.list::<VolumeSnapshotSpec>().await?;
    let snapshots = snapshots.iter().filter(|snapshot| !snapshot.metadata.is_deleting());
    let tasks = snapshots.filter_map(|snapshot| Task::of_snapshot(&images, snapshot)).map(SnapshotTask);
    let ids = Ids { parameter: "ImportTaskId", none };
    Ok(answer("importSnapshotTaskSet", &select(&listed(c), &ids, tasks.collect())?))
}

/// Where a disk lies, and in which format.
async fn place(c: &Context, disk: &Params) -> Result<(ImageFormat, ImageSource, Asked), Failure> {
    let (url, bucket) = (disk.get("Url"), disk.below("UserBucket"));
    let mut asked = Asked {
        description: c.params.text("Description").to_owned(),
        disk: disk.text("Description").to_owned(),
        url: url.unwrap_or("").to_owned(),
        ..Asked::default()
    };
    let mut source = ImageSource::default();
    let of_snapshot = disk.get("SnapshotId");
    match (url.map(|url| url.strip_prefix("s3://").ok_or(url)), bucket.is_empty(), of_snapshot) {
        (Some(Err(url)), true, None) => url.clone_into(&mut source.url),
        (Some(Ok(place)), true, None) => {
            let (bucket, key) = place.split_once('/').unwrap_or((place, ""));
            (source.bucket, source.key) = (bucket.to_owned(), key.to_owned());
        }
        (None, false, None) => {
            source.bucket = bucket.require("S3Bucket")?.to_owned();
            source.key = bucket.require("S3Key")?.to_owned();
        }
        (None, true, Some(id)) => source.snapshot = c.find::<VolumeSnapshotSpec>(id).await?.metadata.name,
        (None, true, None) => {
            let message =
                "The request must contain the parameter Url, UserBucket or SnapshotId of a disk container";
            return Err(Failure::new("MissingParameter", message));
        }
        _ => {
            let message = "Url, UserBucket and SnapshotId of a disk container exclude each other";
            return Err(Failure::new("InvalidParameterCombination", message));
        }
    }
    if !source.bucket.is_empty() {
        may_read(c, &source.bucket, &source.key).await?;
    }
    let place = if source.key.is_empty() { &source.url } else { &source.key };
    let format = match disk.get("Format").map(str::to_ascii_lowercase) {
        _ if of_snapshot.is_some() => ImageFormat::Qcow2,
        Some(given) => known(&given).ok_or_else(|| {
            disk.invalid("Format", &given, "must be RAW, VMDK, VHD, VHDX, OVA or QCOW2 in this cloud")
        })?,
        None => known(place.rsplit('.').next().unwrap_or("")).ok_or_else(|| Failure::missing("Format"))?,
    };
    (asked.bucket, asked.key) = (source.bucket.clone(), source.key.clone());
    format.as_str().clone_into(&mut asked.format);
    Ok((format, source, asked))
}

fn known(word: &str) -> Option<ImageFormat> {
    FORMATS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, format)| *format)
}

/// A bucket is the account's, and what lies in it is the caller's to read.
async fn may_read(c: &Context, bucket: &str, key: &str) -> Result<(), Failure> {
    let found = c.api::<BucketSpec>().find(bucket).await?;
    if found.is_none() {
        let bucket: String = bucket.chars().take(80).collect();
        return Err(Failure::new("InvalidParameter", format!("S3 bucket does not exist: {bucket}")));
    }
    authorize::also(c, "s3:GetObject", Resource::One(format!("arn:aws:s3:::{bucket}/{key}"))).await
}

fn check_options(c: &Context) -> Result<(), Failure> {
    super::image_keeping::refuse_encryption(&c.params)?;
    if c.params.get("Architecture").is_some_and(|a| a != architecture()) {
        return Err(Failure::unsupported(format!("Hosts of this cloud are {}", architecture())));
    }
    Ok(())
}

async fn image(c: &Context) -> Answer {
    check_options(c)?;
    let disks = c.params.structs("DiskContainer");
    let disk = match disks.as_slice() {
        [one] => one,
        [] => return Err(Failure::missing("DiskContainer")),
        _ => return Err(Failure::unsupported("An image is imported with one disk in this cloud")),
    };
    let known = ["Description", "DeviceName", "Format", "SnapshotId", "Url", "UserBucket"];
    if let Some(other) = disk.unknown(&known).next() {
        return Err(Failure::unsupported(format!("DiskContainer.N.{other} is not supported in this cloud")));
    }
    let (format, source, mut asked) = place(c, disk).await?;
    asked.tags = tags::for_new(&c.params, "import-image-task")?;
    asked.license = one_of(&c.params, "LicenseType", &["BYOL"])?;
    asked.platform = one_of(&c.params, "Platform", &["Linux", "Windows"])?;
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("ami", 0));
    let id = ids::derived("import-ami", &meta, "ami");
    meta.annotations.insert(NAME.into(), id);
    meta.annotations.insert(IMPORT.into(), json!(asked).to_string());
    let mut registered = Registered {
        boot_mode: one_of(&c.params, "BootMode", super::registered::BOOT_MODES)?,
        ..Registered::default()
    };
    let device = disk.get("DeviceName").unwrap_or(ROOT_DEVICE);
    super::attachments::check_device(device)?;
    registered.devices.push(super::registered::Device { device: device.into(), ..Default::default() });
    registered.put(&mut meta);
    let spec = ImageSpec { format, source, description: asked.description, ..ImageSpec::default() };
    let made = c.create(Object::new(meta, spec)).await?;
    let mut x = Xml::new();
    if let Some(task) = Task::of_image(&made) {
        // What is answered first has no boot mode yet, as with EC2.
        ImageTask(Task { boot_mode: String::new(), ..task }).write(&mut x);
    }
    Ok(x)
}

async fn snapshot(c: &Context) -> Answer {
    check_options(c)?;
    let disk = c.params.below("DiskContainer");
    if let Some(other) = disk.unknown(&["Description", "Format", "Url", "UserBucket"]).next() {
        return Err(Failure::unsupported(format!("DiskContainer.{other} is not supported in this cloud")));
    }
    let (format, source, mut asked) = place(c, &disk).await?;
    asked.tags = tags::for_new(&c.params, "import-snapshot-task")?;
    let image = c.new_id("ami", 0);
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("snap", 0));
    meta.annotations.insert(IMPORT.into(), json!(asked).to_string());
    if !asked.description.is_empty() {
        meta.annotations.insert(DESCRIPTION.into(), asked.description.clone());
    }
    let spec = VolumeSnapshotSpec { image: image.clone(), ..VolumeSnapshotSpec::default() };
    let made = c.create(Object::new(meta, spec)).await?;
    // The snapshot comes first: the image goes with it, and is never seen without it.
    let mut meta = ObjectMeta::in_project(c.project(), image);
    meta.annotations.insert(HELPS.into(), ids::id(&made));
    meta.owner_references.push(OwnerReference {
        api_version: made.api_version.clone(),
        kind: made.kind.clone(),
        name: made.metadata.name.clone(),
        uid: made.metadata.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    });
    let spec = ImageSpec { format, source, ..ImageSpec::default() };
    let helper = match c.create(Object::new(meta, spec)).await {
        Ok(helper) => helper,
        Err(e) => {
            let deleted =
                c.api::<VolumeSnapshotSpec>().delete(&made.metadata.name, &DeleteOptions::default()).await;
            if let Err(e) = deleted {
                tracing::warn!(snapshot = made.metadata.name, error = %e, "a snapshot was not taken back");
            }
            return Err(e);
        }
    };
    let mut x = Xml::new();
    if let Some(task) = Task::of_snapshot(&[helper], &made) {
        SnapshotTask(task).write(&mut x);
    }
    Ok(x)
}

async fn cancel(c: &Context) -> Answer {
    let id = c.params.require("ImportTaskId")?;
    let (before, done) = if let Some(digits) = id.strip_prefix("import-ami-") {
        let image = c.find::<ImageSpec>(&format!("ami-{digits}")).await.map_err(|_| none(id))?;
        let task = Task::of_image(&image).ok_or_else(|| none(id))?;
        if !task.is_done() {
            c.delete::<ImageSpec>(&image.metadata.name, "IncorrectState").await?;
        }
        (task.status, task.is_done())
    } else if let Some(digits) = id.strip_prefix("import-snap-") {
        let snapshot = c.find::<VolumeSnapshotSpec>(&format!("snap-{digits}")).await.map_err(|_| none(id))?;
        let images = c.list_if_allowed::<ImageSpec>().await?;
        let task = Task::of_snapshot(&images, &snapshot).ok_or_else(|| none(id))?;
        if !task.is_done() {
            c.delete::<VolumeSnapshotSpec>(&snapshot.metadata.name, "IncorrectState").await?;
        }
        (task.status, task.is_done())
    } else {
        return Err(none(id));
    };
    if done {
        return Err(Failure::new(
            "IncorrectState",
            format!("The task {id} is completed: it cannot be cancelled"),
        ));
    }
    let mut x = Xml::new();
    x.text("importTaskId", id).text("previousState", before).text("state", "deleting");
    Ok(x)
}

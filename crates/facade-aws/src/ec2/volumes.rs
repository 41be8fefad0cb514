//! Volumes: made, shown, deleted. How they come into instances is in `attachments`.

use std::collections::BTreeMap;

use futures::try_join;
use model::compute::{Instance, InstanceSpec};
use model::storage::{
    DEFAULT_POOL, PoolSpec, Volume, VolumeLimits, VolumePhase, VolumeSnapshot, VolumeSnapshotSpec,
    VolumeSource, VolumeSpec,
};
use model::topology::{HostSpec, ZoneSpec};
use model::{Bytes, Object, ObjectMeta};

use super::attachments::{Attached, attached};
use super::world::{zone_name, zone_of};
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// On volumes: the zone that was asked for, until a host of one keeps it.
const ZONE: &str = "aws.corten.dev/zone";
/// On volumes: which of EC2's types was asked for.
pub(crate) const VOLUME_TYPE: &str = "aws.corten.dev/volume-type";
/// EC2's own types. Here they differ in nothing but the limits that may be given.
pub(crate) const TYPES: [&str; 7] = ["gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"];
/// What a volume is called when nothing was said, as in EC2.
pub(crate) const TYPE_UNSAID: &str = "gp2";
const GIBIBYTE: u64 = 1 << 30;
const MEBIBYTE: u64 = 1 << 20;
/// Largest volume in GiB.
const SIZE_MAX: i64 = 16_384;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreateVolume",
        &[
            "AvailabilityZone",
            "AvailabilityZoneId",
            "Size",
            "SnapshotId",
            "VolumeType",
            "Iops",
            "Throughput",
            "Encrypted",
            "MultiAttachEnabled",
            "ClientToken",
            "TagSpecification",
        ],
        |c| Box::pin(create(c)),
    )
    .noting(
        "VolumeType names a Pool, or one of AWS's types, which are all kept in the pool `default` and limited by \
         Iops and Throughput alone. Each encrypted volume has a key of its own, which the cloud's master key seals; the volume \
         of a snapshot is encrypted if that is. The guest finds the disk by its serial number, not by its device name.",
    ),
    Action::ec2("DeleteVolume", &["VolumeId"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeVolumes", describe!["VolumeId"], |c| Box::pin(describe(c)))
        .noting("One that waits for its first attachment to be made is available."),
];

pub(crate) const IDS: Ids = Ids { parameter: "VolumeId", none: ids::none::<VolumeSpec> };

/// What volumes are shown with.
pub(crate) struct Storage {
    pub(crate) volumes: Vec<Volume>,
    pub(crate) snapshots: Vec<VolumeSnapshot>,
    pub(crate) instances: Vec<Instance>,
    /// Zones of hosts, as far as the caller may see them.
    zones: BTreeMap<String, String>,
}

impl Storage {
    pub(crate) async fn load(c: &Context) -> Result<Self, Failure> {
        let (volumes, snapshots, instances, hosts) = try_join!(
            c.list::<VolumeSpec>(),
            c.list_if_allowed::<VolumeSnapshotSpec>(),
            c.list_if_allowed::<InstanceSpec>(),
            c.list_if_allowed::<HostSpec>(),
        )?;
        let zones = hosts.into_iter().map(|host| (host.metadata.name, host.spec.zone)).collect();
        Ok(Self { volumes, snapshots, instances, zones })
    }

    /// The zone of a volume: that of the host which keeps it, else the one that it was asked for in.
    pub(crate) fn zone(&self, volume: &Volume) -> String {
        let asked = || volume.metadata.annotations.get(ZONE).map_or("", String::as_str);
        self.zones.get(volume.home()).map_or_else(asked, String::as_str).to_owned()
    }

    /// The zone of the host that runs an instance, else the one that it was asked for in.
    pub(crate) fn zone_of_instance(&self, instance: &Instance) -> String {
        let asked = instance.spec.placement.zone.as_str();
        self.zones.get(&instance.status.host).map_or(asked, String::as_str).to_owned()
    }

    /// The size of a snapshot: until it is taken, that of its volume.
    pub(crate) fn size_of(&self, snapshot: &VolumeSnapshot) -> Bytes {
        let volume =
            || ids::find(&self.volumes, &snapshot.spec.volume).map(|v| v.spec.size.max(v.status.size));
        Some(snapshot.status.size).filter(|size| !size.is_zero()).or_else(volume).unwrap_or_default()
    }

    /// The host that keeps a snapshot, where that is known.
    fn host_of(&self, snapshot: &VolumeSnapshot) -> String {
        if !snapshot.status.host.is_empty() {
            return snapshot.status.host.clone();
        }
        ids::find(&self.volumes, &snapshot.spec.volume).map_or(String::new(), |v| v.home().to_owned())
    }
}

/// A volume with what belongs to it.
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) size: u64,
    pub(crate) snapshot_id: String,
    pub(crate) zone: String,
    pub(crate) state: &'static str,
    pub(crate) created_at: String,
    pub(crate) sort: String,
    pub(crate) limits: VolumeLimits,
    pub(crate) is_encrypted: bool,
    pub(crate) attached: Option<Attached>,
    pub(crate) tags: Tags,
}

impl Shown {
    pub(crate) fn of(storage: &Storage, volume: &Volume) -> Self {
        let attached = attached(&storage.instances, volume);
        let snapshot = &volume.spec.source.snapshot;
        Self {
            id: ids::id(volume),
            size: gibibytes(volume.spec.size.max(volume.status.size)),
            // One that is gone is called as it was.
            snapshot_id: match ids::find(&storage.snapshots, snapshot) {
                Some(found) => ids::id(found),
                None if ids::is_id("snap", snapshot) => snapshot.clone(),
                None => String::new(),
            },
            zone: zone_name(&storage.zone(volume)),
            state: state(volume, attached.is_some()),
            created_at: super::created_at(&volume.metadata),
            sort: sort(volume).to_owned(),
            limits: volume.spec.limits,
            is_encrypted: volume.spec.encrypted,
            attached,
            tags: tags::of(&volume.metadata),
        }
    }
}

/// EC2's word for how a volume is.
fn state(volume: &Volume, is_attached: bool) -> &'static str {
    match volume.status.phase {
        _ if volume.metadata.is_deleting() => "deleting",
        _ if is_attached => "in-use",
        VolumePhase::Failed => "error",
        // Its first attachment chooses the host that makes it: it can be attached.
        VolumePhase::Pending if !volume.home().is_empty() => "creating",
        VolumePhase::Pending | VolumePhase::Available | VolumePhase::InUse => "available",
    }
}

/// What a volume is called in the words of EC2's types.
pub(crate) fn sort(volume: &Volume) -> &str {
    let pool = Some(volume.spec.pool.as_str()).filter(|pool| !pool.is_empty() && *pool != DEFAULT_POOL);
    let asked = || volume.metadata.annotations.get(VOLUME_TYPE).map(String::as_str);
    pool.or_else(asked).unwrap_or(TYPE_UNSAID)
}

pub(crate) fn gibibytes(size: Bytes) -> u64 {
    size.0.div_ceil(GIBIBYTE)
}

/// The limit of reads and writes, and that of MiB per second, where there are such.
pub(crate) fn write_limits(x: &mut Xml, limits: VolumeLimits, iops: &str, throughput: &str) {
    if limits.iops > 0 {
        x.text(iops, limits.iops);
    }
    if limits.bytes_per_second > 0 {
        x.text(throughput, limits.bytes_per_second.div_ceil(MEBIBYTE));
    }
}

impl Item for Shown {
    const FILTERS: &'static [&'static str] = &[
        "volume-id",
        "size",
        "status",
        "snapshot-id",
        "availability-zone",
        "availability-zone-id",
        "volume-type",
        "encrypted",
        "multi-attach-enabled",
        "fast-restored",
        "create-time",
        "attachment.instance-id",
        "attachment.device",
        "attachment.status",
        "attachment.attach-time",
        "attachment.delete-on-termination",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        let of = |fact: fn(&Attached) -> String| self.attached.iter().map(fact).collect();
        vec![match filter {
            "volume-id" => self.id.clone(),
            "size" => self.size.to_string(),
            "status" => self.state.into(),
            "snapshot-id" => self.snapshot_id.clone(),
            "availability-zone" | "availability-zone-id" => self.zone.clone(),
            "volume-type" => self.sort.clone(),
            "create-time" => self.created_at.clone(),
            "attachment.instance-id" => return of(|a| a.instance_id.clone()),
            "attachment.device" => return of(|a| a.device.clone()),
            "attachment.status" => return of(|a| a.state.into()),
            "attachment.attach-time" => return of(|a| a.at.clone()),
            "attachment.delete-on-termination" => return of(|a| super::word(a.goes_along)),
            "encrypted" => super::word(self.is_encrypted),
            _ => super::word(false),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("volumeId", &self.id)
            .text("size", self.size)
            .text("snapshotId", &self.snapshot_id)
            .text("availabilityZone", &self.zone)
            .text("status", self.state)
            .given("createTime", &self.created_at)
            .list("attachmentSet", &self.attached, |x, attached| attached.write(x, &self.id))
            .text("volumeType", &self.sort)
            .text("encrypted", self.is_encrypted)
            .text("multiAttachEnabled", false);
        write_limits(x, self.limits, "iops", "throughput");
        tags::write(x, &self.tags);
    }
}

async fn describe(c: &Context) -> Answer {
    let storage = Storage::load(c).await?;
    let shown = storage.volumes.iter().map(|volume| Shown::of(&storage, volume)).collect();
    Ok(answer("volumeSet", &select(&c.params, &IDS, shown)?))
}

async fn create(c: &Context) -> Answer {
    let params = &c.params;
    let zone = match params.get("AvailabilityZone").or_else(|| params.get("AvailabilityZoneId")) {
        None => return Err(Failure::missing("AvailabilityZone")),
        Some(name) => zone_named(c, name).await?,
    };
    if params.flag("MultiAttachEnabled")? == Some(true) {
        return Err(Failure::unsupported("A volume is attached to one instance at a time in this cloud"));
    }
    let storage = Storage::load(c).await?;
    let Wish { spec, asked_type } = wish(c, params, &storage, &zone).await?;
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("vol", 0));
    note(&mut meta, &zone, asked_type.as_deref());
    tags::give(&mut meta, tags::for_new(params, "volume")?);
    let made = c.create(Object::new(meta, spec)).await.map_err(too_large)?;
    let mut x = Xml::new();
    Shown::of(&storage, &made).write(&mut x);
    Ok(x)
}

/// A quota of disk has a code of its own.
pub(crate) fn too_large(e: Failure) -> Failure {
    if e.code == "InstanceLimitExceeded" { Failure::new("VolumeLimitExceeded", e.message) } else { e }
}

/// Writes down what the object has no field for.
pub(crate) fn note(meta: &mut ObjectMeta, zone: &str, asked_type: Option<&str>) {
    if !zone.is_empty() {
        meta.annotations.insert(ZONE.into(), zone.into());
    }
    if let Some(sort) = asked_type {
        meta.annotations.insert(VOLUME_TYPE.into(), sort.into());
    }
}

/// The zone of this name in EC2, where there is one.
async fn zone_named(c: &Context, name: &str) -> Result<String, Failure> {
    let zone = zone_of(name)?;
    if !c.list::<ZoneSpec>().await?.iter().any(|known| known.metadata.name == zone) {
        let message = format!("The zone '{name}' does not exist.");
        return Err(Failure::new("InvalidZone.NotFound", message));
    }
    Ok(zone.to_owned())
}

/// A volume as it is wanted, and which of EC2's types was named.
pub(crate) struct Wish {
    pub(crate) spec: VolumeSpec,
    pub(crate) asked_type: Option<String>,
}

/// What a request or a block device mapping says of a volume that is to be made in a zone, empty for any.
pub(crate) async fn wish(
    c: &Context,
    given: &Params,
    storage: &Storage,
    zone: &str,
) -> Result<Wish, Failure> {
    let AskedSort { pool, is_shared, asked_type } = asked_sort(c, given).await?;
    let encrypted = given.flag("Encrypted")? == Some(true);
    let mut spec = VolumeSpec { pool, limits: limits(given)?, encrypted, ..VolumeSpec::default() };
    let size = size(given)?;
    spec.size = size.unwrap_or_default();
    let mut host = String::new();
    match given.get("SnapshotId") {
        Some(id) => {
            let snapshot = ids::by_id(&storage.snapshots, id)?;
            let least = storage.size_of(snapshot);
            if spec.size < least && size.is_some() {
                let message = format!(
                    "The size of a volume cannot be less than the size of its snapshot, which is {} GiB",
                    gibibytes(least)
                );
                return Err(Failure::value(message));
            }
            spec.size = spec.size.max(least);
            spec.source =
                VolumeSource { snapshot: snapshot.metadata.name.clone(), ..VolumeSource::default() };
            host = storage.host_of(snapshot);
        }
        None if size.is_none() => {
            return Err(Failure::new(
                "MissingParameter",
                "The request must contain the parameter size or snapshotId",
            ));
        }
        None => {}
    }
    if !is_shared {
        place(&mut spec, storage, zone, &host)?;
    }
    Ok(Wish { spec, asked_type })
}

/// The size that is asked for.
pub(crate) fn size(given: &Params) -> Result<Option<Bytes>, Failure> {
    let Some(size) = given.number("Size")?.or(given.number("VolumeSize")?) else { return Ok(None) };
    let fits = u64::try_from(size).ok().filter(|_| (1..=SIZE_MAX).contains(&size));
    let fits = fits
        .ok_or_else(|| given.invalid("Size", &size.to_string(), &format!("must be 1 to {SIZE_MAX} GiB")))?;
    Ok(Some(Bytes::gib(fits)))
}

/// Puts a volume on the only host of its zone; on that of its snapshot it is anyway.
fn place(spec: &mut VolumeSpec, storage: &Storage, zone: &str, host: &str) -> Result<(), Failure> {
    if zone.is_empty() {
        return Ok(());
    }
    if let Some(other) = storage.zones.get(host).filter(|other| *other != zone) {
        let message = format!("The snapshot is kept in {}: make the volume there", zone_name(other));
        return Err(Failure::unsupported(message));
    }
    let mut own = storage.zones.iter().filter(|(_, of)| *of == zone).map(|(name, _)| name);
    match (own.next(), own.next()) {
        (None, _) if !storage.zones.is_empty() => {
            let message = format!("No host of {} keeps volumes", zone_name(zone));
            Err(Failure::new("InsufficientVolumeCapacity", message))
        }
        (Some(only), None) if host.is_empty() => {
            spec.host.clone_from(only);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What a volume's type says.
#[derive(Debug, Default)]
pub(crate) struct AskedSort {
    pub(crate) pool: String,
    /// Hosts share the pool: a volume in it is on none more than on another.
    pub(crate) is_shared: bool,
    /// One of EC2's types was named.
    pub(crate) asked_type: Option<String>,
}

/// The pool of a volume, or which of EC2's types was named.
pub(crate) async fn asked_sort(c: &Context, given: &Params) -> Result<AskedSort, Failure> {
    let Some(sort) = given.get("VolumeType") else { return Ok(AskedSort::default()) };
    let pools = c.list_if_allowed::<PoolSpec>().await?;
    if let Some(pool) = pools.iter().find(|pool| pool.metadata.name == sort) {
        let is_shared = pool.spec.is_shared();
        return Ok(AskedSort { pool: sort.to_owned(), is_shared, asked_type: None });
    }
    if TYPES.contains(&sort) {
        return Ok(AskedSort { asked_type: Some(sort.to_owned()), ..AskedSort::default() });
    }
    let sort: String = sort.chars().take(80).collect();
    let message = format!("Unsupported volume type '{sort}': it is no pool of this cloud and no type of AWS");
    Err(Failure::new("UnknownVolumeType", message))
}

/// The limits that are given. As in EC2 they belong to some types alone.
pub(crate) fn limits(given: &Params) -> Result<VolumeLimits, Failure> {
    let positive = |name: &str| match given.number(name)? {
        None => Ok(0),
        Some(number) => u64::try_from(number)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| given.invalid(name, &number.to_string(), "must be more than 0")),
    };
    let (iops, throughput) = (positive("Iops")?, positive("Throughput")?);
    let sort = given.get("VolumeType").unwrap_or(TYPE_UNSAID);
    let refused = |name: &str| {
        let message = format!("The parameter {name} is not supported for {sort} volumes.");
        Err(Failure::new("InvalidParameterCombination", message))
    };
    let own = TYPES.contains(&sort);
    if iops > 0 && own && !["gp3", "io1", "io2"].contains(&sort) {
        return refused("iops");
    }
    if throughput > 0 && own && sort != "gp3" {
        return refused("throughput");
    }
    if iops == 0 && ["io1", "io2"].contains(&sort) {
        let message = "The request must contain the parameter iops for io1 and io2 volumes.";
        return Err(Failure::new("MissingParameter", message));
    }
    let bytes_per_second = throughput.checked_mul(MEBIBYTE);
    let bytes_per_second = bytes_per_second
        .ok_or_else(|| given.invalid("Throughput", &throughput.to_string(), "is too large"))?;
    Ok(VolumeLimits { iops, bytes_per_second })
}

async fn delete(c: &Context) -> Answer {
    let volume = c.named::<VolumeSpec>("VolumeId").await?;
    let in_use = "VolumeInUse";
    let instances = c.list_if_allowed::<InstanceSpec>().await?;
    if let Some(attached) = attached(&instances, &volume) {
        let message =
            format!("Volume {} is currently attached to {}", ids::id(&volume), attached.instance_id);
        return Err(Failure::new(in_use, message));
    }
    c.delete::<VolumeSpec>(&volume.metadata.name, in_use).await?;
    Ok(super::done())
}

//! `corten volume`: disks with a life of their own.

use std::time::Duration;

use client::ListParams;
use model::compute::{Instance, InstancePhase, InstanceVolume};
use model::storage::{Pool, Volume, VolumeLimits, VolumePhase, VolumeSource, VolumeSpec, WhenFull};
use model::{Bytes, ConditionStatus, ObjectMeta};
use serde_json::{Value, json};

use super::api::{Cloud, typed, write_options};
use super::get::Listing;
use super::kind::{self, Target};
use super::output::{self, Form};
use super::wait::{self, Verdict};
use super::{parse, rm};
use crate::failure::Failure;

/// How often a change is repeated when others change the instance at the same time.
const TRIES_MAX: u32 = 10;

/// Make disks, attach them to instances, and let them grow
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a volume: empty, or from an image, a snapshot, a backup or another volume
    Create(CreateArgs),
    /// List volumes
    Ls,
    /// Attach a volume to an instance, which may run
    Attach(AttachArgs),
    /// Take a volume out of its instance; returns when nothing of the instance can reach it
    Detach {
        #[arg(value_parser = parse::name)]
        name: String,
        /// How long to wait
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse::duration)]
        timeout: Duration,
    },
    /// Make a volume larger, also while it is used
    Grow {
        #[arg(value_parser = parse::name)]
        name: String,
        /// Its new size, as in 20Gi
        #[arg(value_parser = parse::bytes)]
        size: Bytes,
    },
    /// Take a detached volume back to one of its snapshots
    Revert {
        #[arg(value_parser = parse::name)]
        name: String,
        #[arg(value_parser = parse::name)]
        snapshot: String,
    },
    /// Delete volumes
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    #[arg(value_parser = parse::name)]
    name: String,
    /// Its size, as in 10Gi; that of its source when not given
    #[arg(long, value_parser = parse::bytes, required_unless_present_any = ["image", "snapshot", "from", "backup"])]
    size: Option<Bytes>,
    /// Make it from a disk image
    #[arg(long, value_parser = parse::name, conflicts_with_all = ["snapshot", "from", "backup"])]
    image: Option<String>,
    /// Make it from a snapshot
    #[arg(long, value_parser = parse::name, conflicts_with_all = ["from", "backup"])]
    snapshot: Option<String>,
    /// Make it from another volume, as that is now
    #[arg(long, value_name = "VOLUME", value_parser = parse::name)]
    from: Option<String>,
    /// Make it from a backup
    #[arg(long, value_parser = parse::name, conflicts_with = "from")]
    backup: Option<String>,
    /// The pool that keeps it
    #[arg(long, default_value = "default", value_parser = parse::name)]
    pool: String,
    /// The host that keeps it
    #[arg(long, value_parser = parse::name)]
    host: Option<String>,
    /// Most reads and writes per second
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    iops: u64,
    /// Most bytes read and written per second
    #[arg(long, value_name = "BYTES", value_parser = parse::bytes)]
    bandwidth: Option<Bytes>,
    /// What a guest's write does when the pool is full: the guest stands still until there is room, or gets an error
    #[arg(long, default_value = "pause", value_parser = parse::when_full())]
    when_full: WhenFull,
    /// Encrypt what is in it, under a key of its own; copies of an encrypted volume are encrypted anyway
    #[arg(long)]
    encrypted: bool,
    /// How long to wait until it is made
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse::duration)]
    timeout: Duration,
}

#[derive(Debug, clap::Args)]
struct AttachArgs {
    #[arg(value_parser = parse::name)]
    name: String,
    #[arg(value_parser = parse::name)]
    instance: String,
    /// For containers, which have to be stopped: the folder in which they see it
    #[arg(long, value_name = "PATH")]
    mount: Option<String>,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse::duration)]
    timeout: Duration,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create(args) => create(&cloud, args).await,
        Command::Ls => {
            let listing = Listing {
                cloud: &cloud,
                form: Form::Table,
                all_projects: false,
                params: ListParams::default(),
            };
            listing.all(&[kind::of::<Volume>()]).await
        }
        Command::Attach(args) => attach(&cloud, args).await,
        Command::Detach { name, timeout } => detach(&cloud, &name, timeout).await,
        Command::Grow { name, size } => grow(&cloud, &name, size).await,
        Command::Revert { name, snapshot } => revert(&cloud, &name, &snapshot).await,
        Command::Rm { names } => rm::run(cloud, rm::Args::of("volume", &names).waiting()).await,
    }
}

async fn create(cloud: &Cloud, args: CreateArgs) -> Result<(), Failure> {
    let source = VolumeSource {
        image: args.image.unwrap_or_default(),
        snapshot: args.snapshot.unwrap_or_default(),
        volume: args.from.unwrap_or_default(),
        backup: args.backup.unwrap_or_default(),
    };
    let spec = VolumeSpec {
        size: args.size.unwrap_or_default(),
        source,
        pool: args.pool,
        host: args.host.unwrap_or_default(),
        limits: VolumeLimits { iops: args.iops, bytes_per_second: args.bandwidth.unwrap_or_default().0 },
        when_full: args.when_full,
        encrypted: args.encrypted,
        ..VolumeSpec::default()
    };
    let volume = Volume::new(ObjectMeta::in_project(cloud.project(), &args.name), spec);
    let made = cloud.api::<Volume>().with(write_options(false)).create(&volume).await?;
    // With no host chosen it is made by its first attachment; what hosts share, by any of them.
    if !made.spec.host.is_empty() || is_shared(cloud, &made.spec.pool).await {
        let target = Target::new(kind::of::<Volume>(), &args.name)?;
        wait::until(cloud, target, args.timeout, "made", |volume| {
            judge(volume, |volume| volume.status.phase != VolumePhase::Pending)
        })
        .await?;
    }
    say(cloud, &args.name, "created")
}

/// Whether hosts share the pool, as far as the caller may know.
async fn is_shared(cloud: &Cloud, pool: &str) -> bool {
    let found = cloud.client.all::<Pool>().find(pool).await;
    found.ok().flatten().is_some_and(|pool| pool.spec.is_shared())
}

async fn attach(cloud: &Cloud, args: AttachArgs) -> Result<(), Failure> {
    // A sentence about the volume is better than one about a field of the instance.
    cloud.api::<Volume>().get(&args.name).await?;
    change(cloud, &args.instance, |volumes| {
        if !volumes.iter().any(|v| v.volume == args.name) {
            volumes.push(InstanceVolume {
                volume: args.name.clone(),
                mount: args.mount.clone().unwrap_or_default(),
                ..InstanceVolume::default()
            });
        }
    })
    .await?;
    settled(cloud, &args.instance, args.timeout).await?;
    say(cloud, &args.name, "attached")
}

async fn detach(cloud: &Cloud, name: &str, timeout: Duration) -> Result<(), Failure> {
    cloud.api::<Volume>().get(name).await?;
    let instances = cloud.api::<Instance>().list(&ListParams::default()).await?.items;
    let holder = instances.into_iter().find(|i| i.spec.has_volume(name));
    if let Some(holder) = holder {
        let instance = &holder.metadata.name;
        change(cloud, instance, |volumes| volumes.retain(|v| v.volume != name)).await?;
        if !holder.status.host.is_empty() {
            settled(cloud, instance, timeout).await?;
        }
    }
    let target = Target::new(kind::of::<Volume>(), name)?;
    wait::until(cloud, target, timeout, "detached", |volume| {
        judge(volume, |volume| volume.status.attachment.is_none())
    })
    .await?;
    say(cloud, name, "detached")
}

async fn grow(cloud: &Cloud, name: &str, size: Bytes) -> Result<(), Failure> {
    let target = Target::new(kind::of::<Volume>(), name)?;
    let changed: Volume = typed(&cloud.merge(target, &json!({ "spec": { "size": size } })).await?)?;
    if !changed.status.host.is_empty() {
        wait::until(cloud, target, Duration::from_secs(60), "grown", |volume| {
            judge(volume, |volume| volume.status.size >= size)
        })
        .await?;
    }
    say(cloud, name, "grown")
}

async fn revert(cloud: &Cloud, name: &str, snapshot: &str) -> Result<(), Failure> {
    let volume = cloud.api::<Volume>().get(name).await?;
    if let Some(attachment) = &volume.status.attachment {
        return Err(Failure::failed(format!(
            "volume {name:?} is attached to instance {:?}; detach it first",
            attachment.instance
        )));
    }
    let count = volume.spec.revert.map_or(0, |revert| revert.count) + 1;
    let target = Target::new(kind::of::<Volume>(), name)?;
    let patch = json!({ "spec": { "revert": { "snapshot": snapshot, "count": count } } });
    cloud.merge(target, &patch).await?;
    wait::until(cloud, target, Duration::from_secs(60), "taken back", |volume| {
        judge(volume, |volume| volume.status.reverts_done >= count)
    })
    .await?;
    say(cloud, name, "reverted")
}

/// Changes the volumes of an instance, whatever else changes at the same time.
async fn change(
    cloud: &Cloud,
    instance: &str,
    edit: impl Fn(&mut Vec<InstanceVolume>),
) -> Result<(), Failure> {
    let api = cloud.api::<Instance>().with(write_options(false));
    let mut tries = 1;
    loop {
        let mut found = api.get(instance).await?;
        edit(&mut found.spec.volumes);
        match api.update(&found).await {
            Err(e) if e.is_conflict() && tries < TRIES_MAX => tries += 1,
            result => return result.map(drop).map_err(Into::into),
        }
    }
}

/// Waits until the host has done what the instance's spec says of volumes.
async fn settled(cloud: &Cloud, instance: &str, timeout: Duration) -> Result<(), Failure> {
    let target = Target::new(kind::of::<Instance>(), instance)?;
    wait::until(cloud, target, timeout, "as wanted", |object| {
        let Some(object) = object else {
            return Ok(Verdict::Failed(Failure::not_found("the instance was deleted meanwhile")));
        };
        let instance: Instance = typed(object)?;
        let current = instance.status.observed_generation >= instance.metadata.generation;
        let condition = instance.status.conditions.iter().find(|c| c.kind == "VolumesAttached");
        let started = instance.status.phase == InstancePhase::Running;
        Ok(match condition {
            _ if !current => Verdict::Wait("waits for its host".into()),
            Some(c) if c.status == ConditionStatus::True => Verdict::Done,
            None if started && instance.spec.volumes.is_empty() => Verdict::Done,
            Some(c) => Verdict::Wait(c.message.clone()),
            None => Verdict::Wait(instance.status.phase.as_str().to_lowercase()),
        })
    })
    .await
}

fn judge(object: Option<&Value>, is_done: impl Fn(&Volume) -> bool) -> Result<Verdict, Failure> {
    let Some(object) = object else {
        return Ok(Verdict::Failed(Failure::not_found("the volume was deleted meanwhile")));
    };
    let volume: Volume = typed(object)?;
    let message = volume.status.conditions.iter().find(|c| c.kind == "Ready").map(|c| c.message.clone());
    let message = message.unwrap_or_default();
    if volume.status.phase == VolumePhase::Failed {
        return Ok(Verdict::Failed(Failure::failed(message)));
    }
    Ok(if is_done(&volume) { Verdict::Done } else { Verdict::Wait(message) })
}

fn say(cloud: &Cloud, name: &str, what: &str) -> Result<(), Failure> {
    if cloud.global.quiet {
        return Ok(());
    }
    output::print(&format!("{} {what}\n", kind::full_name(kind::of::<Volume>(), name)))
}

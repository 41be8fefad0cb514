//! `corten backup`: what was in volumes, kept away from their pools.

mod file;
mod plan;

use std::path::PathBuf;
use std::time::Duration;

use client::ListParams;
use model::storage::{
    BackupPhase, DEFAULT_POOL, Volume, VolumeBackup, VolumeBackupSpec, VolumePhase, VolumeSource, VolumeSpec,
};
use model::{Bytes, ObjectMeta};

use super::api::{Cloud, typed, write_options};
use super::get::Listing;
use super::kind::{self, Target};
use super::output::{self, Form};
use super::wait::{self, Verdict};
use super::{parse, rm};
use crate::failure::Failure;

/// Back volumes up, also while they are used, and make volumes of backups
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Back a volume up; only what changed since its last backup is read, where that is known
    Create(CreateArgs),
    /// List backups
    #[command(alias = "list")]
    Ls,
    /// Make a new volume of a backup
    Restore(RestoreArgs),
    /// Read a whole backup and compare everything with its digests
    Verify {
        #[arg(value_parser = parse::name)]
        name: String,
    },
    /// Write a whole backup to a file, which another cloud can import
    Export {
        #[arg(value_parser = parse::name)]
        name: String,
        /// The file; one that is there is replaced
        file: PathBuf,
    },
    /// Make a backup of a file that was exported
    Import(ImportArgs),
    /// Delete backups; others of the same volume stay whole
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
    /// Back volumes up again and again, and keep so many
    #[command(subcommand)]
    Plan(plan::Command),
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    #[arg(value_parser = parse::name)]
    name: String,
    /// The volume
    #[arg(long, value_parser = parse::name)]
    volume: String,
    /// The bucket that keeps it; the cloud's own store when not given
    #[arg(long)]
    bucket: Option<String>,
    /// Read the whole volume, whatever is known of it
    #[arg(long)]
    full: bool,
    /// How long to wait until it is made
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse::duration)]
    timeout: Duration,
}

#[derive(Debug, clap::Args)]
struct RestoreArgs {
    #[arg(value_parser = parse::name)]
    name: String,
    /// The volume to be
    #[arg(long, value_parser = parse::name)]
    volume: String,
    /// Its size, as in 20Gi; that of the backup when not given
    #[arg(long, value_parser = parse::bytes)]
    size: Option<Bytes>,
    /// The pool that keeps it
    #[arg(long, default_value = DEFAULT_POOL, value_parser = parse::name)]
    pool: String,
    /// The host that keeps it
    #[arg(long, value_parser = parse::name)]
    host: Option<String>,
    /// How long to wait until it is made
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse::duration)]
    timeout: Duration,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    #[arg(value_parser = parse::name)]
    name: String,
    /// The file
    file: PathBuf,
    /// The bucket that keeps it; the cloud's own store when not given
    #[arg(long)]
    bucket: Option<String>,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create(args) => create(&cloud, args).await,
        Command::Ls => list::<VolumeBackup>(&cloud).await,
        Command::Restore(args) => restore(&cloud, args).await,
        Command::Verify { name } => file::verify(&cloud, &name).await,
        Command::Export { name, file } => file::export(&cloud, &name, &file).await,
        Command::Import(args) => {
            let spec = VolumeBackupSpec { bucket: args.bucket.unwrap_or_default(), ..Default::default() };
            let meta = ObjectMeta::in_project(cloud.project(), &args.name);
            file::import(&cloud, &VolumeBackup::new(meta, spec), &args.file).await
        }
        Command::Rm { names } => rm::run(cloud, rm::Args::of("volumebackup", &names).waiting()).await,
        Command::Plan(command) => plan::run(cloud, command).await,
    }
}

async fn list<R: model::Resource>(cloud: &Cloud) -> Result<(), Failure> {
    let params = ListParams::default();
    let listing = Listing { cloud, form: Form::Table, all_projects: false, params };
    listing.all(&[kind::of::<R>()]).await
}

async fn create(cloud: &Cloud, args: CreateArgs) -> Result<(), Failure> {
    let bucket = args.bucket.unwrap_or_default();
    let spec = VolumeBackupSpec { volume: args.volume, bucket, full: args.full, ..Default::default() };
    let meta = ObjectMeta::in_project(cloud.project(), &args.name);
    let api = cloud.api::<VolumeBackup>().with(write_options(false));
    api.create(&VolumeBackup::new(meta, spec)).await?;
    let target = Target::new(kind::of::<VolumeBackup>(), &args.name)?;
    wait::until(cloud, target, args.timeout, "made", |object| {
        let Some(object) = object else {
            return Ok(Verdict::Failed(Failure::not_found("the backup was deleted meanwhile")));
        };
        let backup: VolumeBackup = typed(object)?;
        let message = backup.status.conditions.iter().find(|c| c.kind == "Ready");
        let message = message.map(|c| c.message.clone()).unwrap_or_default();
        Ok(match backup.status.phase {
            BackupPhase::Ready => Verdict::Done,
            BackupPhase::Failed => Verdict::Failed(Failure::failed(message)),
            BackupPhase::Pending | BackupPhase::Running => Verdict::Wait(message),
        })
    })
    .await?;
    say(cloud, target, "created")
}

async fn restore(cloud: &Cloud, args: RestoreArgs) -> Result<(), Failure> {
    // A sentence about the backup is better than one about a field of the volume.
    cloud.api::<VolumeBackup>().get(&args.name).await?;
    let spec = VolumeSpec {
        size: args.size.unwrap_or_default(),
        source: VolumeSource { backup: args.name, ..VolumeSource::default() },
        pool: args.pool,
        host: args.host.unwrap_or_default(),
        ..VolumeSpec::default()
    };
    let volume = Volume::new(ObjectMeta::in_project(cloud.project(), &args.volume), spec);
    let made = cloud.api::<Volume>().with(write_options(false)).create(&volume).await?;
    let target = Target::new(kind::of::<Volume>(), &args.volume)?;
    // With no host chosen it is made by its first attachment.
    if !made.spec.host.is_empty() {
        wait::until(cloud, target, args.timeout, "made", |object| {
            let Some(object) = object else {
                return Ok(Verdict::Failed(Failure::not_found("the volume was deleted meanwhile")));
            };
            let volume: Volume = typed(object)?;
            let message = volume.status.conditions.iter().find(|c| c.kind == "Ready");
            let message = message.map(|c| c.message.clone()).unwrap_or_default();
            Ok(match volume.status.phase {
                VolumePhase::Pending => Verdict::Wait(message),
                VolumePhase::Failed => Verdict::Failed(Failure::failed(message)),
                VolumePhase::Available | VolumePhase::InUse => Verdict::Done,
            })
        })
        .await?;
    }
    say(cloud, target, "created")
}

fn say(cloud: &Cloud, target: Target<'_>, what: &str) -> Result<(), Failure> {
    if cloud.global.quiet {
        return Ok(());
    }
    output::print(&format!("{} {what}\n", target.full_name()))
}

//! `corten snapshot`: volumes as they were at one moment.

use std::time::Duration;

use client::ListParams;
use model::ObjectMeta;
use model::storage::{VolumeSnapshot, VolumeSnapshotSpec};

use super::api::{Cloud, typed, write_options};
use super::get::Listing;
use super::kind::{self, Target};
use super::output::{self, Form};
use super::wait::{self, Verdict};
use super::{parse, rm};
use crate::failure::Failure;

/// Take snapshots of volumes, also while they are used
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Take a snapshot of a volume
    Create {
        #[arg(value_parser = parse::name)]
        name: String,
        /// The volume
        #[arg(long, value_parser = parse::name)]
        volume: String,
        /// How long to wait until it is taken
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse::duration)]
        timeout: Duration,
    },
    /// List snapshots
    Ls,
    /// Delete snapshots; volumes made from them stay
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create { name, volume, timeout } => create(&cloud, &name, volume, timeout).await,
        Command::Ls => {
            let listing = Listing {
                cloud: &cloud,
                form: Form::Table,
                all_projects: false,
                params: ListParams::default(),
            };
            listing.all(&[kind::of::<VolumeSnapshot>()]).await
        }
        Command::Rm { names } => rm::run(cloud, rm::Args::of("volumesnapshot", &names).waiting()).await,
    }
}

async fn create(cloud: &Cloud, name: &str, volume: String, timeout: Duration) -> Result<(), Failure> {
    let meta = ObjectMeta::in_project(cloud.project(), name);
    let snapshot = VolumeSnapshot::new(meta, VolumeSnapshotSpec { volume, ..VolumeSnapshotSpec::default() });
    cloud.api::<VolumeSnapshot>().with(write_options(false)).create(&snapshot).await?;
    let target = Target::new(kind::of::<VolumeSnapshot>(), name)?;
    wait::until(cloud, target, timeout, "taken", |object| {
        let Some(object) = object else {
            return Ok(Verdict::Failed(Failure::not_found("the snapshot was deleted meanwhile")));
        };
        let snapshot: VolumeSnapshot = typed(object)?;
        let message = snapshot.status.conditions.iter().find(|c| c.kind == "Ready");
        let message = message.map(|c| c.message.clone()).unwrap_or_default();
        Ok(if snapshot.status.ready { Verdict::Done } else { Verdict::Wait(message) })
    })
    .await?;
    if cloud.global.quiet {
        return Ok(());
    }
    output::print(&format!("{} created\n", target.full_name()))
}

//! `corten backup plan`: when volumes are backed up, and which backups stay.

use std::time::Duration;

use model::ObjectMeta;
use model::storage::{BackupPlan, BackupPlanSpec, BackupRetention};
use serde_json::json;

use super::{list, say};
use crate::cli::api::{Cloud, write_options};
use crate::cli::kind::{self, Target};
use crate::cli::{parse, rm};
use crate::failure::Failure;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a plan, which begins at once
    Create(CreateArgs),
    /// List plans
    #[command(alias = "list")]
    Ls,
    /// Hold a plan where it is: it makes nothing and deletes nothing
    Suspend {
        #[arg(value_parser = parse::name)]
        name: String,
    },
    /// Let a suspended plan go on
    Resume {
        #[arg(value_parser = parse::name)]
        name: String,
    },
    /// Delete plans; their backups stay
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    #[arg(value_parser = parse::name)]
    name: String,
    /// A volume; may be repeated
    #[arg(long = "volume", required = true, value_name = "VOLUME", value_parser = parse::name)]
    volumes: Vec<String>,
    /// How long from one backup to the next
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse::duration)]
    every: Duration,
    /// How many backups of each volume stay; any number when not given
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep: u32,
    /// How old a backup gets; any age when not given. The newest always stays
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    max_age: Option<Duration>,
    /// The bucket that keeps them; the cloud's own store when not given
    #[arg(long)]
    bucket: Option<String>,
}

pub(super) async fn run(cloud: Cloud, command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create(&cloud, args).await,
        Command::Ls => list::<BackupPlan>(&cloud).await,
        Command::Suspend { name } => suspend(&cloud, &name, true).await,
        Command::Resume { name } => suspend(&cloud, &name, false).await,
        Command::Rm { names } => rm::run(cloud, rm::Args::of("backupplan", &names).waiting()).await,
    }
}

async fn create(cloud: &Cloud, args: CreateArgs) -> Result<(), Failure> {
    let spec = BackupPlanSpec {
        volumes: args.volumes,
        every_seconds: args.every.as_secs(),
        keep: BackupRetention {
            count: args.keep,
            max_age_seconds: args.max_age.unwrap_or_default().as_secs(),
        },
        bucket: args.bucket.unwrap_or_default(),
        suspended: false,
    };
    let plan = BackupPlan::new(ObjectMeta::in_project(cloud.project(), &args.name), spec);
    cloud.api::<BackupPlan>().with(write_options(false)).create(&plan).await?;
    say(cloud, Target::new(kind::of::<BackupPlan>(), &args.name)?, "created")
}

async fn suspend(cloud: &Cloud, name: &str, suspended: bool) -> Result<(), Failure> {
    let target = Target::new(kind::of::<BackupPlan>(), name)?;
    cloud.merge(target, &json!({ "spec": { "suspended": suspended } })).await?;
    say(cloud, target, if suspended { "suspended" } else { "resumed" })
}

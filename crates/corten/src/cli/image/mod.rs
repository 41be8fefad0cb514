//! `corten image`: bringing images into the cloud, and the list of them.

mod build;
mod create;
mod import;
mod upload;

use client::ListParams;
use model::compute::{Image, Visibility};

use super::api::Cloud;
use super::cloud::Global;
use super::get::Listing;
use super::kind;
use super::output::Form;
use super::{connected, parse, rm};
use crate::failure::Failure;

/// The project whose public images everyone may use.
const SYSTEM_PROJECT: &str = "system";

/// Import, build, list and delete images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Import(import::Args),
    Create(create::Args),
    Build(build::Args),
    /// Show the images of this project
    List(List),
    /// Delete images
    Rm(Rm),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

#[derive(Debug, clap::Args)]
struct Rm {
    #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
    names: Vec<String>,
}

pub(crate) fn run(global: &Global, args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Import(args) => connected(global, |cloud| import::run(cloud, args)),
        Command::Create(args) => connected(global, |cloud| create::run(cloud, args)),
        Command::Build(args) => connected(global, |cloud| build::run(cloud, args)),
        Command::List(args) => connected(global, |cloud| list(cloud, args.output)),
        Command::Rm(args) => connected(global, |cloud| rm::run(cloud, rm::Args::of("image", &args.names))),
    }
}

/// An image by name: the project's own, or a public one of the system.
pub(crate) async fn find(cloud: &Cloud, name: &str) -> Result<Option<Image>, Failure> {
    if let Some(image) = cloud.api::<Image>().find(name).await? {
        return Ok(Some(image));
    }
    // Who may not look into the system's project finds no image there either.
    let shared = cloud.client.project::<Image>(SYSTEM_PROJECT).find(name).await.ok().flatten();
    Ok(shared.filter(|image| image.spec.visibility == Visibility::Public))
}

async fn list(cloud: Cloud, form: Form) -> Result<(), Failure> {
    let listing = Listing { cloud: &cloud, form, all_projects: false, params: ListParams::default() };
    listing.all(&[kind::of::<Image>()]).await
}

//! `corten project`: what owns instances, images and keys.

use client::ListParams;
use model::ObjectMeta;
use model::identity::{Project, ProjectSpec};

use super::api::Cloud;
use super::get::Listing;
use super::output::{self, Form};
use super::{kind, parse, rm};
use crate::failure::Failure;

/// Make, list and delete projects
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a project
    Create {
        #[arg(value_parser = parse::name)]
        name: String,
        /// The domain it belongs to
        #[arg(long, default_value = "default", value_parser = parse::name)]
        domain: String,
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
    },
    /// Show the projects
    List,
    /// Delete projects and everything in them
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create { name, domain, description } => {
            let project = Project::new(ObjectMeta::named(&name), ProjectSpec { domain, description });
            cloud.client.all::<Project>().create(&project).await?;
            output::created(&cloud, kind::of::<Project>(), &name)
        }
        Command::List => {
            let params = ListParams::default();
            let listing = Listing { cloud: &cloud, form: Form::Table, all_projects: false, params };
            listing.all(&[kind::of::<Project>()]).await
        }
        Command::Rm { names } => rm::run(cloud, rm::Args::of("project", &names)).await,
    }
}

//! `corten secret`: values that not everyone may read.

use std::path::{Path, PathBuf};

use model::ObjectMeta;
use model::secret::Secret;

use super::api::Cloud;
use super::{kind, output, parse, rm};
use crate::failure::Failure;

/// Keep certificates with their keys
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Keep a certificate and its key
    Create(Files),
    /// Put another certificate and key in the place of those that are kept
    Replace(Files),
    /// Delete secrets; no load balancer may use them
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Files {
    #[arg(value_parser = parse::name)]
    name: String,
    /// The certificate, and the chain up to a known authority behind it; PEM
    #[arg(long, value_name = "FILE", value_parser = parse::file)]
    certificate: PathBuf,
    /// The certificate's key, without a password; PEM
    #[arg(long, value_name = "FILE", value_parser = parse::file)]
    key: PathBuf,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let secrets = cloud.client.project::<Secret>(cloud.project());
    match args.command {
        Command::Create(files) => {
            secrets.create(&secret(&cloud, &files)?).await?;
            output::created(&cloud, kind::of::<Secret>(), &files.name)
        }
        Command::Replace(files) => {
            let mut kept = secrets.get(&files.name).await?;
            kept.data = secret(&cloud, &files)?.data;
            secrets.update(&kept).await?;
            if cloud.global.quiet {
                return Ok(());
            }
            output::print(&format!("{} changed\n", kind::full_name(kind::of::<Secret>(), &files.name)))
        }
        Command::Rm { names } => rm::run(cloud, rm::Args::of("secret", &names)).await,
    }
}

fn secret(cloud: &Cloud, files: &Files) -> Result<Secret, Failure> {
    let meta = ObjectMeta::in_project(cloud.project(), &files.name);
    Ok(Secret::tls(meta, read(&files.certificate)?, read(&files.key)?))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))
}

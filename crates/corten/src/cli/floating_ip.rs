//! `corten floating-ip`: addresses of the outside, and what they stand for.

use model::ObjectMeta;
use model::network::{FloatingIp, FloatingIpSpec};
use serde_json::json;

use super::api::Cloud;
use super::kind::{self, Target};
use super::{output, parse, rm};
use crate::failure::Failure;

/// Get addresses of the outside, and let them stand for instances
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Get an address
    Allocate {
        /// What to call it
        #[arg(value_parser = parse::name)]
        name: String,
        /// The pool that it is from; the only one when not given
        #[arg(long, default_value = "", hide_default_value = true)]
        pool: String,
    },
    /// Let an address stand for a port
    Associate {
        #[arg(value_parser = parse::name)]
        name: String,
        /// The port; the first of instance NAME is NAME-0
        #[arg(value_parser = parse::name)]
        port: String,
    },
    /// Let an address stand for nothing
    Disassociate {
        #[arg(value_parser = parse::name)]
        name: String,
    },
    /// Give addresses back
    Release {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Allocate { name, pool } => {
            let spec = FloatingIpSpec { pool, ..FloatingIpSpec::default() };
            let floating = FloatingIp::new(ObjectMeta::in_project(cloud.project(), &name), spec);
            let made = cloud.client.project::<FloatingIp>(cloud.project()).create(&floating).await?;
            let address = made.spec.address.map(|address| address.to_string()).unwrap_or_default();
            output::print(&format!("{address}\n"))
        }
        Command::Associate { name, port } => set_port(&cloud, &name, &port).await,
        Command::Disassociate { name } => set_port(&cloud, &name, "").await,
        Command::Release { names } => rm::run(cloud, rm::Args::of("floatingip", &names)).await,
    }
}

async fn set_port(cloud: &Cloud, name: &str, port: &str) -> Result<(), Failure> {
    let target = Target::new(kind::of::<FloatingIp>(), name)?;
    cloud.merge(target, &json!({ "spec": { "port": port, "portAddress": null } })).await?;
    if cloud.global.quiet {
        return Ok(());
    }
    output::print(&format!("{} changed\n", target.full_name()))
}

//! `corten vpc`: private networks of a project.

use model::ObjectMeta;
use model::network::{Cidr, Vpc, VpcSpec};

use super::api::Cloud;
use super::{kind, output, parse, rm};
use crate::failure::Failure;

/// Make and delete private networks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a private network
    Create {
        #[arg(value_parser = parse::name)]
        name: String,
        /// An IPv4 range that subnets are cut from; can be repeated
        #[arg(long, value_name = "CIDR", default_value = "10.0.0.0/16", value_parser = parse::cidr)]
        cidr: Vec<Cidr>,
        /// The IPv6 range that subnets are cut from
        #[arg(long, value_name = "CIDR", value_parser = parse::cidr)]
        ipv6: Option<Cidr>,
        /// Record what flows through its ports, for `corten net flows`
        #[arg(long)]
        flow_logs: bool,
    },
    /// Delete private networks; nothing may be left in them
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create { name, cidr, ipv6, flow_logs } => {
            let spec = VpcSpec { ipv4_ranges: cidr, ipv6_range: ipv6, flow_logs, ..VpcSpec::default() };
            let vpc = Vpc::new(ObjectMeta::in_project(cloud.project(), &name), spec);
            cloud.client.project::<Vpc>(cloud.project()).create(&vpc).await?;
            output::created(&cloud, kind::of::<Vpc>(), &name)
        }
        Command::Rm { names } => rm::run(cloud, rm::Args::of("vpc", &names)).await,
    }
}

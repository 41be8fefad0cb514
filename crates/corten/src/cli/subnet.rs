//! `corten subnet`: parts of private networks from which instances get their addresses.

use model::ObjectMeta;
use model::network::{Cidr, Subnet, SubnetMode, SubnetSpec};

use super::api::Cloud;
use super::{kind, output, parse, rm};
use crate::failure::Failure;

/// Make and delete subnets of private networks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a subnet
    Create(CreateArgs),
    /// Delete subnets; no port may be left in them
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    #[arg(value_parser = parse::name)]
    name: String,
    /// The VPC that it is a part of
    #[arg(long, default_value = "default", value_parser = parse::name)]
    vpc: String,
    /// Its IPv4 network, inside of the VPC's ranges
    #[arg(long, value_name = "CIDR", value_parser = parse::cidr, required_unless_present = "ipv6")]
    cidr: Option<Cidr>,
    /// Its IPv6 network, a /64
    #[arg(long, value_name = "CIDR", value_parser = parse::cidr)]
    ipv6: Option<Cidr>,
    /// Join it to this network device of the hosts
    #[arg(long, value_name = "DEVICE")]
    bridge: Option<String>,
    /// The VLAN on that device
    #[arg(long, requires = "bridge", value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Option<u16>,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create(args) => create(&cloud, args).await,
        Command::Rm { names } => rm::run(cloud, rm::Args::of("subnet", &names)).await,
    }
}

async fn create(cloud: &Cloud, args: CreateArgs) -> Result<(), Failure> {
    let spec = SubnetSpec {
        vpc: args.vpc,
        cidr: args.cidr,
        ipv6_cidr: args.ipv6,
        mode: if args.bridge.is_some() { SubnetMode::Bridge } else { SubnetMode::Routed },
        link: args.bridge.unwrap_or_default(),
        vlan: args.vlan,
        ..SubnetSpec::default()
    };
    let subnet = Subnet::new(ObjectMeta::in_project(cloud.project(), &args.name), spec);
    cloud.client.project::<Subnet>(cloud.project()).create(&subnet).await?;
    output::created(cloud, kind::of::<Subnet>(), &args.name)
}

//! `corten security-group`: what may pass to and from instances.

use model::network::{
    Cidr, Direction, PortRange, Protocol, RulePeer, SecurityGroup, SecurityGroupSpec, SecurityRule,
};
use model::{Name, ObjectMeta};

use super::api::Cloud;
use super::{kind, output, parse, rm};
use crate::failure::Failure;

/// How often a rule is added anew when another change came between.
const TRIES_MAX: usize = 8;

/// Make security groups, and let traffic through
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a group; nothing passes until rules allow it
    Create {
        #[arg(value_parser = parse::name)]
        name: String,
        /// The VPC that it belongs to
        #[arg(long, default_value = "default", value_parser = parse::name)]
        vpc: String,
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
    },
    /// Let something through
    Allow(AllowArgs),
    /// Delete groups; no port may be left in them
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct AllowArgs {
    #[arg(value_parser = parse::name)]
    name: String,
    /// To the group's members: any, icmp, tcp/22, udp/5000-5100, or a protocol's number
    #[arg(long, value_name = "WHAT", value_parser = traffic, required_unless_present = "egress")]
    ingress: Option<Traffic>,
    /// From the group's members
    #[arg(long, value_name = "WHAT", value_parser = traffic, conflicts_with = "ingress")]
    egress: Option<Traffic>,
    /// Who is on the other side: a network, or a group of the same VPC
    #[arg(long = "from", visible_alias = "to", value_name = "CIDR|GROUP", value_parser = peer)]
    peer: RulePeer,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create { name, vpc, description } => {
            let spec = SecurityGroupSpec { vpc, description, ..SecurityGroupSpec::default() };
            let group = SecurityGroup::new(ObjectMeta::in_project(cloud.project(), &name), spec);
            cloud.client.project::<SecurityGroup>(cloud.project()).create(&group).await?;
            output::created(&cloud, kind::of::<SecurityGroup>(), &name)
        }
        Command::Allow(args) => allow(&cloud, args).await,
        Command::Rm { names } => rm::run(cloud, rm::Args::of("securitygroup", &names)).await,
    }
}

async fn allow(cloud: &Cloud, args: AllowArgs) -> Result<(), Failure> {
    let direction = if args.egress.is_some() { Direction::Egress } else { Direction::Ingress };
    let traffic = args.ingress.or(args.egress).unwrap_or_default();
    let rule = SecurityRule {
        direction,
        protocol: traffic.protocol,
        ports: traffic.ports,
        peer: args.peer,
        description: args.description,
        ..SecurityRule::default()
    };
    let groups = cloud.client.project::<SecurityGroup>(cloud.project());
    for _ in 0..TRIES_MAX {
        let mut group = groups.get(&args.name).await?;
        group.spec.rules.push(rule.clone());
        match groups.update(&group).await {
            Err(e) if e.is_conflict() => {}
            Err(e) => return Err(e.into()),
            Ok(_) if cloud.global.quiet => return Ok(()),
            Ok(_) => {
                let name = kind::full_name(kind::of::<SecurityGroup>(), &args.name);
                return output::print(&format!("{name} changed\n"));
            }
        }
    }
    Err(Failure::failed(format!("security group {:?} changes all the time; try again", args.name)))
}

/// What a rule lets through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Traffic {
    protocol: Protocol,
    ports: Option<PortRange>,
}

fn traffic(text: &str) -> Result<Traffic, String> {
    let (protocol, ports) = match text.split_once('/') {
        Some((protocol, ports)) => (protocol, Some(port_range(ports)?)),
        None => (text, None),
    };
    let protocol: Protocol = protocol.parse().map_err(|e: model::network::ProtocolError| e.to_string())?;
    if ports.is_some() && !matches!(protocol, Protocol::Tcp | Protocol::Udp) {
        return Err("only tcp and udp have ports".into());
    }
    Ok(Traffic { protocol, ports })
}

fn port_range(text: &str) -> Result<PortRange, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is not a port, 0 to 65535"));
    let (from, to) = (port(from)?, port(to)?);
    if from <= to { Ok(PortRange { from, to }) } else { Err(format!("{text:?} ends before it begins")) }
}

fn peer(text: &str) -> Result<RulePeer, String> {
    if text.contains('/') || text.contains(':') {
        let cidr = text.parse::<Cidr>().map_err(|e| e.to_string())?;
        return Ok(RulePeer { cidr: Some(cidr), ..RulePeer::default() });
    }
    let group = Name::new(text).map_err(|e| e.to_string())?;
    Ok(RulePeer { group: group.as_str().to_owned(), ..RulePeer::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_read() {
        let ports = |from, to| Some(PortRange { from, to });
        for (text, protocol, expected) in [
            ("any", Protocol::Any, None),
            ("icmp", Protocol::Icmp, None),
            ("tcp/22", Protocol::Tcp, ports(22, 22)),
            ("udp/5000-5100", Protocol::Udp, ports(5000, 5100)),
            ("tcp", Protocol::Tcp, None),
            ("47", Protocol::Other(47), None),
        ] {
            assert_eq!(traffic(text), Ok(Traffic { protocol, ports: expected }), "{text}");
        }
        for wrong in ["", "icmp/8", "tcp/", "tcp/70000", "tcp/9-1", "tcpp/1"] {
            assert!(traffic(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn peers_are_networks_or_groups() {
        assert_eq!(peer("web").unwrap().group, "web");
        assert_eq!(peer("10.0.0.0/8").unwrap().cidr.unwrap().to_string(), "10.0.0.0/8");
        assert!(peer("10.0.0.1/8").unwrap_err().contains("write \"10.0.0.0/8\""));
        assert!(peer("Web").is_err());
    }
}

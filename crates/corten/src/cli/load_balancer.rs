//! `corten load-balancer`: one address in front of many targets.

use std::net::{IpAddr, SocketAddr};

use client::ListParams;
use model::network::{
    Address, HealthCheck, Listener, ListenerProtocol, LoadBalancer, LoadBalancerSpec, Scheme, Target,
    TargetGroupSpec, TargetProtocol,
};
use model::{Name, ObjectMeta};

use super::api::Cloud;
use super::get::Listing;
use super::output::{self, Form};
use super::table::Table;
use super::{kind, parse, rm};
use crate::failure::Failure;

/// How often a change is made anew when another came between.
const TRIES_MAX: usize = 8;
/// What the group is called that need not be named.
const DEFAULT_GROUP: &str = "default";

/// Put one address in front of many targets
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a load balancer; prints its address
    Create(CreateArgs),
    /// Show the load balancers
    #[command(visible_alias = "ls")]
    List,
    /// List the targets of a load balancer, and how they do
    Targets {
        #[arg(value_parser = parse::name)]
        name: String,
    },
    /// Add a target
    AddTarget(TargetArgs),
    /// Take a target out
    RemoveTarget(TargetArgs),
    /// Delete load balancers
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    #[arg(value_parser = parse::name)]
    name: String,
    /// The subnet that it stands in
    #[arg(long, default_value = "default", value_parser = parse::name)]
    subnet: String,
    /// What it listens on: tcp, udp, tls, http or https, a port, and the target group when it is not the first;
    /// can be repeated
    #[arg(long, value_name = "PROTOCOL:PORT[=GROUP]", required = true, value_parser = listen)]
    listen: Vec<Listen>,
    /// Targets that are alike: a name, tcp, udp, http or https, and their port; one called `default`, as the first
    /// listener is, when not given; can be repeated
    #[arg(long, value_name = "NAME=PROTOCOL:PORT", value_parser = group)]
    target_group: Vec<TargetGroupSpec>,
    /// A target: an instance or an address, of the first group when none is named; can be repeated
    #[arg(long, value_name = "[GROUP=]TARGET[:PORT]", value_parser = target)]
    target: Vec<Place>,
    /// Instances with this label are targets of the first group; can be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    label: Vec<(String, String)>,
    /// Ask targets for this path; any answer of 200 to 399 is a good one
    #[arg(long, value_name = "PATH")]
    health_path: Option<String>,
    /// The secret with certificate and key, for listeners of protocol https and tls
    #[arg(long, value_name = "SECRET", default_value = "", hide_default_value = true)]
    certificate: String,
    /// A security group that it is in; the VPC's default one when not given; can be repeated
    #[arg(long, value_name = "GROUP", value_parser = parse::name)]
    security_group: Vec<String>,
    /// Make it reachable from outside at this floating address
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    floating_ip: String,
}

#[derive(Debug, clap::Args)]
struct TargetArgs {
    #[arg(value_parser = parse::name)]
    name: String,
    /// An instance or an address, of the first group when none is named
    #[arg(value_name = "[GROUP=]TARGET[:PORT]", value_parser = target)]
    target: Place,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create(args) => create(&cloud, args).await,
        Command::List => {
            let params = ListParams::default();
            let listing = Listing { cloud: &cloud, form: Form::Table, all_projects: false, params };
            listing.all(&[kind::of::<LoadBalancer>()]).await
        }
        Command::Targets { name } => targets(&cloud, &name).await,
        Command::AddTarget(args) => {
            change(&cloud, &args.name, |spec| {
                let group = group_of(spec, &args.target)?;
                if !group.targets.contains(&args.target.target) {
                    group.targets.push(args.target.target.clone());
                }
                Ok(())
            })
            .await
        }
        Command::RemoveTarget(args) => change(&cloud, &args.name, |spec| remove(spec, &args.target)).await,
        Command::Rm { names } => rm::run(cloud, rm::Args::of("loadbalancer", &names)).await,
    }
}

async fn create(cloud: &Cloud, args: CreateArgs) -> Result<(), Failure> {
    let name = args.name.clone();
    let balancer = LoadBalancer::new(ObjectMeta::in_project(cloud.project(), &name), spec(args)?);
    let made = cloud.client.project::<LoadBalancer>(cloud.project()).create(&balancer).await?;
    let addresses: Vec<String> = made.status.addresses.iter().map(ToString::to_string).collect();
    output::print(&format!("{}\n", addresses.join(" ")))
}

fn spec(args: CreateArgs) -> Result<LoadBalancerSpec, Failure> {
    let mut groups = args.target_group;
    if groups.is_empty() {
        groups.extend(args.listen.first().map(Listen::group));
    }
    if let Some(first) = groups.first_mut() {
        first.instance_labels = args.label.into_iter().collect();
    }
    if let Some(path) = args.health_path {
        for group in &mut groups {
            group.health_check = Some(HealthCheck { path: path.clone(), ..HealthCheck::default() });
        }
    }
    let first = groups.first().map(|group| group.name.clone()).unwrap_or_default();
    let listener = |listen: Listen| Listener {
        port: listen.port,
        protocol: listen.protocol,
        target_group: if listen.group.is_empty() { first.clone() } else { listen.group },
        tls: match listen.protocol {
            ListenerProtocol::Https | ListenerProtocol::Tls => args.certificate.clone(),
            _ => String::new(),
        },
        ..Listener::default()
    };
    let mut spec = LoadBalancerSpec {
        subnets: vec![args.subnet],
        scheme: if args.floating_ip.is_empty() { Scheme::Internal } else { Scheme::Public },
        listeners: args.listen.into_iter().map(listener).collect(),
        target_groups: groups,
        security_groups: args.security_group,
        floating_ip: args.floating_ip,
        ..LoadBalancerSpec::default()
    };
    for place in args.target {
        group_of(&mut spec, &place)?.targets.push(place.target);
    }
    Ok(spec)
}

fn group_of<'a>(spec: &'a mut LoadBalancerSpec, place: &Place) -> Result<&'a mut TargetGroupSpec, Failure> {
    let wanted = |group: &&mut TargetGroupSpec| place.group.is_empty() || group.name == place.group;
    let missing = || Failure::usage(format!("there is no target group {:?}", place.group));
    spec.target_groups.iter_mut().find(wanted).ok_or_else(missing)
}

/// Takes a target out; without a port, whichever port it has.
fn remove(spec: &mut LoadBalancerSpec, place: &Place) -> Result<(), Failure> {
    let wanted = &place.target;
    let group = group_of(spec, place)?;
    let before = group.targets.len();
    group.targets.retain(|target| {
        target.instance != wanted.instance
            || target.address != wanted.address
            || wanted.port.is_some() && target.port != wanted.port
    });
    if group.targets.len() == before {
        let message = format!("target group {:?} has no such target", group.name);
        return Err(Failure::not_found(message));
    }
    Ok(())
}

async fn change(
    cloud: &Cloud,
    name: &str,
    edit: impl Fn(&mut LoadBalancerSpec) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let balancers = cloud.client.project::<LoadBalancer>(cloud.project());
    for _ in 0..TRIES_MAX {
        let mut balancer = balancers.get(name).await?;
        edit(&mut balancer.spec)?;
        match balancers.update(&balancer).await {
            Err(e) if e.is_conflict() => {}
            Err(e) => return Err(e.into()),
            Ok(_) if cloud.global.quiet => return Ok(()),
            Ok(_) => {
                let name = kind::full_name(kind::of::<LoadBalancer>(), name);
                return output::print(&format!("{name} changed\n"));
            }
        }
    }
    Err(Failure::failed(format!("load balancer {name:?} changes all the time; try again")))
}

async fn targets(cloud: &Cloud, name: &str) -> Result<(), Failure> {
    let balancer = cloud.client.project::<LoadBalancer>(cloud.project()).get(name).await?;
    let mut table = Table::with(&["GROUP", "TARGET", "ADDRESS", "HEALTHY", "REASON"]);
    for target in &balancer.status.targets {
        let healthy = if target.healthy { "yes" } else { "no" };
        let cells = [&target.group, &target.target, &target.address, healthy, &target.reason];
        table.row(cells.map(output::harmless));
    }
    output::print(&table.render())
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listen {
    protocol: ListenerProtocol,
    port: u16,
    group: String,
}

impl Listen {
    /// The group that is made for it.
    fn group(&self) -> TargetGroupSpec {
        let protocol = match self.protocol {
            ListenerProtocol::Http | ListenerProtocol::Https => TargetProtocol::Http,
            ListenerProtocol::Udp => TargetProtocol::Udp,
            ListenerProtocol::Tcp | ListenerProtocol::Tls => TargetProtocol::Tcp,
        };
        let port = if self.protocol == ListenerProtocol::Https { 80 } else { self.port };
        let name = if self.group.is_empty() { DEFAULT_GROUP } else { &self.group };
        TargetGroupSpec { name: name.into(), protocol, port, ..TargetGroupSpec::default() }
    }
}

/// A target and the group it is of; the first for an empty name.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    group: String,
    target: Target,
}

fn listen(text: &str) -> Result<Listen, String> {
    let (what, group) = text.split_once('=').unwrap_or((text, ""));
    let (protocol, port) = what.split_once(':').ok_or("must look like http:80")?;
    let protocol = match protocol {
        "tcp" => ListenerProtocol::Tcp,
        "udp" => ListenerProtocol::Udp,
        "tls" => ListenerProtocol::Tls,
        "http" => ListenerProtocol::Http,
        "https" => ListenerProtocol::Https,
        other => return Err(format!("{other:?} is none of tcp, udp, tls, http, https")),
    };
    Ok(Listen { protocol, port: port_number(port)?, group: group.to_owned() })
}

fn group(text: &str) -> Result<TargetGroupSpec, String> {
    let form = "must look like app=http:8080";
    let (name, what) = text.split_once('=').ok_or(form)?;
    let (protocol, port) = what.split_once(':').ok_or(form)?;
    let protocol = match protocol {
        "tcp" => TargetProtocol::Tcp,
        "udp" => TargetProtocol::Udp,
        "http" => TargetProtocol::Http,
        "https" => TargetProtocol::Https,
        other => return Err(format!("{other:?} is none of tcp, udp, http, https")),
    };
    let name = parse::name(name)?;
    Ok(TargetGroupSpec { name, protocol, port: port_number(port)?, ..TargetGroupSpec::default() })
}

fn target(text: &str) -> Result<Place, String> {
    let (group, what) = text.split_once('=').unwrap_or(("", text));
    let place = |target| Place { group: group.to_owned(), target };
    if let Ok(address) = what.parse::<IpAddr>() {
        return Ok(place(Target { address: Some(Address(address)), ..Target::default() }));
    }
    if let Ok(address) = what.parse::<SocketAddr>() {
        let (ip, port) = (Address(address.ip()), address.port());
        return Ok(place(Target { address: Some(ip), port: Some(port), ..Target::default() }));
    }
    let (name, port) = match what.split_once(':') {
        Some((name, port)) => (name, Some(port_number(port)?)),
        None => (what, None),
    };
    let instance = Name::new(name).map_err(|e| e.to_string())?.as_str().to_owned();
    Ok(place(Target { instance, port, ..Target::default() }))
}

fn port_number(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{text:?} is not a port, 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_instances_or_addresses() {
        let read = |text: &str| {
            let place = target(text).unwrap();
            let address = place.target.address.map(|a| a.to_string()).unwrap_or_default();
            (place.group, place.target.instance, address, place.target.port)
        };
        let told = |group: &str, instance: &str, address: &str, port| {
            (group.to_owned(), instance.to_owned(), address.to_owned(), port)
        };
        assert_eq!(read("web"), told("", "web", "", None));
        assert_eq!(read("app=web:81"), told("app", "web", "", Some(81)));
        assert_eq!(read("10.0.0.7"), told("", "", "10.0.0.7", None));
        assert_eq!(read("app=10.0.0.7:81"), told("app", "", "10.0.0.7", Some(81)));
        assert_eq!(read("[fd00::7]:81"), told("", "", "fd00::7", Some(81)));
        for wrong in ["", "Web", "web:0", "web:x", "app="] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_brings_its_group() {
        let listen = listen("https:443").unwrap();
        assert_eq!((listen.port, listen.protocol), (443, ListenerProtocol::Https));
        let group = listen.group();
        assert_eq!((group.name.as_str(), group.protocol, group.port), ("default", TargetProtocol::Http, 80));
        assert!(super::listen("http").is_err() && super::listen("quic:1").is_err());
    }
}

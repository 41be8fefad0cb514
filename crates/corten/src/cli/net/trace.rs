//! `corten net trace`: which rule or route lets a packet through, or stops it.

use std::fmt::Write;
use std::net::IpAddr;

use client::networks::NetworkCheck;
use model::network::Port;
use serde::Serialize;
use trace::{Objects, Packet, Trace, Traffic};

use super::{Form, NO, ask, json, objects};
use crate::cli::api::Cloud;
use crate::cli::output;
use crate::failure::Failure;

/// Say which rule or route lets a packet through, or stops it
///
/// The exit code is 0 when it is let through and 10 when it is stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Who sends: an instance, by its first port, or a port; port/NAME where both have the name
    #[arg(value_name = "INSTANCE|PORT")]
    from: String,
    /// Where to: an address, an instance, a port, or a name of the outside
    #[arg(value_name = "DESTINATION")]
    to: String,
    /// What it carries; tcp when a port is given, else icmp as ping sends it
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
    /// The port that it is for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    to_port: Option<u16>,
    /// The port that it is from
    #[arg(long, value_name = "N", default_value = "40000", value_parser = clap::value_parser!(u16).range(1..))]
    from_port: u16,
    /// Claim to come from this address; the port's own when not given
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Send to an IPv6 address, where there is a choice
    #[arg(short = '6', long)]
    ipv6: bool,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

/// What a host has really programmed of what took part.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Word {
    host: String,
    vpc: String,
    /// `None`: it could not be asked.
    as_planned: Option<bool>,
    what: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    trace: &'a Trace,
    hosts: &'a [Word],
}

pub(super) async fn run(cloud: Cloud, args: Args) -> Result<u8, Failure> {
    let objects = objects::load(&cloud).await?;
    let from = sender(&objects, cloud.project(), &args.from)?;
    let destination = destination(&objects, &cloud, from, &args).await?;
    let traffic = traffic(&args, destination)?;
    let trace = trace::trace(&objects, from, &Packet { source: args.source, destination, traffic });
    let words = words(&cloud, &trace).await;
    let text = match args.output {
        Form::Json => json(&Answer { trace: &trace, hosts: &words })?,
        Form::Text => told(&trace, &words),
    };
    output::print(&text)?;
    Ok(if trace.allowed { 0 } else { NO })
}

fn traffic(args: &Args, destination: IpAddr) -> Result<Traffic, Failure> {
    let needs = |name| Failure::usage(format!("--protocol {name} needs a port")).hint("add --to-port N");
    let from = args.from_port;
    match (args.protocol, args.to_port) {
        (Some(Protocol::Tcp) | None, Some(to)) => Ok(Traffic::Tcp { from, to }),
        (Some(Protocol::Udp), Some(to)) => Ok(Traffic::Udp { from, to }),
        (Some(Protocol::Tcp), None) => Err(needs("tcp")),
        (Some(Protocol::Udp), None) => Err(needs("udp")),
        (Some(Protocol::Icmp), Some(_)) => Err(Failure::usage("icmp has no ports; leave out --to-port")),
        (Some(Protocol::Icmp) | None, None) => Ok(Traffic::echo(destination)),
    }
}

/// A port by what people call it: `port/NAME`, `instance/NAME`, or a name that either has.
fn named<'a>(objects: &'a Objects, project: &str, word: &str) -> Option<&'a Port> {
    let of_instance = |name| objects.port_of_instance(project, name);
    match word.split_once('/') {
        Some((kind, name)) => match model::kind_of(kind).map(|kind| kind.info.plural) {
            Some("ports") => objects.port(project, name),
            Some("instances") => of_instance(name),
            _ => None,
        },
        None => of_instance(word).or_else(|| objects.port(project, word)),
    }
}

fn sender<'a>(objects: &'a Objects, project: &str, word: &str) -> Result<&'a Port, Failure> {
    named(objects, project, word).ok_or_else(|| {
        Failure::not_found(format!("no port, and no instance with a port, is called {word:?}"))
            .hint("`corten get ports` lists them")
    })
}

async fn destination(objects: &Objects, cloud: &Cloud, from: &Port, args: &Args) -> Result<IpAddr, Failure> {
    let word = &args.to;
    if let Ok(address) = word.parse() {
        return Ok(address);
    }
    if let Some(port) = named(objects, cloud.project(), word) {
        let all: Vec<IpAddr> = port.spec.addresses.iter().map(|address| address.0).collect();
        return choose(&all, from, args.ipv6)
            .ok_or_else(|| Failure::failed(format!("port {} has no such address", port.metadata.name)));
    }
    let unknown = || {
        Failure::not_found(format!(
            "{word:?} is no address, no instance, no port, and no name that is known here"
        ))
    };
    if word.contains('/') {
        return Err(unknown());
    }
    let found = tokio::net::lookup_host((word.as_str(), 0)).await.map_err(|_| unknown())?;
    let all: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    choose(&all, from, args.ipv6).ok_or_else(unknown)
}

/// The first address of a family that the sender has as well; else the first.
fn choose(all: &[IpAddr], from: &Port, ipv6: bool) -> Option<IpAddr> {
    let wanted = all.iter().filter(|address| !ipv6 || address.is_ipv6());
    let shared =
        |address: &&IpAddr| from.spec.addresses.iter().any(|own| own.0.is_ipv4() == address.is_ipv4());
    wanted.clone().find(shared).or_else(|| wanted.clone().next()).copied()
}

/// Asks each host that takes part whether it has programmed what was reckoned with.
async fn words(cloud: &Cloud, trace: &Trace) -> Vec<Word> {
    let ends = [&trace.source, &trace.destination].into_iter().filter_map(|end| end.port.as_ref());
    let mut places: Vec<(&str, &str, &str)> = ends
        .filter(|port| !port.host.is_empty())
        .map(|port| (port.host.as_str(), port.project.as_str(), port.vpc.as_str()))
        .collect();
    places.dedup();
    let mut words = Vec::new();
    for (host, project, vpc) in places {
        let (as_planned, what) = word(ask::check(cloud, project, vpc, host, false).await, vpc);
        words.push(Word { host: host.to_owned(), vpc: vpc.to_owned(), as_planned, what });
    }
    words
}

fn word(answer: Result<NetworkCheck, Failure>, vpc: &str) -> (Option<bool>, String) {
    match answer {
        Ok(check) if check.differences.is_empty() => (Some(true), "has programmed it so".into()),
        Ok(check) => {
            let count = check.differences.len();
            (Some(false), format!("differs in {count} places: `corten net check {vpc}` lists them"))
        }
        Err(failure) => (None, format!("could not be asked: {}", failure.message)),
    }
}

fn told(trace: &Trace, words: &[Word]) -> String {
    let mut text = trace.to_string();
    for Word { host, vpc, what, .. } in words {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "host {host} (vpc {vpc}) {}", output::harmless(what));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectMeta;
    use model::compute::{Instance, InstanceNetwork, InstanceSpec};
    use model::network::{Address, PortSpec};

    fn port(name: &str, addresses: &[&str]) -> Port {
        let addresses = addresses.iter().map(|a| Address(a.parse().unwrap())).collect();
        let spec = PortSpec { addresses, ..PortSpec::default() };
        Port::new(ObjectMeta::in_project("p", name), spec)
    }

    #[test]
    fn ports_are_found_by_their_names_and_their_instances() {
        let networks = vec![InstanceNetwork { subnet: "s".into(), ..InstanceNetwork::default() }];
        let spec = InstanceSpec { networks, ..InstanceSpec::default() };
        let instances = vec![Instance::new(ObjectMeta::in_project("p", "web"), spec)];
        let ports = vec![port("web-0", &[]), port("web", &[])];
        let objects = Objects { ports, instances, ..Objects::default() };
        let name = |word: &str| named(&objects, "p", word).map(|port| port.metadata.name.as_str());
        assert_eq!(name("web"), Some("web-0"), "an instance first");
        assert_eq!(name("port/web"), Some("web"));
        assert_eq!(name("instance/web"), Some("web-0"));
        assert_eq!(name("web-0"), Some("web-0"));
        assert_eq!((name("image/web"), name("nobody")), (None, None));
    }

    #[test]
    fn an_address_of_a_family_that_both_have() {
        let (both, v4) = (port("a", &["10.0.0.1", "fd00::1"]), port("b", &["10.0.0.2"]));
        let all: Vec<IpAddr> = ["fd00::9", "10.0.0.9"].map(|a| a.parse().unwrap()).into();
        assert_eq!(choose(&all, &both, false), Some(all[0]));
        assert_eq!(choose(&all, &v4, false), Some(all[1]));
        assert_eq!(choose(&all, &v4, true), Some(all[0]), "as it was asked for");
        assert_eq!(choose(&[], &v4, false), None);
    }

    #[test]
    fn a_host_has_the_last_word() {
        let differs = NetworkCheck {
            differences: vec![client::networks::Difference::default()],
            ..NetworkCheck::default()
        };
        assert_eq!(word(Ok(NetworkCheck::default()), "v").0, Some(true));
        assert_eq!(word(Ok(differs), "v").0, Some(false));
        let (planned, what) = word(Err(Failure::failed("away")), "v");
        assert_eq!((planned, what.as_str()), (None, "could not be asked: away"));
    }
}

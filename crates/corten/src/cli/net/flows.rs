//! `corten net flows`: what flowed through ports, as hosts have recorded it.

use std::collections::BTreeSet;

use http_body_util::{BodyExt, Limited};
use model::network::{FlowLog, Port, Subnet, Vpc};

use super::objects;
use crate::cli::api::Cloud;
use crate::cli::kind::{self, Target};
use crate::cli::output;
use crate::failure::{Failure, Failures};

/// Most bytes of one host's lines.
const LINES_MAX_BYTES: usize = 64 << 20;

/// Show what flowed through ports that have spec.flowLogs, are in a VPC that has, or are in a FlowLog
///
/// Each line says, as AWS VPC flow logs do (version 2): version, project, port, source, destination, source port,
/// destination port, protocol, packets, bytes, start, end, action, status.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A VPC, or a port; port/NAME where both have the name
    #[arg(value_name = "VPC|PORT")]
    name: String,
}

pub(super) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let project = cloud.project();
    let (vpcs, ports, subnets, logs): (Vec<Vpc>, Vec<Port>, Vec<Subnet>, Vec<FlowLog>) = (
        objects::list(&cloud, project).await?,
        objects::list(&cloud, project).await?,
        objects::list(&cloud, project).await?,
        objects::list(&cloud, project).await?,
    );
    let (vpc, port) = meant(&args.name, &vpcs, &ports, &subnets)?;
    let is_on = |p: &Port| {
        let covers = |log: &FlowLog| log.spec.covers(&p.metadata.name, &p.spec.subnet, &vpc.metadata.name);
        p.spec.flow_logs || vpc.spec.flow_logs || logs.iter().any(covers)
    };
    let of_vpc = |p: &&Port| vpc_of(p, &subnets) == Some(vpc.metadata.name.as_str());
    let wanted: Vec<&Port> =
        ports.iter().filter(of_vpc).filter(|p| port.is_none_or(|port| port == p.metadata.name)).collect();
    if !wanted.iter().any(|p| is_on(p)) && !cloud.global.quiet {
        eprintln!(
            "nothing is recorded here now: set spec.flowLogs of the vpc or of a port to true, or make a FlowLog"
        );
    }
    let hosts: BTreeSet<&str> =
        wanted.iter().map(|p| p.status.host.as_str()).filter(|host| !host.is_empty()).collect();
    let (mut lines, mut failures) = (Vec::new(), Failures::default());
    for host in hosts {
        match of_host(&cloud, &vpc.metadata.name, host, port.unwrap_or_default()).await {
            Ok(text) => lines.extend(text.lines().map(output::harmless)),
            Err(failure) => failures.note(failure),
        }
    }
    lines.sort_by_key(|line| began(line));
    output::print(&lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>())?;
    failures.end()
}

fn vpc_of<'a>(port: &Port, subnets: &'a [Subnet]) -> Option<&'a str> {
    let subnet = subnets.iter().find(|subnet| subnet.metadata.name == port.spec.subnet);
    subnet.map(|subnet| subnet.spec.vpc.as_str())
}

/// A VPC, and one of its ports if it is only that.
fn meant<'a>(
    word: &'a str,
    vpcs: &'a [Vpc],
    ports: &'a [Port],
    subnets: &[Subnet],
) -> Result<(&'a Vpc, Option<&'a str>), Failure> {
    let vpc = |name: &str| vpcs.iter().find(|vpc| vpc.metadata.name == name);
    let by_port = |name: &str| {
        let port = ports.iter().find(|port| port.metadata.name == name)?;
        Some((vpc(vpc_of(port, subnets)?)?, Some(port.metadata.name.as_str())))
    };
    let found = match word.split_once('/') {
        Some((kind, name)) => match model::kind_of(kind).map(|kind| kind.info.plural) {
            Some("ports") => by_port(name),
            Some("vpcs") => vpc(name).map(|vpc| (vpc, None)),
            _ => None,
        },
        None => vpc(word).map(|vpc| (vpc, None)).or_else(|| by_port(word)),
    };
    found.ok_or_else(|| Failure::not_found(format!("no vpc and no port is called {word:?}")))
}

async fn of_host(cloud: &Cloud, vpc: &str, host: &str, port: &str) -> Result<String, Failure> {
    let target = Target::new(kind::of::<Vpc>(), vpc)?;
    let path = format!("{}?host={host}&port={port}", cloud.path_below(target, "flows"));
    let body = Limited::new(cloud.get(&path, "text/plain").await?.into_body(), LINES_MAX_BYTES);
    let text = body.collect().await;
    let text = text.map_err(|e| Failure::failed(format!("the lines of host {host} broke off: {e}")))?;
    Ok(String::from_utf8_lossy(&text.to_bytes()).into_owned())
}

/// When the time that a line speaks of began, in Unix seconds.
fn began(line: &str) -> u64 {
    line.split(' ').nth(10).and_then(|word| word.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectMeta;
    use model::network::{PortSpec, SubnetSpec, VpcSpec};

    #[test]
    fn a_vpc_or_one_of_its_ports() {
        let meta = |name: &str| ObjectMeta::in_project("p", name);
        let vpcs = [Vpc::new(meta("v"), VpcSpec::default()), Vpc::new(meta("both"), VpcSpec::default())];
        let subnets = [Subnet::new(meta("s"), SubnetSpec { vpc: "v".into(), ..SubnetSpec::default() })];
        let port = |name| Port::new(meta(name), PortSpec { subnet: "s".into(), ..PortSpec::default() });
        let ports = [port("web-0"), port("both")];
        let told = |word: &str| {
            let (vpc, port) = meant(word, &vpcs, &ports, &subnets).ok()?;
            Some((vpc.metadata.name.clone(), port.map(str::to_owned)))
        };
        assert_eq!(told("v"), Some(("v".into(), None)));
        assert_eq!(told("web-0"), Some(("v".into(), Some("web-0".into()))));
        assert_eq!(told("both"), Some(("both".into(), None)));
        assert_eq!(told("port/both"), Some(("v".into(), Some("both".into()))));
        assert_eq!((told("nobody"), told("instance/v")), (None, None));
    }

    #[test]
    fn lines_have_a_beginning() {
        assert_eq!(began("2 p a-0 10.0.0.1 10.0.0.2 1 2 6 3 4 1700 1760 ACCEPT OK"), 1700);
        assert_eq!(began("2 p a-0 - - - - - - - 1700 1760 - SKIPDATA"), 1700);
        assert_eq!(began("x"), 0);
    }
}

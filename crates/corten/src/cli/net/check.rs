//! `corten net check`: whether hosts have programmed what the cloud says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use client::networks::NetworkCheck;
use model::network::{Port, Subnet, Vpc};

use super::{Form, NO, ask, json, objects};
use crate::cli::api::Cloud;
use crate::cli::{output, parse};
use crate::failure::{Failure, Failures};

/// Ask hosts what differs between networks as they should be and as they are programmed
///
/// The exit code is 0 when nothing differs and 10 when something does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One VPC; all of the project when not given
    #[arg(value_name = "VPC", value_parser = parse::name)]
    vpc: Option<String>,
    /// Ask this host only; all with a port of the VPC when not given
    #[arg(long, value_name = "HOST", value_parser = parse::name)]
    host: Option<String>,
    /// Program again what differs, now; hosts do so by themselves at the next change
    #[arg(long)]
    repair: bool,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

pub(super) async fn run(cloud: Cloud, args: Args) -> Result<u8, Failure> {
    let project = cloud.project();
    let vpcs: Vec<Vpc> = match &args.vpc {
        Some(name) => vec![cloud.api::<Vpc>().get(name).await?],
        None => objects::list(&cloud, project).await?,
    };
    let (ports, subnets) = (objects::list(&cloud, project).await?, objects::list(&cloud, project).await?);
    let places = places(&ports, &subnets);
    let mut failures = Failures::default();
    let mut answers: Vec<(String, NetworkCheck)> = Vec::new();
    for vpc in vpcs.iter().map(|vpc| &vpc.metadata.name) {
        let known = places.get(vpc.as_str()).cloned().unwrap_or_default();
        let hosts = args.host.as_deref().map_or(known, |host| BTreeSet::from([host]));
        for host in hosts {
            match ask::check(&cloud, project, vpc, host, args.repair).await {
                Ok(check) => answers.push((vpc.clone(), check)),
                Err(failure) => failures.note(about(failure, host)),
            }
        }
    }
    output::print(&match args.output {
        Form::Json => json(&answers.iter().map(document).collect::<Vec<_>>())?,
        Form::Text => told(&answers, cloud.global.quiet),
    })?;
    failures.end()?;
    Ok(if answers.iter().all(|(_, check)| check.differences.is_empty()) { 0 } else { NO })
}

fn about(mut failure: Failure, host: &str) -> Failure {
    if !failure.message.contains(host) {
        failure.message = format!("host {host}: {}", failure.message);
    }
    failure
}

/// Hosts with a port of a VPC, by the VPC.
fn places<'a>(ports: &'a [Port], subnets: &'a [Subnet]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for port in ports.iter().filter(|port| !port.status.host.is_empty()) {
        if let Some(subnet) = subnets.iter().find(|subnet| subnet.metadata.name == port.spec.subnet) {
            places.entry(&subnet.spec.vpc).or_default().insert(&port.status.host);
        }
    }
    places
}

fn document((vpc, check): &(String, NetworkCheck)) -> serde_json::Value {
    let mut value = serde_json::json!(check);
    value["vpc"] = vpc.as_str().into();
    value
}

/// One line per difference, and one per host that has none.
fn told(answers: &[(String, NetworkCheck)], quiet: bool) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for (vpc, check) in answers {
        let host = &check.host;
        for difference in &check.differences {
            let state = if difference.missing { "missing" } else { "too much" };
            let what = output::harmless(&difference.what);
            let _ = writeln!(text, "{host}: vpc {vpc}: {} {state}: {what}", difference.kind);
        }
        if check.repaired {
            let _ = writeln!(text, "{host}: vpc {vpc}: programmed again");
        } else if check.differences.is_empty() && !quiet {
            let _ = writeln!(text, "{host}: vpc {vpc}: as planned, {} ports", check.ports);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::networks::Difference;
    use model::ObjectMeta;
    use model::network::{PortSpec, SubnetSpec};

    #[test]
    fn every_difference_is_a_line() {
        let difference = |kind: &str, missing| Difference { kind: kind.into(), what: "x".into(), missing };
        let check = |differences: Vec<Difference>, repaired| {
            ("v".to_owned(), NetworkCheck { host: "h".into(), ports: 2, differences, repaired })
        };
        let answers = [
            check(vec![difference("route", true), difference("rule", false)], true),
            check(Vec::new(), false),
        ];
        let expected = "h: vpc v: route missing: x\nh: vpc v: rule too much: x\nh: vpc v: programmed again\n";
        assert_eq!(told(&answers, false), format!("{expected}h: vpc v: as planned, 2 ports\n"));
        assert_eq!(told(&answers, true), expected);
    }

    #[test]
    fn hosts_with_a_port_are_asked() {
        let subnet = SubnetSpec { vpc: "v".into(), ..SubnetSpec::default() };
        let subnets = [Subnet::new(ObjectMeta::in_project("p", "s"), subnet)];
        let port = |host: &str| {
            let spec = PortSpec { subnet: "s".into(), ..PortSpec::default() };
            let mut port = Port::new(ObjectMeta::in_project("p", "x"), spec);
            port.status.host = host.into();
            port
        };
        let ports = [port("b"), port("a"), port("b"), port("")];
        assert_eq!(places(&ports, &subnets), BTreeMap::from([("v", BTreeSet::from(["a", "b"]))]));
    }
}

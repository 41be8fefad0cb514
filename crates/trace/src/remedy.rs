//! What to do so that a packet passes.

use std::net::IpAddr;

use model::network::{Direction, Port};

use crate::Traffic;

/// A rule that is missing from the groups of `port`. `other` is the port on the other side, if it is of the same VPC.
pub(crate) fn allow(
    port: &Port,
    direction: Direction,
    traffic: Traffic,
    peer: Option<IpAddr>,
    other: Option<&Port>,
) -> String {
    let Some(group) = port.spec.security_groups.first() else {
        return format!("name a group in spec.securityGroups of port {}", port.metadata.name);
    };
    let shared = other.and_then(|other| other.spec.security_groups.first());
    let peer = match (shared, peer) {
        (Some(group), _) => group.clone(),
        (None, Some(IpAddr::V4(address))) => format!("{address}/32"),
        (None, Some(IpAddr::V6(address))) => format!("{address}/128"),
        (None, None) => "0.0.0.0/0".into(),
    };
    let (way, side) = match direction {
        Direction::Ingress => ("--ingress", "--from"),
        Direction::Egress => ("--egress", "--to"),
    };
    let project = match port.metadata.namespace.as_str() {
        "default" => String::new(),
        project => format!(" --project {project}"),
    };
    format!("corten security-group allow{project} {group} {way} {traffic} {side} {peer}")
}

//! Ways to the cloud's own API: addresses that every host of a VPC has as its own.

use std::net::IpAddr;

use model::network::{Port, Vpc, VpcEndpoint};

use crate::objects::{Objects, has};
use crate::path::table_of;

/// What a port finds at the address of an endpoint of its VPC.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Endpoint<'a> {
    /// One that the routes of its subnet lead to.
    Gateway(&'a VpcEndpoint),
    /// One that they do not lead to.
    Unled(&'a VpcEndpoint),
    /// One with a port of its own there.
    Interface(&'a VpcEndpoint, &'a Port),
}

pub(crate) fn at<'a>(objects: &'a Objects, vpc: &Vpc, port: &Port, address: IpAddr) -> Option<Endpoint<'a>> {
    let own = || {
        objects.endpoints.iter().filter(|endpoint| {
            endpoint.metadata.namespace == vpc.metadata.namespace && endpoint.spec.vpc == vpc.metadata.name
        })
    };
    let gateways =
        || own().filter(|e| !e.is_interface() && e.spec.service.gateway_address() == Some(address));
    let table = objects.subnet_of(port).and_then(|subnet| table_of(objects, subnet));
    let led =
        |e: &&VpcEndpoint| table.is_some_and(|table| e.spec.route_tables.contains(&table.metadata.name));
    if let Some(endpoint) = gateways().find(led) {
        return Some(Endpoint::Gateway(endpoint));
    }
    if let Some(endpoint) = gateways().next() {
        return Some(Endpoint::Unled(endpoint));
    }
    own().find_map(|endpoint| {
        let mut ports = objects.ports_in(vpc).filter(|port| {
            port.spec.vpc_endpoint == endpoint.metadata.name
                && endpoint.spec.subnets.contains(&port.spec.subnet)
        });
        Some(Endpoint::Interface(endpoint, ports.find(|port| has(port, address))?))
    })
}

#[cfg(test)]
mod tests {
    use model::network::{
        Address, Direction, EndpointService, EndpointType, PortSpec, PortState, Protocol, RouteTableSpec,
        RulePeer, SecurityGroup, SecurityGroupSpec, SecurityRule, SubnetSpec, VpcEndpointSpec, VpcSpec,
    };
    use model::{Object, ObjectMeta, Spec};

    use super::*;
    use crate::{Packet, Traffic, trace};

    fn object<S: Spec>(name: &str, spec: S) -> Object<S> {
        Object::new(ObjectMeta::in_project("default", name), spec)
    }

    fn port(name: &str, address: &str, group: &str) -> Port {
        let spec = PortSpec {
            subnet: "s".into(),
            addresses: vec![Address(address.parse().unwrap())],
            security_groups: vec![group.into()],
            ..PortSpec::default()
        };
        let mut port = object(name, spec);
        port.status.host = "h1".into();
        port.status.state = PortState::Up;
        port
    }

    fn group(name: &str, direction: Direction, peer: RulePeer) -> SecurityGroup {
        let rule = SecurityRule { direction, protocol: Protocol::Any, peer, ..SecurityRule::default() };
        object(name, SecurityGroupSpec { vpc: "v".into(), rules: vec![rule], ..SecurityGroupSpec::default() })
    }

    /// A guest whose table leads to S3, and an interface that lets its group in.
    fn cloud() -> Objects {
        let anywhere = RulePeer { cidr: "0.0.0.0/0".parse().ok(), ..RulePeer::default() };
        let guests = RulePeer { group: "guests".into(), ..RulePeer::default() };
        let gateway = VpcEndpointSpec {
            vpc: "v".into(),
            route_tables: vec!["main".into()],
            ..VpcEndpointSpec::default()
        };
        let interface = VpcEndpointSpec {
            vpc: "v".into(),
            service: EndpointService::Ec2,
            endpoint_type: EndpointType::Interface,
            subnets: vec!["s".into()],
            security_groups: vec!["guards".into()],
            ..VpcEndpointSpec::default()
        };
        let vpc = VpcSpec { ipv4_ranges: vec!["10.0.0.0/16".parse().unwrap()], ..VpcSpec::default() };
        let subnet =
            SubnetSpec { vpc: "v".into(), cidr: "10.0.0.0/24".parse().ok(), ..SubnetSpec::default() };
        let mut own = port("api-vpce", "10.0.0.9", "guards");
        own.spec.vpc_endpoint = "api".into();
        own.status = model::network::PortStatus::default();
        let main = RouteTableSpec { vpc: "v".into(), is_main: true, ..RouteTableSpec::default() };
        Objects {
            vpcs: vec![object("v", vpc)],
            subnets: vec![object("s", subnet)],
            ports: vec![port("guest", "10.0.0.10", "guests"), own],
            groups: vec![
                group("guests", Direction::Egress, anywhere),
                group("guards", Direction::Ingress, guests),
            ],
            tables: vec![object("main", main)],
            endpoints: vec![object("store", gateway), object("api", interface)],
            ..Objects::default()
        }
    }

    /// Whether a packet passes, its last step, and what would help.
    fn told(objects: &Objects, to: &str, port: u16) -> (bool, String, String) {
        let packet = Packet {
            source: None,
            destination: to.parse().unwrap(),
            traffic: Traffic::Tcp { from: 50_000, to: port },
        };
        let trace = trace(objects, &objects.ports[0], &packet);
        let last = trace.steps.last().map(|step| step.what.clone()).unwrap_or_default();
        (trace.allowed, last, trace.remedy)
    }

    #[test]
    fn routes_lead_to_gateways_and_groups_let_into_interfaces() {
        let mut objects = cloud();
        let (passes, last, _) = told(&objects, "169.254.171.3", 443);
        assert!(passes && last == "vpc endpoint store: the cloud's s3", "{last}");
        let (passes, last, _) = told(&objects, "10.0.0.9", 443);
        assert!(passes && last == "vpc endpoint api: the cloud's ec2", "{last}");
        let (passes, last, _) = told(&objects, "10.0.0.9", 80);
        assert!(!passes && last == "vpc endpoint api answers tcp/443 only", "{last}");
        objects.endpoints[0].spec.route_tables.clear();
        let (passes, last, remedy) = told(&objects, "169.254.171.3", 443);
        assert!(!passes && last == "no route of its subnet leads to vpc endpoint store", "{last}");
        assert!(remedy.contains("spec.routeTables of vpcendpoint store"), "{remedy}");
        objects.groups[1].spec.rules.clear();
        let (passes, _, remedy) = told(&objects, "10.0.0.9", 443);
        assert!(!passes && remedy.contains("security-group allow guards --ingress"), "{remedy}");
        objects.groups[0].spec.rules.clear();
        let (passes, _, remedy) = told(&objects, "10.0.0.9", 443);
        assert!(!passes && remedy.contains("security-group allow guests --egress"), "{remedy}");
    }
}

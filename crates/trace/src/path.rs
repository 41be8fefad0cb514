//! Where a packet goes that has left its port: to a neighbour, to the network itself, to a peer, outside, or nowhere.

use std::net::IpAddr;

use model::network::{
    FloatingIp, Gateway, GatewayType, Peering, Port, Route, RouteTable, RouteTarget, Subnet, Vpc,
};

use crate::endpoints::{self, Endpoint};
use crate::objects::{Objects, has};
use crate::services::{self, Own};

/// The next place of a packet.
#[derive(Debug)]
pub(crate) enum Way<'a> {
    /// It never leaves the guest.
    Itself,
    /// What the network answers.
    Own(Own),
    /// What leads to the cloud's own API.
    Endpoint(Endpoint<'a>),
    /// A port of the same VPC.
    Port(&'a Port),
    /// A port of a peered VPC.
    Peer {
        peering: &'a Peering,
        vpc: &'a Vpc,
        port: &'a Port,
    },
    /// Out of the cloud, and under which address.
    Outside {
        by: String,
        seen_as: SeenAs<'a>,
    },
    Nowhere(Nowhere),
}

/// What the outside sees as the sender.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SeenAs<'a> {
    /// A floating address, and its name.
    Floating(IpAddr, &'a str),
    /// An address of the host, which only the host knows.
    Host,
    /// The floating address of a gateway, its name, and the host that translates.
    Gateway(IpAddr, &'a str, &'a str),
    /// Its own address.
    Itself(IpAddr),
}

#[derive(Debug)]
pub(crate) struct Nowhere {
    pub(crate) why: String,
    pub(crate) remedy: String,
}

fn nowhere<'a>(why: impl Into<String>, remedy: impl Into<String>) -> Way<'a> {
    Way::Nowhere(Nowhere { why: why.into(), remedy: remedy.into() })
}

/// Where a packet of `port` goes that comes from `source`.
pub(crate) fn way<'a>(
    objects: &'a Objects,
    vpc: &'a Vpc,
    port: &'a Port,
    source: IpAddr,
    destination: IpAddr,
) -> Way<'a> {
    if has(port, destination) {
        return Way::Itself;
    }
    if let Some(own) = services::own_address(objects, vpc, port, destination) {
        return Way::Own(own);
    }
    if let Some(endpoint) = endpoints::at(objects, vpc, port, destination) {
        return Way::Endpoint(endpoint);
    }
    if let Some(neighbour) = objects.holder(vpc, destination) {
        return Way::Port(neighbour);
    }
    let vpc_name = &vpc.metadata.name;
    if vpc.spec.ranges().any(|range| range.contains(destination)) {
        return nowhere(format!("no port of vpc {vpc_name} has {destination}"), "");
    }
    if !is_of_one_machine(destination) {
        return nowhere(
            "networks carry packets to single machines: no broadcast, multicast or link-local",
            "",
        );
    }
    if objects.ports.iter().any(|p| p.status.host_address.is_some_and(|host| host.0 == destination)) {
        return nowhere(format!("{destination} is a host of the cloud: guests have no business there"), "");
    }
    let Some(subnet) = objects.subnet_of(port) else {
        return nowhere(format!("subnet {} is gone", port.spec.subnet), "");
    };
    match table_of(objects, subnet) {
        Some(table) => by_table(objects, vpc, port, table, source, destination),
        None => nowhere(
            format!("no route table says where packets of subnet {} go", subnet.metadata.name),
            format!("make a RouteTable of spec.vpc {vpc_name} and spec.isMain with a route to a Gateway"),
        ),
    }
}

fn is_of_one_machine(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_loopback()
                || v4.is_unspecified())
        }
        IpAddr::V6(v6) => {
            !(v6.is_unicast_link_local() || v6.is_multicast() || v6.is_loopback() || v6.is_unspecified())
        }
    }
}

/// The table that a subnet follows.
pub(crate) fn table_of<'a>(objects: &'a Objects, subnet: &Subnet) -> Option<&'a RouteTable> {
    let project = &subnet.metadata.namespace;
    let named = &subnet.spec.route_table;
    let is_it = |table: &&RouteTable| {
        let own = table.metadata.namespace == *project && table.spec.vpc == subnet.spec.vpc;
        own && if named.is_empty() { table.spec.is_main } else { table.metadata.name == *named }
    };
    objects.tables.iter().find(is_it)
}

/// The route with the narrowest destination around the address, and how narrow that is.
fn narrowest<'a>(objects: &Objects, table: &'a RouteTable, destination: IpAddr) -> Option<&'a Route> {
    let project = &table.metadata.namespace;
    let width = |route: &Route| {
        let list = objects.list(project, &route.prefix_list);
        let listed = list.into_iter().flat_map(|list| list.spec.entries.iter().filter_map(|e| e.cidr));
        let all = route.destination.into_iter().chain(listed);
        all.filter(|cidr| cidr.contains(destination)).map(|cidr| cidr.prefix_len()).max()
    };
    let matching = table.spec.routes.iter().filter_map(|route| Some((width(route)?, route)));
    // Of equals the first.
    matching.rev().max_by_key(|(width, _)| *width).map(|(_, route)| route)
}

fn by_table<'a>(
    objects: &'a Objects,
    vpc: &'a Vpc,
    port: &'a Port,
    table: &'a RouteTable,
    source: IpAddr,
    destination: IpAddr,
) -> Way<'a> {
    let (project, name) = (&table.metadata.namespace, &table.metadata.name);
    let Some(route) = narrowest(objects, table, destination) else {
        let remedy = format!("add a route to {destination} to spec.routes of routetable {name}");
        return nowhere(format!("route table {name} has no route to {destination}"), remedy);
    };
    let to = match &route.destination {
        Some(cidr) => cidr.to_string(),
        None => format!("prefix list {}", route.prefix_list),
    };
    let gone = |kind: &str, what: &str| {
        nowhere(
            format!("route table {name}: {to} leads to {kind} {what}, which is gone"),
            format!("make {kind} {what}, or let the route lead elsewhere"),
        )
    };
    let RouteTarget { gateway, port: through, instance, peering, .. } = &route.target;
    if !gateway.is_empty() {
        let own = |g: &&Gateway| g.metadata.namespace == *project && g.metadata.name == *gateway;
        return match objects.gateways.iter().find(own) {
            Some(gateway) => {
                let by = format!("route table {name}: {to} leads to");
                by_gateway(objects, &by, gateway, port, source)
            }
            None => gone("gateway", gateway),
        };
    }
    if !peering.is_empty() {
        let own = |p: &&Peering| p.metadata.namespace == *project && p.metadata.name == *peering;
        return match objects.peerings.iter().find(own) {
            Some(peering) => by_peering(objects, vpc, peering, source, destination),
            None => gone("peering", peering),
        };
    }
    let next = if through.is_empty() {
        objects.port_of_instance(project, instance)
    } else {
        objects.port(project, through)
    };
    match next {
        _ if route.target.local => {
            nowhere(format!("route table {name}: {to} stays in the vpc, where no port has it"), "")
        }
        None if through.is_empty() => gone("instance", instance),
        None => gone("port", through),
        Some(next) if next.spec.source_destination_check => nowhere(
            format!(
                "route table {name}: {to} leads to port {}, which takes only what is for itself",
                next.metadata.name
            ),
            format!("set spec.sourceDestinationCheck of port {} to false", next.metadata.name),
        ),
        Some(next) => Way::Port(next),
    }
}

/// Whether a route of the family leads the port's subnet to such a gateway.
fn leads(objects: &Objects, port: &Port, ipv4: bool, wanted: impl Fn(&Gateway) -> bool) -> bool {
    objects.subnet_of(port).is_some_and(|subnet| leads_subnet(objects, subnet, ipv4, &wanted))
}

fn leads_subnet(objects: &Objects, subnet: &Subnet, ipv4: bool, wanted: &dyn Fn(&Gateway) -> bool) -> bool {
    table_of(objects, subnet).is_some_and(|table| {
        let project = &table.metadata.namespace;
        table.spec.routes.iter().any(|route| {
            let is_it = |gateway: &Gateway| {
                gateway.metadata.namespace == *project
                    && gateway.metadata.name == route.target.gateway
                    && wanted(gateway)
            };
            let list = objects.list(project, &route.prefix_list);
            let listed = list.into_iter().flat_map(|list| list.spec.entries.iter().filter_map(|e| e.cidr));
            let mut all = route.destination.into_iter().chain(listed);
            objects.gateways.iter().any(is_it) && all.any(|cidr| cidr.is_v4() == ipv4)
        })
    })
}

/// Whether a floating address of the family works for the port: its subnet is led to a gateway for those.
pub(crate) fn floats(objects: &Objects, port: &Port, ipv4: bool) -> bool {
    leads(objects, port, ipv4, |gateway| is_internet(gateway) || is_everywhere(gateway))
}

fn is_internet(gateway: &Gateway) -> bool {
    gateway.spec.gateway_type == GatewayType::Internet
}

/// Whether every host translates for its own guests.
fn is_everywhere(gateway: &Gateway) -> bool {
    gateway.spec.gateway_type == GatewayType::Nat && !gateway.has_one_place()
}

/// Why a gateway that translates takes nothing from `source`, and what would help; or under which address it does.
fn translated<'a>(
    objects: &'a Objects,
    gateway: &'a Gateway,
    source: IpAddr,
) -> Result<SeenAs<'a>, (String, String)> {
    let (project, spec) = (&gateway.metadata.namespace, &gateway.spec);
    let subnet =
        objects.subnets.iter().find(|s| s.metadata.namespace == *project && s.metadata.name == spec.subnet);
    if subnet.is_some_and(|subnet| !leads_subnet(objects, subnet, true, &is_internet)) {
        return Err((
            format!("stands in subnet {}, which no route leads to an internet gateway", spec.subnet),
            format!("let the route table of subnet {} lead to a gateway of spec.type internet", spec.subnet),
        ));
    }
    if !gateway.has_one_place() {
        return Ok(SeenAs::Host);
    }
    let named = |f: &&FloatingIp| f.metadata.namespace == *project && f.metadata.name == spec.floating_ip;
    let Some(address) = objects.floating.iter().find(named).and_then(|floating| floating.spec.address) else {
        let why = format!("sends from floating ip {}, which has no address", spec.floating_ip);
        return Err((why, "give the gateway another floating ip".into()));
    };
    if address.0.is_ipv4() != source.is_ipv4() {
        let remedy = "make a gateway with a floating ip of the other family".into();
        return Err((format!("sends from {address}, which is of the other family"), remedy));
    }
    if gateway.status.host.is_empty() {
        let why = gateway.status.conditions.iter().find(|condition| condition.kind == "Scheduled");
        let why = why.map(|condition| format!(": {}", condition.message)).unwrap_or_default();
        return Err((format!("is on no host{why}"), "a host with networks has to be ready".into()));
    }
    Ok(SeenAs::Gateway(address.0, &spec.floating_ip, &gateway.status.host))
}

fn by_gateway<'a>(
    objects: &'a Objects,
    by: &str,
    gateway: &'a Gateway,
    port: &'a Port,
    source: IpAddr,
) -> Way<'a> {
    let name = &gateway.metadata.name;
    let out = |seen_as| Way::Outside { by: format!("{by} gateway {name}").trim_start().to_owned(), seen_as };
    if !gateway.has_one_place()
        && let Some(floating) = objects.floating_of(port, source)
        && let Some(address) = floating.spec.address
        && floats(objects, port, source.is_ipv4())
    {
        return out(SeenAs::Floating(address.0, &floating.metadata.name));
    }
    let kind = gateway.spec.gateway_type;
    // Whoever may be translated is, at whichever gateway.
    if kind != GatewayType::Nat && leads(objects, port, source.is_ipv4(), is_everywhere) {
        return out(SeenAs::Host);
    }
    match kind {
        GatewayType::Nat => match translated(objects, gateway, source) {
            Ok(seen_as) => out(seen_as),
            Err((why, remedy)) => nowhere(format!("{by} gateway {name}, which {why}"), remedy),
        },
        GatewayType::Egress if source.is_ipv6() => out(SeenAs::Itself(source)),
        GatewayType::Egress => {
            nowhere(format!("{by} gateway {name}, which is for IPv6 only"), "talk to its IPv6 address")
        }
        GatewayType::Internet => nowhere(
            format!(
                "{by} gateway {name}, which is for ports with a floating address; port {} has none",
                port.metadata.name
            ),
            format!(
                "corten floating-ip allocate NAME; corten floating-ip associate NAME {}; or a gateway of spec.type nat",
                port.metadata.name
            ),
        ),
    }
}

fn by_peering<'a>(
    objects: &'a Objects,
    vpc: &Vpc,
    peering: &'a Peering,
    source: IpAddr,
    destination: IpAddr,
) -> Way<'a> {
    let name = &peering.metadata.name;
    let project = peering.spec.peer_project(&vpc.metadata.namespace);
    let other = &peering.spec.peer_vpc;
    if !peering.status.active {
        return nowhere(
            format!("peering {name} is not active: vpc {project}/{other} has not agreed"),
            format!("make a Peering in project {project} that names this vpc, {}", vpc.metadata.key()),
        );
    }
    let is_it = |v: &&Vpc| v.metadata.namespace == project && v.metadata.name == *other;
    let Some(peer) = objects.vpcs.iter().find(is_it) else {
        return nowhere(format!("peering {name}: vpc {project}/{other} cannot be seen by you"), "");
    };
    match objects.holder(peer, destination) {
        Some(port) if !leads_back(objects, vpc, port, source) => nowhere(
            format!("peering {name}: no route of vpc {project}/{other} leads back to {source}"),
            format!("add one to the route table of subnet {} in project {project}", port.spec.subnet),
        ),
        Some(port) => Way::Peer { peering, vpc: peer, port },
        None => nowhere(format!("peering {name}: no port of vpc {project}/{other} has {destination}"), ""),
    }
}

/// Whether a peer's port can answer. Where its project's route tables cannot be seen, it is taken to.
fn leads_back(objects: &Objects, vpc: &Vpc, port: &Port, source: IpAddr) -> bool {
    let project = &port.metadata.namespace;
    if !objects.tables.iter().any(|table| table.metadata.namespace == *project) {
        return *project != vpc.metadata.namespace;
    }
    let table = objects.subnet_of(port).and_then(|subnet| table_of(objects, subnet));
    let route = table.and_then(|table| narrowest(objects, table, source));
    let names_us = |peering: &Peering| {
        peering.metadata.namespace == *project
            && route.is_some_and(|route| route.target.peering == peering.metadata.name)
            && peering.spec.peer_project(project) == vpc.metadata.namespace
            && peering.spec.peer_vpc == vpc.metadata.name
    };
    objects.peerings.iter().any(names_us)
}

//! Where a packet goes that has left its port: to a neighbour, to the network itself, to a peer, outside, or nowhere.

use std::net::IpAddr;

use model::network::{Gateway, GatewayType, Peering, Port, Route, RouteTable, RouteTarget, Subnet, Vpc};

use crate::objects::{Objects, has};
use crate::services::{self, Own};

/// The next place of a packet.
#[derive(Debug)]
pub(crate) enum Way<'a> {
    /// It never leaves the guest.
    Itself,
    /// What the network answers.
    Own(Own),
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
        None => by_any_gateway(objects, vpc, port, source),
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
fn table_of<'a>(objects: &'a Objects, subnet: &Subnet) -> Option<&'a RouteTable> {
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
            Some(peering) => by_peering(objects, vpc, peering, destination),
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

/// Where nothing is said of routes, a gateway is the way out.
fn by_any_gateway<'a>(objects: &'a Objects, vpc: &Vpc, port: &'a Port, source: IpAddr) -> Way<'a> {
    if let Some(floating) = objects.floating_of(port, source)
        && let Some(address) = floating.spec.address
    {
        let seen_as = SeenAs::Floating(address.0, &floating.metadata.name);
        return Way::Outside { by: "no route table says otherwise".into(), seen_as };
    }
    let own = |gateway: &&Gateway| {
        gateway.metadata.namespace == vpc.metadata.namespace && gateway.spec.vpc == vpc.metadata.name
    };
    let usable =
        |gateway: &&Gateway| !matches!(by_gateway(objects, "", gateway, port, source), Way::Nowhere(_));
    let first = || objects.gateways.iter().find(own);
    match objects.gateways.iter().filter(own).find(usable).or_else(first) {
        Some(gateway) => by_gateway(objects, "no route table says otherwise:", gateway, port, source),
        None => nowhere(
            format!("vpc {} has no gateway, and so no way out", vpc.metadata.name),
            format!("make a Gateway of spec.vpc {} and spec.type nat", vpc.metadata.name),
        ),
    }
}

fn by_gateway<'a>(
    objects: &'a Objects,
    by: &str,
    gateway: &Gateway,
    port: &'a Port,
    source: IpAddr,
) -> Way<'a> {
    let name = &gateway.metadata.name;
    let out = |seen_as| Way::Outside { by: format!("{by} gateway {name}").trim_start().to_owned(), seen_as };
    if let Some(floating) = objects.floating_of(port, source)
        && let Some(address) = floating.spec.address
    {
        return out(SeenAs::Floating(address.0, &floating.metadata.name));
    }
    match gateway.spec.gateway_type {
        GatewayType::Nat if source.is_ipv4() => match own_floating(objects, gateway) {
            Some(floating) => out(floating),
            None => out(SeenAs::Host),
        },
        GatewayType::Nat => {
            nowhere(format!("{by} gateway {name}, which translates IPv4 only"), "talk to its IPv4 address")
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
        GatewayType::Egress => {
            nowhere(format!("{by} gateway {name} of type egress, which hosts do not make yet"), "")
        }
    }
}

/// The floating address that a gateway sends from, where it names one.
fn own_floating<'a>(objects: &'a Objects, gateway: &Gateway) -> Option<SeenAs<'a>> {
    let named = objects.floating.iter().find(|floating| {
        floating.metadata.namespace == gateway.metadata.namespace
            && floating.metadata.name == gateway.spec.floating_ip
    })?;
    Some(SeenAs::Floating(named.spec.address?.0, &named.metadata.name))
}

fn by_peering<'a>(objects: &'a Objects, vpc: &Vpc, peering: &'a Peering, destination: IpAddr) -> Way<'a> {
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
        Some(port) => Way::Peer { peering, vpc: peer, port },
        None => nowhere(format!("peering {name}: no port of vpc {project}/{other} has {destination}"), ""),
    }
}

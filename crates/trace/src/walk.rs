//! The walk of a packet, in the order in which hosts look at it.

use std::net::IpAddr;

use model::network::{Direction, Port, Vpc};

use crate::endpoints::Endpoint;
use crate::objects::{Objects, first, has, is_same};
use crate::path::{self, Nowhere, SeenAs, Way};
use crate::rules::{self, Wish};
use crate::{End, Packet, RuleAt, Stage, Step, Trace, Traffic, acls, remedy, services};

/// Follows a packet that `from` sends.
pub fn trace(objects: &Objects, from: &Port, packet: &Packet) -> Trace {
    let mut walk = Walk { objects, from, traffic: packet.traffic, steps: Vec::new(), arrives_at: None };
    let source = packet.source.or_else(|| first(from, packet.destination.is_ipv4()));
    let end = walk.go(source, packet.destination);
    let vpc = objects.vpc_of(from);
    let holder = walk.arrives_at.or_else(|| objects.holder(vpc?, packet.destination));
    Trace {
        source: End { address: source, port: Some(objects.port_at(from)) },
        destination: End {
            address: Some(packet.destination),
            port: holder.map(|port| objects.port_at(port)),
        },
        traffic: packet.traffic,
        steps: walk.steps,
        allowed: end.is_ok(),
        remedy: end.err().map(|stopped| stopped.remedy).unwrap_or_default(),
    }
}

/// What endpoints answer.
const HTTPS: u16 = 443;

struct Stopped {
    remedy: String,
}

struct Walk<'a> {
    objects: &'a Objects,
    from: &'a Port,
    traffic: Traffic,
    steps: Vec<Step>,
    /// The port of the cloud that it was led to.
    arrives_at: Option<&'a Port>,
}

impl<'a> Walk<'a> {
    fn go(&mut self, source: Option<IpAddr>, destination: IpAddr) -> Result<(), Stopped> {
        let name = &self.from.metadata.name;
        let Some(vpc) = self.objects.vpc_of(self.from) else {
            return self.stop(Stage::Port, format!("port {name} is in no vpc that you can see"), "");
        };
        let source = match source {
            Some(source) if source.is_ipv4() == destination.is_ipv4() => source,
            _ => {
                let family = if destination.is_ipv4() { "IPv4" } else { "IPv6" };
                return self.stop(Stage::Port, format!("port {name} has no {family} address"), "");
            }
        };
        self.port_is_up(self.from)?;
        if self.objects.is_on_segment(self.from) {
            self.pass(
                Stage::Route,
                format!("port {name} is on a physical segment, which carries and filters as it will"),
            );
            return Ok(());
        }
        self.may_claim(source)?;
        let (destination, translated) = self.own_floating(vpc, destination);
        if translated && has(self.from, destination) {
            let what = "a port does not reach itself by its floating address";
            return self.stop(Stage::Route, what, "use its own address");
        }
        if translated {
            return self.onward(vpc, source, destination);
        }
        self.floating_elsewhere(vpc, source, destination)
            .unwrap_or_else(|| self.onward(vpc, source, destination))
    }

    /// From the port's link on: the destination is what it is inside of the VPC.
    fn onward(&mut self, vpc: &'a Vpc, source: IpAddr, destination: IpAddr) -> Result<(), Stopped> {
        let way = path::way(self.objects, vpc, self.from, source, destination);
        match way {
            Way::Itself => {
                self.pass(
                    Stage::Route,
                    format!("{destination} is its own address: it never leaves the guest"),
                );
                Ok(())
            }
            // What the network answers is not forwarded, and no rule of a group is asked.
            Way::Own(own) => match services::answers(own, destination.is_ipv4(), self.traffic) {
                Some(what) => {
                    self.pass(Stage::Service, format!("the network answers: {what}"));
                    Ok(())
                }
                None => self.stop(
                    Stage::Service,
                    format!("{destination} is the network's own, and answers DHCP, DNS and metadata only"),
                    "",
                ),
            },
            Way::Endpoint(endpoint) => self.endpoint(vpc, source, destination, endpoint),
            Way::Port(port) => {
                let other = has(port, destination).then_some(port);
                self.egress(vpc, destination, other)?;
                self.route_to(port, destination)?;
                self.ingress(vpc, port, Some(source), Some(self.from))
            }
            Way::Peer { peering, vpc: peer, port } => {
                self.egress(vpc, destination, None)?;
                let (name, to) = (&peering.metadata.name, peer.metadata.key());
                self.pass(Stage::Route, format!("peering {name} leads to vpc {to}"));
                self.route_to(port, destination)?;
                self.ingress(peer, port, Some(source), None)
            }
            Way::Outside { by, seen_as } => {
                self.egress(vpc, destination, None)?;
                self.pass(Stage::Route, format!("{by}: out as {}", told(seen_as)));
                Ok(())
            }
            Way::Nowhere(Nowhere { why, remedy }) => {
                self.egress(vpc, destination, None)?;
                self.stop(Stage::Route, why, remedy)
            }
        }
    }

    /// A floating address of a port of this VPC on this host becomes the port's own before anything else is asked.
    fn own_floating(&mut self, vpc: &Vpc, destination: IpAddr) -> (IpAddr, bool) {
        let Some((floating, port, inside)) = self.objects.behind_floating(destination) else {
            return (destination, false);
        };
        let same_vpc = self.objects.vpc_of(port).is_some_and(|other| is_same(other, vpc));
        let floats = path::floats(self.objects, port, destination.is_ipv4());
        if !same_vpc || !floats || port.status.host != self.from.status.host {
            return (destination, false);
        }
        let (name, of) = (&floating.metadata.name, &port.metadata.name);
        self.pass(
            Stage::Floating,
            format!("floating ip {name} stands for {inside} of port {of}, on this host"),
        );
        (inside, true)
    }

    /// To a floating address of another host or VPC the way leads outside and in again. `None`: it is none.
    fn floating_elsewhere(
        &mut self,
        vpc: &'a Vpc,
        source: IpAddr,
        destination: IpAddr,
    ) -> Option<Result<(), Stopped>> {
        let (floating, port, inside) = self.objects.behind_floating(destination)?;
        let Way::Outside { by, seen_as } = path::way(self.objects, vpc, self.from, source, destination)
        else {
            return None;
        };
        Some(self.outside_and_in(vpc, destination, (by, seen_as), (&floating.metadata.name, port, inside)))
    }

    fn outside_and_in(
        &mut self,
        vpc: &'a Vpc,
        destination: IpAddr,
        (by, seen_as): (String, SeenAs<'_>),
        (floating, port, inside): (&str, &'a Port, IpAddr),
    ) -> Result<(), Stopped> {
        self.egress(vpc, destination, None)?;
        self.pass(Stage::Route, format!("{by}: out as {}", told(seen_as)));
        let of = &port.metadata.name;
        if !path::floats(self.objects, port, destination.is_ipv4()) {
            let what =
                format!("floating ip {floating} stands for port {of}, whose subnet no route leads outside");
            let remedy = "add a route to a gateway of spec.type internet or nat (without a floatingIp) to the subnet's route table";
            return self.stop(Stage::Floating, what, remedy);
        }
        self.pass(Stage::Floating, format!("floating ip {floating} stands for {inside} of port {of}"));
        let Some(other) = self.objects.vpc_of(port) else { return Ok(()) };
        self.arrives_at = Some(port);
        if let Some((what, remedy)) = self.objects.down(port) {
            return self.stop(Stage::Route, what, remedy);
        }
        self.pass(Stage::Route, format!("port {of}, on host {}", port.status.host));
        let peer = match seen_as {
            SeenAs::Floating(address, _) | SeenAs::Gateway(address, ..) | SeenAs::Itself(address) => {
                Some(address)
            }
            SeenAs::Host => None,
        };
        self.ingress(other, port, peer, None)
    }

    /// A port's groups let it out to an endpoint, as to anything else; at a subnet's edge it is not asked about.
    fn endpoint(
        &mut self,
        vpc: &Vpc,
        source: IpAddr,
        destination: IpAddr,
        endpoint: Endpoint<'_>,
    ) -> Result<(), Stopped> {
        let (Endpoint::Gateway(to) | Endpoint::Unled(to) | Endpoint::Interface(to, _)) = endpoint;
        let (name, service, ipv4) = (&to.metadata.name, to.spec.service.as_str(), source.is_ipv4());
        if !matches!(self.traffic, Traffic::Tcp { to: HTTPS, .. }) {
            let what = format!("vpc endpoint {name} answers tcp/{HTTPS} only");
            return self.stop(Stage::Service, what, "");
        }
        let other = if let Endpoint::Interface(_, port) = endpoint { Some(port) } else { None };
        self.rules(vpc, self.from, Direction::Egress, (Some(destination), ipv4), other)?;
        match endpoint {
            Endpoint::Gateway(_) => self.pass(Stage::Route, format!("its route table leads to {service}")),
            Endpoint::Unled(_) => {
                let what = format!("no route of its subnet leads to vpc endpoint {name}");
                let remedy =
                    format!("name the subnet's route table in spec.routeTables of vpcendpoint {name}");
                return self.stop(Stage::Route, what, remedy);
            }
            Endpoint::Interface(_, port) => {
                self.rules(vpc, port, Direction::Ingress, (Some(source), ipv4), Some(self.from))?;
            }
        }
        self.pass(Stage::Service, format!("vpc endpoint {name}: the cloud's {service}"));
        Ok(())
    }

    fn port_is_up(&mut self, port: &Port) -> Result<(), Stopped> {
        if let Some((what, remedy)) = self.objects.down(port) {
            return self.stop(Stage::Port, what, remedy);
        }
        let (name, host) = (&port.metadata.name, &port.status.host);
        self.pass(Stage::Port, format!("port {name} is up on host {host}"));
        Ok(())
    }

    fn may_claim(&mut self, source: IpAddr) -> Result<(), Stopped> {
        let name = &self.from.metadata.name;
        if has(self.from, source) {
            self.pass(Stage::AntiSpoofing, format!("{source} is its address"));
            return Ok(());
        }
        if !self.from.spec.source_destination_check {
            self.pass(Stage::AntiSpoofing, format!("port {name} may send as anybody: its check is off"));
            return Ok(());
        }
        self.stop(
            Stage::AntiSpoofing,
            format!("{source} is none of port {name}'s addresses"),
            format!("add it to spec.addresses of port {name}, or set spec.sourceDestinationCheck to false"),
        )
    }

    fn egress(&mut self, vpc: &Vpc, destination: IpAddr, other: Option<&Port>) -> Result<(), Stopped> {
        let peer = (Some(destination), destination.is_ipv4());
        self.rules(vpc, self.from, Direction::Egress, peer, other)?;
        self.acl(self.from, Direction::Egress, peer)
    }

    /// `peer` is the sender as it is seen here; `None`: an address that only a host knows.
    fn ingress(
        &mut self,
        vpc: &Vpc,
        port: &Port,
        peer: Option<IpAddr>,
        other: Option<&Port>,
    ) -> Result<(), Stopped> {
        let ipv4 = peer.is_none_or(|peer| peer.is_ipv4());
        self.acl(port, Direction::Ingress, (peer, ipv4))?;
        self.rules(vpc, port, Direction::Ingress, (peer, ipv4), other)
    }

    /// What crosses the edge of the port's subnet is asked about.
    fn acl(
        &mut self,
        port: &Port,
        direction: Direction,
        (peer, ipv4): (Option<IpAddr>, bool),
    ) -> Result<(), Stopped> {
        let wish = Wish { direction, peer, ipv4, traffic: self.traffic };
        let Some(decision) = acls::decide(self.objects, port, &wish) else { return Ok(()) };
        if decision.allows() {
            self.pass(Stage::Acl, decision.text(&wish));
            return Ok(());
        }
        let (what, remedy) = (decision.text(&wish), decision.remedy(&wish));
        self.stop(Stage::Acl, what, remedy)
    }

    fn rules(
        &mut self,
        vpc: &Vpc,
        port: &Port,
        direction: Direction,
        (peer, ipv4): (Option<IpAddr>, bool),
        other: Option<&Port>,
    ) -> Result<(), Stopped> {
        let stage = if direction == Direction::Egress { Stage::Egress } else { Stage::Ingress };
        let wish = Wish { direction, peer, ipv4, traffic: self.traffic };
        if let Some(rule) = rules::first_match(self.objects, vpc, port, wish) {
            let RuleAt { group, index, text } = &rule;
            let what = format!("group {group}, rules[{index}]: {text}");
            self.steps.push(Step { stage, passes: true, what, rule: Some(rule) });
            return Ok(());
        }
        let (way, side) = if stage == Stage::Egress { ("out", "to") } else { ("in", "from") };
        let peer_told = peer.map_or_else(|| "the host's own address".into(), |peer| peer.to_string());
        let groups = &port.spec.security_groups;
        let what = match groups.as_slice() {
            [] => format!("port {} is in no group: nothing passes", port.metadata.name),
            [one] => format!("no rule of group {one} lets {} {way} {side} {peer_told}", self.traffic),
            many => {
                format!(
                    "no rule of groups {} lets {} {way} {side} {peer_told}",
                    many.join(", "),
                    self.traffic
                )
            }
        };
        // A group as a peer helps only while the packet comes from one of its members' own addresses.
        let other = other.filter(|other| peer.is_some_and(|peer| has(other, peer)));
        self.stop(stage, what, remedy::allow(port, direction, self.traffic, peer, other))
    }

    /// To a port: on this host, or through the tunnel to another.
    fn route_to(&mut self, port: &'a Port, destination: IpAddr) -> Result<(), Stopped> {
        self.arrives_at = Some(port);
        let (name, host) = (&port.metadata.name, &port.status.host);
        if let Some((what, remedy)) = self.objects.down(port) {
            return self.stop(Stage::Route, what, remedy);
        }
        let place = if *host == self.from.status.host {
            "on the same host".to_owned()
        } else if has_tunnel(self.from, port) {
            format!("through the tunnel to host {host}")
        } else {
            let what = format!(
                "port {name} is on host {host}, to which no tunnel leads from {}",
                self.from.status.host
            );
            let remedy = "start both with `--underlay ADDR`, an address of one family under which they reach each other";
            return self.stop(Stage::Route, what, remedy);
        };
        let by = if has(port, destination) { "" } else { "by way of it: " };
        self.pass(Stage::Route, format!("{by}port {name}, {place}"));
        Ok(())
    }

    fn pass(&mut self, stage: Stage, what: String) {
        self.steps.push(Step { stage, passes: true, what, rule: None });
    }

    fn stop(
        &mut self,
        stage: Stage,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Result<(), Stopped> {
        self.steps.push(Step { stage, passes: false, what: what.into(), rule: None });
        Err(Stopped { remedy: remedy.into() })
    }
}

/// Whether the hosts of two ports know each other's addresses.
fn has_tunnel(from: &Port, to: &Port) -> bool {
    let ends = from.status.host_address.zip(to.status.host_address);
    ends.is_some_and(|(from, to)| from != to && from.0.is_ipv4() == to.0.is_ipv4())
}

fn told(seen_as: SeenAs<'_>) -> String {
    match seen_as {
        SeenAs::Floating(address, name) => format!("{address}, floating ip {name}"),
        SeenAs::Host => "the host's own address".into(),
        SeenAs::Gateway(address, name, host) => {
            format!("{address}, floating ip {name} of the gateway, translated on host {host}")
        }
        SeenAs::Itself(address) => format!("{address}, its own address"),
    }
}

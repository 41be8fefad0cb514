//! What a trace looks things up in: objects of one project, or of several where VPCs are peered.

use std::net::IpAddr;

use model::network::{
    FloatingIp, Gateway, Peering, Port, PortState, PrefixList, RouteTable, SecurityGroup, Subnet, Vpc,
};
use model::{Object, Spec};

use crate::PortAt;

/// All that a trace depends on.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    pub vpcs: Vec<Vpc>,
    pub subnets: Vec<Subnet>,
    pub ports: Vec<Port>,
    pub groups: Vec<SecurityGroup>,
    pub lists: Vec<PrefixList>,
    pub gateways: Vec<Gateway>,
    pub tables: Vec<RouteTable>,
    pub floating: Vec<FloatingIp>,
    pub peerings: Vec<Peering>,
}

impl Objects {
    /// A port of a project by its name.
    pub fn port(&self, project: &str, name: &str) -> Option<&Port> {
        find(&self.ports, project, name)
    }

    /// The primary port of an instance: its first network card's.
    pub fn port_of_instance(&self, project: &str, instance: &str) -> Option<&Port> {
        let own = |port: &&Port| port.metadata.namespace == project && port.spec.instance == instance;
        self.ports.iter().filter(own).min_by_key(|port| port.spec.interface)
    }

    pub(crate) fn subnet_of(&self, port: &Port) -> Option<&Subnet> {
        find(&self.subnets, &port.metadata.namespace, &port.spec.subnet)
    }

    pub(crate) fn vpc_of(&self, port: &Port) -> Option<&Vpc> {
        find(&self.vpcs, &port.metadata.namespace, &self.subnet_of(port)?.spec.vpc)
    }

    pub(crate) fn group(&self, project: &str, name: &str) -> Option<&SecurityGroup> {
        find(&self.groups, project, name)
    }

    pub(crate) fn list(&self, project: &str, name: &str) -> Option<&PrefixList> {
        find(&self.lists, project, name)
    }

    /// Ports of a VPC.
    pub(crate) fn ports_in<'a>(&'a self, vpc: &Vpc) -> impl Iterator<Item = &'a Port> {
        self.ports.iter().filter(move |port| self.vpc_of(port).is_some_and(|own| is_same(own, vpc)))
    }

    /// The port of a VPC that has the address.
    pub(crate) fn holder(&self, vpc: &Vpc, address: IpAddr) -> Option<&Port> {
        self.ports_in(vpc).find(|port| has(port, address))
    }

    /// The floating address and the port that it stands for, with the port's address.
    pub(crate) fn behind_floating(&self, address: IpAddr) -> Option<(&FloatingIp, &Port, IpAddr)> {
        let floating = self.floating.iter().find(|f| f.spec.address.is_some_and(|a| a.0 == address))?;
        let port = self.port(&floating.metadata.namespace, &floating.spec.port)?;
        Some((floating, port, inside(floating, port)?))
    }

    /// What the port's address is seen as outside, if it has a floating address.
    pub(crate) fn floating_of(&self, port: &Port, own: IpAddr) -> Option<&FloatingIp> {
        self.floating.iter().find(|floating| {
            floating.metadata.namespace == port.metadata.namespace
                && floating.spec.port == port.metadata.name
                && inside(floating, port) == Some(own)
        })
    }

    pub(crate) fn port_at(&self, port: &Port) -> PortAt {
        PortAt {
            project: port.metadata.namespace.clone(),
            vpc: self.vpc_of(port).map(|vpc| vpc.metadata.name.clone()).unwrap_or_default(),
            name: port.metadata.name.clone(),
            instance: port.spec.instance.clone(),
            host: port.status.host.clone(),
        }
    }
}

fn find<'a, S: Spec>(all: &'a [Object<S>], project: &str, name: &str) -> Option<&'a Object<S>> {
    all.iter().find(|object| object.metadata.namespace == project && object.metadata.name == name)
}

pub(crate) fn is_same<S: Spec>(one: &Object<S>, other: &Object<S>) -> bool {
    one.metadata.namespace == other.metadata.namespace && one.metadata.name == other.metadata.name
}

pub(crate) fn has(port: &Port, address: IpAddr) -> bool {
    port.spec.addresses.iter().any(|own| own.0 == address)
}

/// The port's first address of a family.
pub(crate) fn first(port: &Port, ipv4: bool) -> Option<IpAddr> {
    port.spec.addresses.iter().map(|address| address.0).find(|address| address.is_ipv4() == ipv4)
}

pub(crate) fn is_up(port: &Port) -> bool {
    port.status.state == PortState::Up && !port.status.host.is_empty()
}

/// Which of the port's addresses a floating address stands for.
fn inside(floating: &FloatingIp, port: &Port) -> Option<IpAddr> {
    let outside = floating.spec.address?.0;
    floating.spec.port_address.map(|address| address.0).or_else(|| first(port, outside.is_ipv4()))
}

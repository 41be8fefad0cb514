//! What a trace looks things up in: objects of one project, or of several where VPCs are peered.

use std::net::IpAddr;

use model::compute::{Instance, InstancePhase, port_names};
use model::network::{
    FloatingIp, Gateway, NetworkAcl, Peering, Port, PortState, PrefixList, RouteTable, SecurityGroup, Subnet,
    SubnetMode, Vpc, VpcEndpoint,
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
    pub acls: Vec<NetworkAcl>,
    pub gateways: Vec<Gateway>,
    pub tables: Vec<RouteTable>,
    pub floating: Vec<FloatingIp>,
    pub peerings: Vec<Peering>,
    pub endpoints: Vec<VpcEndpoint>,
    /// Whose ports those are; of an instance that is not among them nothing is said.
    pub instances: Vec<Instance>,
}

impl Objects {
    /// A port of a project by its name.
    pub fn port(&self, project: &str, name: &str) -> Option<&Port> {
        find(&self.ports, project, name)
    }

    /// The first port of an instance: its primary network card's, or that of the first card.
    pub fn port_of_instance(&self, project: &str, name: &str) -> Option<&Port> {
        let instance = find(&self.instances, project, name)?;
        let primary = instance.spec.networks.iter().position(|network| network.primary).unwrap_or(0);
        self.port(project, port_names(instance).get(primary)?)
    }

    /// The instance that has the port, or names it.
    pub(crate) fn owner(&self, port: &Port) -> Option<&Instance> {
        let name = &port.metadata.name;
        let own = |instance: &&Instance| {
            instance.metadata.namespace == port.metadata.namespace && port_names(instance).contains(name)
        };
        self.instances.iter().find(own)
    }

    /// Why nothing goes through a port, and what would help, if that is so.
    pub(crate) fn down(&self, port: &Port) -> Option<(String, String)> {
        let name = &port.metadata.name;
        let Some(instance) = self.owner(port) else {
            let up = port.status.state == PortState::Up && !port.status.host.is_empty();
            let none = || {
                (format!("port {name} is on no host"), "an instance has to name it in spec.networks".into())
            };
            return (!up).then(none);
        };
        let (of, phase) = (&instance.metadata.name, instance.status.phase);
        let remedy = match phase {
            InstancePhase::Stopped | InstancePhase::Succeeded | InstancePhase::Failed => {
                format!("corten start {of}")
            }
            InstancePhase::Paused => format!("corten resume {of}"),
            _ => format!("`corten explain instance/{of}` says what it waits for"),
        };
        if !matches!(phase, InstancePhase::Running | InstancePhase::Unknown) {
            return Some((format!("instance {of} of port {name} is {}", phase.as_str()), remedy));
        }
        let up = port.status.state == PortState::Up && !port.status.host.is_empty();
        (!up).then(|| (format!("port {name} is on no host"), remedy))
    }

    pub(crate) fn subnet_of(&self, port: &Port) -> Option<&Subnet> {
        find(&self.subnets, &port.metadata.namespace, &port.spec.subnet)
    }

    /// Whether the port is in a bridge subnet.
    pub(crate) fn is_on_segment(&self, port: &Port) -> bool {
        self.subnet_of(port).is_some_and(|subnet| subnet.spec.mode == SubnetMode::Bridge)
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
        self.ports_in(vpc).find(|port| has(port, address) && !self.is_on_segment(port))
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
            instance: self
                .owner(port)
                .map_or_else(|| port.spec.instance.clone(), |i| i.metadata.name.clone()),
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

/// Which of the port's addresses a floating address stands for.
fn inside(floating: &FloatingIp, port: &Port) -> Option<IpAddr> {
    let outside = floating.spec.address?.0;
    floating.spec.port_address.map(|address| address.0).or_else(|| first(port, outside.is_ipv4()))
}

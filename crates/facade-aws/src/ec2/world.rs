//! The project's objects that are shown beside each other: names become ids here.

use std::collections::BTreeMap;

use futures::try_join;
use model::compute::{
    Image, ImageSpec, Instance, InstanceSpec, KeyPair, KeyPairSpec, Visibility, port_names,
};
use model::identity::{IamInstanceProfile, IamInstanceProfileSpec};
use model::network::{
    Address, FloatingIp, FloatingIpSpec, Port, PortSpec, SecurityGroup, SecurityGroupSpec, Subnet,
    SubnetSpec, Vpc, VpcSpec,
};
use model::storage::{Volume, VolumeSpec};
pub(crate) use model::zone_in_region as zone_name;
use model::{ApiError, Reason};

use crate::REGION;
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;

/// On groups whose name in EC2 is not their name here.
pub(crate) const GROUP_NAME: &str = "aws.corten.dev/group-name";
/// The zone that every cloud begins with.
const DEFAULT_ZONE: &str = "default";
/// The project whose public images everyone may use.
pub(crate) const SYSTEM_PROJECT: &str = "system";

/// On images that are there for a snapshot alone, and are not shown: its id.
pub(crate) const HELPS: &str = "aws.corten.dev/helps";

/// All of a project that Describe calls connect.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) instances: Vec<Instance>,
    pub(crate) ports: Vec<Port>,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) vpcs: Vec<Vpc>,
    pub(crate) groups: Vec<SecurityGroup>,
    pub(crate) floating: Vec<FloatingIp>,
    pub(crate) images: Vec<Image>,
    pub(crate) keys: Vec<KeyPair>,
    pub(crate) volumes: Vec<Volume>,
    /// ARN and id of instance profiles, by the object's name.
    pub(crate) profiles: BTreeMap<String, (String, String)>,
}

impl World {
    pub(crate) async fn load(c: &Context) -> Result<Self, Failure> {
        let (instances, ports, subnets, vpcs, groups, floating, images, keys, volumes, profiles) = try_join!(
            c.list_if_allowed::<InstanceSpec>(),
            c.list_if_allowed::<PortSpec>(),
            c.list_if_allowed::<SubnetSpec>(),
            c.list_if_allowed::<VpcSpec>(),
            c.list_if_allowed::<SecurityGroupSpec>(),
            c.list_if_allowed::<FloatingIpSpec>(),
            images(c),
            c.list_if_allowed::<KeyPairSpec>(),
            c.list_if_allowed::<VolumeSpec>(),
            c.list_if_allowed::<IamInstanceProfileSpec>(),
        )?;
        let profile = |p: &IamInstanceProfile| (p.metadata.name.clone(), super::profiles::shown(c, p));
        let profiles = profiles.iter().map(profile).collect();
        Ok(Self { instances, ports, subnets, vpcs, groups, floating, images, keys, volumes, profiles })
    }

    pub(crate) fn subnet_of(&self, port: &Port) -> Option<&Subnet> {
        ids::find(&self.subnets, &port.spec.subnet)
    }

    pub(crate) fn vpc_of(&self, subnet: &Subnet) -> Option<&Vpc> {
        ids::find(&self.vpcs, &subnet.spec.vpc)
    }

    /// The ports of an instance, in the order of its network cards.
    pub(crate) fn ports_of<'a>(&'a self, instance: &Instance) -> Vec<(usize, &'a Port)> {
        let names = port_names(instance);
        names.iter().enumerate().filter_map(|(i, name)| Some((i, ids::find(&self.ports, name)?))).collect()
    }

    /// The instance that has a port, and as which of its network cards.
    pub(crate) fn holder_of(&self, port: &Port) -> Option<(&Instance, usize)> {
        let name = &port.metadata.name;
        if !port.spec.instance.is_empty() {
            let instance = ids::find(&self.instances, &port.spec.instance)?;
            return Some((instance, usize::try_from(port.spec.interface).unwrap_or(0)));
        }
        self.instances.iter().find_map(|instance| {
            let index = instance.spec.networks.iter().position(|network| network.port == *name)?;
            Some((instance, index))
        })
    }

    pub(crate) fn floating_of(&self, port: &Port) -> Option<&FloatingIp> {
        self.floating.iter().find(|floating| floating.spec.port == port.metadata.name)
    }

    /// Groups by their names: ids and EC2's names.
    pub(crate) fn group_refs(&self, names: &[String]) -> Vec<(String, String)> {
        let group = |name: &String| {
            let found = ids::find(&self.groups, name)?;
            Some((ids::id(found), group_name(found).to_owned()))
        };
        names.iter().filter_map(group).collect()
    }

    /// The name under which a port's address is found inside of its Vpc.
    pub(crate) fn dns_name(&self, port: &Port, project: &str) -> String {
        let Some(vpc) = self.subnet_of(port).and_then(|subnet| self.vpc_of(subnet)) else {
            return String::new();
        };
        if vpc.spec.dns.disabled {
            return String::new();
        }
        let own = &vpc.spec.dns.domain;
        let domain = if own.is_empty() { format!("{project}.internal") } else { own.clone() };
        let host = if port.spec.instance.is_empty() { &port.metadata.name } else { &port.spec.instance };
        format!("{host}.{domain}")
    }
}

/// Images that the caller may use: the project's own, and public ones of the system.
pub(crate) async fn images(c: &Context) -> Result<Vec<Image>, Failure> {
    let mut images = c.list_if_allowed::<ImageSpec>().await?;
    images.retain(|image| !image.metadata.annotations.contains_key(HELPS));
    if c.project() != SYSTEM_PROJECT {
        let system = c.client.project::<Image>(SYSTEM_PROJECT);
        let shared = match system.list(&client::ListParams::default()).await {
            Err(ApiError { reason: Reason::Forbidden | Reason::NotFound, .. }) => Vec::new(),
            result => result?.items,
        };
        images.extend(shared.into_iter().filter(|image| image.spec.visibility == Visibility::Public));
    }
    Ok(images)
}

/// A group's name in EC2.
pub(crate) fn group_name(group: &SecurityGroup) -> &str {
    if group.spec.is_default {
        return "default";
    }
    group.metadata.annotations.get(GROUP_NAME).unwrap_or(&group.metadata.name)
}

/// The zone of this name in EC2.
pub(crate) fn zone_of(name: &str) -> Result<&str, Failure> {
    match name.strip_prefix(REGION) {
        Some("a") => Ok(DEFAULT_ZONE),
        Some(rest) if rest.len() > 1 && rest.starts_with('-') => Ok(&rest[1..]),
        _ => {
            let name: String = name.chars().take(80).collect();
            Err(Failure::value(format!("Invalid availability zone: [{name}]")))
        }
    }
}

pub(crate) fn ipv4(addresses: &[Address]) -> impl Iterator<Item = String> {
    addresses.iter().filter(|a| a.0.is_ipv4()).map(ToString::to_string)
}

pub(crate) fn ipv6(addresses: &[Address]) -> impl Iterator<Item = String> {
    addresses.iter().filter(|a| a.0.is_ipv6()).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_called_in_one_way() {
        for (zone, name) in
            [("default", "my-corten-1a"), ("east", "my-corten-1-east"), ("a", "my-corten-1-a")]
        {
            assert_eq!((zone_name(zone).as_str(), zone_of(name)), (name, Ok(zone)));
        }
        for wrong in ["", "us-east-1a", "my-corten-1", "my-corten-1-", "my-corten-1b"] {
            assert!(zone_of(wrong).is_err(), "{wrong}");
        }
    }
}

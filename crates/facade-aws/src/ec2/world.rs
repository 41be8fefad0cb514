//! The project's objects that are shown beside each other: names become ids here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::try_join;
use model::compute::{Image, ImageSpec, Instance, InstanceSpec, KeyPairSpec, Visibility, port_names};
use model::identity::{IamInstanceProfile, IamInstanceProfileSpec};
use model::network::{
    Address, FloatingIp, FloatingIpSpec, Port, PortSpec, SecurityGroup, SecurityGroupSpec, Subnet,
    SubnetSpec, Vpc, VpcSpec,
};
use model::storage::{Volume, VolumeSpec};
pub(crate) use model::zone_in_region as zone_name;
use model::{ApiError, Object, Reason, Spec, Timestamp};

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

/// Objects of one project in the order of their names.
pub(crate) type ByName<S> = Vec<Arc<Object<S>>>;

/// All of a project that Describe calls connect.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) instances: ByName<InstanceSpec>,
    pub(crate) ports: ByName<PortSpec>,
    pub(crate) subnets: ByName<SubnetSpec>,
    pub(crate) vpcs: ByName<VpcSpec>,
    pub(crate) groups: ByName<SecurityGroupSpec>,
    pub(crate) floating: ByName<FloatingIpSpec>,
    /// Those of the system come after the project's own.
    pub(crate) images: Vec<Arc<Image>>,
    pub(crate) keys: ByName<KeyPairSpec>,
    pub(crate) volumes: ByName<VolumeSpec>,
    /// ARN and id of instance profiles, by the object's name.
    pub(crate) profiles: BTreeMap<String, (String, String)>,
    /// When it was looked at.
    pub(crate) now: Timestamp,
    /// Where the floating address of a port is, by the port's name.
    floating_at: HashMap<String, usize>,
    /// Where the instance is that names a port or whose guest still has it, by the port's name.
    holder_at: HashMap<String, usize>,
    /// Where the instance is that last let go of a port, and when, by the port's name.
    released_at: HashMap<String, (usize, Timestamp)>,
    /// Where the volumes are that a host still holds for an instance, by the instance's name.
    held_at: HashMap<String, Vec<usize>>,
}

impl World {
    pub(crate) async fn load(c: &Context) -> Result<Self, Failure> {
        let (mut world, instances, ports) = try_join!(
            Self::surroundings(c),
            c.shared_if_allowed::<InstanceSpec>(),
            c.shared_if_allowed::<PortSpec>(),
        )?;
        (world.instances, world.ports) = (instances, ports);
        Ok(world.indexed())
    }

    /// What these instances are shown with: of the others, and of their ports, there is nothing.
    pub(crate) async fn around(c: &Context, instances: ByName<InstanceSpec>) -> Result<Self, Failure> {
        let keys = instances.iter().any(|instance| !instance.spec.key_pair.is_empty());
        let profiles = instances.iter().any(|instance| !instance.spec.instance_profile.is_empty());
        Self::gathered(c, keys, profiles).await?.with_ports(c, instances).await
    }

    /// The same surroundings, with instances that were made since.
    pub(crate) async fn joined_by(
        mut self,
        c: &Context,
        instances: ByName<InstanceSpec>,
    ) -> Result<Self, Failure> {
        if self.subnets.is_empty() {
            // The first instance of a project has its network made.
            self = Self::surroundings(c).await?;
        }
        // These are made with instances.
        (self.floating, self.volumes) = try_join!(c.shared_if_allowed(), c.shared_if_allowed())?;
        self.with_ports(c, instances).await
    }

    async fn with_ports(mut self, c: &Context, mut instances: ByName<InstanceSpec>) -> Result<Self, Failure> {
        instances.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        instances.dedup_by(|a, b| a.metadata.name == b.metadata.name);
        let api = c.api::<PortSpec>();
        for name in instances.iter().flat_map(|instance| port_names(instance)) {
            match api.find(&name).await {
                Err(e) if e.reason == Reason::Forbidden => break,
                found => self.ports.extend(found?.map(Arc::new)),
            }
        }
        self.ports.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        self.instances = instances;
        Ok(self.indexed())
    }

    /// Everything but instances and ports.
    pub(crate) async fn surroundings(c: &Context) -> Result<Self, Failure> {
        Self::gathered(c, true, true).await
    }

    /// The same, with keys and profiles only where they are wanted.
    async fn gathered(c: &Context, keys: bool, profiles: bool) -> Result<Self, Failure> {
        let (subnets, vpcs, groups, floating, images, keys, volumes, profiles) = try_join!(
            c.shared_if_allowed::<SubnetSpec>(),
            c.shared_if_allowed::<VpcSpec>(),
            c.shared_if_allowed::<SecurityGroupSpec>(),
            c.shared_if_allowed::<FloatingIpSpec>(),
            images(c),
            wanted::<KeyPairSpec>(c, keys),
            c.shared_if_allowed::<VolumeSpec>(),
            wanted::<IamInstanceProfileSpec>(c, profiles),
        )?;
        let profile = |p: &Arc<IamInstanceProfile>| (p.metadata.name.clone(), super::profiles::shown(c, p));
        let profiles = profiles.iter().map(profile).collect();
        let now = c.now();
        let world =
            Self { subnets, vpcs, groups, floating, images, keys, volumes, profiles, now, ..Self::default() };
        Ok(world.indexed())
    }

    /// Of these alone.
    #[cfg(test)]
    pub(super) fn of_instances(instances: ByName<InstanceSpec>, now: Timestamp) -> Self {
        Self { instances, now, ..Self::default() }.indexed()
    }

    fn indexed(mut self) -> Self {
        let floating = self.floating.iter().enumerate();
        self.floating_at = floating.rev().map(|(at, floating)| (floating.spec.port.clone(), at)).collect();
        self.holder_at = HashMap::new();
        for (at, instance) in self.instances.iter().enumerate() {
            for port in &instance.status.ports {
                self.holder_at.entry(port.clone()).or_insert(at);
            }
        }
        for (at, instance) in self.instances.iter().enumerate() {
            for network in instance.spec.networks.iter().filter(|network| !network.port.is_empty()) {
                self.holder_at.insert(network.port.clone(), at);
            }
        }
        self.released_at = HashMap::new();
        for (at, instance) in self.instances.iter().enumerate() {
            for released in &instance.status.released_ports {
                let last = self.released_at.entry(released.port.clone()).or_insert((at, released.at));
                if last.1 < released.at {
                    *last = (at, released.at);
                }
            }
        }
        self.held_at = HashMap::new();
        for (at, volume) in self.volumes.iter().enumerate() {
            if let Some(attachment) = &volume.status.attachment {
                self.held_at.entry(attachment.instance.clone()).or_default().push(at);
            }
        }
        self
    }

    pub(crate) fn subnet_of(&self, port: &Port) -> Option<&Subnet> {
        by_name(&self.subnets, &port.spec.subnet)
    }

    pub(crate) fn vpc_of(&self, subnet: &Subnet) -> Option<&Vpc> {
        by_name(&self.vpcs, &subnet.spec.vpc)
    }

    /// The ports of an instance, in the order of its network cards.
    pub(crate) fn ports_of<'a>(&'a self, instance: &Instance) -> Vec<(usize, &'a Port)> {
        let names = port_names(instance);
        names.iter().enumerate().filter_map(|(i, name)| Some((i, by_name(&self.ports, name)?))).collect()
    }

    /// The instance that has a port; until its host has let go of it, it has one that it names no more.
    pub(crate) fn holder_of(&self, port: &Port) -> Option<&Instance> {
        let name = &port.metadata.name;
        let made_for = by_name(&self.instances, &port.spec.instance);
        made_for
            .filter(|instance| port_names(instance).contains(name))
            .or_else(|| self.instances.get(*self.holder_at.get(name)?).map(|instance| &**instance))
    }

    /// The instance that had a port last, which nobody has now, and when it let go of it.
    pub(crate) fn released_by(&self, port: &Port) -> Option<(&Instance, Timestamp)> {
        let (at, when) = self.released_at.get(&port.metadata.name)?;
        Some((self.instances.get(*at)?, *when))
    }

    pub(crate) fn floating_of(&self, port: &Port) -> Option<&FloatingIp> {
        self.floating.get(*self.floating_at.get(&port.metadata.name)?).map(|floating| &**floating)
    }

    /// The volumes that an instance has, and those that its host has not let go of.
    pub(crate) fn volumes_of(&self, instance: &Instance) -> Vec<&Volume> {
        let named = instance.spec.volumes.iter().filter_map(|entry| by_name(&self.volumes, &entry.volume));
        let held = self.held_at.get(&instance.metadata.name).into_iter().flatten();
        let mut found: Vec<&Volume> =
            named.chain(held.filter_map(|at| self.volumes.get(*at).map(|volume| &**volume))).collect();
        found.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        found.dedup_by(|a, b| a.metadata.name == b.metadata.name);
        found
    }

    /// Groups by their names: ids and EC2's names.
    pub(crate) fn group_refs(&self, names: &[String]) -> Vec<(String, String)> {
        let group = |name: &String| {
            let found = by_name(&self.groups, name)?;
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

async fn wanted<S: Spec>(c: &Context, wanted: bool) -> Result<ByName<S>, Failure> {
    if wanted { c.shared_if_allowed().await } else { Ok(Vec::new()) }
}

/// The object of this name.
pub(crate) fn by_name<'a, S: Spec>(objects: &'a [Arc<Object<S>>], name: &str) -> Option<&'a Object<S>> {
    let at = objects.binary_search_by(|object| object.metadata.name.as_str().cmp(name)).ok()?;
    objects.get(at).map(|object| &**object)
}

/// Images that the caller may use: the project's own, and public ones of the system.
pub(crate) async fn images(c: &Context) -> Result<Vec<Arc<Image>>, Failure> {
    let mut images = c.shared_if_allowed::<ImageSpec>().await?;
    images.retain(|image| !image.metadata.annotations.contains_key(HELPS));
    if c.project() != SYSTEM_PROJECT {
        let system = c.client.project::<Image>(SYSTEM_PROJECT);
        let shared = match system.shared().await {
            Err(ApiError { reason: Reason::Forbidden | Reason::NotFound, .. }) => Vec::new(),
            result => result?,
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

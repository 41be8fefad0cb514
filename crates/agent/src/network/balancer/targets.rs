//! From what a balancer calls its targets to addresses, and back to what it is told of them. Pure.

use std::net::SocketAddr;
use std::sync::Arc;

use driver::{ServerHealth, ServerPlan};
use model::compute::{Instance, port_names};
use model::network::{LoadBalancer, Port, Target, TargetGroupSpec, TargetStatus};

/// One target of one group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resolved {
    pub(super) group: String,
    /// The instance's name, or the address.
    pub(super) target: String,
    /// Where it is, or why that is not known.
    pub(super) server: Result<ServerPlan, String>,
}

/// Every target of every group. `ports` are those of the balancer's VPC.
pub(super) fn resolve(
    balancer: &LoadBalancer,
    ports: &[Arc<Port>],
    instances: &[Arc<Instance>],
) -> Vec<Resolved> {
    let mut all = Vec::new();
    for group in &balancer.spec.target_groups {
        for target in &group.targets {
            all.push(named(group, target, ports, instances));
        }
        if group.instance_labels.is_empty() {
            continue;
        }
        let has_labels = |instance: &&Arc<Instance>| {
            let labels = &instance.metadata.labels;
            !instance.metadata.is_deleting()
                && group.instance_labels.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        for instance in instances.iter().filter(has_labels) {
            let name = &instance.metadata.name;
            if !group.targets.iter().any(|target| target.instance == *name) {
                let target = Target { instance: name.clone(), ..Target::default() };
                all.push(named(group, &target, ports, instances));
            }
        }
    }
    all
}

fn named(
    group: &TargetGroupSpec,
    target: &Target,
    ports: &[Arc<Port>],
    instances: &[Arc<Instance>],
) -> Resolved {
    let port = target.port.unwrap_or(group.port);
    let weight = target.weight.unwrap_or(1);
    let server = |address| ServerPlan { address: SocketAddr::new(address, port), weight };
    let (name, found) = match target.address {
        Some(address) => (address.to_string(), Ok(server(address.0))),
        None => (target.instance.clone(), address_of(&target.instance, ports, instances).map(server)),
    };
    Resolved { group: group.name.clone(), target: name, server: found }
}

/// The first address of the primary port, or of the first that is in the VPC.
fn address_of(
    name: &str,
    ports: &[Arc<Port>],
    instances: &[Arc<Instance>],
) -> Result<std::net::IpAddr, String> {
    let Some(instance) = instances.iter().find(|instance| instance.metadata.name == name) else {
        return Err("there is no such instance".into());
    };
    if instance.metadata.is_deleting() {
        return Err("is being deleted".into());
    }
    let primary = instance.spec.networks.iter().position(|network| network.primary).unwrap_or(0);
    let mut names = port_names(instance);
    if primary < names.len() {
        names[..=primary].rotate_right(1);
    }
    let found = names.iter().find_map(|name| ports.iter().find(|port| port.metadata.name == *name));
    let Some(port) = found else { return Err("has no port in the load balancer's VPC".into()) };
    port.spec.addresses.first().map(|address| address.0).ok_or_else(|| "has no address".into())
}

/// What there is to tell of every target.
pub(super) fn statuses(resolved: &[Resolved], health: &[ServerHealth]) -> Vec<TargetStatus> {
    let status = |target: &Resolved| {
        let mut status = TargetStatus {
            group: target.group.clone(),
            target: target.target.clone(),
            ..TargetStatus::default()
        };
        match &target.server {
            Err(why) => status.reason.clone_from(why),
            Ok(server) => {
                status.address = server.address.to_string();
                match health.iter().find(|h| h.group == target.group && h.address == server.address) {
                    Some(found) => {
                        status.healthy = found.healthy;
                        status.reason.clone_from(&found.reason);
                    }
                    None => "not checked yet".clone_into(&mut status.reason),
                }
            }
        }
        status
    };
    resolved.iter().map(status).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use model::compute::{InstanceNetwork, InstanceSpec};
    use model::network::{Address, LoadBalancerSpec, PortSpec};
    use model::{Object, ObjectMeta};

    use super::*;

    fn instance(name: &str, label: &str, primary: &[bool]) -> Arc<Instance> {
        let network =
            |primary: &bool| InstanceNetwork { subnet: "s".into(), primary: *primary, ..Default::default() };
        let spec =
            InstanceSpec { networks: primary.iter().map(network).collect(), ..InstanceSpec::default() };
        let mut instance = Object::new(ObjectMeta::in_project("p", name), spec);
        instance.metadata.labels.insert("app".into(), label.into());
        Arc::new(instance)
    }

    fn port(name: &str, last: u8) -> Arc<Port> {
        let spec =
            PortSpec { addresses: vec![Address(IpAddr::from([10, 0, 0, last]))], ..PortSpec::default() };
        Arc::new(Object::new(ObjectMeta::in_project("p", name), spec))
    }

    fn balancer() -> LoadBalancer {
        let target = |instance: &str, address: Option<[u8; 4]>, port| Target {
            instance: instance.into(),
            address: address.map(|a| Address(a.into())),
            port,
            weight: None,
        };
        let group = TargetGroupSpec {
            name: "app".into(),
            port: 80,
            targets: vec![
                target("one", None, Some(81)),
                target("two", None, None),
                target("ghost", None, None),
                target("", Some([10, 9, 9, 9]), None),
            ],
            instance_labels: BTreeMap::from([("app".into(), "web".into())]),
            ..TargetGroupSpec::default()
        };
        let spec = LoadBalancerSpec { target_groups: vec![group], ..LoadBalancerSpec::default() };
        Object::new(ObjectMeta::in_project("p", "front"), spec)
    }

    #[test]
    fn targets_get_addresses() {
        let instances = [
            instance("one", "web", &[false]),
            instance("two", "other", &[false, true]),
            instance("three", "web", &[false]),
            instance("four", "web", &[false]),
        ];
        let ports = [port("one-0", 1), port("two-0", 2), port("two-1", 22), port("three-0", 3)];
        let resolved = resolve(&balancer(), &ports, &instances);
        let told: Vec<String> = resolved
            .iter()
            .map(|r| match &r.server {
                Ok(server) => format!("{} {}", r.target, server.address),
                Err(why) => format!("{} {why}", r.target),
            })
            .collect();
        assert_eq!(
            told,
            [
                "one 10.0.0.1:81",
                "two 10.0.0.22:80",
                "ghost there is no such instance",
                "10.9.9.9 10.9.9.9:80",
                "three 10.0.0.3:80",
                "four has no port in the load balancer's VPC",
            ]
        );
        let health = [ServerHealth {
            group: "app".into(),
            address: "10.0.0.1:81".parse().unwrap(),
            healthy: true,
            reason: String::new(),
        }];
        let told = statuses(&resolved, &health);
        assert!(told[0].healthy && told[0].address == "10.0.0.1:81");
        assert_eq!((told[1].healthy, told[1].reason.as_str()), (false, "not checked yet"));
        assert_eq!(told[2].reason, "there is no such instance");
    }
}

//! Network cards of instances: a port is made for each in the transaction that makes the instance.

use model::compute::{
    Instance, InstanceNetwork, Isolation, NETWORKS_MAX, interfaces, keep_numbers, leaving_ports, port_names,
};
use model::network::{FloatingIp, FloatingIpSpec, Port, PortSpec, Subnet, SubnetSpec, VpcSpec};
use model::{AnyObject, ApiError, FieldErrors, Object, ObjectMeta, OwnerReference, Resource};

use crate::claims::Draft;
use crate::server::Server;

impl Server {
    pub(in crate::admission) async fn complete_networks(
        &self,
        instance: &mut Instance,
        old: Option<&Instance>,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        if let Some(old) = old {
            if instance.spec.networks.is_empty() {
                instance.spec.networks.clone_from(&old.spec.networks);
            }
            keep_numbers(&mut instance.spec.networks, &old.spec.networks);
            return self.check_named_ports(instance, Some(old), errors).await;
        }
        if instance.spec.networks.is_empty() && self.inner.environment.network_plane().is_some() {
            instance.spec.networks = self.default_networks(instance).await?;
        }
        self.check_named_ports(instance, None, errors).await?;
        for (i, (number, name)) in interfaces(instance).iter().enumerate().take(NETWORKS_MAX) {
            if instance.spec.networks[i].subnet.is_empty() {
                continue;
            }
            let mut port = self.port_for(instance, i, *number, name);
            let mut found = FieldErrors::default();
            self.complete_port(&mut port, None, draft, &mut found).await?;
            self.check_references(&port, None, draft, &mut found).await?;
            for error in found.iter() {
                errors.push(field_of(&error.field, i), error.message.clone());
            }
            let floating = self.floating_ip_for(instance, i, &port, draft, errors).await?;
            draft.companions.push(Box::new(port));
            draft.companions.extend(floating.map(|floating| Box::new(floating) as Box<dyn AnyObject>));
        }
        Ok(())
    }

    /// Ports that are newly named: those made for another instance, or for a load balancer, are not to be had.
    async fn check_named_ports(
        &self,
        instance: &Instance,
        old: Option<&Instance>,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let (project, own) = (&instance.metadata.namespace, &instance.metadata.name);
        let known = old.map(port_names).unwrap_or_default();
        for (i, network) in instance.spec.networks.iter().enumerate() {
            if network.port.is_empty() || known.contains(&network.port) {
                continue;
            }
            // That there is none is said where references are checked.
            let Some(port) = self.read::<Port>(project, &network.port).await? else { continue };
            let field = format!("spec.networks[{i}].port");
            let (name, maker) = (&network.port, &port.spec.instance);
            let message = format!("port {name:?} is of load balancer {:?}", port.spec.load_balancer);
            errors.require(port.spec.load_balancer.is_empty(), &field, &message);
            let message = format!("port {name:?} is of vpc endpoint {:?}", port.spec.vpc_endpoint);
            errors.require(port.spec.vpc_endpoint.is_empty(), &field, &message);
            if maker.is_empty() || maker == own {
                continue;
            }
            let Some(maker) = self.read::<Instance>(project, maker).await? else { continue };
            let has_it = port_names(&maker).contains(name) || leaving_ports(&maker).contains(name);
            let message = format!("port {name:?} is held by instance {:?}", maker.metadata.name);
            errors.require(!has_it, &field, &message);
        }
        Ok(())
    }

    /// A port may be said to be of the instance no more that it was made for, when that instance has let go of it.
    pub(super) async fn check_maker(
        &self,
        port: &Port,
        old: Option<&Port>,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let maker = old.map(|old| old.spec.instance.as_str()).unwrap_or_default();
        if maker == port.spec.instance {
            return Ok(());
        }
        let maker = self.read::<Instance>(&port.metadata.namespace, maker).await?;
        let has_it = maker.is_some_and(|maker| port_names(&maker).contains(&port.metadata.name));
        let message = "names the instance that has it; take it out of its spec.networks first";
        errors.require(!has_it, "spec.instance", message);
        Ok(())
    }

    /// The floating address of a port that is to have one, under the port's name.
    async fn floating_ip_for(
        &self,
        instance: &Instance,
        index: usize,
        port: &Port,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<Option<FloatingIp>, ApiError> {
        let network = &instance.spec.networks[index];
        let subnet = self.read::<Subnet>(&instance.metadata.namespace, &network.subnet).await?;
        let assigns = subnet.is_some_and(|subnet| subnet.spec.assign_public_address);
        if !network.public_address.unwrap_or(assigns) {
            return Ok(None);
        }
        let spec = FloatingIpSpec { port: port.metadata.name.clone(), ..FloatingIpSpec::default() };
        let mut floating: FloatingIp = Object::new(self.companion_of(instance, &port.metadata.name), spec);
        AnyObject::set_defaults(&mut floating);
        let mut found = FieldErrors::default();
        self.complete_floating_ip(&mut floating, None, draft, &mut found).await?;
        if floating.spec.address.is_none() && found.is_empty() {
            let message = "needs exactly one AddressPool; `corten get addresspools` lists them. Or make a floating ip by hand";
            found.push("spec.pool", message);
        }
        for error in found.iter() {
            errors.push(format!("spec.networks[{index}].publicAddress"), error.message.clone());
        }
        Ok(Some(floating))
    }

    /// The default subnet of the project's default Vpc, where there is one.
    async fn default_networks(&self, instance: &Instance) -> Result<Vec<InstanceNetwork>, ApiError> {
        let isolation = instance.spec.isolation;
        if !matches!(isolation, Isolation::Vm | Isolation::MicroVm | Isolation::Namespace) {
            return Ok(Vec::new());
        }
        let project = &instance.metadata.namespace;
        let Some(vpc) = self.holder(&VpcSpec::default_claim(project).key).await? else {
            return Ok(Vec::new());
        };
        let subnet = self.holder(&SubnetSpec::default_claim(project, &vpc).key).await?;
        let network = |subnet| InstanceNetwork { subnet, ..InstanceNetwork::default() };
        Ok(subnet.map(network).into_iter().collect())
    }

    fn port_for(&self, instance: &Instance, place: usize, number: u32, name: &str) -> Port {
        let network = &instance.spec.networks[place];
        let spec = PortSpec {
            subnet: network.subnet.clone(),
            addresses: network.address.into_iter().collect(),
            security_groups: network.security_groups.clone(),
            instance: instance.metadata.name.clone(),
            interface: number,
            ..PortSpec::default()
        };
        let mut port: Port = Object::new(self.companion_of(instance, name), spec);
        AnyObject::set_defaults(&mut port);
        port
    }

    /// Of an object that is made with the instance and goes with it.
    pub(in crate::admission) fn companion_of(&self, instance: &Instance, name: &str) -> ObjectMeta {
        ObjectMeta {
            uid: self.inner.environment.uid(),
            creation_timestamp: instance.metadata.creation_timestamp,
            generation: 1,
            owner_references: vec![OwnerReference {
                api_version: Instance::KIND.api_version(),
                kind: Instance::KIND.kind.into(),
                name: instance.metadata.name.clone(),
                uid: instance.metadata.uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }],
            ..ObjectMeta::in_project(&instance.metadata.namespace, name)
        }
    }
}

/// A port's field as the instance's user knows it.
fn field_of(field: &str, index: usize) -> String {
    let inner = field.strip_prefix("spec.").unwrap_or(field);
    let inner = if inner.starts_with("addresses") { "address" } else { inner };
    format!("spec.networks[{index}].{inner}")
}

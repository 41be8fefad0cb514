//! Network cards of instances: a port is made for each in the transaction that makes the instance.

use model::compute::{Instance, InstanceNetwork, Isolation, NETWORKS_MAX, port_names};
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
            return Ok(());
        }
        if instance.spec.networks.is_empty() && self.inner.environment.network_plane().is_some() {
            instance.spec.networks = self.default_networks(instance).await?;
        }
        for (i, name) in port_names(instance).iter().enumerate().take(NETWORKS_MAX) {
            if instance.spec.networks[i].subnet.is_empty() {
                continue;
            }
            let mut port = self.port_for(instance, i, name);
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

    fn port_for(&self, instance: &Instance, index: usize, name: &str) -> Port {
        let network = &instance.spec.networks[index];
        let spec = PortSpec {
            subnet: network.subnet.clone(),
            addresses: network.address.into_iter().collect(),
            security_groups: network.security_groups.clone(),
            instance: instance.metadata.name.clone(),
            interface: u32::try_from(index).unwrap_or(u32::MAX),
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

//! Load balancers: their port is made in the transaction that makes them, as instances' ports are.

use model::network::{
    DATAGRAMS, FloatingIp, LoadBalancer, Port, PortSpec, SecurityGroupSpec, Subnet, SubnetSpec, TargetGroup,
    TargetGroupSpec,
};
use model::{AnyObject, ApiError, FieldErrors, Object, ObjectMeta, OwnerReference, Resource};

use crate::claims::Draft;
use crate::server::Server;

impl Server {
    pub(super) async fn complete_balancer(
        &self,
        balancer: &mut LoadBalancer,
        old: Option<&LoadBalancer>,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        self.give_group(balancer).await?;
        self.check_balancer(balancer, errors).await?;
        if old.is_some() || balancer.spec.subnets.is_empty() {
            return Ok(());
        }
        let mut port = self.port_of(balancer);
        let mut found = FieldErrors::default();
        self.complete_port(&mut port, None, draft, &mut found).await?;
        self.check_references(&port, None, draft, &mut found).await?;
        for error in found.iter() {
            let field = match error.field.as_str() {
                "spec.subnet" | "spec.addresses" => "spec.subnets[0]",
                field => field,
            };
            errors.push(field, error.message.clone());
        }
        balancer.status.addresses.clone_from(&port.spec.addresses);
        draft.companions.push(Box::new(port));
        Ok(())
    }

    /// The Vpc's default group, where none is named.
    async fn give_group(&self, balancer: &mut LoadBalancer) -> Result<(), ApiError> {
        let project = &balancer.metadata.namespace;
        let Some(first) = balancer.spec.subnets.first() else { return Ok(()) };
        if let Some(subnet) = self.read::<Subnet>(project, first).await?
            && balancer.spec.security_groups.is_empty()
        {
            let claim = SecurityGroupSpec::default_claim(project, &subnet.spec.vpc);
            balancer.spec.security_groups.extend(self.holder(&claim.key).await?);
        }
        Ok(())
    }

    async fn check_balancer(
        &self,
        balancer: &LoadBalancer,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let project = &balancer.metadata.namespace;
        self.check_floating(balancer, errors).await?;
        let Some(first) = balancer.spec.subnets.first() else { return Ok(()) };
        let Some(first) = self.read::<Subnet>(project, first).await? else { return Ok(()) };
        let vpc = &first.spec.vpc;
        for (i, subnet) in balancer.spec.subnets.iter().enumerate() {
            let at = format!("spec.subnets[{i}]");
            self.require_same_vpc::<SubnetSpec>(project, vpc, subnet, &at, errors).await?;
        }
        for name in balancer.shared_target_groups() {
            let at = balancer.spec.where_named(name);
            self.require_same_vpc::<TargetGroupSpec>(project, vpc, name, &at, errors).await?;
            self.check_group_protocol(balancer, name, errors).await?;
        }
        self.check_groups_of(project, vpc, &balancer.spec.security_groups, errors).await
    }

    async fn check_group_protocol(
        &self,
        balancer: &LoadBalancer,
        name: &str,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let Some(group) = self.read::<TargetGroup>(&balancer.metadata.namespace, name).await? else {
            return Ok(());
        };
        for (i, listener) in balancer.spec.listeners.iter().enumerate() {
            let used = listener.target_groups().find(|(used, _)| *used == name);
            if let Some((_, at)) = used.filter(|_| !listener.protocol.fits(group.spec.protocol)) {
                errors.push(format!("spec.listeners[{i}].{at}"), DATAGRAMS);
            }
        }
        Ok(())
    }

    /// A floating address that stands for something else already is not taken away from that.
    async fn check_floating(
        &self,
        balancer: &LoadBalancer,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let (project, name) = (&balancer.metadata.namespace, &balancer.spec.floating_ip);
        if name.is_empty() {
            return Ok(());
        }
        let Some(floating) = self.read::<FloatingIp>(project, name).await? else { return Ok(()) };
        let port = &floating.spec.port;
        if !port.is_empty() && *port != balancer.port_name() {
            let message = format!(
                "{name:?} stands for port {port:?}; `corten floating-ip disassociate {name}` frees it"
            );
            errors.push("spec.floatingIp", message);
        }
        Ok(())
    }

    fn port_of(&self, balancer: &LoadBalancer) -> Port {
        let meta = ObjectMeta {
            uid: self.inner.environment.uid(),
            creation_timestamp: balancer.metadata.creation_timestamp,
            generation: 1,
            owner_references: vec![OwnerReference {
                api_version: LoadBalancer::KIND.api_version(),
                kind: LoadBalancer::KIND.kind.into(),
                name: balancer.metadata.name.clone(),
                uid: balancer.metadata.uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }],
            ..ObjectMeta::in_project(&balancer.metadata.namespace, balancer.port_name())
        };
        let spec = PortSpec {
            subnet: balancer.spec.subnets.first().cloned().unwrap_or_default(),
            security_groups: balancer.spec.security_groups.clone(),
            load_balancer: balancer.metadata.name.clone(),
            ..PortSpec::default()
        };
        let mut port: Port = Object::new(meta, spec);
        AnyObject::set_defaults(&mut port);
        port
    }
}

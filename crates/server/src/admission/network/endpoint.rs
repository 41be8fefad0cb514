//! Vpc endpoints: a port for each subnet of an interface, made in the transaction that names the subnet; what they name is
//! of one Vpc.

use identity::iam::Document;
use model::network::{
    Port, PortSpec, RouteTableSpec, SecurityGroupSpec, Subnet, SubnetMode, SubnetSpec, Vpc, VpcEndpoint,
};
use model::{AnyObject, ApiError, FieldErrors, Object, ObjectMeta, OwnerReference, Resource};

use crate::claims::Draft;
use crate::server::Server;

impl Server {
    pub(super) async fn complete_endpoint(
        &self,
        endpoint: &mut VpcEndpoint,
        old: Option<&VpcEndpoint>,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let (project, vpc) = (endpoint.metadata.namespace.clone(), endpoint.spec.vpc.clone());
        if endpoint.is_interface() && endpoint.spec.security_groups.is_empty() {
            let claim = SecurityGroupSpec::default_claim(&project, &vpc);
            endpoint.spec.security_groups.extend(self.holder(&claim.key).await?);
        }
        self.check_endpoint(endpoint, errors).await?;
        if endpoint.metadata.is_deleting() {
            return Ok(());
        }
        let known = old.map(|old| old.spec.subnets.as_slice()).unwrap_or_default();
        let subnets = endpoint.spec.subnets.iter().enumerate();
        let new: Vec<(usize, String)> =
            subnets.filter(|(_, name)| !known.contains(name)).map(|(i, name)| (i, name.clone())).collect();
        for (i, subnet) in new {
            let mut port = self.port_of_endpoint(endpoint, &subnet);
            let mut found = FieldErrors::default();
            self.complete_port(&mut port, None, draft, &mut found).await?;
            self.check_references(&port, None, draft, &mut found).await?;
            for error in found.iter() {
                let field = match error.field.as_str() {
                    "spec.subnet" | "spec.addresses" => format!("spec.subnets[{i}]"),
                    field => field.to_owned(),
                };
                errors.push(field, error.message.clone());
            }
            draft.companions.push(Box::new(port));
        }
        Ok(())
    }

    async fn check_endpoint(&self, endpoint: &VpcEndpoint, errors: &mut FieldErrors) -> Result<(), ApiError> {
        let (project, spec) = (&endpoint.metadata.namespace, &endpoint.spec);
        if let (false, Err(e)) = (spec.policy.is_empty(), Document::of_resource(&spec.policy)) {
            errors.push("spec.policy", e.to_string());
        }
        for (i, table) in spec.route_tables.iter().enumerate() {
            let at = format!("spec.routeTables[{i}]");
            self.require_same_vpc::<RouteTableSpec>(project, &spec.vpc, table, &at, errors).await?;
        }
        for (i, name) in spec.subnets.iter().enumerate() {
            let at = format!("spec.subnets[{i}]");
            self.require_same_vpc::<SubnetSpec>(project, &spec.vpc, name, &at, errors).await?;
            let subnet = self.read::<Subnet>(project, name).await?;
            if subnet.is_some_and(|subnet| subnet.spec.mode == SubnetMode::Bridge) {
                let message = format!(
                    "subnet {name:?} is on a physical segment, where no host answers; choose another"
                );
                errors.push(at, message);
            }
        }
        if spec.private_dns {
            let vpc = self.read::<Vpc>(project, &spec.vpc).await?;
            let answers = vpc.is_none_or(|vpc| !vpc.spec.dns.disabled);
            errors.require(answers, "spec.privateDns", "needs name service in the vpc; switch it on there");
        }
        self.check_groups_of(project, &spec.vpc, &spec.security_groups, errors).await
    }

    fn port_of_endpoint(&self, endpoint: &VpcEndpoint, subnet: &str) -> Port {
        let meta = ObjectMeta {
            uid: self.inner.environment.uid(),
            creation_timestamp: Some(self.inner.environment.now()),
            generation: 1,
            owner_references: vec![OwnerReference {
                api_version: VpcEndpoint::KIND.api_version(),
                kind: VpcEndpoint::KIND.kind.into(),
                name: endpoint.metadata.name.clone(),
                uid: endpoint.metadata.uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }],
            ..ObjectMeta::in_project(&endpoint.metadata.namespace, endpoint.port_name(subnet))
        };
        let spec = PortSpec {
            subnet: subnet.to_owned(),
            security_groups: endpoint.spec.security_groups.clone(),
            vpc_endpoint: endpoint.metadata.name.clone(),
            ..PortSpec::default()
        };
        let mut port: Port = Object::new(meta, spec);
        AnyObject::set_defaults(&mut port);
        port
    }
}

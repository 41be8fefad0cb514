//! Networks: what the server gives (addresses, overlay numbers), and rules between the objects of one Vpc.

mod balancer;
mod endpoint;
mod floating_ip;
mod group;
mod instance;
mod port;
mod report;
mod subnet;
mod vpc;

use model::network::{
    FloatingIp, Gateway, GatewaySpec, LoadBalancer, Peering, PeeringSpec, Port, RouteTable, SecurityGroup,
    Subnet, SubnetSpec, Vpc, VpcEndpoint,
};
use model::{AnyObject, ApiError, FieldErrors, Object, Spec};

use crate::claims::Draft;
use crate::server::Server;

impl Server {
    /// Completes and checks an object of the network group; others are left alone.
    pub(super) async fn complete_network(
        &self,
        object: &mut dyn AnyObject,
        old: Option<&dyn AnyObject>,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let any = object.as_any_mut();
        if let Some(vpc) = any.downcast_mut::<Vpc>() {
            self.complete_vpc(vpc, of(old), draft, errors).await
        } else if let Some(subnet) = any.downcast_mut::<Subnet>() {
            self.complete_subnet(subnet, of(old), draft, errors).await
        } else if let Some(port) = any.downcast_mut::<Port>() {
            if old.is_none() {
                let message = "is set by the server; name the port in spec.networks of the instance";
                errors.require(port.spec.instance.is_empty(), "spec.instance", message);
                let message = "is set by the server; make a load balancer in the subnet";
                errors.require(port.spec.load_balancer.is_empty(), "spec.loadBalancer", message);
                let message = "is set by the server; make a vpc endpoint in the subnet";
                errors.require(port.spec.vpc_endpoint.is_empty(), "spec.vpcEndpoint", message);
            }
            self.check_maker(port, of(old), errors).await?;
            self.complete_port(port, of(old), draft, errors).await
        } else if let Some(floating) = any.downcast_mut::<FloatingIp>() {
            self.complete_floating_ip(floating, of(old), draft, errors).await
        } else if let Some(group) = any.downcast_mut::<SecurityGroup>() {
            self.check_group(group, errors).await
        } else if let Some(table) = any.downcast_mut::<RouteTable>() {
            self.check_routes(table, errors).await
        } else if let Some(gateway) = any.downcast_mut::<Gateway>() {
            let (vpc, subnet) = (&gateway.spec.vpc, &gateway.spec.subnet);
            let project = &gateway.metadata.namespace;
            self.require_same_vpc::<SubnetSpec>(project, vpc, subnet, "spec.subnet", errors).await
        } else if let Some(peering) = any.downcast_mut::<Peering>() {
            self.check_peering(peering, errors).await
        } else if let Some(balancer) = any.downcast_mut::<LoadBalancer>() {
            self.complete_balancer(balancer, of(old), draft, errors).await
        } else if let Some(endpoint) = any.downcast_mut::<VpcEndpoint>() {
            self.complete_endpoint(endpoint, of(old), draft, errors).await
        } else {
            Ok(())
        }
    }

    async fn check_routes(&self, table: &RouteTable, errors: &mut FieldErrors) -> Result<(), ApiError> {
        let (project, vpc) = (&table.metadata.namespace, &table.spec.vpc);
        for (i, route) in table.spec.routes.iter().enumerate() {
            let field = |name: &str| format!("spec.routes[{i}].target.{name}");
            let (gateway, peering) = (&route.target.gateway, &route.target.peering);
            let at = field("gateway");
            self.require_same_vpc::<GatewaySpec>(project, vpc, gateway, &at, errors).await?;
            let at = field("peering");
            self.require_same_vpc::<PeeringSpec>(project, vpc, peering, &at, errors).await?;
        }
        Ok(())
    }

    /// Two Vpcs that are to talk need addresses that differ. What another project has is not told.
    async fn check_peering(&self, peering: &Peering, errors: &mut FieldErrors) -> Result<(), ApiError> {
        let project = &peering.metadata.namespace;
        if peering.spec.peer_project(project) != project {
            return Ok(());
        }
        let Some(own) = self.read::<Vpc>(project, &peering.spec.vpc).await? else { return Ok(()) };
        let Some(peer) = self.read::<Vpc>(project, &peering.spec.peer_vpc).await? else { return Ok(()) };
        if let Some((range, other)) = own.spec.overlap(&peer.spec) {
            let message = format!("its range {other} overlaps {range} of vpc {:?}", peering.spec.vpc);
            errors.push("spec.peerVpc", format!("{message}; peers need ranges apart"));
        }
        Ok(())
    }

    /// Another object of the project that has to be of the same Vpc, if it is there at all.
    async fn require_same_vpc<S: OfVpc>(
        &self,
        project: &str,
        vpc: &str,
        name: &str,
        field: &str,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        if name.is_empty() {
            return Ok(());
        }
        let Some(other) = self.read::<Object<S>>(project, name).await? else { return Ok(()) };
        let theirs = other.spec.vpc();
        if theirs != vpc {
            let kind = S::KIND.singular;
            errors
                .push(field, format!("{kind} {name:?} is of vpc {theirs:?}, not of {vpc:?}; choose another"));
        }
        Ok(())
    }
}

/// Kinds that belong to one Vpc.
trait OfVpc: Spec {
    fn vpc(&self) -> &str;
}

macro_rules! of_vpc {
    ($($spec:ty),*) => {
        $(impl OfVpc for $spec {
            fn vpc(&self) -> &str {
                &self.vpc
            }
        })*
    };
}

of_vpc!(
    SubnetSpec,
    GatewaySpec,
    PeeringSpec,
    model::network::RouteTableSpec,
    model::network::NetworkAclSpec,
    model::network::SecurityGroupSpec,
    model::network::TargetGroupSpec
);

/// The old object, as one of this kind.
fn of<S: Spec>(old: Option<&dyn AnyObject>) -> Option<&Object<S>> {
    old.and_then(|old| old.as_any().downcast_ref())
}

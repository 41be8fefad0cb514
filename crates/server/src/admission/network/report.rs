//! What hosts report of networks: each of its own, and nothing that the server has decided.

use ::identity::Principal;
use model::compute::Instance;
use model::network::{FloatingIp, FloatingIpSpec, Gateway, LoadBalancer, Port, Vpc};
use model::{AnyObject, ApiError, Reason};

use crate::server::Server;

impl Server {
    /// Checks who reports, and keeps what no report changes.
    pub(crate) async fn check_report(
        &self,
        caller: &Principal,
        old: &dyn AnyObject,
        new: &mut dyn AnyObject,
    ) -> Result<(), ApiError> {
        if let Some(old) = old.as_any().downcast_ref::<Vpc>() {
            if let Some(vpc) = new.as_any_mut().downcast_mut::<Vpc>() {
                vpc.status.vni = old.status.vni;
            }
        } else if let (Some(old), Some(host)) = (old.as_any().downcast_ref::<Port>(), caller.host()) {
            self.require_own_port(host, old).await?;
            if let Some(port) = new.as_any_mut().downcast_mut::<Port>()
                && !port.status.host.is_empty()
            {
                host.clone_into(&mut port.status.host);
            }
        } else if let (Some(old), Some(host)) = (old.as_any().downcast_ref::<FloatingIp>(), caller.host()) {
            self.require_own_floating_ip(host, old).await?;
            if let Some(floating) = new.as_any_mut().downcast_mut::<FloatingIp>() {
                host.clone_into(&mut floating.status.host);
            }
        } else if let (Some(old), Some(host)) = (old.as_any().downcast_ref::<Gateway>(), caller.host()) {
            require_own_place("gateway", &old.metadata.name, &old.status.host, host)?;
            if let Some(gateway) = new.as_any_mut().downcast_mut::<Gateway>() {
                // Where it is, is the controller's to say.
                let host_address = gateway.status.host_address;
                gateway.status.clone_from(&old.status);
                gateway.status.host_address = host_address;
            }
        } else if let (Some(old), Some(host)) = (old.as_any().downcast_ref::<LoadBalancer>(), caller.host()) {
            require_own_place("load balancer", &old.metadata.name, &old.status.host, host)?;
            if let Some(balancer) = new.as_any_mut().downcast_mut::<LoadBalancer>() {
                // Where it is, under which addresses and with which secrets is the controller's to say.
                balancer.status.host.clone_from(&old.status.host);
                balancer.status.addresses.clone_from(&old.status.addresses);
                balancer.status.certificates.clone_from(&old.status.certificates);
            }
        }
        Ok(())
    }

    /// A host answers for the floating addresses of its ports, and of gateways that are on it.
    async fn require_own_floating_ip(&self, host: &str, floating: &FloatingIp) -> Result<(), ApiError> {
        let (project, port) = (&floating.metadata.namespace, &floating.spec.port);
        if let Some(port) = self.read::<Port>(project, port).await? {
            return self.require_own_port(host, &port).await;
        }
        let name = &floating.metadata.name;
        let user = self.holder(&FloatingIpSpec::use_key(project, name)).await?;
        if let Some(gateway) = user
            && let Some(gateway) = self.read::<Gateway>(project, &gateway).await?
            && gateway.spec.floating_ip == *name
        {
            return require_own_place("gateway", &gateway.metadata.name, &gateway.status.host, host);
        }
        let message = format!("floating ip {name:?} stands for no port and no gateway");
        Err(ApiError::new(Reason::Forbidden, message))
    }

    /// A host speaks for the ports of instances bound to it and of load balancers that are on it, and for no others.
    pub(crate) async fn require_own_port(&self, host: &str, port: &Port) -> Result<(), ApiError> {
        let project = &port.metadata.namespace;
        if !port.spec.load_balancer.is_empty() {
            let balancer = self.read::<LoadBalancer>(project, &port.spec.load_balancer).await?;
            let own = balancer.map_or_else(|| port.status.host.clone(), |balancer| balancer.status.host);
            return if own == host { Ok(()) } else { Err(foreign(port, "a load balancer", &own, host)) };
        }
        // One that was made for an instance may be another's by now.
        let named = self.holder(&format!("attached/{project}/{}", port.metadata.name)).await?;
        let made = || Some(port.spec.instance.clone()).filter(|name| !name.is_empty());
        let name = named.or_else(made);
        let instance = match name {
            Some(name) => self.read::<Instance>(project, &name).await?,
            None => None,
        };
        // A port whose instance is gone is given up by the host that had it.
        let bound = instance.map_or_else(|| port.status.host.clone(), |instance| instance.status.host);
        if bound == host {
            return Ok(());
        }
        Err(foreign(port, "an instance", &bound, host))
    }
}

/// What a controller has given a host, no other speaks for.
fn require_own_place(kind: &str, name: &str, own: &str, host: &str) -> Result<(), ApiError> {
    if own == host {
        return Ok(());
    }
    let message = format!("{kind} {name:?} is on host {own:?}, not on {host:?}");
    Err(ApiError::new(Reason::Forbidden, message))
}

fn foreign(port: &Port, owner: &str, bound: &str, host: &str) -> ApiError {
    let name = &port.metadata.name;
    let message = format!("port {name:?} is of {owner} on host {bound:?}, not {host:?}");
    ApiError::new(Reason::Forbidden, message)
}

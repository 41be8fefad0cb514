//! The floating address of a public balancer: it stands for the balancer's port, as for any other.

use model::network::{Address, FloatingIp, LoadBalancer, Scheme};
use model::{ApiError, Condition, ConditionStatus};

use super::Balancers;

/// On a FloatingIp that stands for a balancer's port because the balancer says so: the balancer's name.
pub(super) const OWNER: &str = "network.corten.dev/load-balancer";
pub(super) const CONDITION: &str = "FloatingAddress";

/// What there is to tell of a balancer's floating address.
#[derive(Debug, Default)]
pub(super) struct Floating {
    pub(super) address: Option<Address>,
    pub(super) condition: Option<Condition>,
}

impl Balancers {
    /// Frees what stood for a balancer that is gone, or that no longer names it.
    pub(super) async fn release_floating(
        &self,
        key: &str,
        balancer: Option<&LoadBalancer>,
    ) -> Result<(), ApiError> {
        let Some((project, name)) = key.split_once('/') else { return Ok(()) };
        let wanted = balancer.filter(|b| !b.metadata.is_deleting()).and_then(wanted);
        let stale = self.floating.filter(|floating| {
            let meta = &floating.metadata;
            meta.namespace == project
                && meta.annotations.get(OWNER).is_some_and(|owner| owner == name)
                && wanted != Some(meta.name.as_str())
        });
        for floating in stale {
            let mut floating = (*floating).clone();
            floating.metadata.annotations.remove(OWNER);
            floating.spec.port.clear();
            floating.spec.port_address = None;
            self.write(&floating).await?;
        }
        Ok(())
    }

    /// Has the balancer's floating address stand for its port.
    pub(super) async fn associate_floating(&self, balancer: &LoadBalancer) -> Result<Floating, ApiError> {
        let Some(name) = wanted(balancer) else { return Ok(Floating::default()) };
        let key = format!("{}/{name}", balancer.metadata.namespace);
        let Some(floating) = self.floating.get(&key) else { return Ok(Floating::default()) };
        let port = balancer.port_name();
        let address = floating.spec.address;
        let told =
            |status, reason: &str, message: String| Some(Condition::new(CONDITION, status, reason, message));
        if !floating.spec.port.is_empty() && floating.spec.port != port {
            let message = format!(
                "floating ip {name:?} stands for port {:?}; `corten floating-ip disassociate {name}` frees it",
                floating.spec.port
            );
            return Ok(Floating { address: None, condition: told(ConditionStatus::False, "InUse", message) });
        }
        let owner = floating.metadata.annotations.get(OWNER);
        if floating.spec.port.is_empty() || owner != Some(&balancer.metadata.name) {
            let mut floating = (*floating).clone();
            floating.metadata.annotations.insert(OWNER.into(), balancer.metadata.name.clone());
            floating.spec.port = port;
            floating.spec.port_address = None;
            self.write(&floating).await?;
        }
        let message = address.map(|address| format!("is reached at {address}")).unwrap_or_default();
        Ok(Floating { address, condition: told(ConditionStatus::True, "Associated", message) })
    }

    async fn write(&self, floating: &FloatingIp) -> Result<(), ApiError> {
        let api = self.context.client.project::<FloatingIp>(&floating.metadata.namespace);
        match api.update(floating).await {
            Err(e) if e.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }
}

/// The floating address that a balancer asks for.
fn wanted(balancer: &LoadBalancer) -> Option<&str> {
    let spec = &balancer.spec;
    (spec.scheme == Scheme::Public && !spec.floating_ip.is_empty()).then_some(spec.floating_ip.as_str())
}

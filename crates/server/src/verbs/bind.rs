//! Binding: the scheduler's claim of a host for an instance, in one transaction. With it comes the agent's
//! finalizer, so that from now on the instance goes only when the host has let go of it: by a release. A binding can
//! be undone where the host is lost.

use client::{Reply, Request};
use identity::Principal;
use model::compute::{Instance, InstancePhase};
use model::{ApiError, Condition, ConditionStatus, Reason, Uid, set_condition};
use serde::Deserialize;

use super::update::{as_instance, changed_meanwhile};
use crate::claims::Draft;
use crate::server::Server;

/// Held by the agent of the host an instance is bound to.
pub(crate) const AGENT_FINALIZER: &str = "compute.corten.dev/agent";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Binding {
    /// Empty to undo the binding to `from`.
    host: String,
    /// The host that is lost.
    #[serde(default)]
    from: String,
    /// Why this host, in a sentence.
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    uid: Uid,
}

impl Server {
    pub(crate) async fn bind(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        if !caller.is_component() {
            let message =
                "only the scheduler binds instances; set spec.placement.host to choose one yourself";
            return Err(ApiError::new(Reason::Forbidden, message));
        }
        let binding: Binding = serde_json::from_slice(&request.body)
            .map_err(|e| ApiError::bad_request(format!("this is not a valid binding: {e}")))?;
        loop {
            let entry = self.entry(&request).await?;
            let old = self.inner.recent.object(request.kind, &entry)?;
            let mut new = old.clone_box();
            let instance = as_instance(&mut *new)?;
            if binding.host.is_empty() {
                unbind(instance, &binding, self.inner.environment.now())?;
                match self.replace(&request, &entry, &*old, new, &mut Draft::default()).await {
                    Err(e) if e == changed_meanwhile(&request) => continue,
                    result => return result,
                }
            }
            if !instance.status.host.is_empty() && instance.status.host != binding.host {
                return Err(ApiError::conflict(format!(
                    "instance {:?} is already bound to host {:?}",
                    request.name, instance.status.host
                )));
            }
            if instance.metadata.is_deleting() {
                return Err(ApiError::conflict(format!("instance {:?} is being deleted", request.name)));
            }
            instance.status.host.clone_from(&binding.host);
            instance.status.phase = InstancePhase::Pending;
            if !instance.metadata.finalizers.iter().any(|f| f == AGENT_FINALIZER) {
                instance.metadata.finalizers.push(AGENT_FINALIZER.into());
            }
            let condition =
                Condition::new("Scheduled", ConditionStatus::True, "Bound", binding.message.clone());
            set_condition(&mut instance.status.conditions, condition, self.inner.environment.now());
            match self.replace(&request, &entry, &*old, new, &mut Draft::default()).await {
                // Someone wrote a status or renewed the lease meanwhile. The claim itself is not in doubt, and
                // the proof of leadership is checked anew in the next round.
                Err(e) if e == changed_meanwhile(&request) => {}
                result => return result,
            }
        }
    }

    /// The host's word that nothing of a deleted instance is left there.
    pub(crate) async fn release(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        let release: Release = serde_json::from_slice(&request.body)
            .map_err(|e| ApiError::bad_request(format!("this is not a valid release: {e}")))?;
        loop {
            let entry = self.entry(&request).await?;
            let old = self.inner.recent.object(request.kind, &entry)?;
            let mut new = old.clone_box();
            let instance = as_instance(&mut *new)?;
            if instance.metadata.uid != release.uid {
                return Err(ApiError::not_found("instance", &request.name));
            }
            require_own_host(caller, instance)?;
            if !instance.metadata.is_deleting() {
                let message = format!("instance {:?} is not being deleted", request.name);
                return Err(ApiError::conflict(message));
            }
            instance.metadata.finalizers.retain(|f| f != AGENT_FINALIZER);
            match self.replace(&request, &entry, &*old, new, &mut Draft::default()).await {
                Err(e) if e == changed_meanwhile(&request) => {}
                result => return result,
            }
        }
    }
}

/// What its lost host knew of it counts no more, and the instance goes without that host's word.
fn unbind(instance: &mut Instance, binding: &Binding, now: model::Timestamp) -> Result<(), ApiError> {
    if binding.from.is_empty() || instance.status.host != binding.from {
        let (name, host) = (&instance.metadata.name, &instance.status.host);
        return Err(ApiError::conflict(format!(
            "instance {name:?} is bound to host {host:?}, not to {:?}",
            binding.from
        )));
    }
    instance.metadata.finalizers.retain(|f| f != AGENT_FINALIZER);
    instance.status.host.clear();
    instance.status.phase = InstancePhase::Pending;
    let message = binding.message.clone();
    for (kind, status) in [("Scheduled", ConditionStatus::False), ("Ready", ConditionStatus::False)] {
        let condition = Condition::new(kind, status, "HostLost", message.clone());
        set_condition(&mut instance.status.conditions, condition, now);
    }
    Ok(())
}

/// A host speaks for the instances bound to it, and for no others.
pub(crate) fn require_own_host(caller: &Principal, instance: &Instance) -> Result<(), ApiError> {
    match caller.host() {
        Some(host) if instance.status.host != host => {
            let bound = &instance.status.host;
            let name = &instance.metadata.name;
            let message = format!("instance {name:?} is bound to host {bound:?}, not to {host:?}");
            Err(ApiError::new(Reason::Forbidden, message))
        }
        _ => Ok(()),
    }
}

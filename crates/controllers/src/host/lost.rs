//! What becomes of the instances of a host that is not heard of, or is no more.

use client::{Severity, Verb};
use model::compute::{Instance, InstancePhase, OnHostLoss};
use model::{ApiError, Condition, ConditionStatus, set_condition};

use super::Hosts;

/// Held by the agent of the host an instance is bound to.
const AGENT_FINALIZER: &str = "compute.corten.dev/agent";
/// The operator's word that an instance is gone, though its host cannot say so.
pub(super) const FORCE: &str = "corten.dev/force";

impl Hosts {
    /// Nobody knows whether they run: that is what their status says, with the time since when.
    pub(super) async fn mark_instances_unknown(
        &self,
        host: &str,
        reason: &str,
        why: &str,
    ) -> Result<(), ApiError> {
        let lost = self.instances.filter(|i| {
            i.status.host == host
                && matches!(
                    i.status.phase,
                    InstancePhase::Pending
                        | InstancePhase::Running
                        | InstancePhase::Paused
                        | InstancePhase::Starting
                        | InstancePhase::Stopping
                )
        });
        for instance in lost {
            let mut instance = (*instance).clone();
            instance.status.phase = InstancePhase::Unknown;
            let message = format!("host {host} {why}");
            let condition = Condition::new("Ready", ConditionStatus::Unknown, reason, message);
            set_condition(&mut instance.status.conditions, condition, (self.context.now)());
            let api = self.context.client.project::<Instance>(&instance.metadata.namespace);
            ignore_gone(api.update_status(&instance).await.map(drop))?;
        }
        Ok(())
    }

    /// A host that was removed from the cloud will never let go of its instances: they are free to be
    /// deleted, and those that are to go on need a new host.
    pub(super) async fn release_instances_of(&self, host: &str) -> Result<(), ApiError> {
        for instance in self.instances.filter(|i| i.status.host == host && i.metadata.is_deleting()) {
            self.release(&instance).await?;
        }
        Ok(())
    }

    /// On a silent host only an operator can say that an instance is gone.
    pub(super) async fn release_forced(&self, host: &str) -> Result<(), ApiError> {
        let forced = self.instances.filter(|i| {
            i.status.host == host && i.metadata.is_deleting() && i.metadata.annotations.contains_key(FORCE)
        });
        for instance in forced {
            self.release(&instance).await?;
        }
        Ok(())
    }

    /// Takes instances from a host that has ended them, so that they get another. What they wrote to is shared by
    /// hosts, and decides for itself when it can be opened there.
    pub(super) async fn restart_elsewhere(&self, host: &str) -> Result<(), ApiError> {
        for instance in self.instances.filter(|i| i.status.host == host && !i.metadata.is_deleting()) {
            if !self.may_restart(&instance) {
                continue;
            }
            let message = format!("host {host:?} is lost: it is started on another one");
            let body = serde_json::json!({ "host": "", "from": host, "message": message });
            let api = self.context.client.project::<Instance>(&instance.metadata.namespace);
            let request = api.request(Verb::Create, &instance.metadata.name);
            let request = request.subresource("binding").body(body.to_string());
            match self.context.client.transport().call(request).await {
                Ok(_) => self.recorder.record(&*instance, Severity::Warning, "HostLost", &message).await,
                // It went, or got another host, meanwhile.
                Err(e) if e.is_not_found() || e.is_conflict() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Only what is not over, and has nothing but what hosts share, and at least something of it: that is what proves that
    /// no second one writes.
    fn may_restart(&self, instance: &Instance) -> bool {
        let is_over = matches!(instance.status.phase, InstancePhase::Succeeded | InstancePhase::Failed);
        let mut volumes = instance.spec.named_volumes().peekable();
        !is_over
            && instance.spec.placement.on_host_loss == OnHostLoss::Restart
            && volumes.peek().is_some()
            && volumes.all(|(_, name)| {
                let volume = self.caches.volumes.get(&format!("{}/{name}", instance.metadata.namespace));
                volume.is_some_and(|volume| self.caches.is_shared(&volume))
            })
    }

    async fn release(&self, instance: &Instance) -> Result<(), ApiError> {
        let mut instance = instance.clone();
        instance.metadata.finalizers.retain(|f| f != AGENT_FINALIZER);
        let api = self.context.client.project::<Instance>(&instance.metadata.namespace);
        ignore_gone(api.update(&instance).await.map(drop))
    }
}

fn ignore_gone(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(e) if e.is_not_found() => Ok(()),
        result => result,
    }
}

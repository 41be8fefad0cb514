//! What becomes of the instances of a host that is not heard of, or is no more.

use model::compute::{Instance, InstancePhase};
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

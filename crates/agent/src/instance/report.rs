//! Status: what is known of an instance, written only when it changed.

use driver::{Observed, SandboxState};
use model::compute::{ContainerStatus, Instance, InstancePhase, InstanceStatus};
use model::{Condition, ConditionStatus, set_condition};

use super::{InstanceError, Instances};

impl Instances {
    /// Writes the status if it differs from what the server has.
    pub(super) async fn report(
        &self,
        instance: &mut Instance,
        phase: InstancePhase,
        condition: Condition,
        observed: Option<&Observed>,
    ) -> Result<(), InstanceError> {
        let known = self.cache.get(&instance.metadata.key()).map(|i| i.status.clone());
        let status = &mut instance.status;
        status.phase = phase;
        status.observed_generation = instance.metadata.generation;
        set_condition(&mut status.conditions, condition, (self.now)());
        if let Some(observed) = observed {
            if let SandboxState::Exited(code) = observed.state {
                status.exit_code = code;
            }
            status.containers = observed.containers.iter().map(container).collect();
        }
        if known.as_ref() == Some(status) {
            return Ok(());
        }
        let api = self.client.project::<Instance>(&instance.metadata.namespace);
        let written = api.update_status(instance).await?;
        instance.metadata = written.metadata;
        Ok(())
    }
}

fn container(c: &driver::ObservedContainer) -> ContainerStatus {
    ContainerStatus { name: c.name.clone(), running: c.running, exit_code: c.exit_code, restarts: 0 }
}

/// The `Ready` condition that goes with a phase.
pub(super) fn condition(phase: InstancePhase, observed: Option<&Observed>) -> Condition {
    let message = observed.map(|o| o.message.clone()).unwrap_or_default();
    let ready = |status, reason: &str, message: String| Condition::new("Ready", status, reason, message);
    match phase {
        InstancePhase::Running => ready(ConditionStatus::True, "Running", String::new()),
        InstancePhase::Unknown => {
            ready(ConditionStatus::Unknown, "NotAnswering", or(message, "the hypervisor does not answer"))
        }
        InstancePhase::Paused => ready(ConditionStatus::False, "Paused", "paused as asked".into()),
        InstancePhase::Stopped => ready(ConditionStatus::False, "Stopped", "stopped as asked".into()),
        InstancePhase::Succeeded => ready(
            ConditionStatus::False,
            "Ended",
            "ended by itself, successfully; `corten start` runs it again".into(),
        ),
        InstancePhase::Failed => ready(ConditionStatus::False, "Failed", or(message, "ended with a failure")),
        InstancePhase::Pending | InstancePhase::Starting | InstancePhase::Stopping => {
            ready(ConditionStatus::False, phase.as_str(), message)
        }
    }
}

fn or(message: String, otherwise: &str) -> String {
    if message.is_empty() { otherwise.into() } else { message }
}

/// Where the guest is reached, from its plan.
pub(super) fn endpoints(status: &mut InstanceStatus, plan: &driver::Plan) {
    let forwards = plan.vm.iter().flat_map(|vm| &vm.nics).find_map(|nic| match nic {
        driver::NicPlan::User { forwards, .. } => forwards.iter().find(|(_, guest)| *guest == 22),
        driver::NicPlan::Tap { .. } => None,
    });
    status.ssh_endpoint = forwards.map_or_else(String::new, |(host, _)| format!("127.0.0.1:{host}"));
}

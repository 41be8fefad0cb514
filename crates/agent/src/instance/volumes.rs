//! The volumes of an instance: made ready before it starts, plugged and taken out later.

use driver::ComputeDriver;
use model::compute::{Instance, InstancePhase};
use model::{Condition, ConditionStatus, set_condition};

use super::{InstanceError, Instances};
use crate::volume::Prepared;

/// The condition that speaks of volumes.
const CONDITION: &str = "VolumesAttached";

impl Instances {
    /// Disks for a start; what comes back keeps them as they are until it is dropped.
    pub(super) async fn prepare_volumes(
        &self,
        instance: &Instance,
        driver: &dyn ComputeDriver,
    ) -> Result<Option<Prepared>, InstanceError> {
        match &self.volumes {
            _ if instance.spec.named_volumes().next().is_none() => Ok(None),
            Some(volumes) => Ok(Some(volumes.prepare(instance, driver).await?)),
            None => Err(InstanceError::NoDriver("volumes: this host has no pool".into())),
        }
    }

    /// Makes the disks those of the spec and notes how that went; false when it has to be tried again. A guest that
    /// runs goes on running, whatever becomes of a disk that was asked for later.
    pub(super) async fn sync_volumes(
        &self,
        instance: &mut Instance,
        driver: &dyn ComputeDriver,
        phase: InstancePhase,
    ) -> bool {
        let (Some(volumes), false) = (&self.volumes, phase == InstancePhase::Unknown) else { return true };
        let runs = matches!(phase, InstancePhase::Running | InstancePhase::Paused);
        let result = volumes.sync(instance, driver, runs).await;
        let known = instance.status.conditions.iter().any(|c| c.kind == CONDITION);
        if known || result.is_err() || instance.spec.named_volumes().next().is_some() {
            let condition = match &result {
                Ok(()) => Condition::new(CONDITION, ConditionStatus::True, "Attached", String::new()),
                Err(e) => Condition::new(CONDITION, ConditionStatus::False, "Waits", e.to_string()),
            };
            set_condition(&mut instance.status.conditions, condition, (self.now)());
        }
        result.is_ok()
    }
}

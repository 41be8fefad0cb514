//! What the cloud starts elsewhere when this host is lost, this host ends by itself before that: it counts from when it
//! sent its last sign of life, the cloud from when it got it, and for longer. The lock on the disk is what protects when
//! this goes wrong, as when the agent itself stands still.

use driver::{SandboxState, StopMode};
use model::compute::{Instance, OnHostLoss};

use super::{InstanceError, Instances, observe};
use crate::volume::VolumeError;

impl Instances {
    /// Ends such instances when the cloud is out of reach.
    pub(crate) async fn fence(&self) {
        if !self.contact.is_lost() {
            return;
        }
        for instance in self.cache.filter(restarts_elsewhere) {
            match self.end(&instance).await {
                Ok(false) => {}
                Ok(true) => tracing::warn!(
                    instance = instance.metadata.key(),
                    "ended: the cloud is out of reach, and may start it on another host"
                ),
                Err(e) => {
                    tracing::error!(instance = instance.metadata.key(), error = %e, "it could not be ended");
                }
            }
        }
    }

    /// Whether there was something to end.
    async fn end(&self, instance: &Instance) -> Result<bool, InstanceError> {
        let driver = self.driver_of(instance)?;
        let observed = observe(&**driver, instance).await?;
        let runs = observed.is_some_and(|o| matches!(o.state, SandboxState::Running | SandboxState::Paused));
        if runs {
            driver.stop(&instance.metadata.uid, StopMode::Kill).await?;
        }
        Ok(runs)
    }

    /// Out of reach of the cloud they are not started either.
    pub(super) fn require_contact(&self, instance: &Instance) -> Result<(), InstanceError> {
        if restarts_elsewhere(instance) && self.contact.is_lost() {
            let why = "the cloud is out of reach, and may start the instance on another host".to_owned();
            return Err(VolumeError::Waits(why).into());
        }
        Ok(())
    }
}

fn restarts_elsewhere(instance: &Instance) -> bool {
    instance.spec.placement.on_host_loss == OnHostLoss::Restart
}

//! Instances that the cloud starts elsewhere when this host is lost, and the cloud is out of reach. They run on as long
//! as nobody else wants their volumes: that the cloud is away ends no guest. The pool says who wants what. Where it is out
//! of reach too, this host ends them, before the cloud holds it for lost: it counts from when it sent its last sign of
//! life, the cloud from when it got it, and for longer.

use std::time::Duration;

use driver::{SandboxState, StopMode};
use model::compute::{Instance, OnHostLoss};
use tokio::time::timeout;

use super::{InstanceError, Instances, observe};

/// How long a pool may take to say who wants a volume.
const ANSWER_MAX: Duration = Duration::from_secs(5);

impl Instances {
    /// Ends those that another host may start.
    pub(crate) async fn fence(&self) {
        if !self.contact.is_lost() {
            return;
        }
        for instance in self.cache.filter(restarts_elsewhere) {
            let Some(why) = self.why_end(&instance).await else { continue };
            match self.end(&instance).await {
                Ok(false) => {}
                Ok(true) => tracing::warn!(
                    instance = instance.metadata.key(),
                    why,
                    "ended: the cloud is out of reach, and may start it on another host"
                ),
                Err(e) => {
                    tracing::error!(instance = instance.metadata.key(), error = %e, "it could not be ended");
                }
            }
        }
    }

    async fn why_end(&self, instance: &Instance) -> Option<String> {
        let volumes = self.volumes.as_ref()?;
        match timeout(ANSWER_MAX, volumes.is_wanted_elsewhere(instance)).await {
            Ok(Ok(false)) => None,
            Ok(Ok(true)) => Some("another host waits for its volume".into()),
            Ok(Err(e)) => Some(e.to_string()),
            Err(_) => Some("the pool of its volume does not answer".into()),
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
}

fn restarts_elsewhere(instance: &Instance) -> bool {
    instance.spec.placement.on_host_loss == OnHostLoss::Restart
}

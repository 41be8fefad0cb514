//! Instances that the cloud starts elsewhere when this host is lost, and the cloud is out of reach. They run on as long
//! as nobody else wants their volumes: that the cloud is away ends no guest. The pool says who wants what. Where it is out
//! of reach too, this host ends them, before the cloud holds it for lost: it counts from when it sent its last sign of
//! life, the cloud from when it got it, and for longer.

use std::time::Duration;

use driver::{SandboxState, StopMode};
use futures::StreamExt;
use model::compute::{Instance, OnHostLoss};
use tokio::time::timeout;

use super::{InstanceError, Instances, observe};

/// How long a pool may take to say who wants a volume.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Instances looked at and ended at the same time. One whose pool hangs keeps no other from it.
const AT_A_TIME: usize = 64;

impl Instances {
    /// Ends those that another host may start.
    pub(crate) async fn fence(&self) {
        if !self.contact.is_lost() {
            return;
        }
        let all = futures::stream::iter(self.cache.filter(may_be_elsewhere));
        all.for_each_concurrent(AT_A_TIME, async |instance| {
            let Some(why) = self.why_end(&instance).await else { return };
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
        })
        .await;
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

    /// Ends it and puts away what it had open; whether there was something to end.
    async fn end(&self, instance: &Instance) -> Result<bool, InstanceError> {
        let (driver, uid) = (self.driver_of(instance)?, &instance.metadata.uid);
        let Some(observed) = observe(&**driver, instance).await? else { return Ok(false) };
        let runs = matches!(observed.state, SandboxState::Running | SandboxState::Paused);
        if runs {
            driver.stop(uid, StopMode::Kill).await?;
        }
        if let Some(access) = driver.volumes() {
            // A container's disks are opened by another process than its own.
            access.plugged(uid).await?;
        }
        Ok(runs)
    }
}

fn may_be_elsewhere(instance: &Instance) -> bool {
    instance.spec.placement.on_host_loss == OnHostLoss::Restart
}

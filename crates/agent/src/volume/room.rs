//! Room in pools: what volumes may promise, and what comes back when snapshots go.

use std::time::Duration;

use driver::{Merging, ObservedVolume};
use model::Bytes;
use model::storage::{Pool, Volume};
use tokio::time::timeout;

use super::{VolumeError, Volumes, place};

/// How often pools are tidied though nothing was announced: a volume that is closed may be merged then.
const TIDY_EVERY: Duration = Duration::from_secs(300);

impl Volumes {
    /// Merges layers that nobody needs, for ever.
    pub(super) async fn tidy(&self) {
        loop {
            let _ = timeout(TIDY_EVERY, self.0.tidy.notified()).await;
            // Whoever reads a snapshot's layers needs them where they are.
            let _alone = self.0.reading.write().await;
            for pool in self.0.pools.usable() {
                let tidied = match self.0.pools.driver(&pool) {
                    Ok(driver) => driver.tidy(&pool).await.map_err(VolumeError::from),
                    Err(e) => Err(e),
                };
                if let Err(e) = tidied {
                    tracing::warn!(pool, error = %e, "a pool was not tidied");
                }
            }
        }
    }

    /// Layers may have become spare.
    pub(super) fn look_for_spare_layers(&self) {
        self.0.merged.lock().clear();
        self.0.tidy.notify_one();
        for volume in self.0.volumes.filter(|volume| volume.status.attachment.is_some()) {
            self.0.queue.add(format!("v/{}", volume.metadata.key()));
        }
    }

    /// Has the machine that uses the volume write spare layers into its head; whether it is at it.
    pub(super) async fn merge(
        &self,
        volume: &Volume,
        observed: &ObservedVolume,
    ) -> Result<bool, VolumeError> {
        let uid = &volume.metadata.uid;
        if observed.holder.is_none() || self.0.merged.lock().contains(uid) {
            return Ok(false);
        }
        let (place, serial) = (place(volume), volume.serial());
        let Some((access, holder)) = self.open_in(observed) else { return Ok(false) };
        if !access.changes_disks() || !access.plugged(&holder).await?.iter().any(|disk| disk.serial == serial)
        {
            return Ok(false);
        }
        let Some(plan) = self.driver(&place)?.begin_merge(&place).await? else {
            self.0.merged.lock().insert(uid.clone());
            return Ok(false);
        };
        match access.merge(&holder, &serial, plan.base.as_deref()).await? {
            Merging::Running => Ok(true),
            Merging::Done => {
                self.driver(&place)?.finish_merge(&place).await?;
                Ok(false)
            }
        }
    }

    /// The pool's limit on what its volumes promise, on this host or wherever hosts share it.
    pub(super) async fn require_room(&self, volume: &Volume) -> Result<(), VolumeError> {
        let pool = self.0.client.all::<Pool>().find(&volume.spec.pool).await?;
        let Some(capacity) = pool.and_then(|pool| pool.spec.capacity) else { return Ok(()) };
        let shared = self.0.pools.require(&volume.spec.pool)?;
        let others = self.0.volumes.filter(|v| {
            v.metadata.uid != volume.metadata.uid
                && v.spec.pool == volume.spec.pool
                && (shared || v.status.host == self.0.host)
        });
        let taken: u64 = others.iter().map(|v| v.status.size.0).sum();
        if taken.saturating_add(volume.spec.size.0) <= capacity.0 {
            return Ok(());
        }
        Err(VolumeError::Waits(format!(
            "pool {:?} has {} left of {capacity} on host {:?}; delete volumes or raise the pool's capacity",
            volume.spec.pool,
            Bytes(capacity.0.saturating_sub(taken)),
            self.0.host
        )))
    }
}

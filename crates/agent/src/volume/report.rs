//! What is known of volumes and snapshots, written only when it changed.

use driver::{DriverError, ObservedVolume};
use model::storage::{DEFAULT_POOL, Volume, VolumeAttachment, VolumePhase, VolumeSnapshot};
use model::{Bytes, Condition, ConditionStatus, Resource, set_condition};

use super::{VolumeError, Volumes};

impl Volumes {
    /// Takes a volume that no host keeps yet.
    pub(super) async fn claim(&self, volume: &Volume) -> Result<(), VolumeError> {
        let mut claimed = volume.clone();
        claimed.status.host.clone_from(&self.0.host);
        self.write(volume, claimed).await
    }

    pub(super) async fn report(
        &self,
        volume: &Volume,
        observed: &ObservedVolume,
        reverts_done: u64,
    ) -> Result<(), VolumeError> {
        let mut new = volume.clone();
        let attachment = observed.holder.as_ref().map(|holder| VolumeAttachment {
            instance: self.instance_name(holder),
            device: volume.serial(),
            epoch: observed.epoch,
        });
        new.status.phase = if attachment.is_some() { VolumePhase::InUse } else { VolumePhase::Available };
        new.status.attachment = attachment;
        new.status.size = observed.size;
        new.status.used_bytes = observed.used;
        new.status.epoch = observed.epoch;
        // Nothing of theirs is left in the pool's record.
        new.status.lost.clear();
        new.status.reverts_done = reverts_done;
        let ready = Condition::new("Ready", ConditionStatus::True, "Made", String::new());
        set_condition(&mut new.status.conditions, ready, (self.0.now)());
        self.write(volume, new).await
    }

    pub(super) async fn report_trouble(
        &self,
        volume: &Volume,
        error: &VolumeError,
    ) -> Result<(), VolumeError> {
        let mut new = volume.clone();
        let reason = match error {
            VolumeError::Api(e) if e.is_conflict() || e.is_not_found() => return Ok(()),
            VolumeError::Waits(_) => "Waits",
            _ => "HostError",
        };
        let lasts = matches!(error, VolumeError::Invalid(_) | VolumeError::Driver(DriverError::Invalid(_)));
        if lasts && new.status.phase == VolumePhase::Pending {
            new.status.phase = VolumePhase::Failed;
        }
        let condition = Condition::new("Ready", ConditionStatus::False, reason, error.to_string());
        set_condition(&mut new.status.conditions, condition, (self.0.now)());
        self.write(volume, new).await
    }

    pub(super) async fn write(&self, old: &Volume, new: Volume) -> Result<(), VolumeError> {
        if old.status == new.status {
            return Ok(());
        }
        match self.0.client.project::<Volume>(&new.metadata.namespace).update_status(&new).await {
            // Someone else changed it: that change puts it in line again.
            Err(e) if !e.is_conflict() && !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// With a size it is taken; with words it could not be, so far.
    pub(super) async fn report_snapshot(
        &self,
        snapshot: &VolumeSnapshot,
        taken: Option<Bytes>,
        trouble: &str,
    ) -> Result<(), VolumeError> {
        let mut new = snapshot.clone();
        new.status.host.clone_from(&self.0.host);
        new.status.ready = taken.is_some();
        if new.status.pool.is_empty() {
            new.status.pool = self.pool_of(snapshot);
        }
        new.status.size = taken.unwrap_or_default();
        let (status, reason) = match (taken, trouble) {
            (Some(_), _) => (ConditionStatus::True, "Taken"),
            (None, "") => (ConditionStatus::False, "BeingTaken"),
            (None, _) if snapshot.spec.at_rest => (ConditionStatus::False, "Waits"),
            (None, _) => (ConditionStatus::False, "HostError"),
        };
        let condition = Condition::new("Ready", status, reason, trouble.to_owned());
        set_condition(&mut new.status.conditions, condition, (self.0.now)());
        if new.status == snapshot.status {
            return Ok(());
        }
        match self.0.client.project::<VolumeSnapshot>(&new.metadata.namespace).update_status(&new).await {
            Err(e) if !e.is_conflict() && !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// The pool that has it or is to have it.
    fn pool_of(&self, snapshot: &VolumeSnapshot) -> String {
        let (project, spec) = (&snapshot.metadata.namespace, &snapshot.spec);
        if !spec.image.is_empty() {
            return DEFAULT_POOL.into();
        }
        if !spec.snapshot.is_empty() {
            let source = self.0.snapshots.get(&format!("{project}/{}", spec.snapshot));
            return source.map(|source| source.status.pool.clone()).unwrap_or_default();
        }
        let volume = self.0.volumes.get(&format!("{project}/{}", spec.volume));
        volume.map(|volume| volume.spec.pool.clone()).unwrap_or_default()
    }

    /// Tells the server that nothing of it is left here; with that the object goes.
    pub(super) async fn let_go<R: Resource>(&self, object: &R) -> Result<(), VolumeError> {
        let meta = object.metadata();
        let release = serde_json::json!({ "uid": meta.uid });
        let api = self.0.client.project::<R>(&meta.namespace);
        match api.create_below(&meta.name, "release", &release).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }
}

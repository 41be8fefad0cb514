//! Snapshots at rest: taken while no guest has the volume open. A reboot passes through such a moment, and is held
//! there until they are taken.

use client::ListParams;
use model::storage::{Volume, VolumeSnapshot};

use super::{VolumeError, Volumes};

impl Volumes {
    /// Whether a snapshot may be taken now, as far as its rest is concerned.
    pub(super) async fn rests(&self, snapshot: &VolumeSnapshot, volume: &Volume) -> Result<(), VolumeError> {
        if !snapshot.spec.at_rest {
            return Ok(());
        }
        let observed = self.driver(&super::place(volume))?.observe(&super::place(volume)).await?;
        let Some((access, holder)) = self.open_in(&observed) else { return Ok(()) };
        let serial = volume.serial();
        if access.plugged(&holder).await?.iter().any(|disk| disk.serial == serial) {
            let name = self.instance_name(&holder);
            let what = format!("waits until instance {name:?} stops, or is rebooted");
            return Err(VolumeError::Waits(what));
        }
        Ok(())
    }

    /// Takes what waits for the rest of a volume. Nothing of its instance runs, the volume is locked, and it stays so
    /// until the instance is started.
    pub(super) async fn take_at_rest(&self, volume: &Volume) -> Result<(), VolumeError> {
        for snapshot in self.waiting(volume).await {
            let claimed = if snapshot.status.host.is_empty() {
                // From now on it goes only when this host has let go of it.
                self.report_snapshot(&snapshot, None, "").await?;
                let project = &snapshot.metadata.namespace;
                self.0.client.project::<VolumeSnapshot>(project).find(&snapshot.metadata.name).await?
            } else {
                Some(snapshot)
            };
            if let Some(snapshot) = claimed.filter(|s| s.status.host == self.0.host) {
                match self.take(volume, &snapshot.metadata.uid).await {
                    Ok(size) => self.taken(&snapshot, size).await?,
                    // A guest is not kept from coming up by a snapshot.
                    Err(e) => self.report_snapshot(&snapshot, None, &e.to_string()).await?,
                }
            }
        }
        Ok(())
    }

    /// The snapshots that wait. Who asked for a reboot asked for them before, but the two are heard of on different
    /// ways: so the server is asked, and what is known counts only where it cannot be reached.
    async fn waiting(&self, volume: &Volume) -> Vec<VolumeSnapshot> {
        let (project, name) = (&volume.metadata.namespace, &volume.metadata.name);
        let waits = |s: &VolumeSnapshot| {
            s.spec.at_rest && s.spec.volume == *name && !s.status.ready && !s.metadata.is_deleting()
        };
        let field_selector = format!("spec.volume={name}");
        let params = ListParams { field_selector, ..ListParams::default() };
        match self.0.client.project::<VolumeSnapshot>(project).list(&params).await {
            Ok(found) => found.items.into_iter().filter(waits).collect(),
            Err(e) => {
                tracing::warn!(volume = volume.metadata.key(), error = %e, "snapshots are those that were known");
                let known = self.0.snapshots.filter(|s| s.metadata.namespace == *project && waits(s));
                known.iter().map(|s| (**s).clone()).collect()
            }
        }
    }
}

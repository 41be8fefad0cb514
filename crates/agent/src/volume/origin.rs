//! What a volume is made from.

use driver::{VolumeOrigin, VolumePlace, VolumePlan};
use model::Uid;
use model::compute::ArtifactRole;
use model::storage::Volume;

use super::{VolumeError, Volumes, place};

impl Volumes {
    pub(super) async fn create(&self, volume: &Volume) -> Result<(), VolumeError> {
        let (project, source) = (&volume.metadata.namespace, &volume.spec.source);
        let mut moment = None;
        let origin = if !source.image.is_empty() {
            let image = self.0.images.find(project, &source.image).await?;
            VolumeOrigin::Image(self.0.images.local(&image, ArtifactRole::Disk).await?)
        } else if !source.snapshot.is_empty() {
            VolumeOrigin::Snapshot(self.ready_snapshot(project, &source.snapshot)?)
        } else if !source.volume.is_empty() {
            let found = self.0.volumes.get(&format!("{project}/{}", source.volume));
            let found =
                found.ok_or_else(|| VolumeError::Invalid(format!("volume {:?} is gone", source.volume)))?;
            // A snapshot under the clone's own uid, for as long as it takes to put the clone on it.
            let uid = volume.metadata.uid.clone();
            let _changing = self.lock(&found.metadata.uid).await;
            self.take(&found, &uid).await?;
            moment = Some(VolumePlace { pool: found.spec.pool.clone(), uid: uid.clone() });
            VolumeOrigin::Snapshot(uid)
        } else if !source.backup.is_empty() {
            self.fill(volume).await?;
            VolumeOrigin::Filled
        } else {
            VolumeOrigin::Empty
        };
        let plan = VolumePlan { place: place(volume), size: volume.spec.size, source: origin };
        self.0.driver.create(&plan).await?;
        if let Some(moment) = moment {
            self.0.driver.delete_snapshot(&moment).await?;
        }
        Ok(())
    }

    /// The snapshot of this name, once it is taken.
    pub(super) fn ready_snapshot(&self, project: &str, name: &str) -> Result<Uid, VolumeError> {
        let found = self.0.snapshots.get(&format!("{project}/{name}"));
        let found = found.ok_or_else(|| VolumeError::Waits(format!("snapshot {name:?} is gone")))?;
        if !found.status.ready {
            return Err(VolumeError::Waits(format!("snapshot {name:?} is not taken yet")));
        }
        if found.status.host != self.0.host {
            let host = &found.status.host;
            return Err(VolumeError::Invalid(format!("snapshot {name:?} is on host {host:?}")));
        }
        Ok(found.metadata.uid.clone())
    }
}

//! What a volume is made from, and snapshots that are of no volume.

use driver::{DriverError, VolumeOrigin, VolumePlace, VolumePlan};
use model::compute::{ArtifactRole, Image, ImagePhase};
use model::storage::{DEFAULT_POOL, Volume, VolumeSnapshot};
use model::{ApiError, Bytes, Reason, Uid};
use reconcile::Outcome;

use super::{LOOK_AGAIN, VolumeError, Volumes, place};

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
            self.keep(&found).await?;
            self.take(&found, &uid).await?;
            moment = Some(VolumePlace { pool: found.spec.pool.clone(), uid: uid.clone() });
            VolumeOrigin::Snapshot(uid)
        } else if !source.backup.is_empty() {
            self.fill(volume).await?;
            VolumeOrigin::Filled
        } else {
            VolumeOrigin::Empty
        };
        let (size, key) = (volume.spec.size, self.key(volume).await?);
        let plan = VolumePlan { place: place(volume), size, source: origin, key };
        self.driver(&plan.place)?.create(&plan).await?;
        if let Some(moment) = moment {
            self.driver(&moment)?.delete_snapshot(&moment).await?;
        }
        Ok(())
    }

    /// A snapshot of an image, or a copy of another one. The first host that can make it keeps it.
    pub(super) async fn make_snapshot(&self, snapshot: &VolumeSnapshot) -> Result<Outcome, VolumeError> {
        let is_here = snapshot.status.host == self.0.host;
        if !is_here && !snapshot.status.host.is_empty() {
            return Ok(Outcome::Done);
        }
        if snapshot.status.ready {
            return self.forget_passing(snapshot).await.map(|()| Outcome::Done);
        }
        if !is_here {
            return match self.can_be_made(snapshot).await {
                Ok(()) => {
                    // From now on it goes only when this host has let go of it.
                    self.report_snapshot(snapshot, None, "").await?;
                    Ok(Outcome::Done)
                }
                // Another host may have what it is to be made of.
                Err(VolumeError::Invalid(_)) => Ok(Outcome::Done),
                Err(_) => Ok(Outcome::RequeueAfter(LOOK_AGAIN)),
            };
        }
        let made = match self.origin(snapshot).await {
            Ok((pool, origin)) => self.snapshot_of(snapshot, pool, origin).await,
            Err(e) => Err(e),
        };
        match made {
            Ok(size) => {
                self.taken(snapshot, size).await?;
                self.forget_passing(snapshot).await.map(|()| Outcome::Done)
            }
            Err(e) => {
                self.report_snapshot(snapshot, None, &e.to_string()).await?;
                Ok(Outcome::RequeueAfter(LOOK_AGAIN))
            }
        }
    }

    /// Whether what it is to be made of is there, and could be had here.
    async fn can_be_made(&self, snapshot: &VolumeSnapshot) -> Result<(), VolumeError> {
        let (project, spec) = (&snapshot.metadata.namespace, &snapshot.spec);
        if spec.snapshot.is_empty() {
            return self.finished_image(project, &spec.image).await.map(drop);
        }
        self.ready_snapshot(project, &spec.snapshot).map(drop)
    }

    async fn finished_image(&self, project: &str, name: &str) -> Result<Image, VolumeError> {
        match self.0.images.find(project, name).await {
            Ok(image) => Ok(image),
            Err(e) => {
                let own = self.0.client.project::<Image>(project).find(name).await?;
                let failed = own.is_some_and(|image| image.status.phase == ImagePhase::Failed);
                let what = format!("image {name:?} could not be made");
                Err(if failed { VolumeError::Invalid(what) } else { e.into() })
            }
        }
    }

    async fn origin(&self, snapshot: &VolumeSnapshot) -> Result<(String, VolumeOrigin), VolumeError> {
        let (project, spec) = (&snapshot.metadata.namespace, &snapshot.spec);
        if spec.snapshot.is_empty() {
            let image = self.finished_image(project, &spec.image).await?;
            let disk = self.0.images.local(&image, ArtifactRole::Disk).await?;
            return Ok((DEFAULT_POOL.into(), VolumeOrigin::Image(disk)));
        }
        let uid = self.ready_snapshot(project, &spec.snapshot)?;
        for pool in self.0.pools.usable() {
            let place = VolumePlace { pool: pool.clone(), uid: uid.clone() };
            match self.driver(&place)?.layers(&place).await {
                Ok(_) => return Ok((pool, VolumeOrigin::Snapshot(uid))),
                Err(DriverError::NotFound(_)) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(ApiError::new(Reason::NotFound, format!("snapshot {:?} is in no pool", spec.snapshot)).into())
    }

    /// A volume under the snapshot's own uid, for as long as it takes to freeze it. It goes only after the snapshot is
    /// known to be taken: made anew, its files would have the names of those that the snapshot stands on.
    async fn snapshot_of(
        &self,
        snapshot: &VolumeSnapshot,
        pool: String,
        source: VolumeOrigin,
    ) -> Result<Bytes, VolumeError> {
        let uid = snapshot.metadata.uid.clone();
        let _changing = self.lock(&uid).await;
        let place = VolumePlace { pool, uid: uid.clone() };
        match self.driver(&place)?.observe(&place).await {
            Err(DriverError::NotFound(_)) => {
                let plan = VolumePlan { place: place.clone(), size: Bytes(0), source, key: None };
                self.driver(&plan.place)?.create(&plan).await?;
            }
            found => drop(found?),
        }
        self.driver(&place)?.begin_snapshot(&place, &uid).await?;
        Ok(self.driver(&place)?.finish_snapshot(&place, &uid).await?)
    }

    async fn forget_passing(&self, snapshot: &VolumeSnapshot) -> Result<(), VolumeError> {
        for pool in self.0.pools.usable() {
            let place = VolumePlace { pool, uid: snapshot.metadata.uid.clone() };
            self.driver(&place)?.delete(&place).await?;
        }
        self.0.locks.lock().remove(&snapshot.metadata.uid);
        Ok(())
    }

    /// The snapshot of this name, once it is taken.
    pub(super) fn ready_snapshot(&self, project: &str, name: &str) -> Result<Uid, VolumeError> {
        let found = self.0.snapshots.get(&format!("{project}/{name}"));
        let found = found.ok_or_else(|| VolumeError::Waits(format!("snapshot {name:?} is gone")))?;
        if !found.status.ready {
            return Err(VolumeError::Waits(format!("snapshot {name:?} is not taken yet")));
        }
        let pool = &found.status.pool;
        let is_shared = !pool.is_empty() && self.0.pools.require(pool).is_ok_and(|shared| shared);
        if !is_shared && found.status.host != self.0.host {
            let host = &found.status.host;
            return Err(VolumeError::Invalid(format!("snapshot {name:?} is on host {host:?}")));
        }
        Ok(found.metadata.uid.clone())
    }
}

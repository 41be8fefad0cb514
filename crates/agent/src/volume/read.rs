//! Volumes and snapshots read as single files, for images.

use std::path::Path;

use driver::VolumePlace;
use image::Arrival;
use model::Uid;

use super::{VolumeError, Volumes, place};
use crate::disks::DiskError;

/// Why no image comes of it.
const ENCRYPTED: &str = "is encrypted, and an image would show what is in it: make a volume of it instead";

/// What the passing snapshot of a volume that is being read is called: the same each time, so that one that was left
/// by a crash is found again.
fn moment_of(volume: &Uid) -> Option<Uid> {
    Uid::parse(&format!("{volume}-feed"))
}

impl Volumes {
    /// The volume as it is at the moment, while a guest may use it.
    pub(crate) async fn read_volume(&self, uid: &Uid) -> Result<Arrival, DiskError> {
        let found = self.0.volumes.filter(|volume| volume.metadata.uid == *uid);
        let volume = found.first().ok_or_else(|| gone("volume", uid))?;
        if volume.spec.encrypted {
            return Err(DiskError::Image(format!("volume {:?} {ENCRYPTED}", volume.metadata.name)));
        }
        let moment = moment_of(uid).ok_or_else(|| gone("volume", uid))?;
        let moment = VolumePlace { uid: moment, ..place(volume) };
        // One reader at a time: there is one passing snapshot.
        let _reading = self.lock(&moment.uid).await;
        {
            let _changing = self.lock(uid).await;
            self.driver(&moment)?.delete_snapshot(&moment).await?;
            self.take(volume, &moment.uid).await?;
        }
        let flat = self.read(&moment).await;
        self.driver(&moment)?.delete_snapshot(&moment).await?;
        self.look_for_spare_layers();
        flat
    }

    pub(crate) async fn read_snapshot(&self, uid: &Uid) -> Result<Arrival, DiskError> {
        let found = self.0.snapshots.filter(|snapshot| snapshot.metadata.uid == *uid);
        if let Some(snapshot) = found.iter().find(|snapshot| snapshot.spec.is_encrypted()) {
            return Err(DiskError::Image(format!("snapshot {:?} {ENCRYPTED}", snapshot.metadata.name)));
        }
        for pool in self.0.pools.usable() {
            let place = VolumePlace { pool, uid: uid.clone() };
            match self.read(&place).await {
                Err(DiskError::Driver(driver::DriverError::NotFound(_))) => {}
                result => return result,
            }
        }
        Err(gone("snapshot", uid))
    }

    /// What a reader of the volume that was cut off has left.
    pub(super) async fn forget_moment(&self, volume: &VolumePlace) -> Result<(), VolumeError> {
        if let Some(uid) = moment_of(&volume.uid) {
            self.driver(volume)?.delete_snapshot(&VolumePlace { uid, pool: volume.pool.clone() }).await?;
        }
        Ok(())
    }

    async fn read(&self, snapshot: &VolumePlace) -> Result<Arrival, DiskError> {
        let _layers_stay = self.0.reading.read().await;
        let layers = self.driver(snapshot)?.layers(snapshot).await?;
        let files = layers.iter().map(|layer| layer.file().map(Path::to_owned)).collect::<Option<Vec<_>>>();
        match (files, layers.first()) {
            (Some(files), _) => self.0.images.flatten(files, None).await,
            (None, Some(whole)) => {
                // Who runs here may read the keyring, and needs no key on a command line.
                let node = whole.without_key().node("disk", "", true);
                self.0.images.flatten_node(node.to_string()).await
            }
            (None, None) => Err(gone("snapshot", &snapshot.uid)),
        }
    }
}

fn gone(what: &str, uid: &Uid) -> DiskError {
    DiskError::NotFound(format!("{what} {uid} is not on this host"))
}

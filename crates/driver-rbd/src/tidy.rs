//! What is left of volumes and images that nobody needs any more.

use driver::DriverError;

use crate::cluster::{Cluster, Failure, or_missing};
use crate::create::BASE;
use crate::diff::is_of_backup;
use crate::driver::RbdDriver;
use crate::fence::cut_off;
use crate::record::{Name, Record};

/// Removes the image of a deleted volume, unless snapshots or clones stand on it.
pub(crate) async fn bury(cluster: &Cluster, image: &str) -> Result<(), DriverError> {
    for snapshot in cluster.snapshots(image).await? {
        if is_of_backup(&snapshot.name) {
            or_missing(cluster.remove_snapshot(image, &snapshot.name).await)?;
        }
    }
    if cluster.has_snapshots(image).await? {
        return Ok(());
    }
    cut_off(cluster, image).await?;
    removed(cluster.remove(image).await)
}

/// Removes what was made of a volume that another host had made by then; nobody has ever opened it.
pub(crate) async fn drop_late(cluster: &Cluster, names: &[String], kept: &Record) -> Result<(), DriverError> {
    for late in kept.late(names) {
        removed(cluster.remove(&late.to_string()).await)?;
    }
    Ok(())
}

/// What stands on something meanwhile goes another time.
fn removed(done: Result<(), Failure>) -> Result<(), DriverError> {
    match done {
        Ok(()) | Err(Failure::Missing | Failure::NotEmpty) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

impl RbdDriver {
    /// Removes what nothing stands on: deleted volumes, images of which no clone is left, and what this host has not made
    /// to its end.
    pub(crate) async fn sweep(&self, pool: &str) -> Result<(), DriverError> {
        let cluster = self.cluster(pool)?;
        let names = cluster.names().await?;
        for name in &names {
            match Name::parse(name) {
                Some(Name::Gone(_)) => bury(&cluster, name).await?,
                Some(Name::Image(_)) => {
                    if !cluster.has_clones(name).await? {
                        or_missing(cluster.remove_snapshot(name, BASE).await)?;
                        removed(cluster.remove(name).await)?;
                    }
                }
                Some(Name::Making { what, host }) if host == self.host && !self.making.has_begun(&what) => {
                    removed(cluster.remove(name).await)?;
                }
                Some(Name::Volume(record)) if Record::find(&names, &record.uid).as_ref() == Some(&record) => {
                    drop_late(&cluster, &names, &record).await?;
                }
                Some(Name::Making { .. } | Name::Volume(_)) | None => {}
            }
        }
        Ok(())
    }
}

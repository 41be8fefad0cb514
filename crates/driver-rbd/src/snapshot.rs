//! Snapshots: those of Ceph, each with a small object that says of which volume it is.

use driver::{DriverError, in_guest};
use model::{Bytes, Uid};
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Failure, or_missing};
use crate::record::{Name, Record};
use crate::tidy::bury;

/// What is known of a snapshot beside Ceph's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    /// The volume on whose image it is.
    pub(crate) volume: Uid,
    /// Of its image.
    pub(crate) size: Bytes,
    #[serde(default)]
    pub(crate) encrypted: bool,
}

impl SnapshotRecord {
    pub(crate) async fn find(cluster: &Cluster, uid: &Uid) -> Result<Option<Self>, DriverError> {
        let Some(text) = cluster.object(&object(uid)).await? else { return Ok(None) };
        // One that was cut off while it was written is of a snapshot that was never taken.
        Ok(serde_json::from_slice(&text).ok())
    }

    pub(crate) async fn must_find(cluster: &Cluster, uid: &Uid) -> Result<Self, DriverError> {
        let found = Self::find(cluster, uid).await?;
        found.ok_or_else(|| DriverError::NotFound(format!("{uid} (a snapshot)")))
    }

    async fn keep(&self, cluster: &Cluster, uid: &Uid) -> Result<(), DriverError> {
        let text = serde_json::to_vec(self).map_err(|e| DriverError::failed("noting a snapshot", e))?;
        Ok(cluster.keep_object(&object(uid), &text).await?)
    }

    /// How large it is for who has the key.
    pub(crate) fn shown_size(&self) -> Bytes {
        in_guest(self.size, self.encrypted)
    }

    /// The image that it is on.
    pub(crate) fn image(&self, names: &[String]) -> Result<String, DriverError> {
        let image = image_of(names, &self.volume);
        image.ok_or_else(|| DriverError::NotFound(format!("the image of volume {}", self.volume)))
    }
}

/// The image of a volume, whether that is deleted or not.
fn image_of(names: &[String], volume: &Uid) -> Option<String> {
    let gone = Name::Gone(volume.clone()).to_string();
    Record::find(names, volume)
        .map(|record| record.to_string())
        .or_else(|| names.contains(&gone).then_some(gone))
}

/// Freezes what is in the volume. Whoever has it open goes on, and has written what it was told was written.
pub(crate) async fn take(cluster: &Cluster, record: &Record, uid: &Uid) -> Result<(), DriverError> {
    let image = record.to_string();
    if SnapshotRecord::find(cluster, uid).await?.is_none() {
        // First the word, then the snapshot: one of which nothing is known would stay for ever.
        let size = cluster.size(&image).await?;
        SnapshotRecord { volume: record.uid.clone(), size, encrypted: record.encrypted }
            .keep(cluster, uid)
            .await?;
    }
    match cluster.take(&image, &name(uid)).await {
        Ok(()) | Err(Failure::Exists) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

pub(crate) async fn remove(cluster: &Cluster, uid: &Uid) -> Result<(), DriverError> {
    let Some(record) = SnapshotRecord::find(cluster, uid).await? else {
        return or_missing(cluster.remove_object(&object(uid)).await);
    };
    let names = cluster.names().await?;
    let image = image_of(&names, &record.volume);
    if let Some(image) = &image {
        or_missing(cluster.remove_snapshot(image, &name(uid)).await)?;
    }
    or_missing(cluster.remove_object(&object(uid)).await)?;
    match image {
        Some(image) if image == Name::Gone(record.volume).to_string() => bury(cluster, &image).await,
        _ => Ok(()),
    }
}

/// Ceph's snapshot.
pub(crate) fn name(uid: &Uid) -> String {
    format!("snapshot-{uid}")
}

fn object(uid: &Uid) -> String {
    format!("corten.snapshot.{uid}")
}

//! Making one backup: which earlier ones it may stand beside, what the host says, and what is kept of it.

use backup::stream::Receiver;
use backup::{Error, Manifest, Vault, Written};
use client::ListParams;
use client::disks::BackupWish;
use model::storage::{BackupPhase, Volume, VolumeBackup};
use model::{ApiError, Reason, Uid};
use reconcile::Outcome;
use tokio::io::BufReader;

use super::{Backups, LOOK_AGAIN, READ_BUFFER, failed, place};

/// Earlier backups that a host is told of.
const SINCE_MAX: usize = 8;

/// An earlier backup of the same volume in the same vault.
struct Earlier {
    name: String,
    uid: Uid,
    manifest: Manifest,
}

impl Backups {
    pub(super) async fn make(&self, backup: &VolumeBackup) -> Result<Outcome, ApiError> {
        let (project, name) = (&backup.metadata.namespace, &backup.spec.volume);
        let found = self.context.client.project::<Volume>(project).find(name).await?;
        let Some(volume) = found else {
            self.say(backup, BackupPhase::Failed, "NoVolume", &format!("volume {name:?} is gone")).await?;
            return Ok(Outcome::Done);
        };
        if volume.status.size.is_zero() || volume.status.host.is_empty() {
            let why = format!("volume {name:?} is not made yet");
            self.say(backup, BackupPhase::Pending, "Waits", &why).await?;
            return Ok(Outcome::RequeueAfter(LOOK_AGAIN));
        }
        let _turn = self.turn(volume.metadata.uid.as_str()).await;
        let started = match self.begin(backup, &volume.metadata.uid).await {
            Ok(started) => started,
            Err(e) if e.is_not_found() => {
                self.say(backup, BackupPhase::Failed, "NoBucket", &e.message).await?;
                return Ok(Outcome::Done);
            }
            Err(e) => return Err(e),
        };
        match self.take(&started, &volume).await {
            Ok((written, base)) => {
                self.finish(&started, &written, base).await?;
                Ok(Outcome::Done)
            }
            // The host is away, or the volume was needed: it is begun anew.
            Err(e) => {
                self.say(&started, BackupPhase::Pending, "Waits", &e.message).await?;
                Err(e)
            }
        }
    }

    /// What came of it, and the name of the backup since which changes were told.
    async fn take(&self, backup: &VolumeBackup, volume: &Volume) -> Result<(Written, String), ApiError> {
        let vault = self.vaults.open(&backup.status.vault).await?;
        // A full one stands on nothing: not even on bytes that are the same.
        let earlier =
            if backup.spec.full { Vec::new() } else { self.earlier(&*vault, backup, volume).await? };
        let since = earlier.iter().map(|e| e.uid.clone()).collect();
        match self.receive(&*vault, backup, volume, since, &earlier).await {
            // What an earlier one has cannot be read: this one is not to need it.
            Err(Error::Damaged(_) | Error::Digest { .. } | Error::Missing(_)) if !earlier.is_empty() => {
                self.receive(&*vault, backup, volume, Vec::new(), &[]).await
            }
            result => result,
        }
        .map_err(|e| failed(&e))
    }

    async fn receive(
        &self,
        vault: &dyn Vault,
        backup: &VolumeBackup,
        volume: &Volume,
        since: Vec<Uid>,
        earlier: &[Earlier],
    ) -> Result<(Written, String), Error> {
        let uid = backup.metadata.uid.clone();
        let wish = BackupWish { volume: volume.metadata.uid.clone(), backup: uid, since };
        let from = self.volumes.open(&volume.status.host, wish.clone()).await;
        let from = from.map_err(|e| Error::Sender(e.message))?;
        let from = Receiver::begin(BufReader::with_capacity(READ_BUFFER, from)).await?;
        let told = from.head().base.clone();
        let base = earlier.iter().find(|e| e.uid.as_str() == told);
        if !told.is_empty() && (base.is_none() || !wish.since.iter().any(|uid| uid.as_str() == told)) {
            return Err(Error::Stream("it tells the changes since a backup that was not asked for".into()));
        }
        let place = place(backup).ok_or_else(|| Error::Store("the backup has no place yet".into()))?;
        let known = earlier.first().map(|e| &e.manifest);
        let written = backup::receive(vault, place, from, base.map(|e| &e.manifest), known).await?;
        Ok((written, base.map(|e| e.name.clone()).unwrap_or_default()))
    }

    /// Backups of the volume that are ready and can be read, the newest first.
    async fn earlier(
        &self,
        vault: &dyn Vault,
        backup: &VolumeBackup,
        volume: &Volume,
    ) -> Result<Vec<Earlier>, ApiError> {
        let project = self.context.client.project::<VolumeBackup>(&backup.metadata.namespace);
        let mut all = project.list(&ListParams::default()).await?.items;
        all.retain(|other| {
            other.metadata.uid != backup.metadata.uid
                && !other.metadata.is_deleting()
                && other.status.phase == BackupPhase::Ready
                && other.status.vault == backup.status.vault
                && other.status.volume_uid.as_ref() == Some(&volume.metadata.uid)
        });
        all.sort_by_key(|other| std::cmp::Reverse(other.status.taken));
        let mut earlier = Vec::new();
        for other in all.into_iter().take(SINCE_MAX) {
            let digest = other.status.digest.parse().ok();
            let (Some(place), Some(digest)) = (place(&other), digest) else { continue };
            match Manifest::load(vault, &place, Some(digest)).await {
                Ok(manifest) => {
                    let (name, uid) = (other.metadata.name, other.metadata.uid);
                    earlier.push(Earlier { name, uid, manifest });
                }
                Err(e @ (Error::Damaged(_) | Error::Digest { .. } | Error::Missing(_))) => {
                    tracing::warn!(backup = other.metadata.key(), error = %e, "a backup cannot be read");
                }
                Err(e) => return Err(ApiError::new(Reason::InternalError, e.to_string())),
            }
        }
        Ok(earlier)
    }
}

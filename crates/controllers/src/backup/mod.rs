//! Backups of volumes: made of what hosts say of their volumes, kept in a vault, read back, and removed. Each volume's
//! backups are worked on one at a time, because they share what they have in common.

mod make;
mod plan;
mod plans;

pub(crate) use plans::run as run_plans;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backup::stream::{Head, Receiver};
use backup::{Error, Manifest, Place, Vault, Written};
use bytes::Bytes as Chunk;
use client::ListParams;
use client::disks::BackupWish;
use futures::Stream;
use model::storage::{BACKUP_CONTENTS, BackupPhase, Bucket, VolumeBackup, VolumeBackupStatus};
use model::{ApiError, Bytes, Condition, ConditionStatus, Reason, Uid, set_condition};
use parking_lot::Mutex;
use reconcile::{Cache, Change, Outcome, Queue};
use tokio::io::{AsyncRead, BufReader};
use tokio::sync::OwnedMutexGuard;
use tokio_util::io::StreamReader;

use crate::Context;

/// Backups made at the same time.
const WORKERS: usize = 4;
/// How often what waits is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Bytes on their way to a reader.
const PIPE: usize = 1 << 20;
/// How many bytes of a stream are read at once.
const READ_BUFFER: usize = 256 << 10;

/// The way to volumes of hosts.
#[async_trait]
pub trait VolumeReader: Send + Sync + 'static {
    /// What is in a volume, as a stream of the `backup` crate.
    async fn open(&self, host: &str, wish: BackupWish) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError>;
}

/// Where backups are kept.
#[async_trait]
pub trait Vaults: Send + Sync + 'static {
    /// That in the bucket with this uid, or, without one, that of the cloud itself.
    async fn open(&self, bucket: &str) -> Result<Arc<dyn Vault>, ApiError>;
}

/// Makes, reads and removes backups. Cheap to clone.
#[derive(Clone)]
pub struct Backups {
    context: Context,
    volumes: Arc<dyn VolumeReader>,
    vaults: Arc<dyn Vaults>,
    turns: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups").field("context", &self.context).finish_non_exhaustive()
    }
}

impl Backups {
    pub fn new(context: Context, volumes: Arc<dyn VolumeReader>, vaults: Arc<dyn Vaults>) -> Self {
        Self { context, volumes, vaults, turns: Arc::default() }
    }

    /// Makes and removes what is wanted, for ever.
    pub async fn run(self) {
        let queue = Queue::new();
        let listener = {
            let queue = queue.clone();
            // What is written down here of a try that failed is no reason for the next.
            move |change: &Change<VolumeBackup>| {
                if !matches!(change, Change::Applied { old: Some(old), new }
                    if old.metadata.is_deleting() == new.metadata.is_deleting())
                {
                    queue.add(change.object().metadata.key());
                }
            }
        };
        let client = self.context.client.all::<VolumeBackup>();
        let backups = Cache::start(client, ListParams::default(), vec![Box::new(listener)]);
        backups.synced().await;
        reconcile::run("backup", queue, WORKERS, |key| self.reconcile(&backups, key)).await;
    }

    async fn reconcile(&self, backups: &Cache<VolumeBackup>, key: String) -> Result<Outcome, ApiError> {
        let Some(backup) = backups.get(&key) else { return Ok(Outcome::Done) };
        if backup.metadata.is_deleting() {
            return self.remove(&backup).await;
        }
        let waits = matches!(backup.status.phase, BackupPhase::Pending | BackupPhase::Running);
        if !waits || backup.spec.volume.is_empty() {
            return Ok(Outcome::Done);
        }
        self.make(&backup).await
    }

    /// Takes its bytes away, and lets it go.
    async fn remove(&self, backup: &VolumeBackup) -> Result<Outcome, ApiError> {
        if !backup.metadata.finalizers.iter().any(|f| f == BACKUP_CONTENTS) {
            return Ok(Outcome::Done);
        }
        if let Some(place) = place(backup) {
            let _turn = self.turn(&place.volume).await;
            match self.vaults.open(&backup.status.vault).await {
                Ok(vault) => backup::remove(&*vault, &place).await.map_err(|e| failed(&e))?,
                // Its bucket went, and all that was in it.
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        let mut gone = backup.clone();
        gone.metadata.finalizers.retain(|f| f != BACKUP_CONTENTS);
        let api = self.context.client.project::<VolumeBackup>(&backup.metadata.namespace);
        match api.update(&gone).await {
            // Changed meanwhile: it is looked at again.
            Err(e) if !e.is_conflict() && !e.is_not_found() => Err(e),
            _ => Ok(Outcome::Done),
        }
    }

    /// All of a backup as one stream. What is wrong with it is the stream's last word.
    pub async fn read(&self, backup: &VolumeBackup) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        let (vault, place, manifest) = self.open(backup).await?;
        let volume = backup.spec.volume.clone();
        let (near, far) = tokio::io::duplex(PIPE);
        tokio::spawn(async move {
            let head = Head { volume, ..Head::default() };
            if let Err(e) = backup::send(&*vault, &place.volume, &manifest, head, far).await {
                tracing::debug!(error = %e, "a backup was not read to its end");
            }
        });
        Ok(Box::pin(near))
    }

    /// Makes a backup of a stream that somebody brings.
    pub async fn write<S>(&self, backup: &VolumeBackup, body: S) -> Result<(), ApiError>
    where
        S: Stream<Item = std::io::Result<Chunk>> + Send + Unpin,
    {
        let name = &backup.metadata.name;
        if !backup.spec.volume.is_empty() {
            let message = format!("backup {name:?} is made of its volume, not of a file");
            return Err(ApiError::bad_request(message));
        }
        if backup.status.phase != BackupPhase::Pending {
            return Err(ApiError::conflict(format!("backup {name:?} is complete; import under a new name")));
        }
        // Of no volume that is here: it shares nothing.
        let own = backup.metadata.uid.clone();
        let started = self.begin(backup, &own).await?;
        let _turn = self.turn(own.as_str()).await;
        let received = async {
            let from = BufReader::with_capacity(READ_BUFFER, StreamReader::new(body));
            let from = Receiver::begin(from).await?;
            if !from.head().base.is_empty() {
                return Err(Error::Stream("it tells changes only; export the backup anew".into()));
            }
            let vault = self.vaults.open(&started.status.vault).await.map_err(|e| Error::Store(e.message))?;
            let place = Place { volume: own.to_string(), backup: own.to_string() };
            backup::receive(&*vault, place, from, None, None).await
        };
        match received.await {
            Ok(written) => self.finish(&started, &written, String::new()).await,
            Err(e) => {
                let error = failed(&e);
                self.say(&started, BackupPhase::Failed, "ImportFailed", &error.message).await?;
                Err(error)
            }
        }
    }

    /// The table of contents of a backup that is ready.
    async fn open(&self, backup: &VolumeBackup) -> Result<(Arc<dyn Vault>, Place, Manifest), ApiError> {
        let name = &backup.metadata.name;
        let digest = backup.status.digest.parse().ok();
        let (Some(place), Some(digest), BackupPhase::Ready) = (place(backup), digest, backup.status.phase)
        else {
            let phase = backup.status.phase.as_str();
            let message = format!("backup {name:?} is {phase} and not ready to be read");
            return Err(ApiError::new(Reason::ServiceUnavailable, message));
        };
        let vault = self.vaults.open(&backup.status.vault).await?;
        let manifest = Manifest::load(&*vault, &place, Some(digest)).await.map_err(|e| failed(&e))?;
        Ok((vault, place, manifest))
    }

    /// Notes where the bytes are going to be, before there is one of them.
    async fn begin(&self, backup: &VolumeBackup, volume: &Uid) -> Result<VolumeBackup, ApiError> {
        let mut vault = String::new();
        if !backup.spec.bucket.is_empty() {
            let buckets = self.context.client.project::<Bucket>(&backup.metadata.namespace);
            vault = buckets.get(&backup.spec.bucket).await?.metadata.uid.to_string();
        }
        let now = (self.context.now)();
        self.update(backup, |status| {
            status.phase = BackupPhase::Running;
            status.taken = Some(now);
            status.volume_uid = Some(volume.clone());
            status.vault.clone_from(&vault);
        })
        .await
    }

    async fn finish(&self, backup: &VolumeBackup, written: &Written, base: String) -> Result<(), ApiError> {
        let now = (self.context.now)();
        let ready = Condition::new("Ready", ConditionStatus::True, "Kept", String::new());
        self.update(backup, |status| {
            status.phase = BackupPhase::Ready;
            status.size = Bytes(written.size);
            status.base.clone_from(&base);
            status.read_bytes = Bytes(written.read);
            status.stored_bytes = Bytes(written.stored);
            status.digest = written.digest.to_string();
            set_condition(&mut status.conditions, ready.clone(), now);
        })
        .await
        .map(drop)
    }

    async fn say(
        &self,
        backup: &VolumeBackup,
        phase: BackupPhase,
        reason: &str,
        why: &str,
    ) -> Result<(), ApiError> {
        let now = (self.context.now)();
        let condition = Condition::new("Ready", ConditionStatus::False, reason, why.to_owned());
        self.update(backup, |status| {
            status.phase = phase;
            set_condition(&mut status.conditions, condition.clone(), now);
        })
        .await
        .map(drop)
    }

    async fn update(
        &self,
        backup: &VolumeBackup,
        change: impl Fn(&mut VolumeBackupStatus),
    ) -> Result<VolumeBackup, ApiError> {
        let api = self.context.client.project::<VolumeBackup>(&backup.metadata.namespace);
        loop {
            let mut latest = api.get(&backup.metadata.name).await?;
            if latest.metadata.uid != backup.metadata.uid {
                return Err(ApiError::not_found("volumebackup", &backup.metadata.name));
            }
            let before = latest.status.clone();
            change(&mut latest.status);
            if latest.status == before {
                return Ok(latest);
            }
            match api.update_status(&latest).await {
                Err(e) if e.is_conflict() => {}
                result => return result,
            }
        }
    }

    /// One at a time for what shares packs.
    async fn turn(&self, volume: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock();
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(volume.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

/// Where its bytes are; nowhere before they are begun.
fn place(backup: &VolumeBackup) -> Option<Place> {
    let volume = backup.status.volume_uid.as_ref()?.to_string();
    Some(Place { volume, backup: backup.metadata.uid.to_string() })
}

fn failed(e: &Error) -> ApiError {
    let reason = match e {
        Error::CutOff(_) | Error::Sender(_) => Reason::ServiceUnavailable,
        Error::Stream(_) => Reason::BadRequest,
        Error::Damaged(_) | Error::Digest { .. } | Error::Missing(_) | Error::Store(_) => {
            Reason::InternalError
        }
    };
    ApiError::new(reason, e.to_string())
}

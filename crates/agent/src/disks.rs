//! Disks of this host as single files, for images: of volumes and snapshots by their layers, of instances by their
//! own QEMU while they run. A copy of one moment, while whatever uses the disk goes on.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use client::disks::{BackupWish, DiskHead, DiskOf};
use driver::{ByteStream, DriverError};
use image::{Digest, FlattenError, Task};
use model::compute::{ArtifactRole, Instance, Payload};
use model::{ApiError, Uid};
use reconcile::Cache;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::blocking::blocking;
use crate::images::Images;
use crate::instance::{Homes, ROOT_DISK, Serving, driver_for};
use crate::volume::{VolumeError, Volumes};

/// Bytes on their way to a reader.
const PIPE: usize = 1 << 20;
/// The copy of an instance's disk that its QEMU writes, in the instance's home.
const COPY: &str = "copy.qcow2";
/// The serial number of an instance's own disk.
const ROOT: &str = "root";

#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("{0}")]
    Image(String),
    #[error("{what}: {source}")]
    Host { what: &'static str, source: std::io::Error },
    #[error("{0}")]
    NotFound(String),
}

impl From<FlattenError> for DiskError {
    fn from(e: FlattenError) -> Self {
        use std::error::Error;
        let cause = e.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::Image(format!("{e}{cause}"))
    }
}

/// Reads disks of this host. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Disks {
    pub(crate) instances: Cache<Instance>,
    pub(crate) drivers: Vec<Serving>,
    pub(crate) images: Images,
    pub(crate) homes: Homes,
    pub(crate) volumes: Option<Volumes>,
}

/// A file that is there for this.
enum Flat {
    Arrived(image::Arrival),
    Copied(Copied),
}

/// Removed when it is dropped.
struct Copied(PathBuf);

impl Drop for Copied {
    fn drop(&mut self) {
        // What stays goes with the home, or with the next copy.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Disks {
    /// Sends a disk as [`client::disks`] says; it is made while the reader waits.
    pub(crate) fn send(&self, of: DiskOf, uid: &Uid) -> Pin<Box<dyn ByteStream>> {
        let (near, far) = tokio::io::duplex(PIPE);
        let (disks, uid) = (self.clone(), uid.clone());
        tokio::spawn(async move {
            let sent = match disks.flat(of, &uid).await {
                Ok((flat, head)) => send(&flat, &head, far).await,
                Err(e) => {
                    tell(&DiskHead { error: e.to_string(), ..DiskHead::default() }, far).await.map(drop)
                }
            };
            if let Err(e) = sent {
                tracing::debug!(%uid, error = %e, "a disk was not sent to its end");
            }
        });
        Box::pin(near)
    }

    /// Sends what is in a volume, or what changed in it, as a stream of the `backup` crate.
    pub(crate) fn send_backup(&self, wish: BackupWish) -> Pin<Box<dyn ByteStream>> {
        let (near, far) = tokio::io::duplex(PIPE);
        let volumes = self.volumes.clone();
        tokio::spawn(async move {
            let uid = wish.volume.clone();
            let sent = match volumes {
                Some(volumes) => volumes.back_up(wish, far).await,
                None => backup::stream::refuse(far, "this host keeps no volumes").await,
            };
            if let Err(e) = sent {
                tracing::debug!(volume = %uid, error = %e, "a volume was not backed up to its end");
            }
        });
        Box::pin(near)
    }

    async fn flat(&self, of: DiskOf, uid: &Uid) -> Result<(Flat, DiskHead), DiskError> {
        let volumes = || self.volumes.as_ref().ok_or_else(|| missing(uid, "this host keeps no volumes"));
        let flat = match of {
            DiskOf::Instance => self.instance(uid).await?,
            DiskOf::Volume => Flat::Arrived(volumes()?.read_volume(uid).await?),
            DiskOf::VolumeSnapshot => Flat::Arrived(volumes()?.read_snapshot(uid).await?),
        };
        let head = match &flat {
            Flat::Arrived(arrival) => {
                DiskHead { size: arrival.size, sha256: arrival.digest.to_string(), ..DiskHead::default() }
            }
            Flat::Copied(copied) => {
                let path = copied.0.clone();
                let read = blocking(move || Digest::of_file(&path)).await;
                let (digest, size) = read
                    .unwrap_or_else(|e| Err(std::io::Error::other(e)))
                    .map_err(|source| DiskError::Host { what: "reading the copy of a disk", source })?;
                DiskHead { size, sha256: digest.to_string(), ..DiskHead::default() }
            }
        };
        Ok((flat, head))
    }

    async fn instance(&self, uid: &Uid) -> Result<Flat, DiskError> {
        let found = self.instances.filter(|i| i.metadata.uid == *uid);
        let instance = found.first().ok_or_else(|| missing(uid, "this host has no such instance"))?;
        let Payload::Disk(payload) = &instance.spec.payload else {
            return Err(missing(uid, "it has no disk of its own: its payload is not a disk"));
        };
        let home = self.homes.find(uid).ok_or_else(|| missing(uid, "it was never started"))?;
        let root = home.dir.join(ROOT_DISK);
        let driver = driver_for(&self.drivers, instance.spec.cell());
        let driver = driver.ok_or_else(|| missing(uid, "no driver of this host serves it"))?;
        let runs = driver.observe(uid).await.is_ok_and(|o| o.pid.is_some());
        if let (true, Some(access)) = (runs, driver.volumes()) {
            let copied = Copied(home.dir.join(COPY));
            let (path, disk) = (copied.0.clone(), root.clone());
            let made = blocking(move || {
                let _ = std::fs::remove_file(&path);
                let size = image::disk_size(&disk)?;
                image::create_disk(&path, model::Bytes(size)).map_err(|e| DiskError::Image(e.to_string()))
            });
            made.await.unwrap_or_else(|e| Err(DiskError::Image(e.to_string())))?;
            access.copy(uid, ROOT, &copied.0).await?;
            return Ok(Flat::Copied(copied));
        }
        let image = self.images.find(&instance.metadata.namespace, &payload.image).await?;
        let base = self.images.local(&image, ArtifactRole::Disk).await?;
        Ok(Flat::Arrived(self.images.flatten(vec![root, base], Some(home.user_id)).await?))
    }
}

fn missing(uid: &Uid, why: &str) -> DiskError {
    DiskError::NotFound(format!("there is no disk of {uid} to read: {why}"))
}

async fn tell(head: &DiskHead, mut to: DuplexStream) -> std::io::Result<DuplexStream> {
    let mut line = serde_json::to_vec(head)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    Ok(to)
}

async fn send(flat: &Flat, head: &DiskHead, to: DuplexStream) -> std::io::Result<()> {
    let path = match flat {
        Flat::Arrived(arrival) => arrival.path(),
        Flat::Copied(copied) => copied.0.as_path(),
    };
    let file = tokio::fs::File::open(path).await?;
    let mut to = tell(head, to).await?;
    tokio::io::copy(&mut file.take(head.size), &mut to).await?;
    to.shutdown().await
}

/// The files of images as single disks.
impl Images {
    pub(crate) async fn flatten(
        &self,
        chain: Vec<PathBuf>,
        owner: Option<u32>,
    ) -> Result<image::Arrival, DiskError> {
        self.flat(move |cache, task| image::flatten(cache, &chain, owner, task)).await
    }

    /// A disk that is no file, as QEMU's block node.
    pub(crate) async fn flatten_node(&self, node: String) -> Result<image::Arrival, DiskError> {
        self.flat(move |cache, task| image::flatten_node(cache, &node, task)).await
    }

    async fn flat(
        &self,
        work: impl FnOnce(&image::Cache, &Task) -> Result<image::Arrival, FlattenError> + Send + 'static,
    ) -> Result<image::Arrival, DiskError> {
        let cache = Arc::clone(self.cache());
        let task = Task::default();
        // Whoever stops waiting stops the work.
        let _stop = Stop(task.cancel.clone());
        let work = blocking(move || work(&cache, &task)).await;
        Ok(work.unwrap_or_else(|e| {
            let source = std::io::Error::other(e);
            Err(FlattenError::Read { path: PathBuf::new(), source })
        })?)
    }
}

struct Stop(image::Cancel);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

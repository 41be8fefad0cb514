//! Volumes as streams of what they have or of what changed in them, and volumes made of such streams.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use backup::stream::{Frame, Head, Receiver, Sender, refuse};
use backup::{CHUNK, chunks};
use client::disks::BackupWish;
use driver::{Change, ChangeStream, ChangesPlan, GRANULARITY, in_guest};
use image::{CLUSTER, Cluster, Clusters};
use model::storage::Volume;
use model::{Bytes, Uid};
use tokio::io::{AsyncWrite, BufReader, BufWriter};

use super::{VolumeError, Volumes, place};
use crate::blocking::blocking;

/// How many clusters are read by one thread at once.
const AT_ONCE: usize = 64;
const READ_BUFFER: usize = 256 << 10;

// A cluster of a file of changes is a chunk of a backup.
const _: () = assert!(CLUSTER == CHUNK && GRANULARITY as usize == CHUNK);

/// What changed in a volume, by whoever knows.
enum Told {
    /// The volume's pool.
    Stream(ChangeStream),
    File(Changes),
}

/// What changed in a volume, in a file.
struct Changes {
    path: PathBuf,
    since: Option<Uid>,
}

impl Volumes {
    /// Sends what a backup wants of a volume, as it is at this moment, while a guest may use it.
    pub(crate) async fn back_up<W: AsyncWrite + Unpin>(&self, wish: BackupWish, to: W) -> io::Result<()> {
        let found = self.0.volumes.filter(|volume| volume.metadata.uid == wish.volume);
        let Some(volume) = found.first() else {
            return refuse(to, &format!("volume {} is not on this host", wish.volume)).await;
        };
        let place = place(volume);
        let sent = match self.told(volume, &wish).await {
            Ok(Told::Stream(stream)) => send_stream(volume, stream, to).await,
            Ok(Told::File(changes)) => send(volume, &changes, to).await,
            Err(e) => refuse(to, &e.to_string()).await,
        };
        let finished = match self.driver(&place) {
            Ok(driver) => driver.finish_changes(&place, &wish.backup).await.map_err(VolumeError::from),
            Err(e) => Err(e),
        };
        if let Err(e) = finished {
            tracing::warn!(volume = volume.metadata.key(), error = %e, "a file of changes was left");
        }
        sent
    }

    async fn told(&self, volume: &Volume, wish: &BackupWish) -> Result<Told, VolumeError> {
        let place = place(volume);
        if let Some(stream) = self.driver(&place)?.change_stream(&place, &wish.backup, &wish.since).await? {
            return Ok(Told::Stream(stream));
        }
        self.changes(volume, wish).await.map(Told::File)
    }

    /// Whoever has the disk open writes down what changed in it; nobody, and the pool does.
    async fn changes(&self, volume: &Volume, wish: &BackupWish) -> Result<Changes, VolumeError> {
        let place = place(volume);
        let path = self.driver(&place)?.begin_changes(&place, &wish.backup).await?;
        let plan =
            ChangesPlan { target: path.clone(), begins: wish.backup.clone(), since: wish.since.clone() };
        let observed = self.driver(&place)?.observe(&place).await?;
        if let Some(holder) = &observed.holder {
            let name = self.instance_name(holder);
            let waits =
                || VolumeError::Waits(format!("waits for instance {name:?}, which is starting or ending"));
            let (access, holder) = self.open_in(&observed).ok_or_else(waits)?;
            let serial = volume.serial();
            self.require_change(access, &holder)?;
            if !access.plugged(&holder).await?.iter().any(|disk| disk.serial == serial) {
                return Err(waits());
            }
            let since = access.changes(&holder, &serial, &plan).await?;
            return Ok(Changes { path, since });
        }
        let since = self.driver(&place)?.changes(&place, &plan).await?;
        Ok(Changes { path, since })
    }

    /// Puts what is in the backup of a volume's source where the volume is to be made of.
    pub(super) async fn fill(&self, volume: &Volume) -> Result<(), VolumeError> {
        let (project, name) = (&volume.metadata.namespace, &volume.spec.source.backup);
        let from = self.0.images.backup(project, name).await?;
        let unreadable = |e: backup::Error| VolumeError::Waits(format!("backup {name:?}: {e}"));
        let mut from =
            Receiver::begin(BufReader::with_capacity(READ_BUFFER, from)).await.map_err(unreadable)?;
        let all = Bytes(from.head().size);
        let size = in_guest(all, volume.spec.encrypted);
        if volume.spec.size > Bytes(0) && volume.spec.size < size {
            let why = format!(
                "a volume of {} is smaller than backup {name:?}; spec.size must be at least {size}",
                volume.spec.size
            );
            return Err(VolumeError::Invalid(why));
        }
        let path = self.driver(&place(volume))?.begin_fill(&place(volume), all).await?;
        let failed =
            |e: io::Error| VolumeError::Driver(driver::DriverError::failed("writing a volume's file", e));
        let mut file = File::options().write(true).open(&path).map_err(failed)?;
        let mut data = Vec::new();
        loop {
            let index = match from.next(&mut data).await.map_err(unreadable)? {
                Frame::End => return Ok(()),
                // The file is empty.
                Frame::Zeros { .. } => continue,
                Frame::Data(index, _) => index,
            };
            let bytes = std::mem::take(&mut data);
            let work = blocking(move || {
                let written = write_chunk(&file, all.0, index, &bytes);
                (file, bytes, written)
            });
            let done = work.await.map_err(|e| failed(io::Error::other(e)))?;
            done.2.map_err(failed)?;
            (file, data) = (done.0, done.1);
        }
    }
}

/// What lies beyond the disk's end is not written.
fn write_chunk(file: &File, size: u64, index: u64, bytes: &[u8]) -> io::Result<()> {
    let offset = index * CHUNK as u64;
    let length = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
    file.write_all_at(&bytes[..length], offset)
}

async fn send<W: AsyncWrite + Unpin>(volume: &Volume, changes: &Changes, to: W) -> io::Result<()> {
    let path = changes.path.clone();
    let mut clusters = blocking(move || Clusters::open(&path)).await.map_err(io::Error::other)??;
    let mut sender = begin(volume, clusters.size(), changes.since.as_ref(), to).await?;
    // Of a whole disk, what is not mentioned is zero anyway.
    let tells_zeros = changes.since.is_some();
    loop {
        let read = blocking(move || {
            let some = some(&mut clusters);
            (clusters, some)
        });
        let (back, some) = read.await.map_err(io::Error::other)?;
        clusters = back;
        let some = match some {
            Ok(some) if some.is_empty() => return sender.end().await.map(drop),
            Ok(some) => some,
            Err(e) => return sender.fail(&e.to_string()).await,
        };
        for (index, bytes) in some {
            match bytes {
                Some(bytes) => sender.data(index, &bytes).await?,
                None if tells_zeros => sender.zeros(index, 1).await?,
                None => {}
            }
        }
    }
}

/// A stream of a disk of `size` bytes: of what changed since a moment, or of all of it.
async fn begin<W: AsyncWrite + Unpin>(
    volume: &Volume,
    size: u64,
    since: Option<&Uid>,
    to: W,
) -> io::Result<Sender<BufWriter<W>>> {
    let base = since.map(ToString::to_string).unwrap_or_default();
    let head = Head { size, base, volume: volume.metadata.name.clone(), ..Head::default() };
    Sender::begin(BufWriter::with_capacity(READ_BUFFER, to), &head).await
}

async fn send_stream<W: AsyncWrite + Unpin>(volume: &Volume, stream: ChangeStream, to: W) -> io::Result<()> {
    const LENGTH: u64 = CHUNK as u64;
    let ChangeStream { size, since, mut changes } = stream;
    let mut sender = begin(volume, size.0, since.as_ref(), to).await?;
    loop {
        match changes.next().await {
            Ok(None) => return sender.end().await.map(drop),
            Ok(Some(Change::Zeros { offset, length })) => {
                // Of a whole disk, what is not mentioned is zero anyway.
                if since.is_some() {
                    sender.zeros(offset / LENGTH, length.div_ceil(LENGTH)).await?;
                }
            }
            Ok(Some(Change::Data { offset, bytes })) => {
                for (index, chunk) in (offset / LENGTH..).zip(bytes.chunks(CHUNK)) {
                    let is_zero = chunk.iter().all(|byte| *byte == 0);
                    match (is_zero, chunk.len()) {
                        (true, _) if since.is_none() => {}
                        (true, _) => sender.zeros(index, 1).await?,
                        (false, CHUNK) => sender.data(index, chunk).await?,
                        // The end of the disk.
                        (false, _) => {
                            let mut whole = chunk.to_vec();
                            whole.resize(CHUNK, 0);
                            sender.data(index, &whole).await?;
                        }
                    }
                }
            }
            Err(e) => return sender.fail(&e.to_string()).await,
        }
    }
}

/// The next clusters with their bytes; none for zeros.
fn some(clusters: &mut Clusters) -> io::Result<Vec<(u64, Option<Vec<u8>>)>> {
    let mut some = Vec::with_capacity(AT_ONCE);
    while some.len() < AT_ONCE {
        match clusters.next_cluster()? {
            None => break,
            Some((index, _)) if index >= chunks(clusters.size()) => break,
            Some((index, Cluster::Zeros)) => some.push((index, None)),
            Some((index, Cluster::Data(offset))) => {
                let mut bytes = vec![0; CLUSTER];
                clusters.read(index, offset, &mut bytes)?;
                let is_zero = bytes.iter().all(|byte| *byte == 0);
                some.push((index, (!is_zero).then_some(bytes)));
            }
        }
    }
    Ok(some)
}

//! Images made of disks of the cloud: the host that has the disk sends it as one file, which is then imported like a
//! stranger's.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes as Chunk;
use client::disks::{DiskHead, DiskOf, HEAD_MAX};
use futures::Stream;
use image::Source;
use model::compute::{Image, ImagePhase, Instance};
use model::storage::{Volume, VolumeSnapshot};
use model::{ApiError, Condition, ConditionStatus, Reason, Uid, set_condition};
use reconcile::Outcome;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::{Importer, PROGRESS_EVERY};

/// How many bytes are read at once.
const CHUNK: usize = 256 << 10;

/// The way to disks of hosts.
#[async_trait]
pub trait Disks: Send + Sync + 'static {
    /// One line of JSON, and then the disk's bytes ([`client::disks`]).
    async fn open(
        &self,
        host: &str,
        of: DiskOf,
        uid: &Uid,
    ) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError>;
}

/// Where the disk is that an image is to be made of.
enum Found {
    At {
        host: String,
        of: DiskOf,
        uid: Uid,
    },
    /// It may come.
    Waits(String),
    Never(String),
}

impl Importer {
    pub(super) async fn make_of_disk(&self, image: &Image) -> Result<Outcome, ApiError> {
        let (host, of, uid) = match self.find_disk(image).await? {
            Found::At { host, of, uid } => (host, of, uid),
            Found::Waits(why) => {
                self.say_why(image, ImagePhase::Pending, "Waits", &why).await?;
                return Ok(Outcome::RequeueAfter(PROGRESS_EVERY));
            }
            Found::Never(why) => {
                self.fail(image, &ApiError::new(Reason::Invalid, why)).await?;
                return Ok(Outcome::Done);
            }
        };
        match self.fetch_disk(image, &host, of, &uid).await {
            Ok(()) => Ok(Outcome::Done),
            // The host is away, or its server is: it will be back.
            Err(e) if matches!(e.reason, Reason::ServiceUnavailable | Reason::Timeout) => {
                self.say_why(image, ImagePhase::Pending, "Waits", &e.message).await?;
                Err(e)
            }
            Err(e) => {
                self.fail(image, &e).await?;
                Ok(Outcome::Done)
            }
        }
    }

    async fn find_disk(&self, image: &Image) -> Result<Found, ApiError> {
        let (project, source) = (&image.metadata.namespace, &image.spec.source);
        let client = &self.context.client;
        let mut volume = source.volume.clone();
        if !source.instance.is_empty() {
            let Some(instance) = client.project::<Instance>(project).find(&source.instance).await? else {
                return Ok(Found::Never(format!("instance {:?} is gone", source.instance)));
            };
            match instance.spec.payload.volume() {
                Some(name) => name.clone_into(&mut volume),
                None if instance.status.host.is_empty() => {
                    return Ok(Found::Waits(format!("instance {:?} has no host yet", source.instance)));
                }
                None => {
                    let (host, uid) = (instance.status.host, instance.metadata.uid);
                    return Ok(Found::At { host, of: DiskOf::Instance, uid });
                }
            }
        }
        if !volume.is_empty() {
            return Ok(match client.project::<Volume>(project).find(&volume).await? {
                None => Found::Never(format!("volume {volume:?} is gone")),
                Some(found) if found.status.size.is_zero() => {
                    Found::Waits(format!("volume {volume:?} is not made yet"))
                }
                Some(found) => {
                    Found::At { host: found.status.host, of: DiskOf::Volume, uid: found.metadata.uid }
                }
            });
        }
        let name = &source.snapshot;
        Ok(match client.project::<VolumeSnapshot>(project).find(name).await? {
            None => Found::Never(format!("snapshot {name:?} is gone")),
            Some(found) if !found.status.ready => Found::Waits(format!("snapshot {name:?} is not taken yet")),
            Some(found) => {
                Found::At { host: found.status.host, of: DiskOf::VolumeSnapshot, uid: found.metadata.uid }
            }
        })
    }

    async fn fetch_disk(&self, image: &Image, host: &str, of: DiskOf, uid: &Uid) -> Result<(), ApiError> {
        self.update(image, |status| status.phase = ImagePhase::Importing).await?;
        let mut from = BufReader::new(self.disks.open(host, of, uid).await?);
        let mut line = Vec::new();
        let cut_off = |what: &str| ApiError::new(Reason::ServiceUnavailable, format!("host {host:?} {what}"));
        (&mut from)
            .take(HEAD_MAX)
            .read_until(b'\n', &mut line)
            .await
            .map_err(|e| cut_off(&format!("cannot be read: {e}")))?;
        if line.is_empty() {
            return Err(cut_off("ended the transfer of the disk"));
        }
        let head: DiskHead =
            serde_json::from_slice(&line).map_err(|e| ApiError::internal(format!("host {host:?}: {e}")))?;
        if !head.error.is_empty() {
            return Err(ApiError::new(Reason::Invalid, head.error));
        }
        let expected = head.sha256.parse().map_err(|e| ApiError::internal(format!("host {host:?}: {e}")))?;
        let arrival = self.receive(image, chunks(from.take(head.size)), Some(expected)).await?;
        let import = self.import(image, Source::Arrived(arrival), None)?;
        self.carry_out(image, import).await
    }

    async fn say_why(
        &self,
        image: &Image,
        phase: ImagePhase,
        reason: &str,
        why: &str,
    ) -> Result<(), ApiError> {
        let now = (self.context.now)();
        self.update(image, |status| {
            status.phase = phase;
            let condition = Condition::new("Ready", ConditionStatus::False, reason, why.to_owned());
            set_condition(&mut status.conditions, condition, now);
        })
        .await
    }
}

fn chunks(from: impl AsyncRead + Send + Unpin) -> impl Stream<Item = std::io::Result<Chunk>> + Send + Unpin {
    Box::pin(futures::stream::unfold(from, |mut from| async move {
        let mut chunk = vec![0; CHUNK];
        match from.read(&mut chunk).await {
            Ok(0) => None,
            Ok(n) => {
                chunk.truncate(n);
                Some((Ok(chunk.into()), from))
            }
            Err(e) => Some((Err(e), from)),
        }
    }))
}

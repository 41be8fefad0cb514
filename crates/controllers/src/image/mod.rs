//! Images: from an upload or a URL to verified files in the cache, with progress in the status.

mod from_bucket;
mod from_disk;
mod sweep;

pub use from_disk::Disks;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes as Chunk;
use client::ListParams;
use futures::{Stream, StreamExt};
use image::{Cache as Blobs, Digest, Egress, Import, Imported, Source, Task};
use model::compute::{Artifact, ArtifactRole, Image, ImageFormat, ImagePhase, Visibility};
use model::{ApiError, Bytes, Condition, ConditionStatus, Reason, set_condition};
use parking_lot::Mutex;
use reconcile::{Cache, Change, Outcome, Queue};

use crate::{Buckets, Context};

/// The project whose public images everyone may use.
const SYSTEM_PROJECT: &str = "system";
/// Largest file of an image, and largest disk it may show.
const SIZE_MAX: u64 = 2 << 40;
/// How often progress is written down.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Downloads at the same time.
const WORKERS: usize = 4;

/// Imports images into a cache. Cheap to clone.
#[derive(Clone)]
pub struct Importer {
    context: Context,
    blobs: Arc<Blobs>,
    egress: Egress,
    disks: Arc<dyn Disks>,
    buckets: Arc<dyn Buckets>,
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Importer").field("blobs", &self.blobs).finish_non_exhaustive()
    }
}

impl Importer {
    pub fn new(
        context: Context,
        blobs: Arc<Blobs>,
        egress: Egress,
        disks: Arc<dyn Disks>,
        buckets: Arc<dyn Buckets>,
    ) -> Self {
        Self { context, blobs, egress, disks, buckets }
    }

    /// Imports images that name a URL or a disk of the cloud, for ever.
    pub async fn run(self) {
        let queue = Queue::new();
        let listener = {
            let queue = queue.clone();
            move |change: &Change<Image>| queue.add(change.object().metadata.key())
        };
        let images =
            Cache::start(self.context.client.all::<Image>(), ListParams::default(), vec![Box::new(listener)]);
        images.synced().await;
        let sweep = sweep::run(&self.blobs, &images, &self.context.client);
        let import = reconcile::run("image", queue, WORKERS, |key| self.reconcile(&images, key));
        tokio::join!(sweep, import);
    }

    async fn reconcile(&self, images: &Cache<Image>, key: String) -> Result<Outcome, ApiError> {
        let Some(image) = images.get(&key) else { return Ok(Outcome::Done) };
        let waits = matches!(image.status.phase, ImagePhase::Pending | ImagePhase::Importing);
        if image.metadata.is_deleting() || !waits {
            return Ok(Outcome::Done);
        }
        if image.spec.source.object().is_some() {
            return self.make_of_disk(&image).await;
        }
        if !image.spec.source.bucket.is_empty() {
            return self.fetch_from_bucket(&image).await.map(|()| Outcome::Done);
        }
        if !image.spec.source.image.is_empty() {
            return self.copy(&image).await;
        }
        if image.spec.source.url.is_empty() {
            return Ok(Outcome::Done);
        }
        let source = &image.spec.source;
        let initrd = (!source.initrd_url.is_empty()).then(|| Source::Url(source.initrd_url.clone()));
        let import = self.import(&image, Source::Url(source.url.clone()), initrd)?;
        self.carry_out(&image, import).await.map(|()| Outcome::Done)
    }

    /// Takes one uploaded file. An image of format `kernel` may get its initrd first; the kernel makes it ready.
    pub async fn upload<S>(&self, image: Image, role: ArtifactRole, body: S) -> Result<(), ApiError>
    where
        S: Stream<Item = std::io::Result<Chunk>> + Send + Unpin,
    {
        check_upload(&image, role)?;
        let expected = if role == ArtifactRole::Initrd { None } else { expected_digest(&image)? };
        let arrival = self.receive(&image, body, expected).await?;
        match role {
            ArtifactRole::Kernel | ArtifactRole::Initrd => {
                let blobs = Arc::clone(&self.blobs);
                let stored = blocking(move || blobs.commit(arrival)).await?;
                let size = Bytes(stored.size);
                let artifact = Artifact { role, sha256: stored.digest.to_string(), size };
                let phase =
                    if role == ArtifactRole::Kernel { ImagePhase::Ready } else { ImagePhase::Importing };
                self.update(&image, |status| {
                    status.artifacts.retain(|a| a.role != role);
                    status.artifacts.push(artifact.clone());
                    status.phase = phase;
                })
                .await
            }
            ArtifactRole::Disk | ArtifactRole::Oci => {
                let import = self.import(&image, Source::Arrived(arrival), None)?;
                self.carry_out(&image, import).await
            }
        }
    }

    async fn receive<S>(
        &self,
        image: &Image,
        mut body: S,
        expected: Option<Digest>,
    ) -> Result<image::Arrival, ApiError>
    where
        S: Stream<Item = std::io::Result<Chunk>> + Send + Unpin,
    {
        let cut_off = |e: std::io::Error| ApiError::bad_request(format!("the upload was cut off: {e}"));
        let blobs = Arc::clone(&self.blobs);
        let mut staging = blocking(move || blobs.stage()).await?;
        let mut last = tokio::time::Instant::now();
        while let Some(chunk) = body.next().await {
            // Short writes into the page cache: not worth a thread each.
            staging.write_all(&chunk.map_err(cut_off)?).map_err(|e| storage_error(&e))?;
            if staging.written() > SIZE_MAX {
                return Err(ApiError::new(Reason::RequestEntityTooLarge, "the file is larger than 2 TiB"));
            }
            if last.elapsed() >= PROGRESS_EVERY {
                last = tokio::time::Instant::now();
                let received = Bytes(staging.written());
                self.update(image, |status| {
                    status.phase = ImagePhase::Importing;
                    status.received = received;
                })
                .await?;
            }
        }
        blocking(move || staging.finish(expected)).await
    }

    fn import(&self, image: &Image, source: Source, initrd: Option<Source>) -> Result<Import, ApiError> {
        Ok(Import {
            format: image.spec.format,
            source,
            initrd,
            sha256: expected_digest(image)?,
            size_max: SIZE_MAX,
            egress: self.egress.clone(),
        })
    }

    /// Imports and reports how it went. What went wrong is told to the caller too.
    async fn carry_out(&self, image: &Image, import: Import) -> Result<(), ApiError> {
        let received = Arc::new(Mutex::new(0));
        let task = {
            let received = Arc::clone(&received);
            Task::new(move |progress| *received.lock() = progress.done)
        };
        // Whoever stops waiting (a client that goes away, a server that ends) stops the work too.
        let _stop = Stop(task.cancel.clone());
        let blobs = Arc::clone(&self.blobs);
        let work = blocking(move || image::import(&blobs, import, &task));
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                biased;
                result = &mut work => break result,
                () = tokio::time::sleep(PROGRESS_EVERY) => {
                    let done = Bytes(*received.lock());
                    self.update(image, |status| {
                        status.phase = ImagePhase::Importing;
                        status.received = done;
                    }).await?;
                }
            }
        };
        match result {
            Ok(Imported { artifacts, virtual_size }) => {
                self.update(image, |status| {
                    status.phase = ImagePhase::Ready;
                    status.artifacts.clone_from(&artifacts);
                    status.virtual_size = virtual_size;
                    status.received = Bytes(0);
                })
                .await
            }
            Err(e) => {
                self.fail(image, &e).await?;
                Err(e)
            }
        }
    }

    /// Files are known by what is in them: a copy names the same ones.
    async fn copy(&self, image: &Image) -> Result<Outcome, ApiError> {
        let name = &image.spec.source.image;
        let client = &self.context.client;
        let mut found = client.project::<Image>(&image.metadata.namespace).find(name).await?;
        if found.is_none() {
            let shared = client.project::<Image>(SYSTEM_PROJECT).find(name).await?;
            found = shared.filter(|image| image.spec.visibility == Visibility::Public);
        }
        let why = match &found {
            None => format!("image {name:?} is gone"),
            Some(of) if of.status.phase == ImagePhase::Failed => format!("image {name:?} could not be made"),
            Some(of) if of.status.phase != ImagePhase::Ready => {
                return Ok(Outcome::RequeueAfter(PROGRESS_EVERY));
            }
            Some(of) => {
                let made = |status: &mut model::compute::ImageStatus| {
                    status.phase = ImagePhase::Ready;
                    status.artifacts.clone_from(&of.status.artifacts);
                    status.virtual_size = of.status.virtual_size;
                };
                return self.update(image, made).await.map(|()| Outcome::Done);
            }
        };
        self.fail(image, &ApiError::new(Reason::Invalid, why)).await?;
        Ok(Outcome::Done)
    }

    async fn fail(&self, image: &Image, error: &ApiError) -> Result<(), ApiError> {
        let now = (self.context.now)();
        self.update(image, |status| {
            status.phase = ImagePhase::Failed;
            let condition =
                Condition::new("Ready", ConditionStatus::False, "ImportFailed", error.message.clone());
            set_condition(&mut status.conditions, condition, now);
        })
        .await
    }

    async fn update(
        &self,
        image: &Image,
        change: impl Fn(&mut model::compute::ImageStatus),
    ) -> Result<(), ApiError> {
        let api = self.context.client.project::<Image>(&image.metadata.namespace);
        loop {
            let mut latest = api.get(&image.metadata.name).await?;
            if latest.metadata.uid != image.metadata.uid {
                return Err(ApiError::not_found("image", &image.metadata.name));
            }
            change(&mut latest.status);
            match api.update_status(&latest).await {
                Err(e) if e.is_conflict() => {}
                result => return result.map(drop),
            }
        }
    }
}

/// Whether an image may take this file now.
fn check_upload(image: &Image, role: ArtifactRole) -> Result<(), ApiError> {
    let name = &image.metadata.name;
    if image.status.phase == ImagePhase::Ready {
        return Err(ApiError::conflict(format!("image {name:?} is complete; import under a new name")));
    }
    if let Some((field, _)) = image.spec.source.object() {
        return Err(ApiError::bad_request(format!(
            "image {name:?} is made of its {field}, not of an upload"
        )));
    }
    if !image.spec.source.bucket.is_empty() || !image.spec.source.image.is_empty() {
        return Err(ApiError::bad_request(format!("image {name:?} has a source, which is no upload")));
    }
    if !image.spec.source.url.is_empty() {
        return Err(ApiError::bad_request(format!("image {name:?} comes from its URL, not from an upload")));
    }
    let fits = match image.spec.format {
        ImageFormat::Kernel => matches!(role, ArtifactRole::Kernel | ArtifactRole::Initrd),
        ImageFormat::Oci => role == ArtifactRole::Oci,
        _ => role == ArtifactRole::Disk,
    };
    if fits {
        return Ok(());
    }
    let format = image.spec.format.as_str();
    Err(ApiError::bad_request(format!("role: an image of format {format} has no {} file", role.as_str())))
}

struct Stop(image::Cancel);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn expected_digest(image: &Image) -> Result<Option<Digest>, ApiError> {
    if image.spec.sha256.is_empty() {
        return Ok(None);
    }
    image.spec.sha256.parse().map(Some).map_err(|e| ApiError::bad_request(format!("spec.sha256: {e}")))
}

/// Runs blocking work of the image crate and turns its error into the API's, with the causes in the message.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => {
            let mut message = e.to_string();
            let mut source = e.source();
            while let Some(cause) = source {
                message = format!("{message}: {cause}");
                source = cause.source();
            }
            Err(ApiError::new(Reason::Invalid, message))
        }
        Err(e) => Err(ApiError::internal(format!("importing was cut off: {e}"))),
    }
}

fn storage_error(e: &std::io::Error) -> ApiError {
    ApiError::new(Reason::InsufficientStorage, format!("the image cannot be stored: {e}"))
}

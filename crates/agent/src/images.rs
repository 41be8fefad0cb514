//! The files of images on this host: taken from the cache, or fetched into it, verified by digest.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use image::{Cache, Digest};
use model::compute::{Artifact, ArtifactRole, Image, Visibility};
use model::{ApiError, Reason};
use tokio::io::{AsyncRead, AsyncReadExt};

use client::Client;

/// The project whose public images everyone may use.
const SYSTEM_PROJECT: &str = "system";

/// Where image files come from.
#[async_trait]
pub trait BlobSource: Send + Sync + 'static {
    async fn open(&self, sha256: &str) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError>;
    /// What is in a backup, as a stream of the `backup` crate.
    async fn backup(&self, project: &str, name: &str) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError>;
}

/// For a host that shares its cache with the server, where there are no backups: what is not there does not exist.
#[derive(Debug, Clone, Copy)]
pub struct SharedBlobs;

#[async_trait]
impl BlobSource for SharedBlobs {
    async fn open(&self, sha256: &str) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        Err(ApiError::new(Reason::NotFound, format!("the image file {sha256} is not in the cache")))
    }

    async fn backup(&self, _: &str, name: &str) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        Err(ApiError::not_found("volumebackup", name))
    }
}

/// Image files on this host. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    cache: Arc<Cache>,
    layers: PathBuf,
    source: Arc<dyn BlobSource>,
    client: Client,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Images {
    /// `layers` is the directory for unpacked container layers.
    pub fn new(cache: Arc<Cache>, layers: PathBuf, source: Arc<dyn BlobSource>, client: Client) -> Self {
        Self { cache, layers, source, client }
    }

    /// What is in a backup of this project.
    pub(crate) async fn backup(
        &self,
        project: &str,
        name: &str,
    ) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        self.source.backup(project, name).await
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    pub fn layers_dir(&self) -> &Path {
        &self.layers
    }

    /// The image an instance of `project` means by `name`; it must be ready.
    pub async fn find(&self, project: &str, name: &str) -> Result<Image, ApiError> {
        let mut found = self.client.project::<Image>(project).find(name).await?;
        if found.is_none() {
            let shared = self.client.project::<Image>(SYSTEM_PROJECT).find(name).await?;
            found = shared.filter(|image| image.spec.visibility == Visibility::Public);
        }
        let image = found.ok_or_else(|| ApiError::not_found("image", name))?;
        if image.status.artifacts.is_empty() {
            let message = format!("image {name:?} is {} and not ready yet", image.status.phase.as_str());
            return Err(ApiError::new(Reason::ServiceUnavailable, message));
        }
        Ok(image)
    }

    /// The local path of one of the image's files, fetched if need be.
    pub async fn local(&self, image: &Image, role: ArtifactRole) -> Result<PathBuf, ApiError> {
        let name = &image.metadata.name;
        let artifact = image.status.artifact(role).ok_or_else(|| {
            ApiError::new(Reason::NotFound, format!("image {name:?} has no {} file", role.as_str()))
        })?;
        let digest: Digest =
            artifact.sha256.parse().map_err(|e| ApiError::internal(format!("image {name:?}: {e}")))?;
        if !self.cache.contains(&digest) {
            self.fetch(artifact, digest).await?;
        }
        Ok(self.cache.path(&digest))
    }

    async fn fetch(&self, artifact: &Artifact, digest: Digest) -> Result<(), ApiError> {
        let failed = |e: io::Error| {
            ApiError::new(Reason::ServiceUnavailable, format!("fetching an image file failed: {e}"))
        };
        let mut from = self.source.open(&artifact.sha256).await?;
        let cache = Arc::clone(&self.cache);
        let mut staging = tokio::task::spawn_blocking(move || cache.stage())
            .await
            .map_err(|e| failed(e.into()))?
            .map_err(|e| failed(io::Error::other(e)))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let n = from.read(&mut buffer).await.map_err(failed)?;
            if n == 0 {
                break;
            }
            // Page cache writes of 1 MiB; short enough not to be worth a thread each.
            staging.write_all(&buffer[..n]).map_err(failed)?;
        }
        let cache = Arc::clone(&self.cache);
        let commit = move || staging.finish(Some(digest)).and_then(|arrival| cache.commit(arrival));
        tokio::task::spawn_blocking(commit)
            .await
            .map_err(|e| failed(e.into()))?
            .map_err(|e| failed(io::Error::other(e)))?;
        Ok(())
    }
}

//! Image files for the server: uploads go to the importer, hosts read from the cache.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use controllers::image::Importer;
use model::compute::{ArtifactRole, Image};
use model::{ApiError, Reason};
use server::http::{Blobs, Upload};
use tokio::io::AsyncRead;

pub(crate) struct ImageFiles {
    pub(crate) importer: Importer,
    pub(crate) cache: Arc<image::Cache>,
}

#[async_trait]
impl Blobs for ImageFiles {
    async fn upload(&self, image: Image, role: ArtifactRole, body: Upload) -> Result<(), ApiError> {
        self.importer.upload(image, role, body).await
    }

    async fn open(&self, sha256: &str) -> Result<(Pin<Box<dyn AsyncRead + Send>>, u64), ApiError> {
        let digest = sha256.parse().map_err(|e| ApiError::bad_request(format!("{sha256:?}: {e}")))?;
        let stored = self
            .cache
            .get(&digest)
            .ok_or_else(|| ApiError::new(Reason::NotFound, format!("there is no image file {sha256}")))?;
        let file = tokio::fs::File::open(&stored.path)
            .await
            .map_err(|e| ApiError::internal(format!("{}: {e}", stored.path.display())))?;
        Ok((Box::pin(file), stored.size))
    }
}

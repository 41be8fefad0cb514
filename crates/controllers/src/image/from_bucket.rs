//! Images that lie in a bucket of the cloud: read there, and then imported like a stranger's.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes as Chunk;
use futures::Stream;
use image::Source;
use model::compute::Image;
use model::storage::Bucket;
use model::{ApiError, Reason, Uid};

use super::{Importer, expected_digest};

/// The bytes of an object.
pub type Object = Pin<Box<dyn Stream<Item = std::io::Result<Chunk>> + Send>>;

/// The way to what lies in buckets.
#[async_trait]
pub trait Buckets: Send + Sync + 'static {
    async fn open(&self, bucket: &Uid, key: &str) -> Result<Object, ApiError>;
}

impl Importer {
    pub(super) async fn fetch_from_bucket(&self, image: &Image) -> Result<(), ApiError> {
        let source = &image.spec.source;
        let project = &image.metadata.namespace;
        let bucket = self.context.client.project::<Bucket>(project).find(&source.bucket).await?;
        let arrived = async {
            let bucket = bucket.ok_or_else(|| {
                ApiError::new(Reason::NotFound, format!("bucket {:?} is gone", source.bucket))
            })?;
            let object = self.buckets.open(&bucket.metadata.uid, &source.key).await?;
            self.receive(image, object, expected_digest(image)?).await
        };
        match arrived.await {
            Ok(arrival) => {
                let import = self.import(image, Source::Arrived(arrival), None)?;
                self.carry_out(image, import).await
            }
            // The image itself went, or was changed: there is nobody to tell.
            Err(e) if e.is_conflict() => Err(e),
            Err(e) => self.fail(image, &e).await,
        }
    }
}

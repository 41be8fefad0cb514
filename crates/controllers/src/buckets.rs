//! The way to what lies in buckets of the cloud.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use model::storage::Bucket;
use model::{ApiError, Uid};

/// The bytes of an object.
pub type Object = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

#[async_trait]
pub trait Buckets: Send + Sync + 'static {
    async fn open(&self, bucket: &Uid, key: &str) -> Result<Object, ApiError>;
    /// Writes an object, over one that is there. It is on the disk when this returns.
    async fn write(
        &self,
        bucket: &Bucket,
        key: &str,
        content_type: &str,
        bytes: Bytes,
    ) -> Result<(), ApiError>;
}

//! Images that lie in a bucket of the cloud: read there, and then imported like a stranger's.

use image::Source;
use model::compute::Image;
use model::storage::Bucket;
use model::{ApiError, Reason};

use super::{Importer, expected_digest};

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

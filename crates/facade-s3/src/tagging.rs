//! Tags of objects and of buckets.

use ::objects::{Record, WhichVersion};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::access::Place;
use crate::operations::Operations;
use crate::{failure, words};

pub(crate) async fn of_object(
    s3: &Operations,
    req: S3Request<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let place = Place::of(&req)?;
    let record = s3.record(&place, &req.input.key, req.input.version_id).await?;
    let version_id = words::version(&record);
    Ok(S3Response::new(GetObjectTaggingOutput { tag_set: words::tag_set(record.meta.tags), version_id }))
}

async fn set(
    s3: &Operations,
    place: &Place,
    key: &str,
    version: Option<String>,
    tags: Vec<(String, String)>,
) -> S3Result<Record> {
    let is_named = version.is_some();
    let change = move |meta: &mut ::objects::Meta| {
        meta.tags = tags;
        Ok(())
    };
    let changed = s3.objects.change_meta(&place.bucket, key, WhichVersion::from(version), change).await;
    changed.map_err(|e| failure::of_version(e, is_named))
}

pub(crate) async fn set_of_object(
    s3: &Operations,
    req: S3Request<PutObjectTaggingInput>,
) -> S3Result<S3Response<PutObjectTaggingOutput>> {
    let place = Place::of(&req)?;
    let tags = words::tags_of(req.input.tagging.tag_set)?;
    let record = set(s3, &place, &req.input.key, req.input.version_id, tags).await?;
    Ok(S3Response::new(PutObjectTaggingOutput { version_id: words::version(&record) }))
}

pub(crate) async fn delete_of_object(
    s3: &Operations,
    req: S3Request<DeleteObjectTaggingInput>,
) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let place = Place::of(&req)?;
    let record = set(s3, &place, &req.input.key, req.input.version_id, Vec::new()).await?;
    Ok(S3Response::new(DeleteObjectTaggingOutput { version_id: words::version(&record) }))
}

pub(crate) async fn of_bucket(
    _: &Operations,
    req: S3Request<GetBucketTaggingInput>,
) -> S3Result<S3Response<GetBucketTaggingOutput>> {
    let place = Place::of(&req)?;
    if place.spec.tags.is_empty() {
        return Err(failure::not_set("NoSuchTagSet"));
    }
    let tag_set = words::tag_set(place.spec.tags.clone());
    Ok(S3Response::new(GetBucketTaggingOutput { tag_set }))
}

pub(crate) async fn set_of_bucket(
    s3: &Operations,
    req: S3Request<PutBucketTaggingInput>,
) -> S3Result<S3Response<PutBucketTaggingOutput>> {
    let place = Place::of(&req)?;
    let set = req.input.tagging.tag_set;
    let count = set.len();
    let tag = |tag: Tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
    let tags: std::collections::BTreeMap<String, String> = set.into_iter().map(tag).collect();
    if tags.len() != count {
        return Err(s3_error!(InvalidTag, "a tag's key comes once"));
    }
    s3.change(&place, &req.input.bucket, |spec| {
        spec.tags.clone_from(&tags);
        Ok(())
    })
    .await?;
    Ok(S3Response::new(PutBucketTaggingOutput {}))
}

pub(crate) async fn delete_of_bucket(
    s3: &Operations,
    req: S3Request<DeleteBucketTaggingInput>,
) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
    let place = Place::of(&req)?;
    s3.change(&place, &req.input.bucket, |spec| {
        spec.tags.clear();
        Ok(())
    })
    .await?;
    Ok(S3Response::new(DeleteBucketTaggingOutput {}))
}

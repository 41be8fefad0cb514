//! Operations of S3, each on a bucket that `access` found and allowed.

use std::sync::Arc;
use std::time::Duration;

use ::objects::{Condition, Content, Error, ListQuery, Objects, Page, Put, Record, WhichVersion};
use client::{DeleteOptions, ListParams};
use identity::Principal;
use model::storage::{Bucket, BucketSpec};
use model::{ObjectMeta, REGION};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use crate::access::{Place, refused};
use crate::cloud::Cloud;
use crate::intake::{self, Said};
use crate::{failure, words};

/// How often buckets that are gone are looked for.
const KEEP_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) objects: Objects,
    pub(crate) cloud: Arc<dyn Cloud>,
}

impl crate::S3 {
    /// Removes what lay in buckets that are gone, for as long as it is let.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(KEEP_EVERY).await;
            if let Err(e) = self.operations.keep().await {
                tracing::warn!(error = %e, "what lay in deleted buckets was not removed; it is tried again");
            }
        }
    }
}

impl Operations {
    async fn keep(&self) -> S3Result<()> {
        // In this order: a bucket has its object before it has its place here.
        let places = self.objects.buckets().await.map_err(failure::of)?;
        let client = self.cloud.client(&Principal::component("objects"));
        let buckets = client.all::<Bucket>().list(&ListParams::default()).await.map_err(refused)?.items;
        for uid in places.iter().filter(|uid| !buckets.iter().any(|b| b.metadata.uid.to_string() == **uid)) {
            self.objects.purge_bucket(uid).await.map_err(failure::of)?;
        }
        Ok(())
    }

    async fn page(&self, place: &Place, query: ListQuery) -> S3Result<Page> {
        self.objects.list(&place.bucket, query).await.map_err(failure::of)
    }
}

fn contents(records: Vec<Record>) -> Vec<Object> {
    let object = |r: Record| Object {
        e_tag: Some(words::etag(&r.etag)),
        last_modified: Some(words::time(r.modified_ms)),
        size: Some(words::number(r.size)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        key: Some(r.key),
        ..Object::default()
    };
    records.into_iter().map(object).collect()
}

fn prefixes(prefixes: Vec<String>) -> Vec<CommonPrefix> {
    prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect()
}

fn version(record: &Record) -> Option<String> {
    (record.version != "null").then(|| record.version.clone())
}

#[async_trait::async_trait]
impl S3 for Operations {
    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let place = Place::of(&req)?;
        let api = self.cloud.client(&place.caller).project::<Bucket>(&place.project);
        let items = api.list(&ListParams::default()).await.map_err(refused)?.items;
        let bucket = |b: Bucket| s3s::dto::Bucket {
            creation_date: b.metadata.creation_timestamp.map(|at| words::time(at.0)),
            name: Some(b.metadata.name),
            bucket_region: Some(REGION.to_owned()),
        };
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(items.into_iter().map(bucket).collect()),
            owner: Some(words::owner(&place.project)),
            ..ListBucketsOutput::default()
        }))
    }

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let place = Place::of(&req)?;
        let name = &req.input.bucket;
        if !model::storage::is_bucket_name(name) {
            return Err(s3_error!(InvalidBucketName));
        }
        let api = self.cloud.client(&place.caller).project::<Bucket>(&place.project);
        if api.find(name).await.map_err(refused)?.is_some() {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        let bucket = Bucket::new(ObjectMeta::named(name), BucketSpec::default());
        api.create(&bucket).await.map_err(|e| match e.reason {
            model::Reason::Invalid | model::Reason::Conflict | model::Reason::AlreadyExists => {
                s3_error!(BucketAlreadyExists)
            }
            _ => refused(e),
        })?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let place = Place::of(&req)?;
        self.objects.delete_bucket(&place.bucket).await.map_err(failure::of)?;
        let api = self.cloud.client(&place.caller).project::<Bucket>(&place.project);
        api.delete(&req.input.bucket, &DeleteOptions::default()).await.map_err(refused)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn head_bucket(&self, _req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(REGION.to_owned()),
            ..HeadBucketOutput::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        _req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint: Some(REGION.to_owned().into()) }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let place = Place::of(&req)?;
        let input = req.input;
        let after = input.start_after.as_ref().map(|key| format!("{key}\0"));
        let query = ListQuery {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            from: input.continuation_token.clone().or(after).unwrap_or_default(),
            max: words::limit(input.max_keys)?,
            ..ListQuery::default()
        };
        let page = self.page(&place, query).await?;
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: i32::try_from(page.records.len() + page.prefixes.len()).ok(),
            is_truncated: Some(page.is_truncated),
            next_continuation_token: page.is_truncated.then_some(page.next),
            contents: Some(contents(page.records)),
            common_prefixes: Some(prefixes(page.prefixes)),
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            max_keys: Some(input.max_keys.unwrap_or(1000)),
            continuation_token: input.continuation_token,
            start_after: input.start_after,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let place = Place::of(&req)?;
        let said = Said::new(&req.headers, req.trailing_headers.clone());
        let input = req.input;
        let mut meta = words::meta(&req.headers, input.metadata, input.tagging.as_deref())?;
        let (bytes, checksums) = intake::take(&self.objects, input.body, said).await?;
        meta.checksums = checksums;
        let conditions = words::conditions(input.if_match.as_ref(), input.if_none_match.as_ref());
        let put = Put { bucket: place.bucket, key: input.key, bytes, meta, conditions };
        let record = self.objects.put(put).await.map_err(failure::of)?;
        let sum = |name: &str| record.meta.checksums.get(name).cloned();
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(words::etag(&record.etag)),
            version_id: version(&record),
            checksum_crc32: sum("crc32"),
            checksum_crc32c: sum("crc32c"),
            checksum_crc64nvme: sum("crc64nvme"),
            checksum_sha1: sum("sha1"),
            checksum_sha256: sum("sha256"),
            ..PutObjectOutput::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let place = Place::of(&req)?;
        let input = req.input;
        let which = WhichVersion::from(input.version_id.clone());
        let (record, content): (Record, Content) =
            self.objects.get(&place.bucket, &input.key, which).await.map_err(failure::of)?;
        words::reader_conditions(
            &record,
            (input.if_match.as_ref(), input.if_unmodified_since.as_ref()),
            (input.if_none_match.as_ref(), input.if_modified_since.as_ref()),
        )?;
        let range = match &input.range {
            Some(range) => range.check(record.size)?,
            None => 0..record.size,
        };
        let content_range =
            input.range.is_some().then(|| format!("bytes {}-{}/{}", range.start, range.end - 1, record.size));
        let length = range.end - range.start;
        let body = content.read(range).await.map_err(failure::of)?;
        let kept = |name: &str| record.meta.headers.get(name).cloned();
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::wrap(Box::pin(body))),
            cache_control: kept("cache-control"),
            content_disposition: input.response_content_disposition.or_else(|| kept("content-disposition")),
            content_encoding: kept("content-encoding"),
            content_language: kept("content-language"),
            content_length: Some(words::number(length)),
            content_range,
            content_type: input.response_content_type.or_else(|| kept("content-type")),
            e_tag: Some(words::etag(&record.etag)),
            last_modified: Some(words::time(record.modified_ms)),
            metadata: Some(record.meta.user.clone().into_iter().collect()),
            version_id: version(&record),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let place = Place::of(&req)?;
        let input = req.input;
        let which = WhichVersion::from(input.version_id.clone());
        let record = self.objects.head(&place.bucket, &input.key, which).await.map_err(failure::of)?;
        words::reader_conditions(
            &record,
            (input.if_match.as_ref(), input.if_unmodified_since.as_ref()),
            (input.if_none_match.as_ref(), input.if_modified_since.as_ref()),
        )?;
        let kept = |name: &str| record.meta.headers.get(name).cloned();
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: kept("cache-control"),
            content_disposition: kept("content-disposition"),
            content_encoding: kept("content-encoding"),
            content_language: kept("content-language"),
            content_length: Some(words::number(record.size)),
            content_type: kept("content-type"),
            e_tag: Some(words::etag(&record.etag)),
            last_modified: Some(words::time(record.modified_ms)),
            metadata: Some(record.meta.user.clone().into_iter().collect()),
            version_id: version(&record),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let place = Place::of(&req)?;
        let input = req.input;
        let mut conditions = words::conditions(input.if_match.as_ref(), None);
        let condition = conditions.pop().unwrap_or(Condition::None);
        let which = WhichVersion::from(input.version_id);
        let deleted = self.objects.delete(&place.bucket, &input.key, which, condition, false).await;
        let deleted = deleted.map_err(failure::of)?;
        Ok(S3Response::new(DeleteObjectOutput {
            delete_marker: deleted.is_marker.then_some(true),
            version_id: deleted.version,
            ..DeleteObjectOutput::default()
        }))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let place = Place::of(&req)?;
        let (mut gone, mut errors) = (Vec::new(), Vec::new());
        for object in req.input.delete.objects {
            let which = WhichVersion::from(object.version_id.clone());
            let deleted: Result<_, Error> =
                self.objects.delete(&place.bucket, &object.key, which, Condition::None, false).await;
            match deleted {
                Ok(deleted) => gone.push(DeletedObject {
                    delete_marker: deleted.is_marker.then_some(true),
                    delete_marker_version_id: deleted.version.filter(|_| deleted.is_marker),
                    key: Some(object.key),
                    version_id: object.version_id,
                }),
                Err(e) => {
                    let e = failure::of(e);
                    errors.push(s3s::dto::Error {
                        code: Some(e.code().as_str().to_owned()),
                        message: e.message().map(str::to_owned),
                        key: Some(object.key),
                        version_id: object.version_id,
                    });
                }
            }
        }
        let deleted = (!req.input.delete.quiet.unwrap_or(false)).then_some(gone);
        let errors = (!errors.is_empty()).then_some(errors);
        Ok(S3Response::new(DeleteObjectsOutput { deleted, errors, ..DeleteObjectsOutput::default() }))
    }
}

//! Objects on their way in, and their end.

use ::objects::{Condition, Meta, Put, Record, WhichVersion};
use bytes::Bytes;
use client::Verb;
use model::storage::{Bucket, BucketSpec, RetentionMode};
use model::{ApiError, Reason};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use crate::S3;
use crate::access::Place;
use crate::intake::{self, Said};
use crate::operations::Operations;
use crate::sealing::{self, CustomerKey, Words, with_sealing};
use crate::words::{self, named_checksums, with_checksums};
use crate::{failure, guard, permission};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Longest key, in bytes.
const KEY_MAX_BYTES: usize = 1024;
/// Most objects that one request deletes.
const DELETED_MAX: usize = 1000;

impl Place {
    /// A refusal that does not tell whether a bucket of another project is there.
    fn hidden(&self, refusal: S3Error, bucket: &str) -> S3Error {
        if self.asker.is_of(&self.project) { refusal } else { self.asker.knows_none(bucket) }
    }

    /// Locks a new version as its bucket has it, unless its writer said how.
    pub(crate) fn lock(&self, s3: &Operations, meta: &mut Meta) -> S3Result<()> {
        lock(&self.spec, s3.cloud.now().0, meta)
    }
}

fn lock(bucket: &BucketSpec, now: i64, meta: &mut Meta) -> S3Result<()> {
    let Some(lock) = &bucket.object_lock else {
        if meta.lock == ::objects::Lock::default() {
            return Ok(());
        }
        return Err(s3_error!(InvalidRequest, "Bucket is missing Object Lock Configuration"));
    };
    if !meta.lock.mode.is_empty() && meta.lock.until_ms <= now {
        return Err(s3_error!(InvalidArgument, "the retain until date must be in the future"));
    }
    if let Some(default) = lock.retention.as_ref().filter(|_| meta.lock.mode.is_empty()) {
        let days = i64::from(default.days) + 365 * i64::from(default.years);
        RetentionMode::as_str(default.mode).clone_into(&mut meta.lock.mode);
        meta.lock.until_ms = now + days * DAY_MS;
    }
    Ok(())
}

impl S3 {
    /// An object that the cloud itself writes, such as one of logs; the bucket's policy may keep it out.
    pub async fn write(
        &self,
        bucket: &Bucket,
        key: &str,
        content_type: &str,
        bytes: Bytes,
    ) -> Result<(), ApiError> {
        let Operations { objects, cloud } = &self.operations;
        let (name, now) = (&bucket.metadata.name, cloud.now());
        if permission::keeps_logs_out(bucket, key, now) {
            let message = format!("the policy of bucket {name:?} lets nothing be delivered to {key:?}");
            return Err(ApiError::new(Reason::Forbidden, message));
        }
        let mut meta = Meta::default();
        meta.headers.insert("content-type".to_owned(), content_type.to_owned());
        let written = async {
            self.known.follow(objects, bucket).await?;
            let mut incoming = objects.incoming(&sealing::by_bucket(&bucket.spec))?;
            incoming.write(bytes).await?;
            // It says nothing of locks that could be refused.
            let _ = lock(&bucket.spec, now.0, &mut meta);
            let (bucket, key) = (bucket.metadata.uid.to_string(), key.to_owned());
            let put = Put { bucket, key, bytes: incoming.finish().await?, meta, conditions: Vec::new() };
            objects.put(put).await.map(drop)
        };
        written.await.map_err(|e: ::objects::Error| {
            ApiError::new(Reason::InternalError, format!("object {key:?} is not written to {name:?}: {e}"))
        })
    }
}

fn written(record: &Record, customer: Option<&CustomerKey>) -> PutObjectOutput {
    let output = PutObjectOutput {
        e_tag: Some(words::etag(&record.etag)),
        version_id: words::version(record),
        checksum_type: words::checksum_type(&record.meta),
        ..PutObjectOutput::default()
    };
    let output = with_sealing!(output, &record.meta.sealed, customer);
    with_checksums!(output, &record.meta.checksums)
}

pub(crate) async fn put(
    s3: &Operations,
    req: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let place = Place::of(&req)?;
    let said = Said::new(&req.headers, req.trailing_headers.clone());
    let input = req.input;
    if input.write_offset_bytes.is_some() {
        return Err(s3_error!(NotImplemented, "objects are not appended to"));
    }
    let mut meta = words::meta(&req.headers, input.metadata, input.tagging.as_deref())?;
    place.lock(s3, &mut meta)?;
    let customer = sealing::key(&req.headers)?;
    let sealing = sealing::by_headers(&place.spec, &req.headers, customer.as_ref())?;
    let (bytes, checksums) = intake::take(&s3.objects, input.body, said, &sealing).await?;
    meta.checksums = checksums;
    let conditions = words::conditions(input.if_match.as_ref(), input.if_none_match.as_ref());
    let put = Put { bucket: place.bucket, key: input.key, bytes, meta, conditions };
    let record = s3.objects.put(put).await.map_err(failure::of)?;
    Ok(S3Response::new(written(&record, customer.as_ref())))
}

/// A form that a browser sent. Its policy was held against its fields and its size before this.
pub(crate) async fn post(
    s3: &Operations,
    req: S3Request<PostObjectInput>,
) -> S3Result<S3Response<PostObjectOutput>> {
    let place = Place::of(&req)?;
    if place.asker.holder.is_some() {
        let region = req.region.as_ref().map_or("", |region| region.as_str());
        if req.service.as_deref() != Some("s3") || !guard::is_own_region(region) {
            return Err(s3_error!(AccessDenied, "a form is signed with version 4, for s3 in this region"));
        }
    }
    let input = req.input;
    if input.key.is_empty() || input.key.len() > KEY_MAX_BYTES {
        return Err(s3_error!(InvalidArgument, "the key must have 1 to {KEY_MAX_BYTES} bytes"));
    }
    if input.key.contains("${filename}") {
        return Err(s3_error!(NotImplemented, "the name of a form's file is not taken over: say the key"));
    }
    let question = permission::of_object("PutObject", &input.bucket, &input.key, Verb::Update);
    s3.may(&place.asker, Some(&place.found()), &question).map_err(|e| place.hidden(e, &input.bucket))?;
    words::acl(input.acl.as_ref().map(ObjectCannedACL::as_str))?;
    words::storage_class(input.storage_class.as_ref().map(StorageClass::as_str))?;
    let customer = Words {
        algorithm: input.sse_customer_algorithm.as_deref(),
        key: input.sse_customer_key.as_deref(),
        md5: input.sse_customer_key_md5.as_deref(),
    };
    let customer = customer.read()?;
    let asked = input.server_side_encryption.as_ref().map(ServerSideEncryption::as_str);
    let sealing = sealing::of_new(&place.spec, asked, customer.as_ref())?;
    let mut meta = Meta { tags: tags_of_form(input.tagging.as_deref())?, ..Meta::default() };
    let kept = [
        ("cache-control", &input.cache_control),
        ("content-disposition", &input.content_disposition),
        ("content-encoding", &input.content_encoding),
        ("content-language", &input.content_language),
        ("content-type", &input.content_type),
        ("x-amz-website-redirect-location", &input.website_redirect_location),
    ];
    for (name, value) in kept {
        if let Some(value) = value {
            meta.headers.insert(name.to_owned(), value.clone());
        }
    }
    meta.user = input.metadata.clone().unwrap_or_default().into_iter().collect();
    words::check_user_metadata(&meta)?;
    place.lock(s3, &mut meta)?;
    let said = Said { md5: input.content_md5.clone(), checksums: named_checksums!(input), ..Said::default() };
    let (bytes, checksums) = intake::take(&s3.objects, input.body, said, &sealing).await?;
    meta.checksums = checksums;
    let put = Put { bucket: place.bucket, key: input.key, bytes, meta, conditions: Vec::new() };
    let record = s3.objects.put(put).await.map_err(failure::of)?;
    let output = PostObjectOutput {
        e_tag: Some(words::etag(&record.etag)),
        version_id: words::version(&record),
        ..PostObjectOutput::default()
    };
    Ok(S3Response::new(with_sealing!(output, &record.meta.sealed, customer.as_ref())))
}

/// A form carries tags as a document.
fn tags_of_form(document: Option<&str>) -> S3Result<Vec<(String, String)>> {
    match document.filter(|document| !document.trim().is_empty()) {
        None => Ok(Vec::new()),
        Some(_) => Err(s3_error!(NotImplemented, "tags of a form are not read: set them afterwards")),
    }
}

pub(crate) async fn delete(
    s3: &Operations,
    req: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        return Err(s3_error!(NotImplemented, "If-Match is the only condition of a deletion"));
    }
    let condition = words::conditions(input.if_match.as_ref(), None).pop().unwrap_or(Condition::None);
    let which = WhichVersion::from(input.version_id);
    let bypass = input.bypass_governance_retention.unwrap_or(false);
    let deleted = s3.objects.delete(&place.bucket, &input.key, which, condition, bypass).await;
    let deleted = deleted.map_err(failure::of)?;
    Ok(S3Response::new(DeleteObjectOutput {
        delete_marker: deleted.is_marker.then_some(true),
        version_id: deleted.version,
        ..DeleteObjectOutput::default()
    }))
}

pub(crate) async fn delete_many(
    s3: &Operations,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    if input.delete.objects.is_empty() || input.delete.objects.len() > DELETED_MAX {
        return Err(s3_error!(MalformedXML, "1 to {DELETED_MAX} objects are deleted at once"));
    }
    let found = place.found();
    let bypass = input.bypass_governance_retention.unwrap_or(false);
    let (mut gone, mut errors) = (Vec::new(), Vec::new());
    let mut is_let_in = place.asker.is_of(&place.project);
    for object in input.delete.objects {
        let action = if object.version_id.is_some() { "DeleteObjectVersion" } else { "DeleteObject" };
        let question = permission::of_object(action, &input.bucket, &object.key, Verb::Delete);
        let mut questions = vec![question];
        if bypass {
            questions.push(questions[0].object(
                "BypassGovernanceRetention",
                &input.bucket,
                &object.key,
                Verb::Delete,
            ));
        }
        let allowed = questions.iter().try_for_each(|q| s3.may(&place.asker, Some(&found), q));
        is_let_in |= allowed.is_ok();
        let which = WhichVersion::from(object.version_id.clone());
        let condition =
            object.e_tag.as_ref().map_or(Condition::None, |e| Condition::Is(e.value().to_owned()));
        let deleted = match allowed {
            Ok(()) => s3.objects.delete(&place.bucket, &object.key, which, condition, bypass).await,
            Err(e) => {
                errors.push(failed(e, object));
                continue;
            }
        };
        match deleted {
            Ok(deleted) => gone.push(DeletedObject {
                delete_marker: deleted.is_marker.then_some(true),
                delete_marker_version_id: deleted.version.filter(|_| deleted.is_marker),
                key: Some(object.key),
                version_id: object.version_id,
            }),
            Err(e) => errors.push(failed(failure::of(e), object)),
        }
    }
    // Whoever may nothing in it is told the same as of a bucket that is not there.
    if !is_let_in {
        return Err(place.hidden(s3_error!(AccessDenied), &input.bucket));
    }
    let deleted = (!input.delete.quiet.unwrap_or(false)).then_some(gone);
    let errors = (!errors.is_empty()).then_some(errors);
    Ok(S3Response::new(DeleteObjectsOutput { deleted, errors, ..DeleteObjectsOutput::default() }))
}

fn failed(e: s3s::S3Error, object: ObjectIdentifier) -> s3s::dto::Error {
    s3s::dto::Error {
        code: Some(e.code().as_str().to_owned()),
        message: e.message().map(str::to_owned),
        key: Some(object.key),
        version_id: object.version_id,
    }
}

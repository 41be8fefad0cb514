//! Copies: of objects, and into parts of uploads.

use std::collections::BTreeMap;

use ::objects::{Error, Meta, Put, Record, Sealing, Source, WhichVersion};
use client::Verb;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, TrailingHeaders, s3_error};

use crate::access::{Asker, Place};
use crate::intake::{self, Said};
use crate::operations::Operations;
use crate::sealing::{self, CustomerKey, with_sealing};
use crate::words::{self, with_checksums};
use crate::{failure, multipart, permission};

impl Operations {
    /// What is to be copied, where the caller may read it.
    async fn source(&self, asker: &Asker, named: &CopySource, expected: Option<&str>) -> S3Result<Source> {
        let CopySource::Bucket { bucket, key, version_id } = named else {
            return Err(s3_error!(NotImplemented, "a copy's source is a bucket and a key"));
        };
        let action = if version_id.is_some() { "GetObjectVersion" } else { "GetObject" };
        let version = version_id.as_deref().map(str::to_owned);
        let question = permission::of_object(action, bucket, key, Verb::Get).of_version(version);
        let (found, _) = self.find(asker, bucket, &[question]).await?;
        if expected.is_some_and(|owner| owner != identity::iam::account_number(&found.project)) {
            return Err(s3_error!(AccessDenied, "the source belongs to another account than was expected"));
        }
        Ok(Source {
            bucket: found.uid,
            key: key.to_string(),
            which: WhichVersion::from(version_id.as_deref().map(str::to_owned)),
            conditions: Vec::new(),
        })
    }

    /// Reads what is to be copied and takes it in again, as if it came from outside.
    async fn again(
        &self,
        source: &Source,
        range: Option<std::ops::Range<u64>>,
        algorithm: Option<String>,
        (from, to): (Option<&CustomerKey>, &Sealing),
    ) -> S3Result<(Record, ::objects::Staged, BTreeMap<String, String>)> {
        let found = self.objects.get(&source.bucket, &source.key, source.which.clone()).await;
        let (record, content) = found.map_err(source_failure)?;
        sealing::admitted(&record.meta.sealed, from)?;
        let content = content.with_key(from.map(|from| from.key.clone()));
        for condition in &source.conditions {
            condition.check(Some(&record)).map_err(failure::of)?;
        }
        let range = range.unwrap_or(0..record.size);
        if range.end > record.size {
            return Err(s3_error!(
                InvalidArgument,
                "the range is not within the source of {} bytes",
                record.size
            ));
        }
        let body = content.read(range).await.map_err(failure::of)?;
        // Told by the same checksum as its source, unless another is asked for.
        let algorithm = algorithm.or_else(|| record.meta.checksums.keys().next().cloned());
        let said = Said { algorithm, trailers: None::<TrailingHeaders>, ..Said::default() };
        let body = StreamingBlob::wrap(Box::pin(body));
        let (staged, checksums) = intake::take(&self.objects, Some(body), said, to).await?;
        Ok((record, staged, checksums))
    }
}

pub(crate) async fn object(
    s3: &Operations,
    req: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let place = Place::of(&req)?;
    let (from, customer) = (sealing::source_key(&req.headers)?, sealing::key(&req.headers)?);
    let sealing = sealing::by_headers(&place.spec, &req.headers, customer.as_ref())?;
    let is_sealed_anew = customer.is_some() || req.headers.contains_key("x-amz-server-side-encryption");
    let input = req.input;
    let expected = input.expected_source_bucket_owner.as_deref();
    let mut source = s3.source(&place.asker, &input.copy_source, expected).await?;
    source.conditions = words::source_conditions(
        (input.copy_source_if_match.as_ref(), input.copy_source_if_unmodified_since.as_ref()),
        (input.copy_source_if_none_match.as_ref(), input.copy_source_if_modified_since.as_ref()),
    );
    let replaces = |directive: Option<&str>| match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(s3_error!(InvalidArgument, "a directive is COPY or REPLACE")),
    };
    let new_meta = replaces(input.metadata_directive.as_ref().map(MetadataDirective::as_str))?;
    let new_tags = replaces(input.tagging_directive.as_ref().map(TaggingDirective::as_str))?;
    let onto_itself =
        source.bucket == place.bucket && source.key == input.key && source.which == WhichVersion::Latest;
    if onto_itself && !new_meta && !new_tags && !is_sealed_anew {
        let message = "This copy request is illegal because it is trying to copy an object to itself without \
                       changing the object's metadata, storage class, website redirect location or encryption attributes.";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    let mut given = words::meta(&req.headers, input.metadata, input.tagging.as_deref())?;
    place.lock(s3, &mut given)?;
    let merged = move |old: Meta| {
        let mut new = Meta { lock: given.lock, ..old };
        if new_meta {
            (new.headers, new.user) = (given.headers, given.user);
        }
        if new_tags {
            new.tags = given.tags;
        }
        new
    };
    let algorithm = input.checksum_algorithm.map(|name| name.as_str().to_ascii_lowercase());
    let shared = match algorithm {
        Some(_) => Err(Error::Reseal),
        // A key that is not needed is refused where the bytes are read.
        None if from.is_some() => Err(Error::Reseal),
        None => {
            let merged = merged.clone();
            s3.objects.copy(source.clone(), &place.bucket, &input.key, Vec::new(), &sealing, merged).await
        }
    };
    let (record, old) = match shared {
        Err(Error::Reseal) => {
            let (old, bytes, checksums) =
                s3.again(&source, None, algorithm, (from.as_ref(), &sealing)).await?;
            let kept = Meta { parts: 0, part_list: Vec::new(), is_composite: false, ..old.meta.clone() };
            let meta = Meta { checksums, ..merged(kept) };
            let put = Put { bucket: place.bucket, key: input.key, bytes, meta, conditions: Vec::new() };
            (s3.objects.put(put).await.map_err(failure::of)?, old)
        }
        shared => shared.map_err(source_failure)?,
    };
    let result = CopyObjectResult {
        e_tag: Some(words::etag(&record.etag)),
        last_modified: Some(words::time(record.modified_ms)),
        checksum_type: words::checksum_type(&record.meta),
        ..CopyObjectResult::default()
    };
    let output = CopyObjectOutput {
        copy_object_result: Some(with_checksums!(result, &record.meta.checksums)),
        copy_source_version_id: words::version(&old),
        version_id: words::version(&record),
        ..CopyObjectOutput::default()
    };
    Ok(S3Response::new(with_sealing!(output, &record.meta.sealed, customer.as_ref())))
}

/// A marker is no source.
fn source_failure(error: ::objects::Error) -> s3s::S3Error {
    match error {
        ::objects::Error::DeleteMarker { .. } => failure::of(::objects::Error::NoKey),
        error => failure::of(error),
    }
}

pub(crate) async fn part(
    s3: &Operations,
    req: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let place = Place::of(&req)?;
    let (from, customer) = (sealing::source_key(&req.headers)?, sealing::key(&req.headers)?);
    let input = req.input;
    let number = multipart::part_number(input.part_number)?;
    let expected = input.expected_source_bucket_owner.as_deref();
    let mut source = s3.source(&place.asker, &input.copy_source, expected).await?;
    source.conditions = words::source_conditions(
        (input.copy_source_if_match.as_ref(), input.copy_source_if_unmodified_since.as_ref()),
        (input.copy_source_if_none_match.as_ref(), input.copy_source_if_modified_since.as_ref()),
    );
    let upload = s3.objects.upload(&place.bucket, &input.key, &input.upload_id).await.map_err(failure::of)?;
    let sealing = sealing::of_part(&upload.meta.sealed, customer.as_ref())?;
    let range = input.copy_source_range.as_deref().map(copied_range).transpose()?;
    let at = (place.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
    let algorithm = Some(upload.meta.algorithm).filter(|name| !name.is_empty());
    let (old, bytes, checksums) = s3.again(&source, range, algorithm, (from.as_ref(), &sealing)).await?;
    let part = s3.objects.put_part(at, number, bytes, checksums).await.map_err(failure::of)?;
    let result = CopyPartResult {
        e_tag: Some(words::etag(&part.etag)),
        last_modified: Some(words::time(part.modified_ms)),
        ..CopyPartResult::default()
    };
    let output = UploadPartCopyOutput {
        copy_part_result: Some(with_checksums!(result, &part.checksums)),
        copy_source_version_id: words::version(&old),
        ..UploadPartCopyOutput::default()
    };
    Ok(S3Response::new(with_sealing!(output, &upload.meta.sealed, customer.as_ref())))
}

/// `bytes=FIRST-LAST`, both of them.
fn copied_range(text: &str) -> S3Result<std::ops::Range<u64>> {
    let wrong = || s3_error!(InvalidArgument, "x-amz-copy-source-range must be bytes=FIRST-LAST");
    match Range::parse(text) {
        Ok(Range::Int { first, last: Some(last) }) => Ok(first..last + 1),
        _ => Err(wrong()),
    }
}

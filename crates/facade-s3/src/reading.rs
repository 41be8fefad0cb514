//! Objects on their way out: whole, in ranges, by parts, or only what is known of them.

use std::collections::BTreeMap;
use std::ops::Range as Bytes;

use ::objects::{PartMeta, Record, WhichVersion};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::access::Place;
use crate::operations::Operations;
use crate::sealing::{self, CustomerKey, with_sealing};
use crate::words::{self, with_checksums};
use crate::{failure, multipart};

/// Which bytes of a version are asked for.
struct Wanted {
    range: Bytes<u64>,
    content_range: Option<String>,
    parts_count: Option<i32>,
    /// What is said of just these bytes.
    checksums: BTreeMap<String, String>,
    checksum_type: Option<ChecksumType>,
}

fn wanted(record: &Record, range: Option<&Range>, part: Option<i32>, checked: bool) -> S3Result<Wanted> {
    let parts_count = i32::try_from(record.meta.part_list.len()).ok().filter(|count| *count > 0);
    let mut wanted = Wanted {
        range: 0..record.size,
        content_range: None,
        parts_count: parts_count.filter(|_| part.is_some()),
        checksums: BTreeMap::new(),
        checksum_type: None,
    };
    match (range, part) {
        (Some(_), Some(_)) => {
            return Err(s3_error!(InvalidRequest, "a range and a part number exclude each other"));
        }
        (Some(range), None) => wanted.range = range.check(record.size)?,
        (None, Some(number)) => {
            let (range, part) = part_range(record, number)?;
            wanted.range = range;
            if checked {
                wanted.checksums = part.map(|part| part.checksums.clone()).unwrap_or_default();
            }
        }
        (None, None) if checked => {
            wanted.checksums.clone_from(&record.meta.checksums);
            wanted.checksum_type = words::checksum_type(&record.meta);
        }
        (None, None) => {}
    }
    if (range.is_some() || part.is_some()) && record.size > 0 {
        let Bytes { start, end } = wanted.range;
        wanted.content_range = Some(format!("bytes {start}-{}/{}", end.saturating_sub(1), record.size));
    }
    Ok(wanted)
}

/// Where a part lies; an object that came whole is one part.
fn part_range(record: &Record, number: i32) -> S3Result<(Bytes<u64>, Option<&PartMeta>)> {
    let parts = &record.meta.part_list;
    if parts.is_empty() && number == 1 {
        return Ok((0..record.size, None));
    }
    let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let found = at.and_then(|at| Some((at, parts.get(at)?)));
    let (at, part) = found.ok_or_else(|| s3_error!(InvalidRange, "the object has no part {number}"))?;
    let start = parts[..at].iter().map(|part| part.size).sum::<u64>();
    Ok((start..start + part.size, Some(part)))
}

/// The answer to both GET and HEAD.
macro_rules! described {
    ($output:ident, $record:expr, $wanted:expr, $customer:expr) => {{
        let (record, wanted): (&Record, &Wanted) = (&$record, &$wanted);
        let kept = |name: &str| record.meta.headers.get(name).cloned();
        let lock = &record.meta.lock;
        let output = $output {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: kept("cache-control"),
            content_disposition: kept("content-disposition"),
            content_encoding: kept("content-encoding"),
            content_language: kept("content-language"),
            content_length: Some(words::number(wanted.range.end - wanted.range.start)),
            content_range: wanted.content_range.clone(),
            content_type: kept("content-type"),
            expires: kept("expires").and_then(|at| Timestamp::parse(TimestampFormat::HttpDate, &at).ok()),
            website_redirect_location: kept("x-amz-website-redirect-location"),
            e_tag: Some(words::etag(&record.etag)),
            last_modified: Some(words::time(record.modified_ms)),
            metadata: Some(record.meta.user.clone().into_iter().collect()),
            parts_count: wanted.parts_count,
            checksum_type: wanted.checksum_type.clone(),
            object_lock_mode: (!lock.mode.is_empty()).then(|| lock.mode.clone().into()),
            object_lock_retain_until_date: (!lock.mode.is_empty()).then(|| words::time(lock.until_ms)),
            object_lock_legal_hold_status: lock
                .legal_hold
                .then(|| ObjectLockLegalHoldStatus::from_static(ObjectLockLegalHoldStatus::ON)),
            version_id: words::version(record),
            ..$output::default()
        };
        let output = with_sealing!(output, &record.meta.sealed, $customer);
        with_checksums!(output, &wanted.checksums)
    }};
}

fn is_checked(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

impl Operations {
    /// What is known of an object, for who has its key where one is needed.
    async fn opened(
        &self,
        place: &Place,
        (key, version): (&str, Option<String>),
        customer: Option<&CustomerKey>,
    ) -> S3Result<Record> {
        let record = self.record(place, key, version).await?;
        sealing::admitted(&record.meta.sealed, customer)?;
        Ok(record)
    }

    /// What is known of an object, or of the version of it that is named.
    pub(crate) async fn record(&self, place: &Place, key: &str, version: Option<String>) -> S3Result<Record> {
        let is_named = version.is_some();
        let found = self.objects.head(&place.bucket, key, WhichVersion::from(version)).await;
        found.map_err(|e| failure::of_version(e, is_named))
    }
}

pub(crate) async fn get(
    s3: &Operations,
    req: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let place = Place::of(&req)?;
    sealing::not_asked(&req.headers)?;
    let customer = sealing::key(&req.headers)?;
    let input = req.input;
    let is_named = input.version_id.is_some();
    let which = WhichVersion::from(input.version_id);
    let found = s3.objects.get(&place.bucket, &input.key, which).await;
    let (record, content) = found.map_err(|e| failure::of_version(e, is_named))?;
    sealing::admitted(&record.meta.sealed, customer.as_ref())?;
    let content = content.with_key(customer.as_ref().map(|customer| customer.key.clone()));
    words::reader_conditions(
        &record,
        (input.if_match.as_ref(), input.if_unmodified_since.as_ref()),
        (input.if_none_match.as_ref(), input.if_modified_since.as_ref()),
    )?;
    let is_checked = is_checked(input.checksum_mode.as_ref());
    let wanted = wanted(&record, input.range.as_ref(), input.part_number, is_checked)?;
    let body = content.read(wanted.range.clone()).await.map_err(failure::of)?;
    let mut output = described!(GetObjectOutput, record, wanted, customer.as_ref());
    output.body = Some(StreamingBlob::wrap(Box::pin(body)));
    output.tag_count = i32::try_from(record.meta.tags.len()).ok().filter(|count| *count > 0);
    Ok(S3Response::new(output))
}

pub(crate) async fn head(
    s3: &Operations,
    req: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let place = Place::of(&req)?;
    sealing::not_asked(&req.headers)?;
    let customer = sealing::key(&req.headers)?;
    let input = req.input;
    let record = s3.opened(&place, (&input.key, input.version_id), customer.as_ref()).await?;
    words::reader_conditions(
        &record,
        (input.if_match.as_ref(), input.if_unmodified_since.as_ref()),
        (input.if_none_match.as_ref(), input.if_modified_since.as_ref()),
    )?;
    let is_checked = is_checked(input.checksum_mode.as_ref());
    let wanted = wanted(&record, input.range.as_ref(), input.part_number, is_checked)?;
    Ok(S3Response::new(described!(HeadObjectOutput, record, wanted, customer.as_ref())))
}

pub(crate) async fn attributes(
    s3: &Operations,
    req: S3Request<GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    let place = Place::of(&req)?;
    let customer = sealing::key(&req.headers)?;
    let input = req.input;
    let record = s3.opened(&place, (&input.key, input.version_id), customer.as_ref()).await?;
    // Several come in one header, or each in its own.
    let asked = input.object_attributes.iter().flat_map(|some| some.as_str().split(',')).map(str::trim);
    let asked: Vec<&str> = asked.collect();
    let asks = |name: &str| asked.contains(&name);
    let meta = &record.meta;
    let checksum = with_checksums!(Checksum::default(), &meta.checksums);
    let checksum = Checksum { checksum_type: words::checksum_type(meta), ..checksum };
    let after = input.part_number_marker.map_or(0, multipart::marker);
    let max = words::limit(input.max_parts)?;
    let mut parts: Vec<&PartMeta> = meta.part_list.iter().filter(|part| part.number > after).collect();
    let is_truncated = parts.len() > max;
    parts.truncate(max);
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let next = parts.last().map(|part| number(part.number)).filter(|_| is_truncated);
    let part = |part: &PartMeta| {
        let listed = ObjectPart {
            part_number: Some(number(part.number)),
            size: Some(words::number(part.size)),
            ..ObjectPart::default()
        };
        with_checksums!(listed, &part.checksums)
    };
    let object_parts = GetObjectAttributesParts {
        is_truncated: Some(is_truncated),
        max_parts: i32::try_from(max).ok(),
        next_part_number_marker: next,
        part_number_marker: Some(number(after)),
        parts: Some(parts.into_iter().map(part).collect()),
        total_parts_count: i32::try_from(meta.part_list.len()).ok(),
    };
    let has_parts = !meta.part_list.is_empty();
    Ok(S3Response::new(GetObjectAttributesOutput {
        checksum: (asks(ObjectAttributes::CHECKSUM) && !meta.checksums.is_empty()).then_some(checksum),
        e_tag: asks(ObjectAttributes::ETAG).then(|| words::etag(&record.etag)),
        object_parts: (asks(ObjectAttributes::OBJECT_PARTS) && has_parts).then_some(object_parts),
        object_size: asks(ObjectAttributes::OBJECT_SIZE).then(|| words::number(record.size)),
        storage_class: asks(ObjectAttributes::STORAGE_CLASS)
            .then(|| StorageClass::from_static(StorageClass::STANDARD)),
        last_modified: Some(words::time(record.modified_ms)),
        version_id: words::version(&record),
        ..GetObjectAttributesOutput::default()
    }))
}

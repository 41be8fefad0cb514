//! Words of S3 from words of the store, and back.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use ::objects::{Condition, Lock, Meta, Record};
use http::HeaderMap;
use http::header::HOST;
use http::request::Parts;
use model::REGION;
use s3s::crypto::{Checksum as _, Sha256};
use s3s::dto::{ChecksumType, ETag, ETagCondition, Owner, Tag, Timestamp, TimestampFormat};
use s3s::{S3Error, S3Result, s3_error};

use crate::sealing;

/// Headers of an object that are kept and given back as they came.
pub(crate) const KEPT: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
];
const TAGS_MAX: usize = 10;
const USER_METADATA_MAX_BYTES: usize = 2048;

pub(crate) fn time(ms: i64) -> Timestamp {
    (SystemTime::UNIX_EPOCH + Duration::from_millis(ms.unsigned_abs())).into()
}

pub(crate) fn millis(time: &Timestamp) -> i64 {
    let time: time::OffsetDateTime = time.clone().into();
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

pub(crate) fn etag(text: &str) -> ETag {
    ETag::Strong(text.to_owned())
}

pub(crate) fn owner(project: &str) -> Owner {
    Owner { id: Some(owner_id(project)), display_name: Some(project.to_owned()) }
}

/// A project, as S3 names owners: 64 digits that follow from its name.
pub(crate) fn owner_id(project: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("owner/{project}").as_bytes());
    hasher.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bucket that a request names: by its host, or at the beginning of its path.
pub(crate) fn bucket_of(head: &Parts) -> String {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| head.uri.authority().map(http::uri::Authority::as_str)).unwrap_or("");
    if let Some(bucket) = bucket_of_host(host) {
        return bucket.to_owned();
    }
    client::percent_decode(head.uri.path().trim_start_matches('/').split('/').next().unwrap_or(""))
}

/// The bucket in front of one of S3's own names, which are those of the region and of Vpc endpoints.
pub(crate) fn bucket_of_host(host: &str) -> Option<&str> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let before = |suffix: String| name.strip_suffix(suffix.as_str());
    let at_endpoint = || {
        let (bucket, endpoint) = before(format!(".s3.{REGION}.vpce.amazonaws.com"))?.rsplit_once('.')?;
        endpoint.starts_with("vpce-").then_some(bucket)
    };
    before(format!(".s3.{REGION}.amazonaws.com")).or_else(at_endpoint).filter(|bucket| !bucket.is_empty())
}

/// The version's id, where it has one.
pub(crate) fn version(record: &Record) -> Option<String> {
    (record.version != "null").then(|| record.version.clone())
}

/// Refuses what is asked for and cannot be done: silence would be taken for consent.
pub(crate) fn supported(headers: &HeaderMap) -> S3Result<()> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    sealing::supported(headers)?;
    storage_class(text("x-amz-storage-class"))?;
    acl(text("x-amz-acl"))?;
    if headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-")) {
        return Err(no_acls());
    }
    Ok(())
}

pub(crate) fn storage_class(class: Option<&str>) -> S3Result<()> {
    match class {
        None | Some("" | "STANDARD") => Ok(()),
        Some(_) => Err(s3_error!(InvalidStorageClass, "STANDARD is the only storage class")),
    }
}

/// Buckets belong to their project alone, and so does all that lies in them: ACLs that say so are taken.
pub(crate) fn acl(canned: Option<&str>) -> S3Result<()> {
    match canned {
        None | Some("" | "private" | "bucket-owner-full-control" | "bucket-owner-read") => Ok(()),
        Some(_) => Err(no_acls()),
    }
}

pub(crate) fn no_acls() -> S3Error {
    s3_error!(AccessControlListNotSupported, "the bucket does not allow ACLs: use a bucket policy")
}

/// Sets the checksums of an answer.
macro_rules! with_checksums {
    ($output:expr, $sums:expr) => {{
        let (mut output, sums) = ($output, $sums);
        let sum = |name: &str| sums.get(name).filter(|sum| !sum.is_empty()).cloned();
        output.checksum_crc32 = sum("crc32");
        output.checksum_crc32c = sum("crc32c");
        output.checksum_crc64nvme = sum("crc64nvme");
        output.checksum_sha1 = sum("sha1");
        output.checksum_sha256 = sum("sha256");
        output
    }};
}
pub(crate) use with_checksums;

/// Checksums that a caller names, by algorithm.
macro_rules! named_checksums {
    ($input:expr) => {
        [
            ("crc32", &$input.checksum_crc32),
            ("crc32c", &$input.checksum_crc32c),
            ("crc64nvme", &$input.checksum_crc64nvme),
            ("sha1", &$input.checksum_sha1),
            ("sha256", &$input.checksum_sha256),
        ]
        .into_iter()
        .filter_map(|(name, sum)| Some((name.to_owned(), sum.clone()?)))
        .collect::<std::collections::BTreeMap<String, String>>()
    };
}
pub(crate) use named_checksums;

/// Whether checksums are of all the bytes, or of the parts' checksums.
pub(crate) fn checksum_type(meta: &Meta) -> Option<ChecksumType> {
    let name = if meta.is_composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
    (!meta.checksums.is_empty()).then(|| ChecksumType::from_static(name))
}

/// What must be so of the source of a copy.
pub(crate) fn source_conditions(
    (matches, unmodified): (Option<&ETagCondition>, Option<&Timestamp>),
    (differs, modified): (Option<&ETagCondition>, Option<&Timestamp>),
) -> Vec<Condition> {
    let mut all = conditions(matches, differs);
    // The word on the ETag counts where both are said.
    if let (None, Some(time)) = (matches, unmodified) {
        all.push(Condition::NotAfter(millis(time)));
    }
    if let (None, Some(time)) = (differs, modified) {
        all.push(Condition::After(millis(time)));
    }
    all
}

pub(crate) fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A limit that a client gave, within ours.
pub(crate) fn limit(asked: Option<i32>) -> S3Result<usize> {
    usize::try_from(asked.unwrap_or(1000).min(1000))
        .map_err(|_| s3_error!(InvalidArgument, "a limit must not be negative"))
}

/// What must be so when something is written.
pub(crate) fn conditions(matches: Option<&ETagCondition>, differs: Option<&ETagCondition>) -> Vec<Condition> {
    let matches = matches.map(|condition| match condition {
        ETagCondition::Any => Condition::Present,
        ETagCondition::ETag(etag) => Condition::Is(etag.value().to_owned()),
    });
    let differs = differs.map(|condition| match condition {
        ETagCondition::Any => Condition::Absent,
        ETagCondition::ETag(etag) => Condition::IsNot(etag.value().to_owned()),
    });
    matches.into_iter().chain(differs).collect()
}

/// Whether a reader's conditions hold, in the order that HTTP gives them.
pub(crate) fn reader_conditions(
    record: &Record,
    (matches, unmodified): (Option<&ETagCondition>, Option<&Timestamp>),
    (differs, modified): (Option<&ETagCondition>, Option<&Timestamp>),
) -> S3Result<()> {
    let is = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == record.etag,
    };
    // Dates of HTTP have no fractions.
    let changed_after = |time: &Timestamp| record.modified_ms / 1000 > millis(time) / 1000;
    match (matches, unmodified) {
        (Some(condition), _) if !is(condition) => return Err(s3_error!(PreconditionFailed)),
        (None, Some(time)) if changed_after(time) => return Err(s3_error!(PreconditionFailed)),
        _ => {}
    }
    let not_modified = match (differs, modified) {
        (Some(condition), _) => is(condition),
        (None, Some(time)) => !changed_after(time),
        (None, None) => false,
    };
    if !not_modified {
        return Ok(());
    }
    let mut error = s3_error!(NotModified);
    let mut headers = HeaderMap::new();
    if let Ok(etag) = http::HeaderValue::from_str(&format!("\"{}\"", record.etag)) {
        headers.insert(http::header::ETAG, etag);
    }
    error.set_headers(headers);
    Err(error)
}

/// What is kept of an object, from the headers it comes with.
pub(crate) fn meta(
    headers: &HeaderMap,
    user: Option<std::collections::HashMap<String, String>>,
    tagging: Option<&str>,
) -> S3Result<Meta> {
    let mut meta = Meta::default();
    for name in KEPT {
        if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
            // How the body came is not what the object is.
            let value = match name {
                "content-encoding" => value
                    .split(',')
                    .map(str::trim)
                    .filter(|e| *e != "aws-chunked")
                    .collect::<Vec<_>>()
                    .join(","),
                _ => value.to_owned(),
            };
            if !value.is_empty() {
                meta.headers.insert(name.to_owned(), value);
            }
        }
    }
    meta.user = user.unwrap_or_default().into_iter().collect();
    check_user_metadata(&meta)?;
    meta.tags = tags_of_header(tagging.unwrap_or(""))?;
    meta.lock = lock(headers)?;
    Ok(meta)
}

pub(crate) fn check_user_metadata(meta: &Meta) -> S3Result<()> {
    let bytes: usize = meta.user.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > USER_METADATA_MAX_BYTES { Err(s3_error!(MetadataTooLarge)) } else { Ok(()) }
}

fn lock(headers: &HeaderMap) -> S3Result<Lock> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mode = text("x-amz-object-lock-mode");
    let until = text("x-amz-object-lock-retain-until-date");
    let until = until.map(|until| {
        Timestamp::parse(TimestampFormat::DateTime, until)
            .map_err(|_| s3_error!(InvalidArgument, "x-amz-object-lock-retain-until-date cannot be read"))
    });
    lock_of(mode, until.transpose()?.as_ref(), text("x-amz-object-lock-legal-hold"))
}

/// What a version is locked with.
pub(crate) fn lock_of(mode: Option<&str>, until: Option<&Timestamp>, hold: Option<&str>) -> S3Result<Lock> {
    let legal_hold = hold == Some("ON");
    match (mode, until) {
        (None, None) => Ok(Lock { legal_hold, ..Lock::default() }),
        (Some(mode @ ("GOVERNANCE" | "COMPLIANCE")), Some(until)) => {
            Ok(Lock { mode: mode.to_owned(), until_ms: millis(until), legal_hold })
        }
        _ => Err(s3_error!(InvalidArgument, "a retention needs a mode and a date")),
    }
}

/// Tags of a body.
pub(crate) fn tags_of(set: Vec<Tag>) -> S3Result<Vec<(String, String)>> {
    let tag = |tag: Tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
    valid_tags(set.into_iter().map(tag).collect())
}

pub(crate) fn tag_set(tags: impl IntoIterator<Item = (String, String)>) -> Vec<Tag> {
    tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect()
}

pub(crate) fn tags_of_header(header: &str) -> S3Result<Vec<(String, String)>> {
    let decode = |text: &str| client::percent_decode(&text.replace('+', " "));
    let pairs = header.split('&').filter(|pair| !pair.is_empty());
    let tags = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    });
    valid_tags(tags.collect())
}

fn valid_tags(tags: Vec<(String, String)>) -> S3Result<Vec<(String, String)>> {
    if tags.len() > TAGS_MAX {
        return Err(s3_error!(InvalidTag, "Object tags cannot be greater than {TAGS_MAX}"));
    }
    let mut seen = std::collections::HashSet::new();
    for (key, value) in &tags {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 || !seen.insert(key) {
            return Err(s3_error!(
                InvalidTag,
                "a tag's key has 1 to 128 characters and comes once; its value has at most 256"
            ));
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_by_the_host_or_by_the_path() {
        for (host, expected) in [
            ("photos.s3.my-corten-1.amazonaws.com", Some("photos")),
            ("a.b.s3.my-corten-1.amazonaws.com:443", Some("a.b")),
            ("photos.vpce-00000000000000001.s3.my-corten-1.vpce.amazonaws.com", Some("photos")),
            ("vpce-00000000000000001.s3.my-corten-1.vpce.amazonaws.com", None),
            ("s3.my-corten-1.amazonaws.com", None),
            (".s3.my-corten-1.amazonaws.com", None),
            ("photos.example.org", None),
            ("127.0.0.1:7443", None),
        ] {
            assert_eq!(bucket_of_host(host), expected, "{host}");
            let request = http::Request::get("/path/key").header("host", host).body(()).unwrap();
            assert_eq!(bucket_of(&request.into_parts().0), expected.unwrap_or("path"), "{host}");
        }
    }
}

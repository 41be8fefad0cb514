//! Words of S3 from words of the store, and back.

use std::time::{Duration, SystemTime};

use ::objects::{Condition, Lock, Meta, Record};
use http::HeaderMap;
use s3s::dto::{ETag, ETagCondition, Owner, Timestamp};
use s3s::{S3Result, s3_error};

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
pub(crate) const TAGS_MAX: usize = 10;

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
    Owner { id: Some(project.to_owned()), display_name: Some(project.to_owned()) }
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
    if not_modified { Err(s3_error!(NotModified)) } else { Ok(()) }
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
    if meta.user.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > 2048 {
        return Err(s3_error!(MetadataTooLarge));
    }
    meta.tags = tags_of_header(tagging.unwrap_or(""))?;
    meta.lock = lock(headers)?;
    Ok(meta)
}

fn lock(headers: &HeaderMap) -> S3Result<Lock> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut lock = Lock::default();
    lock.legal_hold = text("x-amz-object-lock-legal-hold") == Some("ON");
    let mode = text("x-amz-object-lock-mode");
    let until = text("x-amz-object-lock-retain-until-date");
    match (mode, until) {
        (None, None) => {}
        (Some(mode @ ("GOVERNANCE" | "COMPLIANCE")), Some(until)) => {
            let until = Timestamp::parse(s3s::dto::TimestampFormat::DateTime, until).map_err(|_| {
                s3_error!(InvalidArgument, "x-amz-object-lock-retain-until-date cannot be read")
            })?;
            lock.mode = mode.to_owned();
            lock.until_ms = millis(&until);
        }
        _ => return Err(s3_error!(InvalidArgument, "a retention needs a mode and a date")),
    }
    Ok(lock)
}

fn tags_of_header(header: &str) -> S3Result<Vec<(String, String)>> {
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

//! Lists of objects and of versions, page by page.

use ::objects::{ListQuery, Record};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::access::Place;
use crate::operations::Operations;
use crate::{failure, words};

const MAX: i32 = 1000;

/// How names are written in an answer: XML cannot hold all of them as they are.
#[derive(Clone, Copy)]
pub(crate) struct Encoding(bool);

impl Encoding {
    pub(crate) fn of(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Self(false)),
            Some(EncodingType::URL) => Ok(Self(true)),
            Some(_) => Err(s3_error!(InvalidArgument, "url is the only encoding type")),
        }
    }

    pub(crate) fn name(self, name: String) -> String {
        // Slashes are left as they are, as S3 leaves them.
        if self.0 { client::percent_encode(&name).replace("%2F", "/") } else { name }
    }

    fn maybe(self, name: Option<String>) -> Option<String> {
        name.map(|name| self.name(name))
    }

    pub(crate) fn prefixes(self, prefixes: Vec<String>) -> Vec<CommonPrefix> {
        prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(self.name(prefix)) }).collect()
    }
}

fn contents(records: Vec<Record>, encoding: Encoding, owner: Option<&Owner>) -> Vec<Object> {
    let object = |r: Record| Object {
        e_tag: Some(words::etag(&r.etag)),
        last_modified: Some(words::time(r.modified_ms)),
        size: Some(words::number(r.size)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        owner: owner.cloned(),
        key: Some(encoding.name(r.key)),
        ..Object::default()
    };
    records.into_iter().map(object).collect()
}

/// What all three kinds of lists ask for.
fn query(prefix: Option<&str>, delimiter: Option<&str>, max_keys: Option<i32>) -> S3Result<ListQuery> {
    Ok(ListQuery {
        prefix: prefix.unwrap_or_default().to_owned(),
        delimiter: delimiter.unwrap_or_default().to_owned(),
        max: words::limit(max_keys)?,
        ..ListQuery::default()
    })
}

/// Begins a list after a key or a prefix; it has nothing where there is nothing after it.
fn begin_after(query: &mut ListQuery, marker: Option<&str>) {
    let Some(marker) = marker.filter(|marker| !marker.is_empty()) else { return };
    match ListQuery::after(marker, &query.delimiter) {
        Some(from) => query.from = from,
        None => query.max = 0,
    }
}

pub(crate) async fn first(
    s3: &Operations,
    req: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let mut query = query(input.prefix.as_deref(), input.delimiter.as_deref(), input.max_keys)?;
    begin_after(&mut query, input.marker.as_deref());
    let page = s3.objects.list(&place.bucket, query).await.map_err(failure::of)?;
    let owner = words::owner(&place.project);
    Ok(S3Response::new(ListObjectsOutput {
        is_truncated: Some(page.is_truncated),
        next_marker: page.is_truncated.then(|| encoding.name(page.last)),
        contents: Some(contents(page.records, encoding, Some(&owner))),
        common_prefixes: Some(encoding.prefixes(page.prefixes)),
        name: Some(input.bucket),
        prefix: Some(encoding.name(input.prefix.unwrap_or_default())),
        delimiter: encoding.maybe(input.delimiter),
        marker: Some(encoding.name(input.marker.unwrap_or_default())),
        max_keys: Some(input.max_keys.unwrap_or(MAX)),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    }))
}

pub(crate) async fn second(
    s3: &Operations,
    req: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let place = Place::of(&req)?;
    let input = req.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let mut query = query(input.prefix.as_deref(), input.delimiter.as_deref(), input.max_keys)?;
    if let Some(token) = &input.continuation_token {
        let wrong = || s3_error!(InvalidArgument, "the continuation token provided is incorrect");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
        query.from = String::from_utf8(bytes).map_err(|_| wrong())?;
    } else {
        begin_after(&mut query, input.start_after.as_deref());
    }
    let page = s3.objects.list(&place.bucket, query).await.map_err(failure::of)?;
    let owner = input.fetch_owner.unwrap_or(false).then(|| words::owner(&place.project));
    Ok(S3Response::new(ListObjectsV2Output {
        key_count: i32::try_from(page.records.len() + page.prefixes.len()).ok(),
        is_truncated: Some(page.is_truncated),
        next_continuation_token: page.is_truncated.then(|| URL_SAFE_NO_PAD.encode(page.next)),
        contents: Some(contents(page.records, encoding, owner.as_ref())),
        common_prefixes: Some(encoding.prefixes(page.prefixes)),
        name: Some(input.bucket),
        prefix: Some(encoding.name(input.prefix.unwrap_or_default())),
        delimiter: encoding.maybe(input.delimiter),
        max_keys: Some(input.max_keys.unwrap_or(MAX)),
        continuation_token: input.continuation_token,
        start_after: encoding.maybe(input.start_after),
        encoding_type: input.encoding_type,
        ..ListObjectsV2Output::default()
    }))
}

pub(crate) async fn versions(
    s3: &Operations,
    req: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let mut query = query(input.prefix.as_deref(), input.delimiter.as_deref(), input.max_keys)?;
    query.versions = true;
    let after_version = input.version_id_marker.clone().filter(|id| !id.is_empty());
    match (&input.key_marker, after_version) {
        (None, Some(_)) => {
            let message = "a version-id marker cannot be specified without a key marker";
            return Err(s3_error!(InvalidArgument, "{message}"));
        }
        (Some(key), Some(id)) => {
            query.from.clone_from(key);
            query.after_version = Some(id);
        }
        (marker, None) => begin_after(&mut query, marker.as_deref()),
    }
    let page = s3.objects.list(&place.bucket, query).await.map_err(failure::of)?;
    let owner = words::owner(&place.project);
    let (markers, versions): (Vec<Record>, Vec<Record>) = page.records.into_iter().partition(|r| r.is_marker);
    let version = |r: Record| ObjectVersion {
        e_tag: Some(words::etag(&r.etag)),
        is_latest: Some(r.is_latest),
        key: Some(encoding.name(r.key)),
        last_modified: Some(words::time(r.modified_ms)),
        owner: Some(owner.clone()),
        size: Some(words::number(r.size)),
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        version_id: Some(r.version),
        ..ObjectVersion::default()
    };
    let marker = |r: Record| DeleteMarkerEntry {
        is_latest: Some(r.is_latest),
        key: Some(encoding.name(r.key)),
        last_modified: Some(words::time(r.modified_ms)),
        owner: Some(owner.clone()),
        version_id: Some(r.version),
    };
    Ok(S3Response::new(ListObjectVersionsOutput {
        is_truncated: Some(page.is_truncated),
        next_key_marker: page.is_truncated.then(|| encoding.name(page.last)),
        next_version_id_marker: page.last_version.filter(|_| page.is_truncated),
        versions: Some(versions.into_iter().map(version).collect()),
        delete_markers: Some(markers.into_iter().map(marker).collect()),
        common_prefixes: Some(encoding.prefixes(page.prefixes)),
        name: Some(input.bucket),
        prefix: Some(encoding.name(input.prefix.unwrap_or_default())),
        delimiter: encoding.maybe(input.delimiter),
        key_marker: Some(encoding.name(input.key_marker.unwrap_or_default())),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        max_keys: Some(input.max_keys.unwrap_or(MAX)),
        encoding_type: input.encoding_type,
        ..ListObjectVersionsOutput::default()
    }))
}

//! Bytes on their way in, held to everything that their sender said of them.

use std::collections::BTreeMap;

use ::objects::{Objects, Sealing, Staged};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Result, TrailingHeaders, s3_error};

use crate::failure;

pub(crate) const ALGORITHMS: [&str; 5] = ["crc32", "crc32c", "sha1", "sha256", "crc64nvme"];
/// What is kept of bytes of which their sender says nothing.
pub(crate) const DEFAULT_ALGORITHM: &str = "crc64nvme";
const PREFIX: &str = "x-amz-checksum-";

/// What was said of the bytes.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) md5: Option<String>,
    /// Base64 by algorithm.
    pub(crate) checksums: BTreeMap<String, String>,
    /// One that is to be kept, whether it was said or not.
    pub(crate) algorithm: Option<String>,
    /// More that are to be kept.
    pub(crate) also: Vec<String>,
    pub(crate) trailers: Option<TrailingHeaders>,
    /// What a trailer is going to say.
    pub(crate) announced: Vec<String>,
    pub(crate) length: Option<u64>,
}

impl Said {
    pub(crate) fn new(headers: &HeaderMap, trailers: Option<TrailingHeaders>) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let checksums = ALGORITHMS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), text(&format!("{PREFIX}{name}"))?.to_owned())))
            .collect();
        let announced = text("x-amz-trailer").unwrap_or("").split(',');
        let announced = announced
            .filter_map(|name| name.trim().to_ascii_lowercase().strip_prefix(PREFIX).map(str::to_owned));
        Self {
            md5: text("content-md5").map(str::to_owned),
            checksums,
            algorithm: text("x-amz-sdk-checksum-algorithm").map(str::to_ascii_lowercase),
            also: Vec::new(),
            trailers,
            announced: announced.collect(),
            length: text("x-amz-decoded-content-length")
                .or_else(|| text("content-length"))
                .and_then(|length| length.parse().ok()),
        }
    }
}

/// Takes all of a body in. Nothing of it counts before it is whole and as it was said to be.
pub(crate) async fn take(
    objects: &Objects,
    body: Option<StreamingBlob>,
    said: Said,
    sealing: &Sealing,
) -> S3Result<(Staged, BTreeMap<String, String>)> {
    let mut wanted: Vec<String> = said.checksums.keys().cloned().collect();
    wanted.extend(said.announced.iter().cloned());
    wanted.extend(said.algorithm.clone());
    wanted.extend(said.also.iter().cloned());
    if wanted.is_empty() {
        wanted.push(DEFAULT_ALGORITHM.to_owned());
    }
    let mut hasher = hasher(&wanted);
    let mut incoming = objects.incoming(sealing).map_err(failure::of)?;
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            // The signature of a chunk, its digest or the connection: the error says which.
            let chunk = chunk.map_err(|e| unreadable(&*e))?;
            hasher.update(&chunk);
            incoming.write(chunk).await.map_err(failure::of)?;
        }
    }
    if said.length.is_some_and(|length| length != incoming.size()) {
        return Err(s3_error!(
            IncompleteBody,
            "the body has {} bytes, and not as many as it says",
            incoming.size()
        ));
    }
    let computed = by_name(&hasher.finalize());
    let mut expected = said.checksums;
    for name in &said.announced {
        let header = format!("{PREFIX}{name}");
        let sent = said.trailers.as_ref().and_then(|trailers| {
            trailers.read(|headers| headers.get(&header)?.to_str().ok().map(str::to_owned)).flatten()
        });
        let sent = sent.ok_or_else(|| s3_error!(InvalidRequest, "the trailer {header} did not come"))?;
        expected.insert(name.clone(), sent);
    }
    for (name, expected) in &expected {
        if computed.get(name) != Some(expected) {
            return Err(s3_error!(BadDigest, "the {name} you sent does not match what was received"));
        }
    }
    let staged = incoming.finish().await.map_err(failure::of)?;
    if let Some(md5) = &said.md5 {
        let sent = STANDARD.decode(md5).map_err(|_| s3_error!(InvalidDigest))?;
        if sent != staged.md5 {
            return Err(s3_error!(BadDigest, "the Content-MD5 you sent does not match what was received"));
        }
    }
    Ok((staged, computed))
}

fn unreadable(e: &(dyn std::error::Error + Send + Sync + 'static)) -> s3s::S3Error {
    let text = e.to_string();
    tracing::debug!(error = text, "a body was not taken");
    if text.to_ascii_lowercase().contains("signature") {
        return s3_error!(SignatureDoesNotMatch, "{text}");
    }
    if text.to_ascii_lowercase().contains("checksum") {
        return s3_error!(BadDigest, "{text}");
    }
    s3_error!(IncompleteBody, "{text}")
}

fn hasher(names: &[String]) -> ChecksumHasher {
    let mut hasher = ChecksumHasher::default();
    for name in names {
        match name.as_str() {
            "crc32" => hasher.crc32 = Some(Crc32::new()),
            "crc32c" => hasher.crc32c = Some(Crc32c::new()),
            "sha1" => hasher.sha1 = Some(Sha1::new()),
            "sha256" => hasher.sha256 = Some(Sha256::new()),
            "crc64nvme" => hasher.crc64nvme = Some(Crc64Nvme::new()),
            _ => {}
        }
    }
    hasher
}

fn by_name(sum: &Checksum) -> BTreeMap<String, String> {
    let all = [
        ("crc32", &sum.checksum_crc32),
        ("crc32c", &sum.checksum_crc32c),
        ("sha1", &sum.checksum_sha1),
        ("sha256", &sum.checksum_sha256),
        ("crc64nvme", &sum.checksum_crc64nvme),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))).collect()
}

//! Calls of S3. Any answer but success is an error.

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use identity::aws::{UNSIGNED_PAYLOAD, object_path, query};

use super::BUCKET;
use crate::Result;
use crate::line::{Line, Outgoing, between};

const PAYLOAD_HEADER: (&str, &str) = ("x-amz-content-sha256", UNSIGNED_PAYLOAD);

async fn ask(
    line: &mut Line,
    method: &str,
    key: &str,
    query: &str,
    body: Bytes,
) -> Result<Response<Incoming>> {
    let path = object_path(BUCKET, key);
    let outgoing =
        Outgoing { method, path: &path, query, header: PAYLOAD_HEADER, payload: UNSIGNED_PAYLOAD, body };
    let response = line.send(outgoing).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let said = response.into_body().collect().await?.to_bytes();
    Err(format!("{status} to {method} {path}: {}", String::from_utf8_lossy(&said)).into())
}

pub(super) async fn put(line: &mut Line, key: &str, body: Bytes) -> Result<()> {
    ask(line, "PUT", key, "", body).await?.into_body().collect().await?;
    Ok(())
}

/// Reads an object to its end; answers how many bytes came.
pub(super) async fn get(line: &mut Line, key: &str) -> Result<usize> {
    let mut body = ask(line, "GET", key, "", Bytes::new()).await?.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(bytes)
}

/// All pages of a list, one after the other; answers how many keys came.
pub(super) async fn list(line: &mut Line, prefix: &str) -> Result<usize> {
    let (mut keys, mut after) = (0, String::new());
    loop {
        let mut pairs =
            vec![("list-type".to_owned(), "2".to_owned()), ("prefix".to_owned(), prefix.to_owned())];
        if !after.is_empty() {
            pairs.push(("continuation-token".to_owned(), after));
        }
        let body = ask(line, "GET", "", &query(&pairs), Bytes::new()).await?.into_body().collect().await?;
        let bytes = body.to_bytes();
        let text = std::str::from_utf8(&bytes)?;
        keys += text.matches("<Contents>").count();
        match between(text, "<NextContinuationToken>", "</NextContinuationToken>") {
            Some(next) => after = next.replace("&amp;", "&"),
            None => return Ok(keys),
        }
    }
}

pub(super) async fn make_bucket(line: &mut Line) -> Result<()> {
    ask(line, "PUT", "", "", Bytes::new()).await.map(drop)
}

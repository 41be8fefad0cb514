//! What is asked of a store: about objects, lists of them, and buckets. Parts of uploads are asked for next door.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use hyper::body::Incoming;

use super::address::Address;
use super::answer::{Element, escaped};
use super::checksum::Checksum;
use super::store::{Call, Store};
use crate::failure::{Exit, Failure};

/// What is known of an object.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) etag: String,
    headers: HeaderMap,
}

impl Head {
    fn of(address: &Address, headers: &HeaderMap) -> Result<Self, Failure> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let size = text("content-length").and_then(|text| text.parse().ok());
        let etag = text("etag").map(str::to_owned);
        let (size, etag) = size.zip(etag).ok_or_else(|| {
            Failure::failed(format!("{address}: the server did not say what there is of it"))
        })?;
        Ok(Self { size, etag, headers: headers.clone() })
    }

    /// The checksum of nothing, of the kind that the store has of this object, and what it has; nothing where it has
    /// none of all the bytes.
    pub(crate) fn checksum(&self) -> Option<(Checksum, &str)> {
        let text = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let is_whole = text("x-amz-checksum-type") != Some("COMPOSITE");
        Checksum::told(|name| text(&format!("x-amz-checksum-{name}")).filter(|_| is_whole))
    }
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// As it is written in the answer.
    pub(crate) modified: String,
}

/// A version or marker in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) key: String,
    pub(crate) id: String,
}

/// A page of a list, and where the next one begins.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Listed>,
    /// What begins alike up to the delimiter.
    pub(crate) prefixes: Vec<String>,
    pub(crate) next: Option<String>,
}

impl Store {
    pub(crate) async fn head(&self, address: &Address) -> Result<Head, Failure> {
        let call = Call::new(Method::HEAD, address).header("x-amz-checksum-mode", "ENABLED");
        Head::of(address, self.call(call).await?.headers())
    }

    /// The bytes of an object, or some of them, if it is still the one of this ETag.
    pub(crate) async fn get(
        &self,
        address: &Address,
        range: Range<u64>,
        head: &Head,
    ) -> Result<Response<Incoming>, Failure> {
        let mut call = Call::new(Method::GET, address).header("if-match", head.etag.clone());
        if range != (0..head.size) {
            call = call.header("range", format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        call.answer_bytes = range.end - range.start;
        self.call(call).await
    }

    /// Writes an object of bytes that are all there.
    pub(crate) async fn put(
        &self,
        address: &Address,
        bytes: Bytes,
        content_type: Option<&str>,
    ) -> Result<(), Failure> {
        let mut call =
            Call::new(Method::PUT, address).header(Checksum::HEADER, Checksum::of(&bytes).encoded());
        if let Some(content_type) = content_type {
            call = call.header("content-type", content_type);
        }
        self.call(call.body(bytes)).await.map(drop)
    }

    /// Copies within the cloud.
    pub(crate) async fn copy(&self, from: &Address, to: &Address) -> Result<(), Failure> {
        let source = identity::aws::object_path(&from.bucket, &from.key);
        let call = Call::new(Method::PUT, to).header("x-amz-copy-source", source);
        self.document(call).await.map(drop)
    }

    pub(crate) async fn delete(&self, address: &Address) -> Result<(), Failure> {
        self.call(Call::new(Method::DELETE, address)).await.map(drop)
    }

    /// A page of what is below a prefix. With a delimiter, what lies deeper is one entry.
    pub(crate) async fn list(
        &self,
        below: &Address,
        delimiter: &str,
        after: Option<String>,
    ) -> Result<Page, Failure> {
        let bucket = below.with_key("");
        let mut call = Call::new(Method::GET, &bucket)
            .ask("list-type", "2")
            .ask("encoding-type", "url")
            .ask("prefix", below.key.clone());
        if !delimiter.is_empty() {
            call = call.ask("delimiter", delimiter);
        }
        if let Some(after) = after {
            call = call.ask("continuation-token", after);
        }
        let answer = self.document(call).await?;
        let listed = |object: &Element| Listed {
            key: object.key("Key"),
            size: object.number("Size"),
            modified: object.text("LastModified").to_owned(),
        };
        Ok(Page {
            objects: answer.all("Contents").map(listed).collect(),
            prefixes: answer.all("CommonPrefixes").map(|prefix| prefix.key("Prefix")).collect(),
            next: answer.is_true("IsTruncated").then(|| answer.text("NextContinuationToken").to_owned()),
        })
    }

    /// Some versions and markers of what is below a prefix: those that come first.
    pub(crate) async fn first_versions(&self, below: &Address) -> Result<Vec<Version>, Failure> {
        let bucket = below.with_key("");
        let call = Call::new(Method::GET, &bucket)
            .ask("versions", "")
            .ask("encoding-type", "url")
            .ask("prefix", below.key.clone());
        let answer = self.document(call).await?;
        let version = |of: &Element| Version { key: of.key("Key"), id: of.text("VersionId").to_owned() };
        Ok(answer.all("Version").chain(answer.all("DeleteMarker")).map(version).collect())
    }

    /// Deletes at most a thousand objects; a version where its id is there. Answers what could not be deleted.
    pub(crate) async fn delete_many(
        &self,
        bucket: &Address,
        objects: &[Version],
    ) -> Result<Vec<Failure>, Failure> {
        let object = |object: &Version| {
            let version = match object.id.as_str() {
                "" => String::new(),
                id => format!("<VersionId>{}</VersionId>", escaped(id)),
            };
            format!("<Object><Key>{}</Key>{version}</Object>", escaped(&object.key))
        };
        let objects: String = objects.iter().map(object).collect();
        let body = format!("<Delete><Quiet>true</Quiet>{objects}</Delete>");
        let bucket = bucket.with_key("");
        let call = Call::new(Method::POST, &bucket)
            .ask("delete", "")
            .header(Checksum::HEADER, Checksum::of(body.as_bytes()).encoded());
        let answer = self.document(call.body(body)).await?;
        let failure = |e: &Element| {
            let exit = if e.text("Code") == "AccessDenied" { Exit::Refused } else { Exit::Failed };
            let address = bucket.with_key(e.text("Key"));
            Failure::new(exit, format!("{address}: {} ({})", e.text("Message"), e.text("Code")))
        };
        Ok(answer.all("Error").map(failure).collect())
    }
}

//! Uploads in parts, as a store is asked for them.

use bytes::Bytes;
use http::Method;

use super::address::Address;
use super::answer::{Element, escaped};
use super::checksum::Checksum;
use super::store::{Call, Store};
use crate::failure::{Exit, Failure};

/// A part that a store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadedPart {
    pub(crate) number: u32,
    pub(crate) size: u64,
    pub(crate) etag: String,
    /// As it is written in the answer.
    pub(crate) checksum: String,
}

impl Store {
    /// Begins an upload; answers its id.
    pub(crate) async fn begin(
        &self,
        address: &Address,
        content_type: Option<&str>,
    ) -> Result<String, Failure> {
        let mut call = Call::new(Method::POST, address)
            .ask("uploads", "")
            .header("x-amz-checksum-algorithm", "CRC64NVME");
        if let Some(content_type) = content_type {
            call = call.header("content-type", content_type);
        }
        Ok(self.document(call).await?.text("UploadId").to_owned())
    }

    /// Sends a part.
    pub(crate) async fn put_part(
        &self,
        address: &Address,
        upload: &str,
        number: u32,
        bytes: Bytes,
        checksum: Checksum,
    ) -> Result<UploadedPart, Failure> {
        let size = bytes.len() as u64;
        let call = Call::new(Method::PUT, address)
            .ask("partNumber", number.to_string())
            .ask("uploadId", upload)
            .header(Checksum::HEADER, checksum.encoded())
            .body(bytes);
        let answer = self.call(call).await?;
        let etag = answer.headers().get(http::header::ETAG).and_then(|value| value.to_str().ok());
        let etag = etag.unwrap_or_default().to_owned();
        Ok(UploadedPart { number, size, etag, checksum: checksum.encoded() })
    }

    /// The parts that have come; nothing when there is no such upload any more.
    pub(crate) async fn parts(
        &self,
        address: &Address,
        upload: &str,
    ) -> Result<Option<Vec<UploadedPart>>, Failure> {
        let mut parts = Vec::new();
        let mut after = String::new();
        loop {
            let mut call = Call::new(Method::GET, address).ask("uploadId", upload);
            if !after.is_empty() {
                call = call.ask("part-number-marker", after.as_str());
            }
            let page = match self.document(call).await {
                Err(failure) if failure.exit == Exit::NotFound => return Ok(None),
                page => page?,
            };
            let part = |part: &Element| UploadedPart {
                number: u32::try_from(part.number("PartNumber")).unwrap_or(0),
                size: part.number("Size"),
                etag: part.text("ETag").to_owned(),
                checksum: part.text("ChecksumCRC64NVME").to_owned(),
            };
            parts.extend(page.all("Part").map(part));
            if !page.is_true("IsTruncated") {
                return Ok(Some(parts));
            }
            page.text("NextPartNumberMarker").clone_into(&mut after);
        }
    }

    /// Makes the object of its parts, if all of it is what was sent.
    pub(crate) async fn complete(
        &self,
        address: &Address,
        upload: &str,
        parts: &[UploadedPart],
        whole: Checksum,
    ) -> Result<(), Failure> {
        let part = |part: &UploadedPart| {
            format!(
                "<Part><PartNumber>{}</PartNumber><ETag>{}</ETag><ChecksumCRC64NVME>{}</ChecksumCRC64NVME></Part>",
                part.number,
                escaped(&part.etag),
                escaped(&part.checksum)
            )
        };
        let parts: String = parts.iter().map(part).collect();
        let call = Call::new(Method::POST, address)
            .ask("uploadId", upload)
            .header("x-amz-checksum-type", "FULL_OBJECT")
            .header(Checksum::HEADER, whole.encoded());
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        self.document(call.body(body)).await.map(drop)
    }

    pub(crate) async fn abort(&self, address: &Address, upload: &str) -> Result<(), Failure> {
        self.call(Call::new(Method::DELETE, address).ask("uploadId", upload)).await.map(drop)
    }
}

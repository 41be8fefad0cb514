//! Signed requests, and their answers.

use std::sync::Arc;

use bytes::Bytes;
use client::https::{Credential, Https, full};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use http::{Method, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use identity::Secret;
use identity::aws::{Signing, UNSIGNED_PAYLOAD, Unsigned, date, object_path, query};

use super::address::Address;
use super::answer::{Element, refusal, told};
use crate::cli::api::Cloud;
use crate::cli::{aws, clock, cloud};
use crate::failure::Failure;

/// Largest answer that is read as a document: a page of a list has a thousand keys.
const DOCUMENT_MAX_BYTES: usize = 16 << 20;
/// Bodies of more bytes have a connection of their own.
const SHARED_MAX_BYTES: u64 = 1 << 20;

/// The objects of a cloud, as its caller reaches them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    https: Https,
    signing: Arc<Signing>,
}

/// One request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) address: &'a Address,
    pub(super) query: Vec<(String, String)>,
    /// Names in lower case.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// How many bytes are going to come back, where it is known.
    pub(super) answer_bytes: u64,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, address: &'a Address) -> Self {
        let (query, headers) = Default::default();
        Self { method, address, query, headers, body: Bytes::new(), answer_bytes: 0 }
    }

    pub(super) fn ask(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }
}

impl Store {
    /// Signs with the key that `corten env aws` shows; it is made at the first need.
    pub(crate) async fn open(cloud: &Cloud) -> Result<Self, Failure> {
        let key = aws::key(cloud).await?;
        // The signature says who calls, and nothing else has to.
        let https = Https::new(&cloud.endpoint, &cloud::read(&cloud.ca_file)?, &Credential::None)
            .map_err(|e| Failure::usage(e.to_string()))?;
        let signing = Signing {
            access_key_id: key.access_key_id,
            secret: Secret::new(key.secret),
            region: facade_aws::REGION.to_owned(),
            service: "s3".to_owned(),
        };
        Ok(Self { https, signing: Arc::new(signing) })
    }

    /// The answer to a request, if it is a good one.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Response<Incoming>, Failure> {
        let what = call.address.to_string();
        let response = self.exchange(call).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        Err(refusal(&what, status, &whole(response).await.unwrap_or_default()))
    }

    /// The same, where the answer is a document.
    pub(super) async fn document(&self, call: Call<'_>) -> Result<Element, Failure> {
        let what = call.address.to_string();
        let document = Element::read(&whole(self.call(call).await?).await?)?;
        // Long work is answered before it is done; how it went is in the document.
        if document.is("Error") { Err(told(&what, 500, &document)) } else { Ok(document) }
    }

    async fn exchange(&self, call: Call<'_>) -> Result<Response<Incoming>, Failure> {
        let now = date(clock::now());
        let path = object_path(&call.address.bucket, &call.address.key);
        let query = query(&call.query);
        let mut headers: Vec<(&str, &str)> = vec![
            ("host", self.https.authority()),
            ("x-amz-content-sha256", UNSIGNED_PAYLOAD),
            ("x-amz-date", &now),
        ];
        headers.extend(call.headers.iter().map(|(name, value)| (*name, value.as_str())));
        headers.sort_unstable();
        let method = call.method.as_str();
        let (path, query) = (path.as_str(), query.as_str());
        let unsigned = Unsigned { method, path, query, headers: &headers, payload: UNSIGNED_PAYLOAD };
        let authorization = self.signing.authorization(&now, &unsigned);
        let mark = if query.is_empty() { "" } else { "?" };
        let mut request = http::Request::builder().method(&call.method).uri(format!("{path}{mark}{query}"));
        for (name, value) in headers.iter().filter(|(name, _)| *name != HOST.as_str()) {
            request = request.header(HeaderName::from_bytes(name.as_bytes()).map_err(unfit)?, *value);
        }
        let mut authorization = HeaderValue::from_str(&authorization).map_err(unfit)?;
        authorization.set_sensitive(true);
        let moved = call.answer_bytes.max(call.body.len() as u64);
        let request = request
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_LENGTH, call.body.len())
            .body(full(call.body))
            .map_err(unfit)?;
        // Much to move would hold up what shares the connection.
        let answer = if moved > SHARED_MAX_BYTES {
            self.https.exchange_alone(request).await
        } else {
            self.https.exchange(request).await
        };
        Ok(answer?)
    }
}

fn unfit(e: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("this cannot be asked for: {e}"))
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let collected = Limited::new(response.into_body(), DOCUMENT_MAX_BYTES).collect().await;
    let broken = |e| Failure::failed(format!("the server's answer broke off: {e}"));
    collected.map(http_body_util::Collected::to_bytes).map_err(broken)
}

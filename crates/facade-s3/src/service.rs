//! A request in, an answer out.

use std::sync::Arc;

use ::objects::Objects;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use identity::aws::Presented;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Result};

use crate::access::Access;
use crate::cloud::Cloud;
use crate::guard;
use crate::operations::Operations;

/// What an unknown key is verified with, so that it is refused as a wrong signature is, after the same work.
const DECOY: &str = "an unknown key takes as long as a known1";

/// S3's face of a cloud. Cheap to clone.
#[derive(Clone)]
pub struct S3 {
    service: S3Service,
    pub(crate) operations: Operations,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").finish_non_exhaustive()
    }
}

impl S3 {
    pub fn new(objects: Objects, cloud: Arc<dyn Cloud>) -> Self {
        let operations = Operations { objects, cloud: Arc::clone(&cloud) };
        let mut builder = S3ServiceBuilder::new(operations.clone());
        builder.set_auth(Keys { cloud });
        builder.set_access(Access::new(operations.clone()));
        Self { service: builder.build(), operations }
    }

    /// Whether a request is S3's: it is signed for it or is a form of a browser.
    pub fn speaks(head: &Parts) -> bool {
        let authorization = head.headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        if Presented::is_claimed(head.uri.query().unwrap_or(""), authorization) {
            return guard::claimed_service(head) == "s3";
        }
        let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let is_form = head.method == Method::POST && kind.starts_with(b"multipart/form-data");
        !head.headers.contains_key(AUTHORIZATION) && is_form
    }

    pub async fn answer(&self, head: Parts, body: Incoming) -> Response<Body> {
        if let Err(refused) = guard::check(&head) {
            return failed(refused);
        }
        match self.service.call(Request::from_parts(head, Body::from(body))).await {
            Ok(response) => response,
            Err(e) => failed(s3s::s3_error!(InternalError, "{}", s3s::StdError::from(e))),
        }
    }
}

pub(crate) fn failed(error: s3s::S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

struct Keys {
    cloud: Arc<dyn Cloud>,
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let holder = self.cloud.holder(access_key);
        Ok(SecretKey::from(holder.as_ref().map_or(DECOY, |holder| holder.secret.expose())))
    }
}

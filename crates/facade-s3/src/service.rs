//! A request in, an answer out.

use std::sync::Arc;

use ::objects::Objects;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use identity::aws::Presented;
use identity::iam::Through;
use identity::{Holder, SourceAddress};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, S3ConfigProvider, StaticConfigProvider};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::S3ServiceBuilder;
use s3s::{Body, S3Result};

use crate::access::{Access, Known, Origin};
use crate::cloud::Cloud;
use crate::guard::{self, Claimed};
use crate::operations::Operations;
use crate::{cors, ending, words};

/// What an unknown key is verified with, so that it is refused as a wrong signature is, after the same work.
const DECOY: &str = "an unknown key takes as long as a known1";
const SERVICE: &str = "s3";
/// A form's file is held in memory until all of the form is there.
const FORM_FILE_MAX_BYTES: u64 = 64 << 20;
/// Where the cloud's own API begins: what is asked there without a signature is not asked of a bucket.
const OWN_ROOTS: [&str; 11] =
    ["api", "apis", "openapi", "version", "metrics", "healthz", "livez", "readyz", "join", "whoami", "blobs"];

/// S3's face of a cloud. Cheap to clone.
#[derive(Clone)]
pub struct S3 {
    pub(crate) operations: Operations,
    pub(crate) known: Known,
    config: Arc<dyn S3ConfigProvider>,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").finish_non_exhaustive()
    }
}

impl S3 {
    pub fn new(objects: Objects, cloud: Arc<dyn Cloud>) -> Self {
        let mut config = S3Config::default();
        config.post_object_max_file_size = FORM_FILE_MAX_BYTES;
        let config = Arc::new(StaticConfigProvider::new(Arc::new(config)));
        Self { operations: Operations { objects, cloud }, known: Known::default(), config }
    }

    /// Whether a request is S3's: it is signed for it, is a form or a question of a browser, or names a bucket and is
    /// not signed at all.
    pub fn speaks(head: &Parts) -> bool {
        let authorization = head.headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        if Presented::is_claimed(head.uri.query().unwrap_or(""), authorization) {
            return guard::claimed_service(head) == SERVICE;
        }
        if head.headers.contains_key(AUTHORIZATION) {
            return false;
        }
        let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let is_form = head.method == Method::POST && kind.starts_with(b"multipart/form-data");
        let root = words::bucket_of(head);
        let names_bucket = model::storage::is_bucket_name(&root) && !OWN_ROOTS.contains(&root.as_str());
        is_form || names_bucket
    }

    pub async fn answer(&self, head: Parts, body: Incoming) -> Response<Body> {
        let through = head.extensions.get::<Arc<Through>>();
        if through.is_some_and(|through| through.service != SERVICE) {
            return failed(s3s::s3_error!(AccessDenied, "the VPC endpoint is not for S3"));
        }
        if cors::is_preflight(&head) {
            return cors::preflight(&self.operations, &head).await.unwrap_or_else(failed);
        }
        let (origin, method) = (head.headers.get(ORIGIN).cloned(), head.method.clone());
        let bucket = words::bucket_of(&head);
        let mut response = self.answer_signed(head, body).await.unwrap_or_else(failed);
        if let Some(origin) = origin {
            cors::allow(&self.operations, &bucket, &origin, &method, response.headers_mut()).await;
        }
        response
    }

    async fn answer_signed(&self, head: Parts, body: Incoming) -> S3Result<Response<Body>> {
        let claimed = guard::check(&head)?;
        words::supported(&head.headers)?;
        let cloud = &self.operations.cloud;
        let origin = Origin {
            from: head.extensions.get::<SourceAddress>().map(|from| from.0),
            through: head.extensions.get::<Arc<Through>>().cloned(),
        };
        let holder = claimed.as_ref().and_then(|c| cloud.holder(&c.key, c.token.as_deref()));
        let mut builder = S3ServiceBuilder::new(self.operations.clone());
        builder.set_config(Arc::clone(&self.config));
        builder.set_auth(Keys { cloud: Arc::clone(cloud), claimed, holder: holder.clone() });
        builder.set_access(Access::new(self.operations.clone(), self.known.clone(), holder, origin));
        builder.set_host(Hosts);
        let body = ending::checked(&head, body);
        let response = builder.build().call(Request::from_parts(head, body)).await;
        response.map_err(|e| s3s::s3_error!(InternalError, "{}", s3s::StdError::from(e)))
    }
}

/// Buckets may be named by the host, where it is one of S3's own names.
struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let virtual_host = VirtualHost::new(host);
        Ok(match words::bucket_of_host(host) {
            Some(bucket) => virtual_host.with_bucket(bucket),
            None => virtual_host,
        })
    }
}

pub(crate) fn failed(error: s3s::S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// The key of one request.
struct Keys {
    cloud: Arc<dyn Cloud>,
    claimed: Option<Claimed>,
    holder: Option<Holder>,
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let holder = match &self.claimed {
            Some(claimed) if claimed.key == access_key => self.holder.clone(),
            Some(_) => None,
            // A form says in its body who signed it.
            None => self.cloud.holder(access_key, None),
        };
        Ok(SecretKey::from(holder.as_ref().map_or(DECOY, |holder| holder.secret.expose())))
    }
}

//! S3 on the cloud's listener: the objects of this machine, and what the facade needs of this process.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use client::Client;
use controllers::{Buckets, Object};
use facade_s3::{Cloud, S3};
use futures::StreamExt;
use http::Response;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use identity::{Holder, Principal};
use model::storage::Bucket;
use model::{ApiError, Reason, Timestamp, Uid};
use objects::{Key, Objects, WhichVersion};
use server::http::{Body, Foreign};
use server::{Environment, Server};

use super::Layout;
use crate::failure::Failure;

/// A predecessor that was just killed holds its files a moment longer.
const PREDECESSOR_GONE_WITHIN: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub(crate) struct Protocol {
    s3: S3,
    objects: Objects,
}

impl Protocol {
    pub(crate) fn open(
        server: Server,
        environment: Arc<dyn Environment>,
        layout: &Layout,
    ) -> Result<Self, Failure> {
        let directory = layout.objects();
        let failed = |e: &dyn std::fmt::Display| Failure::failed(format!("{}: {e}", directory.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(|e| failed(&e))?;
        let master = environment.master_key().ok_or_else(|| failed(&"the cloud has no master key"))?;
        let key = Key::new(master.derive("objects"));
        let deadline = Instant::now() + PREDECESSOR_GONE_WITHIN;
        let objects = loop {
            match Objects::open(&directory, key.clone()) {
                Err(objects::Error::InUse(_)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                result => break result.map_err(|e| failed(&e))?,
            }
        };
        let s3 = S3::new(objects.clone(), Arc::new(Own { server, environment }));
        Ok(Self { s3, objects })
    }

    pub(crate) fn objects(&self) -> Objects {
        self.objects.clone()
    }

    /// Does what has to be done without being asked, for as long as the cloud runs.
    pub(crate) fn keep(&self) -> impl Future<Output = ()> + use<> {
        let s3 = self.s3.clone();
        async move { s3.keep().await }
    }
}

#[async_trait]
impl Foreign for Protocol {
    fn speaks(&self, head: &Parts) -> bool {
        S3::speaks(head)
    }

    async fn answer(&self, head: Parts, body: Incoming) -> Response<Body> {
        self.s3.answer(head, body).await.map(|body| body.map_err(std::io::Error::other).boxed())
    }
}

#[async_trait]
impl Buckets for Protocol {
    async fn open(&self, bucket: &Uid, key: &str) -> Result<Object, ApiError> {
        let failed = |e: objects::Error| match e {
            objects::Error::NoKey | objects::Error::NoBucket | objects::Error::DeleteMarker { .. } => {
                ApiError::new(Reason::NotFound, format!("there is no object {key:?} in the bucket"))
            }
            e => ApiError::new(Reason::Invalid, format!("object {key:?} cannot be read: {e}")),
        };
        let found = self.objects.get(bucket.as_str(), key, WhichVersion::Latest).await;
        let (record, content) = found.map_err(failed)?;
        let bytes = content.read(0..record.size).await.map_err(failed)?;
        Ok(Box::pin(bytes.map(|chunk| chunk.map_err(std::io::Error::other))))
    }

    async fn write(
        &self,
        bucket: &Bucket,
        key: &str,
        content_type: &str,
        bytes: Bytes,
    ) -> Result<(), ApiError> {
        self.s3.write(bucket, key, content_type, bytes).await
    }
}

struct Own {
    server: Server,
    environment: Arc<dyn Environment>,
}

impl Cloud for Own {
    fn holder(&self, access_key_id: &str, token: Option<&str>) -> Option<Holder> {
        self.server.key_holder(access_key_id, token)
    }

    fn note_use(&self, access_key_id: &str) {
        self.server.note_use(access_key_id, "s3", model::REGION);
    }

    fn client(&self, caller: &Principal) -> Client {
        self.server.client(caller.clone())
    }

    fn authorize(&self, caller: &Principal, call: &client::Request) -> Result<(), ApiError> {
        self.server.authorize(caller, call)
    }

    fn now(&self) -> Timestamp {
        self.environment.now()
    }
}

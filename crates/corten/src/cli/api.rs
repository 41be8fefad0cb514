//! Calls of the API on objects whose kind is known only at run time, and answers that are no objects (tables,
//! documents). What is typed goes through `client::Client`.

use std::sync::Arc;

use bytes::Bytes;
use client::https::{self, Https};
use client::{Client, ListParams, PatchKind, Request, Verb, WatchStream, WriteOptions};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use model::{ApiError, KindEntry, Resource};
use serde_json::Value;

use super::cloud::{Global, Place};
use super::kind::Target;
use crate::failure::Failure;

/// Who sets the fields that `apply` sends.
const FIELD_MANAGER: &str = "corten";

const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// The way to the cloud, and the options every command has.
#[derive(Debug, Clone)]
pub(crate) struct Cloud {
    pub(crate) global: Global,
    pub(crate) endpoint: String,
    /// The certificate of the cloud's authority.
    pub(crate) ca_file: std::path::PathBuf,
    pub(crate) https: Https,
    pub(crate) client: Client,
}

impl Cloud {
    pub(crate) fn find(global: &Global) -> Result<Self, Failure> {
        let place = Place::find(global)?;
        let https = place.connect()?;
        let client = Client::new(Arc::new(https.clone()));
        Ok(Self { global: global.clone(), endpoint: place.endpoint, ca_file: place.ca, https, client })
    }

    pub(crate) fn project(&self) -> &str {
        &self.global.project
    }

    /// The verbs on a kind in this project, or on a kind of the whole cloud.
    pub(crate) fn api<R: Resource>(&self) -> client::Api<R> {
        self.client.project::<R>(self.project())
    }

    /// A call on a kind, in the command's project.
    pub(crate) fn request(&self, verb: Verb, kind: &'static KindEntry, name: &str) -> Request {
        Request::new(verb, kind, Some(self.project()), name)
    }

    pub(crate) async fn object(&self, target: Target<'_>) -> Result<Value, Failure> {
        self.call(self.request(Verb::Get, target.kind, target.name)).await
    }

    pub(crate) async fn merge(&self, target: Target<'_>, patch: &Value) -> Result<Value, Failure> {
        let request = self.request(Verb::Patch(PatchKind::Merge), target.kind, target.name);
        self.call(request.body(patch.to_string())).await
    }

    pub(crate) async fn call(&self, request: Request) -> Result<Value, Failure> {
        Ok(parse(&self.client.transport().call(request).await?.body)?)
    }

    /// All pages of a list: its items, and the version they are of.
    pub(crate) async fn list(&self, mut request: Request) -> Result<(Vec<Value>, String), Failure> {
        let mut items = Vec::new();
        loop {
            let mut page = self.call(request.clone()).await?;
            if let Value::Array(more) = page["items"].take() {
                items.extend(more);
            }
            let Some(next) = continuation(&page) else {
                let version = page["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                return Ok((items, version));
            };
            request.list.continue_token = next;
        }
    }

    /// A get or list as tables made by the server, one per page.
    pub(crate) async fn tables(&self, mut request: Request) -> Result<Vec<Value>, Failure> {
        let mut pages = Vec::new();
        loop {
            let response = self.get(&request.path_and_query(), TABLE).await?;
            let page: Value = parse(&body(response).await?)?;
            let next = continuation(&page);
            pages.push(page);
            match next {
                Some(next) => request.list.continue_token = next,
                None => return Ok(pages),
            }
        }
    }

    pub(crate) async fn watch(&self, mut request: Request) -> Result<WatchStream, Failure> {
        request.verb = Verb::Watch;
        Ok(self.client.transport().watch(request).await?)
    }

    /// A watch as tables: one JSON event a line.
    pub(crate) async fn watch_tables(&self, mut request: Request) -> Result<Lines, Failure> {
        request.verb = Verb::Watch;
        let response = self.get(&request.path_and_query(), TABLE).await?;
        Ok(Lines { body: response.into_body(), buffer: Vec::new() })
    }

    /// A document of the API that is no object.
    pub(crate) async fn document(&self, path: &str) -> Result<Value, Failure> {
        let response = self.get(path, JSON).await?;
        Ok(parse(&body(response).await?)?)
    }

    /// Opens something to read as it comes.
    pub(crate) async fn get(&self, path: &str, accept: &str) -> Result<Response<Incoming>, Failure> {
        let request = http::Request::builder().method(Method::GET).uri(path).header(ACCEPT, accept);
        let request = request.header(CONTENT_TYPE, JSON).body(https::empty());
        let request = request.map_err(|e| Failure::failed(format!("cannot ask for {path}: {e}")))?;
        Ok(self.https.send(request).await?)
    }

    /// The path of something below an object: `logs`, `exec` ...
    pub(crate) fn path_below(&self, target: Target<'_>, subresource: &str) -> String {
        let path = target.kind.info.path(Some(self.project()), Some(target.name));
        format!("{path}/{subresource}")
    }
}

/// Options of a change that this command makes.
pub(crate) fn write_options(dry_run: bool) -> WriteOptions {
    WriteOptions { dry_run, field_manager: FIELD_MANAGER.into(), ..WriteOptions::default() }
}

/// Selects the one object of this name.
pub(crate) fn only(name: &str) -> ListParams {
    ListParams { field_selector: format!("metadata.name={name}"), ..ListParams::default() }
}

/// Splits the body of a watch into its lines.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Ok(Some(parse(&line)?));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(e)) => return Err(Failure::failed(format!("the watch broke: {e}"))),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }
}

async fn body(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let collected = response.into_body().collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|e| Failure::failed(format!("the server's answer broke off: {e}")))
}

fn continuation(page: &Value) -> Option<String> {
    page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned)
}

fn parse(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|e| ApiError::internal(format!("the server's answer cannot be read: {e}")))
}

/// An object of a kind that is known when compiling.
pub(crate) fn typed<R: Resource>(object: &Value) -> Result<R, Failure> {
    R::deserialize(object).map_err(|e| Failure::failed(format!("the server's answer cannot be read: {e}")))
}

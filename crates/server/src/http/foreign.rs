//! Protocols of other clouds on the same listener. They translate: what they do, they do as a client of the server.

use std::time::Duration;

use async_trait::async_trait;
use client::samples::Sample;
use client::{Request, Verb};
use http::Response;
use http::request::Parts;
use hyper::body::Incoming;
use identity::Principal;
use model::compute::Instance;
use model::{ApiError, Reason, Resource, Uid};
use tokio::io::AsyncReadExt;

use super::body::Body;
use super::streams::{HostGateway, StreamRequest};
use crate::server::Server;

/// A host that has not said by then what an instance uses says nothing.
const SAMPLES_WITHIN: Duration = Duration::from_secs(5);
const SAMPLES_MAX_BYTES: u64 = 1 << 20;

/// Another protocol. It finds out by itself who calls.
#[async_trait]
pub trait Foreign: Send + Sync + 'static {
    /// Whether a request is in this protocol, by its head alone.
    fn speaks(&self, head: &Parts) -> bool;
    async fn answer(&self, head: Parts, body: Incoming) -> Response<Body>;
}

/// What an instance printed: its last bytes, at most `max` of them. Checked and noted as every other call.
pub async fn logs(
    server: &Server,
    hosts: &dyn HostGateway,
    caller: &Principal,
    project: &str,
    name: &str,
    max: usize,
) -> Result<Vec<u8>, ApiError> {
    let kind = model::kind_by_resource(Instance::KIND.group, Instance::KIND.plural)
        .ok_or_else(|| ApiError::internal("instances are a kind"))?;
    let call = Request::new(Verb::Get, kind, Some(project), name).subresource("logs");
    server.authorize(caller, &call)?;
    let audit = server.inner.audit.begin(caller, &call);
    let result = read_logs(server, hosts, &call, max).await;
    if let Some(line) = audit {
        line.end(result.as_ref().map_or_else(|e| e.reason.code(), |_| 200));
    }
    result
}

/// What an instance used in the last hours, as its host has counted it. Who may read the instance may ask.
pub async fn samples(
    server: &Server,
    hosts: &dyn HostGateway,
    caller: &Principal,
    project: &str,
    name: &str,
) -> Result<Vec<Sample>, ApiError> {
    let kind = model::kind_by_resource(Instance::KIND.group, Instance::KIND.plural)
        .ok_or_else(|| ApiError::internal("instances are a kind"))?;
    let call = Request::new(Verb::Get, kind, Some(project), name);
    server.authorize(caller, &call)?;
    let entry = server.entry(&call).await?;
    let instance: Instance =
        serde_json::from_slice(&entry.value).map_err(|e| ApiError::internal(e.to_string()))?;
    let host = &instance.status.host;
    if host.is_empty() {
        return Ok(Vec::new());
    }
    let asked = read_samples(hosts, host, instance.metadata.uid.clone());
    let said = tokio::time::timeout(SAMPLES_WITHIN, asked).await;
    said.map_err(|_| ApiError::new(Reason::Timeout, format!("host {host:?} does not answer")))?
}

async fn read_samples(hosts: &dyn HostGateway, host: &str, uid: Uid) -> Result<Vec<Sample>, ApiError> {
    let stream = hosts.open(host, StreamRequest::Samples { uid }).await?;
    let mut text = Vec::new();
    let read = stream.take(SAMPLES_MAX_BYTES).read_to_end(&mut text).await;
    read.map_err(|e| ApiError::new(Reason::ServiceUnavailable, e.to_string()))?;
    serde_json::from_slice(&text).map_err(|e| ApiError::internal(e.to_string()))
}

async fn read_logs(
    server: &Server,
    hosts: &dyn HostGateway,
    call: &Request,
    max: usize,
) -> Result<Vec<u8>, ApiError> {
    let entry = server.entry(call).await?;
    let instance: Instance =
        serde_json::from_slice(&entry.value).map_err(|e| ApiError::internal(e.to_string()))?;
    let host = &instance.status.host;
    if host.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = StreamRequest::Logs {
        uid: instance.metadata.uid.clone(),
        container: String::new(),
        follow: false,
        tail: Some(u64::try_from(max).unwrap_or(u64::MAX)),
    };
    let mut stream = match hosts.open(host, wanted).await {
        // Nothing was printed yet.
        Err(e) if e.is_not_found() => return Ok(Vec::new()),
        result => result?,
    };
    let (mut last, mut chunk) = (Vec::new(), vec![0; max]);
    loop {
        let read = stream.read(&mut chunk).await;
        let read = read.map_err(|e| ApiError::new(Reason::ServiceUnavailable, e.to_string()))?;
        if read == 0 {
            return Ok(last);
        }
        last.extend_from_slice(&chunk[..read]);
        if last.len() > max {
            last.drain(..last.len() - max);
        }
    }
}

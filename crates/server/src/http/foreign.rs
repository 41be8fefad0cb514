//! Protocols of other clouds on the same listener. They translate: what they do, they do as a client of the server.

use async_trait::async_trait;
use client::{Request, Verb};
use http::Response;
use http::request::Parts;
use hyper::body::Incoming;
use identity::Principal;
use model::compute::Instance;
use model::{ApiError, Reason, Resource};
use tokio::io::AsyncReadExt;

use super::body::Body;
use super::streams::{HostGateway, StreamRequest};
use crate::server::Server;

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

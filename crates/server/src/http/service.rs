//! One HTTP request in, one answer out.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use identity::Principal;
use model::compute::{ArtifactRole, Image, Instance};
use model::storage::VolumeBackup;
use model::{ApiError, Reason};
use tokio::io::AsyncReadExt;

use super::body::Body;
use super::endpoint::{self, Endpoints};
use super::foreign::Foreign;
use super::query::Query;
use super::route::{Route, Target, route};
use super::streams::{Backups, Blobs, Duplex, HostGateway, StreamRequest, Upload};
use super::{answer, body, network, table, watch};
use crate::discovery::Document;
use crate::server::Server;
use crate::{discovery, openapi, pki};

/// How many bytes of a stream are read at once.
const CHUNK: usize = 64 * 1024;

/// What the server needs of other parts to pass streams on.
#[derive(Clone)]
pub struct Extensions {
    pub hosts: Arc<dyn HostGateway>,
    pub blobs: Arc<dyn Blobs>,
    pub backups: Arc<dyn Backups>,
    pub authority: Arc<pki::Authority>,
    /// Other protocols; the first that speaks a request's answers it.
    pub foreign: Vec<Arc<dyn Foreign>>,
}

impl std::fmt::Debug for Extensions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extensions").finish_non_exhaustive()
    }
}

/// The HTTP face of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Face {
    pub(super) server: Server,
    pub(super) extensions: Extensions,
    pub(super) endpoints: Arc<Endpoints>,
}

impl Face {
    pub fn new(server: Server, extensions: Extensions) -> Self {
        Self { server, extensions, endpoints: Arc::default() }
    }

    /// Answers one request; `peer` is who the TLS client certificate says it is.
    pub async fn answer(
        &self,
        peer: Option<Principal>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        Ok(self.try_answer(peer, request).await.unwrap_or_else(|e| answer::error(&e)))
    }

    async fn try_answer(
        &self,
        peer: Option<Principal>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ApiError> {
        let (head, incoming) = request.into_parts();
        if let Some(foreign) = self.extensions.foreign.iter().find(|foreign| foreign.speaks(&head)) {
            return Ok(foreign.answer(head, incoming).await);
        }
        let request = Request::from_parts(head, incoming);
        let route = route(request.uri().path())?;
        match route {
            Route::Health => return Ok(answer::text("ok")),
            Route::Join => return self.join(request).await,
            _ => {}
        }
        let caller = match peer {
            Some(peer) => peer,
            None => self.bearer(request.headers())?,
        };
        match route {
            Route::Version => Ok(answer::json(StatusCode::OK, version())),
            Route::Metrics => Ok(answer::text(self.metrics(&caller).await)),
            Route::Discovery(path) => discovery::answer(&path, accept(request.headers()))
                .map(|document| published(request.headers(), document))
                .ok_or_else(|| ApiError::new(Reason::NotFound, format!("there is no API at {path}"))),
            Route::OpenApi(path) => match openapi::answer(&path, accept(request.headers())) {
                Some(Ok(document)) => Ok(published(request.headers(), document)),
                Some(Err(openapi::NotAcceptable)) => {
                    Err(ApiError::new(Reason::NotAcceptable, "OpenAPI documents are served as JSON only"))
                }
                None => {
                    Err(ApiError::new(Reason::NotFound, format!("there is no OpenAPI document at {path}")))
                }
            },
            Route::WhoAmI => {
                let who = serde_json::json!({ "user": caller.user, "groups": caller.groups, "how": caller.how.to_string() });
                Ok(answer::json(StatusCode::OK, who.to_string()))
            }
            Route::Blob(digest) => self.blob(&caller, &digest).await,
            Route::Resource(target) => self.resource(&caller, target, request).await,
            Route::Health | Route::Join => Err(ApiError::internal("answered above")),
        }
    }

    fn bearer(&self, headers: &HeaderMap) -> Result<Principal, ApiError> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(|| {
            ApiError::new(
                Reason::Unauthorized,
                "no credentials: send a bearer token or a client certificate; `corten env` prints both",
            )
        })?;
        self.server.inner.access.authenticate(token.trim())
    }

    async fn metrics(&self, caller: &Principal) -> String {
        let revision = self.server.inner.store.revision();
        let mut text = self.server.inner.metrics.render(&[(
            "corten_store_revision",
            "Newest committed revision.",
            revision as f64,
        )]);
        text += &network::metrics(self, caller).await;
        text
    }

    async fn resource(
        &self,
        caller: &Principal,
        target: Target,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ApiError> {
        let query = Query::parse(request.uri().query());
        if (target.kind.info.plural, target.subresource.as_str()) == ("vpcendpoints", "connect") {
            return endpoint::connect(self, caller, target, &query, request).await;
        }
        if let Some(result) = stream_call(&target, &query, request.method().clone()) {
            return result.open(self, caller, request).await;
        }
        let (parts, incoming) = request.into_parts();
        let bytes = body::read(incoming).await?;
        let call = super::route::request(target, &parts.method, &parts.headers, &query, bytes)?;
        let as_table = table::wanted(&parts.headers).then(|| query.get("includeObject").to_owned());
        let environment = Arc::clone(&self.server.inner.environment);
        match call.verb {
            client::Verb::Watch => {
                let form = watch::Form {
                    kind: call.kind,
                    table: as_table,
                    now: Box::new(move || environment.now()),
                };
                let events = self.server.watch(caller, call).await?;
                Ok(answer::stream(StatusCode::OK, "application/json", watch::body(events, form)))
            }
            client::Verb::Get | client::Verb::List if as_table.is_some() => {
                let reply = self.server.call(caller, call.clone()).await?;
                let include = as_table.unwrap_or_default();
                let table = table::from_reply(&call, &reply, &include, environment.now())?;
                Ok(answer::json(StatusCode::OK, table))
            }
            _ => {
                let reply = self.server.call(caller, call).await?;
                let code = if reply.created { StatusCode::CREATED } else { StatusCode::OK };
                Ok(answer::json(code, reply.body))
            }
        }
    }

    async fn blob(&self, caller: &Principal, digest: &str) -> Result<Response<Body>, ApiError> {
        if caller.host().is_none() && !caller.is_component() && !caller.is_admin() {
            return Err(ApiError::new(Reason::Forbidden, "image files are for hosts"));
        }
        let (file, _size) = self.extensions.blobs.open(digest).await?;
        let body = reader_body(file);
        Ok(answer::stream(StatusCode::OK, "application/octet-stream", body))
    }

    async fn join(&self, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
        if request.method() != Method::POST {
            return Err(ApiError::new(Reason::MethodNotAllowed, "POST is needed to join"));
        }
        let bytes = body::read(request.into_body()).await?;
        let answer = crate::join::join(&self.server, &self.extensions.authority, &bytes).await?;
        Ok(answer::json(StatusCode::CREATED, answer))
    }
}

/// What a path means when it is a byte stream and no call of the resource API.
fn stream_call(target: &Target, query: &Query, method: Method) -> Option<StreamCall> {
    let what = match (target.kind.info.plural, target.subresource.as_str()) {
        ("instances", "logs" | "log") => Streamed::Logs {
            container: query.get("container").into(),
            follow: query.flag("follow"),
            tail: query.get("tailLines").parse().ok(),
        },
        ("instances", "console") => Streamed::Console,
        ("instances", "display") => Streamed::Display,
        ("instances", "exec") => Streamed::Exec {
            container: query.get("container").into(),
            argv: query.all("command").map(str::to_owned).collect(),
            tty: query.flag("tty"),
        },
        ("instances", "forward") => Streamed::Forward { port: query.get("port").parse().unwrap_or(0) },
        ("vpcs", "check") => {
            Streamed::NetworkCheck { host: query.get("host").into(), repair: query.flag("repair") }
        }
        ("vpcs", "flows") => {
            Streamed::NetworkFlows { host: query.get("host").into(), port: query.get("port").into() }
        }
        ("volumebackups", "content") => Streamed::Backup,
        ("images", "upload") => Streamed::Upload { role: query.get("role").into() },
        _ => return None,
    };
    Some(StreamCall { target: target.clone(), method, what })
}

struct StreamCall {
    target: Target,
    method: Method,
    what: Streamed,
}

enum Streamed {
    Logs { container: String, follow: bool, tail: Option<u64> },
    Console,
    Display,
    Exec { container: String, argv: Vec<String>, tty: bool },
    Forward { port: u16 },
    NetworkCheck { host: String, repair: bool },
    NetworkFlows { host: String, port: String },
    Upload { role: String },
    Backup,
}

impl StreamCall {
    async fn open(
        self,
        face: &Face,
        caller: &Principal,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ApiError> {
        let target = &self.target;
        // Reading what was printed is reading; everything else acts on the object. Who may read a network may know
        // whether hosts have it as it is.
        let (verb, right) = match self.what {
            Streamed::Logs { .. } => (client::Verb::Get, "logs"),
            Streamed::NetworkCheck { repair: false, .. } | Streamed::NetworkFlows { .. } => {
                (client::Verb::Get, "")
            }
            Streamed::NetworkCheck { repair: true, .. } => (client::Verb::Update, ""),
            Streamed::Backup if self.method == Method::GET => (client::Verb::Get, "content"),
            _ => (client::Verb::Create, target.subresource.as_str()),
        };
        let mut call = client::Request::new(verb, target.kind, target.project.as_deref(), &target.name);
        call.subresource = right.to_owned();
        face.server.authorize(caller, &call)?;
        if call.subresource.is_empty() {
            call.subresource.clone_from(&target.subresource);
        }
        let audit = face.server.inner.audit.begin(caller, &call);
        let result = self.carry_out(face, caller, &call, request).await;
        if let Some(line) = audit {
            line.end(result.as_ref().map_or_else(|e| e.reason.code(), |response| response.status().as_u16()));
        }
        result
    }

    async fn carry_out(
        self,
        face: &Face,
        caller: &Principal,
        call: &client::Request,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ApiError> {
        let entry = face.server.entry(call).await?;
        let unreadable = |e: serde_json::Error| ApiError::internal(e.to_string());
        if let Streamed::Upload { role } = &self.what {
            let role = [ArtifactRole::Disk, ArtifactRole::Kernel, ArtifactRole::Initrd, ArtifactRole::Oci]
                .into_iter()
                .find(|r| r.as_str() == role)
                .ok_or_else(|| ApiError::bad_request("role must be disk, kernel, initrd or oci"))?;
            if self.method != Method::PUT && self.method != Method::POST {
                return Err(ApiError::new(Reason::MethodNotAllowed, "upload with PUT"));
            }
            let image: Image = serde_json::from_slice(&entry.value).map_err(unreadable)?;
            face.extensions.blobs.upload(image, role, upload(request)).await?;
            return Ok(answer::json(StatusCode::OK, "{}"));
        }
        if let Streamed::Backup = &self.what {
            let backup: VolumeBackup = serde_json::from_slice(&entry.value).map_err(unreadable)?;
            if self.method == Method::GET {
                face.server.require_backup_of(caller, &backup).await?;
                let stream = face.extensions.backups.read(backup).await?;
                return Ok(answer::stream(StatusCode::OK, "application/octet-stream", reader_body(stream)));
            }
            face.extensions.backups.write(backup, upload(request)).await?;
            return Ok(answer::json(StatusCode::OK, "{}"));
        }
        if let Streamed::NetworkFlows { host, port } = &self.what {
            return network::flows(face, &entry.value, host, port).await;
        }
        if let Streamed::NetworkCheck { host, repair } = &self.what {
            return network::check(face, &entry.value, host, *repair).await;
        }
        let instance: Instance = serde_json::from_slice(&entry.value).map_err(unreadable)?;
        if instance.status.host.is_empty() {
            return Err(ApiError::new(
                Reason::ServiceUnavailable,
                format!("instance {:?} has no host yet; `corten explain instance/{0}` says why", call.name),
            ));
        }
        let uid = instance.metadata.uid.clone();
        let (wanted, upgrade) = match self.what {
            Streamed::Logs { container, follow, tail } => {
                (StreamRequest::Logs { uid, container, follow, tail }, false)
            }
            Streamed::Console => (StreamRequest::Console { uid }, true),
            Streamed::Display => (StreamRequest::Display { uid }, true),
            Streamed::Exec { argv, .. } if argv.is_empty() => {
                return Err(ApiError::bad_request("command must be given"));
            }
            Streamed::Exec { container, argv, tty } => {
                (StreamRequest::Exec { uid, container, argv, tty }, true)
            }
            Streamed::Forward { port: 0 } => return Err(ApiError::bad_request("port must be 1 to 65535")),
            Streamed::Forward { port } => (StreamRequest::Forward { uid, port }, true),
            Streamed::NetworkCheck { .. }
            | Streamed::NetworkFlows { .. }
            | Streamed::Upload { .. }
            | Streamed::Backup => {
                return Err(ApiError::internal("answered above"));
            }
        };
        if upgrade && !request.headers().contains_key(UPGRADE) {
            return Err(ApiError::bad_request("this needs a connection upgrade to corten-stream (HTTP/1.1)"));
        }
        let stream = face.extensions.hosts.open(&instance.status.host, wanted).await?;
        if !upgrade {
            return Ok(answer::stream(StatusCode::OK, "text/plain; charset=utf-8", reader_body(stream)));
        }
        tokio::spawn(splice(request, stream));
        let mut response = answer::text("");
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("corten-stream"));
        Ok(response)
    }
}

fn upload(request: Request<Incoming>) -> Upload {
    let frames = TryStreamExt::map_err(BodyStream::new(request.into_body()), std::io::Error::other);
    frames.try_filter_map(|frame| async move { Ok(frame.into_data().ok()) }).boxed()
}

/// Copies both ways until either side ends.
async fn splice(request: Request<Incoming>, mut host: std::pin::Pin<Box<dyn Duplex>>) {
    match hyper::upgrade::on(request).await {
        Ok(upgraded) => {
            // Either side going away is how such a stream ends.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut host).await;
        }
        Err(e) => tracing::debug!(error = %e, "a stream was not opened"),
    }
}

pub(super) fn reader_body(reader: impl tokio::io::AsyncRead + Send + Unpin + 'static) -> Body {
    let chunks = futures::stream::unfold(reader, |mut reader| async move {
        let mut chunk = vec![0; CHUNK];
        match reader.read(&mut chunk).await {
            Ok(0) => None,
            Ok(n) => {
                chunk.truncate(n);
                Some((Ok(Frame::data(chunk.into())), reader))
            }
            Err(e) => Some((Err(e), reader)),
        }
    });
    BodyExt::boxed(StreamBody::new(watch::SyncStream::new(Box::pin(chunks))))
}

fn accept(headers: &HeaderMap) -> &str {
    headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("")
}

/// The version of the Kubernetes API conventions spoken, as clients read it to decide what they may ask.
fn version() -> String {
    let git = concat!("v1.32.0+corten-", env!("CARGO_PKG_VERSION"));
    serde_json::json!({ "major": "1", "minor": "32", "gitVersion": git, "platform": "linux/amd64" })
        .to_string()
}

/// A document that is the same for everyone, with its tag, so that clients need not fetch it twice.
fn published(headers: &HeaderMap, document: &Document) -> Response<Body> {
    let known =
        headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(&document.etag));
    let mut response = if known {
        answer::with_type(StatusCode::NOT_MODIFIED, document.content_type, Bytes::new())
    } else {
        answer::with_type(StatusCode::OK, document.content_type, document.body.clone())
    };
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", document.etag)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

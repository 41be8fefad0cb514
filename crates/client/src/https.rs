//! The transport over HTTPS: one HTTP/2 connection for calls and watches, and HTTP/1.1 connections of their
//! own for byte streams (console, exec, uploads), which need the connection to themselves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use http::{Method, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::{ApiError, Reason};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{ChangeKind, PatchKind, Reply, Request, Transport, Verb, WatchEvent, WatchStream};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call (not a watch or stream) may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

pub type Body = BoxBody<Bytes, io::Error>;

/// Who the caller is.
#[derive(Clone)]
pub enum Credential {
    Token(String),
    /// Certificate chain and private key, as PEM.
    Certificate {
        chain: String,
        key: String,
    },
    None,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(..)",
            Self::Certificate { .. } => "Certificate(..)",
            Self::None => "None",
        })
    }
}

/// A server and how to reach it.
#[derive(Clone)]
pub struct Https {
    authority: String,
    tls: Arc<rustls::ClientConfig>,
    server_name: ServerName<'static>,
    authorization: Option<HeaderValue>,
    connection: Arc<Mutex<Option<http2::SendRequest<Body>>>>,
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Https").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// Why a client cannot be made from its settings.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    #[error("the endpoint {0:?} must look like https://host:port")]
    Endpoint(String),
    #[error("the {what} is not usable: {why}")]
    Pem { what: &'static str, why: String },
}

impl Https {
    /// `endpoint` is `https://host:port`; `ca` the PEM of the authority that signed the server's certificate.
    pub fn new(endpoint: &str, ca: &str, credential: &Credential) -> Result<Self, HttpsError> {
        let bad_endpoint = || HttpsError::Endpoint(endpoint.into());
        let authority = endpoint.strip_prefix("https://").ok_or_else(bad_endpoint)?.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or_else(bad_endpoint)?;
        port.parse::<u16>().map_err(|_| bad_endpoint())?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let server_name = ServerName::try_from(host).map_err(|_| bad_endpoint())?;

        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates("CA certificate", ca)? {
            roots
                .add(certificate)
                .map_err(|e| HttpsError::Pem { what: "CA certificate", why: e.to_string() })?;
        }
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| HttpsError::Pem { what: "TLS configuration", why: e.to_string() })?
                .with_root_certificates(roots);
        let mut authorization = None;
        let tls = match credential {
            Credential::Certificate { chain, key } => {
                let bad = |e: String| HttpsError::Pem { what: "client certificate", why: e };
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| bad(e.to_string()))?;
                builder
                    .with_client_auth_cert(certificates("client certificate", chain)?, key)
                    .map_err(|e| bad(e.to_string()))?
            }
            Credential::Token(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|e| HttpsError::Pem { what: "token", why: e.to_string() })?;
                value.set_sensitive(true);
                authorization = Some(value);
                builder.with_no_client_auth()
            }
            Credential::None => builder.with_no_client_auth(),
        };
        Ok(Self {
            authority: authority.into(),
            tls: Arc::new(tls),
            server_name,
            authorization,
            connection: Arc::default(),
        })
    }

    /// Sends a request with any body and answers as soon as the headers are there. Errors of the server come
    /// back as [`ApiError`].
    pub async fn send(&self, request: http::Request<Body>) -> Result<Response<Incoming>, ApiError> {
        checked(self.exchange(request).await?).await
    }

    /// The same for protocols with errors of their own: whatever the status, it is an answer.
    pub async fn exchange(&self, request: http::Request<Body>) -> Result<Response<Incoming>, ApiError> {
        let mut sender = self.connect().await?;
        sender.send_request(self.prepare(request, true)).await.map_err(|e| unreachable(&self.authority, &e))
    }

    /// Sends a request with a streamed body on a connection of its own.
    pub async fn upload(&self, request: http::Request<Body>) -> Result<Response<Incoming>, ApiError> {
        checked(self.exchange_alone(request).await?).await
    }

    /// The same, and whatever the status, it is an answer.
    pub async fn exchange_alone(&self, request: http::Request<Body>) -> Result<Response<Incoming>, ApiError> {
        let mut sender = self.connect_http1().await?;
        sender.send_request(self.prepare(request, false)).await.map_err(|e| unreachable(&self.authority, &e))
    }

    /// HOST:PORT, as requests name it.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Asks the server to turn the connection into a two-way stream of bytes (HTTP/1.1 Upgrade, RFC 9110 7.8).
    pub async fn upgrade(&self, method: Method, path: &str) -> Result<TokioIo<Upgraded>, ApiError> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "corten-stream")
            .body(empty())
            .map_err(|e| ApiError::bad_request(e.to_string()))?;
        let mut sender = self.connect_http1().await?;
        let response = sender
            .send_request(self.prepare(request, false))
            .await
            .map_err(|e| unreachable(&self.authority, &e))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(match checked(response).await {
                Err(e) => e,
                Ok(_) => ApiError::internal("the server did not open a stream"),
            });
        }
        hyper::upgrade::on(response).await.map(TokioIo::new).map_err(|e| unreachable(&self.authority, &e))
    }

    fn prepare(&self, mut request: http::Request<Body>, http2: bool) -> http::Request<Body> {
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        if http2 {
            if let Ok(uri) = format!("https://{}{path}", self.authority).parse() {
                *request.uri_mut() = uri;
            }
        } else if let Ok(host) = HeaderValue::from_str(&self.authority) {
            request.headers_mut().insert(HOST, host);
        }
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        request
    }

    async fn connect(&self) -> Result<http2::SendRequest<Body>, ApiError> {
        let mut slot = self.connection.lock().await;
        if let Some(sender) = slot.as_ref().filter(|s| !s.is_closed()) {
            return Ok(sender.clone());
        }
        let io = TokioIo::new(self.tls(b"h2").await?);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(io)
            .await
            .map_err(|e| unreachable(&self.authority, &e))?;
        // The task ends with the connection; its error reaches callers through their own requests.
        tokio::spawn(connection);
        *slot = Some(sender.clone());
        Ok(sender)
    }

    async fn connect_http1(&self) -> Result<http1::SendRequest<Body>, ApiError> {
        let io = TokioIo::new(self.tls(b"http/1.1").await?);
        let (sender, connection) =
            http1::handshake(io).await.map_err(|e| unreachable(&self.authority, &e))?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    async fn tls(&self, protocol: &[u8]) -> Result<TlsStream<TcpStream>, ApiError> {
        let connect = async {
            let tcp = TcpStream::connect(&self.authority).await?;
            tcp.set_nodelay(true)?;
            let mut config = (*self.tls).clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config)).connect(self.server_name.clone(), tcp).await
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(e)) => Err(unreachable(&self.authority, &e)),
            Err(_) => Err(unreachable(&self.authority, &"no answer within 10 s")),
        }
    }

    fn build(request: Request) -> Result<http::Request<Body>, ApiError> {
        let (method, content_type) = match request.verb {
            Verb::Get | Verb::List | Verb::Watch => (Method::GET, None),
            Verb::Create => (Method::POST, Some("application/json")),
            Verb::Update => (Method::PUT, Some("application/json")),
            Verb::Patch(kind) => (Method::PATCH, Some(PatchKind::media_type(kind))),
            Verb::Delete | Verb::DeleteCollection => (Method::DELETE, None),
        };
        let mut builder = http::Request::builder()
            .method(method)
            .uri(request.path_and_query())
            .header(ACCEPT, "application/json");
        if let Some(content_type) = content_type {
            builder = builder.header(CONTENT_TYPE, content_type);
        }
        builder.body(full(request.body)).map_err(|e| ApiError::bad_request(e.to_string()))
    }
}

#[async_trait]
impl Transport for Https {
    async fn call(&self, request: Request) -> Result<Reply, ApiError> {
        let request = Self::build(request)?;
        let answer = async {
            let response = self.send(request).await?;
            let created = response.status() == StatusCode::CREATED;
            let body = response.into_body().collect().await.map_err(|e| unreachable(&self.authority, &e))?;
            Ok(Reply { body: body.to_bytes(), created })
        };
        tokio::time::timeout(CALL_TIMEOUT, answer)
            .await
            .unwrap_or_else(|_| Err(ApiError::new(Reason::Timeout, "the server did not answer within 60 s")))
    }

    async fn watch(&self, request: Request) -> Result<WatchStream, ApiError> {
        let response = self.send(Self::build(request)?).await?;
        let lines = Lines { body: response.into_body(), buffer: Vec::new(), searched: 0 };
        Ok(Box::pin(stream::unfold(lines, |mut lines| async move {
            let event = lines.next_event().await?;
            Some((event, lines))
        })))
    }
}

/// Splits a watch's body into its lines.
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    searched: usize,
}

impl Lines {
    async fn next_event(&mut self) -> Option<Result<WatchEvent, ApiError>> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let rest = self.buffer.split_off(self.searched + at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                return Some(parse_event(&line));
            }
            self.searched = self.buffer.len();
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Err(e) => {
                    return Some(Err(ApiError::new(
                        Reason::ServiceUnavailable,
                        format!("the watch broke: {e}"),
                    )));
                }
            }
        }
    }
}

fn parse_event(line: &[u8]) -> Result<WatchEvent, ApiError> {
    #[derive(serde::Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type")]
        kind: String,
        #[serde(borrow)]
        object: &'a serde_json::value::RawValue,
    }
    let wire: Wire = serde_json::from_slice(line)
        .map_err(|e| ApiError::internal(format!("a watch event of the server cannot be read: {e}")))?;
    match ChangeKind::parse(&wire.kind) {
        Some(kind) => Ok(WatchEvent { kind, object: Bytes::copy_from_slice(wire.object.get().as_bytes()) }),
        None => Err(ApiError::from_response(410, wire.object.get().as_bytes())),
    }
}

async fn checked(response: Response<Incoming>) -> Result<Response<Incoming>, ApiError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body =
        response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Err(ApiError::from_response(status.as_u16(), &body))
}

fn unreachable(authority: &str, why: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, format!("cannot reach the server at {authority}: {why}"))
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, HttpsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(HttpsError::Pem { what, why: "no certificate in it".into() }),
        Err(e) => Err(HttpsError::Pem { what, why: e.to_string() }),
    }
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

pub fn empty() -> Body {
    full(Bytes::new())
}

//! The metadata service's connections: HTTP/1.1 with every length and time bounded, and the port of each told by
//! the mark of its socket.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, SERVER};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::instance::Credentials;
use super::service::{Call, Outcome, Reply, Service};
use crate::directory::Directory;
use crate::endpoint::accept;
use crate::limit::Slots;

/// Bytes of a request's head, headers in it, and how long it may take to arrive.
const HEAD_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection ends after this long, whatever it is doing.
const CONNECTION_MAX: Duration = Duration::from_secs(120);
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(5);
const TOKEN_TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// What serves metadata in one VPC.
#[derive(Debug)]
pub(crate) struct MetadataServer {
    pub(crate) directory: watch::Receiver<Arc<Directory>>,
    pub(crate) service: Service,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) connections: Arc<Slots>,
    pub(crate) started: Instant,
}

pub(crate) async fn serve(listener: TcpListener, server: Arc<MetadataServer>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, port) = accept(&listener).await;
        while connections.try_join_next().is_some() {}
        // Without a mark, or with one that is no port's, there is nobody to answer.
        if !server.directory.borrow().ports.contains_key(&port) {
            continue;
        }
        let Some(slot) = server.connections.take(port) else { continue };
        let server = Arc::clone(&server);
        connections.spawn(async move {
            if timeout(CONNECTION_MAX, converse(stream, port, server)).await.is_err() {
                tracing::trace!(port, "a metadata connection took too long");
            }
            drop(slot);
        });
    }
}

async fn converse(stream: TcpStream, port: u32, server: Arc<MetadataServer>) {
    let socket = match Socket::of(&stream) {
        Ok(socket) => Arc::new(socket),
        Err(e) => {
            tracing::debug!(port, error = %e, "cannot keep a metadata connection");
            return;
        }
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, socket) = (Arc::clone(&server), Arc::clone(&socket));
        // No request has a body that matters; hyper ends the connection of one that goes on sending.
        let (head, _) = request.into_parts();
        async move {
            let reply = server.answer(port, &head).await;
            Ok::<_, Infallible>(respond(reply, &head.method, &socket))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.max_buf_size(HEAD_MAX).max_headers(HEADERS_MAX);
    if let Err(e) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::trace!(port, error = %e, "a metadata connection ended");
    }
}

impl MetadataServer {
    /// `None`: there is no instance at the port.
    async fn answer(&self, port: u32, head: &Parts) -> Option<Reply> {
        let directory = Arc::clone(&self.directory.borrow());
        let call = Call { method: &head.method, path: head.uri.path(), headers: &head.headers };
        match self.service.answer(&directory, port, &call, self.started.elapsed())? {
            Outcome::Reply(reply) => Some(reply),
            Outcome::Role { instance, role } => {
                let keys = timeout(CREDENTIALS_TIMEOUT, self.credentials.of_role(&instance, &role)).await;
                let Ok(keys) = keys else {
                    return Some(Reply::error(StatusCode::SERVICE_UNAVAILABLE));
                };
                if let Err(e) = &keys {
                    tracing::warn!(%instance, role, error = %e, "no keys for the instance's role");
                }
                Some(Service::keys(keys))
            }
        }
    }
}

/// A second handle on a connection, to set how far its packets go.
struct Socket {
    fd: OwnedFd,
    is_ipv6: bool,
}

impl Socket {
    fn of(stream: &TcpStream) -> std::io::Result<Self> {
        let is_ipv6 = stream.local_addr()?.is_ipv6();
        Ok(Self { fd: stream.as_fd().try_clone_to_owned()?, is_ipv6 })
    }
}

fn respond(reply: Option<Reply>, method: &Method, socket: &Socket) -> Response<Full<Bytes>> {
    let mut reply = reply.unwrap_or_else(|| Reply::error(StatusCode::NOT_FOUND));
    if let Some((_, hops)) = reply.session {
        // Never raised again on this connection: a later packet would carry the token further when it is sent anew.
        if let Err(e) = sys::sockets::set_hop_limit(&socket.fd, socket.is_ipv6, hops) {
            tracing::warn!(error = %e, "cannot limit how far a session token travels; it is not given");
            reply = Reply::error(StatusCode::SERVICE_UNAVAILABLE);
        }
    }
    let body = if *method == Method::HEAD { Bytes::new() } else { reply.body.clone() };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("EC2ws"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
    if let Some((ttl, _)) = reply.session {
        headers.insert(TOKEN_TTL, HeaderValue::from(ttl));
    }
    if reply.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if !reply.status.is_success() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

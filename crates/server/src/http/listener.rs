//! Accepts connections: TLS with an optional client certificate, then HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use identity::{Principal, SourceAddress};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Body, Face};
use crate::pki::{self, Authority};

/// Most connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 20_000;
/// How long a TLS handshake or a request's headers may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that one HTTP/2 connection may have open at once.
const STREAMS_MAX: u32 = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    #[error("cannot listen on {address}: {source}; is another server running there?")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Pki(#[from] pki::PkiError),
}

/// A bound address that serves.
pub struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
    address: SocketAddr,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listener {
    pub async fn bind(address: SocketAddr, authority: &Authority) -> Result<Self, ListenerError> {
        let failed = |source| ListenerError::Bind { address, source };
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        let tls = TlsAcceptor::from(Arc::new(authority.server_config(address.ip())?));
        Ok(Self { tcp, tls, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until dropped.
    pub async fn serve(self, face: Face) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            let (tcp, from) = match self.tcp.accept().await {
                Ok((tcp, from)) => (tcp, SourceAddress(from.ip().to_canonical())),
                Err(e) => {
                    // Out of file descriptors, most likely: wait for connections to end rather than spin.
                    tracing::warn!(error = %e, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (tls, face) = (self.tls.clone(), face.clone());
            tokio::spawn(async move {
                connection(tcp, from, tls, face).await;
                drop(permit);
            });
        }
    }
}

async fn connection(tcp: TcpStream, from: SourceAddress, tls: TlsAcceptor, face: Face) {
    // Without this, small answers wait for the peer's delayed acknowledgement; failing to set it only costs time.
    let _ = tcp.set_nodelay(true);
    let Some(stream) = shake_hands(&tls, tcp).await else { return };
    let peer: Option<Principal> =
        stream.get_ref().1.peer_certificates().and_then(|chain| pki::principal(chain.first()?));
    let answer = move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(from);
        let (face, peer) = (face.clone(), peer.clone());
        async move { face.answer(peer, request).await }
    };
    converse(stream, answer).await;
}

/// The handshake of TLS, which has its time.
pub(super) async fn shake_hands<S>(tls: &TlsAcceptor, stream: S) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await.ok()?.ok()
}

/// HTTP on a connection, to its end.
pub(super) async fn converse<S, F, A>(stream: TlsStream<S>, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> A + Send + 'static,
    A: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let service = service_fn(answer);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Duration::from_secs(30));
    if let Err(e) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(error = %e, "a connection ended early");
    }
}

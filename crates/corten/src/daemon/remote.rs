//! Between the server and hosts that joined: streams one way, image files the other. Both show certificates.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agent::{BlobSource, Streams};
use async_trait::async_trait;
use client::Client;
use client::https::{Credential, Https, empty, full};
use futures::TryStreamExt;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::storage::VolumeBackup;
use model::topology::Host;
use model::{ApiError, Reason, Resource};
use server::Membership;
use server::http::{Duplex, StreamRequest};
use server::pki::{self, Authority, Identity};
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::io::StreamReader;

use super::gateway;
use crate::failure::Failure;

/// The user as which the server calls agents; no one else can get a certificate of this name.
const SERVER_USER: &str = "corten-server";
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The way from the server to other hosts.
pub(crate) struct RemoteHosts {
    servers_ca: String,
    identity: Identity,
    client: Client,
}

impl RemoteHosts {
    pub(crate) fn new(authority: &Authority, client: Client) -> Result<Self, Failure> {
        let identity =
            authority.client_identity(SERVER_USER, &[]).map_err(|e| Failure::failed(e.to_string()))?;
        Ok(Self { servers_ca: authority.servers.certificate.clone(), identity, client })
    }

    pub(crate) async fn open(
        &self,
        host: &str,
        request: StreamRequest,
    ) -> Result<Pin<Box<dyn Duplex>>, ApiError> {
        let found = self.client.all::<Host>().get(host).await?;
        let endpoint = &found.status.endpoint;
        if endpoint.is_empty() {
            let message = format!("the agent of host {host:?} is not up; its guests keep running");
            return Err(ApiError::new(Reason::ServiceUnavailable, message));
        }
        let credential = Credential::Certificate {
            chain: self.identity.certificate.clone(),
            key: self.identity.key.clone(),
        };
        let https = Https::new(&format!("https://{endpoint}"), &self.servers_ca, &credential)
            .map_err(|e| ApiError::internal(e.to_string()))?;
        let wish = serde_json::to_string(&request).map_err(|e| ApiError::internal(e.to_string()))?;
        let path = format!("/streams?{}", client::percent_encode(&wish));
        Ok(Box::pin(https.upgrade(Method::POST, &path).await?))
    }
}

/// Image files from the server.
pub(crate) struct RemoteBlobs {
    https: Https,
}

impl RemoteBlobs {
    pub(crate) fn new(https: Https) -> Self {
        Self { https }
    }
}

#[async_trait]
impl BlobSource for RemoteBlobs {
    async fn open(&self, sha256: &str) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        self.read(&format!("/blobs/{sha256}")).await
    }

    async fn backup(&self, project: &str, name: &str) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        let path = VolumeBackup::KIND.path(Some(project), Some(name));
        self.read(&format!("{path}/content")).await
    }
}

impl RemoteBlobs {
    async fn read(&self, path: &str) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        let request = Request::get(path).body(empty()).map_err(|e| ApiError::bad_request(e.to_string()))?;
        let body = self.https.upload(request).await?.into_body();
        let chunks = BodyDataStream::new(body).map_err(std::io::Error::other);
        Ok(Box::pin(StreamReader::new(chunks)))
    }
}

/// Where a joined host's agent offers its streams to the server.
pub(crate) struct StreamListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
    address: SocketAddr,
}

impl StreamListener {
    pub(crate) async fn bind(address: SocketAddr, membership: &Membership) -> Result<Self, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::failed(format!("cannot listen on {address}: {e}"));
        let config = pki::server_config(&membership.server, &membership.servers_ca, &membership.clients_ca)
            .map_err(|e| failed(&e))?;
        let tcp = TcpListener::bind(address).await.map_err(|e| failed(&e))?;
        let bound = tcp.local_addr().map_err(|e| failed(&e))?;
        Ok(Self { tcp, tls: TlsAcceptor::from(Arc::new(config)), address: bound })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn serve(self, streams: Streams) {
        loop {
            match self.tcp.accept().await {
                Ok((tcp, _)) => {
                    tokio::spawn(connection(tcp, self.tls.clone(), streams.clone()));
                }
                Err(e) => {
                    tracing::warn!(error = %e, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn connection(tcp: TcpStream, tls: TlsAcceptor, streams: Streams) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(tcp)).await else { return };
    let caller = stream.get_ref().1.peer_certificates().and_then(|chain| pki::principal(chain.first()?));
    if caller.is_none_or(|caller| caller.user != SERVER_USER) {
        tracing::warn!("a caller that is not the server was turned away");
        return;
    }
    let service = service_fn(move |request| {
        let streams = streams.clone();
        async move { Ok::<_, Infallible>(answer(request, &streams).await.unwrap_or_else(|e| refuse(&e))) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(e) = connection.with_upgrades().await {
        tracing::debug!(error = %e, "a stream ended early");
    }
}

async fn answer(
    request: Request<Incoming>,
    streams: &Streams,
) -> Result<Response<client::https::Body>, ApiError> {
    let wish = client::percent_decode(request.uri().query().unwrap_or(""));
    let wish: StreamRequest = serde_json::from_str(&wish)
        .map_err(|e| ApiError::bad_request(format!("this is no wish for a stream: {e}")))?;
    let mut stream = gateway::open(streams, wish).await?;
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            // Either side going away is how a stream ends.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await;
        }
    });
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("corten-stream"));
    Ok(response)
}

fn refuse(e: &ApiError) -> Response<client::https::Body> {
    let mut response = Response::new(full(e.to_json().to_string()));
    *response.status_mut() =
        StatusCode::from_u16(e.reason.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

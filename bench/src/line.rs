//! A light client of AWS's protocols, the same for all sides: it signs every request with version 4, over HTTP/1.1 on a
//! connection that it keeps, as AWS's own clients do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Response;
use http::header::{AUTHORIZATION, HOST};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use identity::Secret;
use identity::aws::{Signing, Unsigned, date};
use model::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Result;
use crate::cloud::Cloud;

/// Where a service is, and as whom it is called.
pub(crate) struct Endpoint {
    address: SocketAddr,
    host: String,
    /// `None`: without TLS.
    tls: Option<TlsConnector>,
    signing: Signing,
}

/// A request before it is signed.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// Beside those that every request has.
    pub(crate) header: (&'a str, &'a str),
    pub(crate) payload: &'a str,
    pub(crate) body: Bytes,
}

impl Endpoint {
    /// What `corten env aws` says.
    pub(crate) fn of_cloud(cloud: &Cloud, service: &str) -> Result<Self> {
        let said = cloud.corten(&["env", "aws"])?;
        let one = |name: &str| {
            let line = said
                .lines()
                .find_map(|line| line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['\'', '"']).to_owned())
                .ok_or(format!("corten env aws has no {name}"))
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(one("AWS_CA_BUNDLE")?)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = one("AWS_ENDPOINT_URL")?.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let signing = Signing {
            access_key_id: one("AWS_ACCESS_KEY_ID")?,
            secret: Secret::new(one("AWS_SECRET_ACCESS_KEY")?),
            region: one("AWS_REGION")?,
            service: service.into(),
        };
        Ok(Self { address: host.parse()?, host, tls: Some(TlsConnector::from(Arc::new(config))), signing })
    }

    /// A peer on loopback that speaks without TLS.
    pub(crate) fn plain(address: SocketAddr, host: &str, signing: Signing) -> Self {
        Self { address, host: host.into(), tls: None, signing }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => shake_hands(stream).await,
            Some(tls) => {
                let name = ServerName::from(self.address.ip());
                shake_hands(tls.connect(name, stream).await?).await
            }
        }
    }
}

async fn shake_hands<S>(stream: S) -> Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender, and whoever uses that hears of what goes wrong.
    tokio::spawn(connection);
    Ok(sender)
}

/// One caller's connection.
pub(crate) struct Line {
    endpoint: Arc<Endpoint>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Line {
    pub(crate) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self { endpoint: Arc::clone(endpoint), sender: None }
    }

    /// Signs a request and sends it.
    pub(crate) async fn send(&mut self, outgoing: Outgoing<'_>) -> Result<Response<Incoming>> {
        let endpoint = Arc::clone(&self.endpoint);
        let now = now();
        let mut headers = [("host", endpoint.host.as_str()), outgoing.header, ("x-amz-date", &now)];
        headers.sort_unstable();
        let Outgoing { method, path, query, payload, .. } = outgoing;
        let unsigned = Unsigned { method, path, query, headers: &headers, payload };
        let mark = if query.is_empty() { "" } else { "?" };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{path}{mark}{query}"))
            .header(HOST, &endpoint.host)
            .header("x-amz-date", &now)
            .header(outgoing.header.0, outgoing.header.1)
            .header(AUTHORIZATION, endpoint.signing.authorization(&now, &unsigned))
            .body(Full::new(outgoing.body))?;
        Ok(self.ready().await?.send_request(request).await?)
    }

    /// The connection, made anew where the other side has closed it.
    async fn ready(&mut self) -> Result<&mut SendRequest<Full<Bytes>>> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.endpoint.connect().await?,
        };
        if sender.ready().await.is_err() {
            sender = self.endpoint.connect().await?;
            sender.ready().await?;
        }
        Ok(self.sender.insert(sender))
    }
}

/// The text between two others, the first time.
pub(crate) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    rest.get(..rest.find(after)?)
}

/// As `20300102T030405Z`.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date(Timestamp(i64::try_from(since.as_millis()).unwrap_or_default()))
}

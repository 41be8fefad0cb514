//! A light client of AWS's query protocol, the same for both sides: it signs every request with version 4, over HTTP/1.1
//! on a connection that it keeps, as AWS's own clients do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use model::Timestamp;
use ring::{digest, hmac};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Result;
use crate::cloud::Cloud;

const VERSION: &str = "2016-11-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const SIGNED: &str = "content-type;host;x-amz-date";

/// Where a service is, and as whom it is called.
pub(super) struct Endpoint {
    address: SocketAddr,
    host: String,
    /// `None`: without TLS.
    tls: Option<TlsConnector>,
    id: String,
    secret: String,
    region: String,
}

impl Endpoint {
    /// What `corten env aws` says.
    pub(super) fn of_cloud(cloud: &Cloud) -> Result<Self> {
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
        Ok(Self {
            address: host.parse()?,
            host,
            tls: Some(TlsConnector::from(Arc::new(config))),
            id: one("AWS_ACCESS_KEY_ID")?,
            secret: one("AWS_SECRET_ACCESS_KEY")?,
            region: one("AWS_REGION")?,
        })
    }

    pub(super) fn of_moto(address: SocketAddr) -> Self {
        Self {
            address,
            host: "ec2.us-east-1.amazonaws.com".into(),
            tls: None,
            id: "AKIABENCHBENCHBENCH0".into(),
            secret: "secret".into(),
            region: "us-east-1".into(),
        }
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

    /// The value of Authorization.
    fn sign(&self, date: &str, body: &str) -> String {
        let scope = format!("{}/{}/ec2/aws4_request", &date[..8], self.region);
        let host = &self.host;
        let canonical = format!(
            "POST\n/\n\ncontent-type:{FORM}\nhost:{host}\nx-amz-date:{date}\n\n{SIGNED}\n{}",
            sha256(body.as_bytes())
        );
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let key =
            scope.split('/').fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| sign(&key, part));
        let signature = hex(&sign(&key, &text));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={signature}",
            self.id
        )
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
pub(super) struct Line {
    endpoint: Arc<Endpoint>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Line {
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self { endpoint: Arc::clone(endpoint), sender: None }
    }

    /// Sends the parameters of a request, encoded. Any answer but success is an error.
    pub(super) async fn call(&mut self, parameters: &str) -> Result<String> {
        let body = format!("{parameters}&Version={VERSION}");
        let date = now();
        let request = http::Request::post("/")
            .header(HOST, &self.endpoint.host)
            .header(CONTENT_TYPE, FORM)
            .header("x-amz-date", &date)
            .header(AUTHORIZATION, self.endpoint.sign(&date, &body))
            .body(Full::new(Bytes::from(body)))?;
        let response = self.ready().await?.send_request(request).await?;
        let status = response.status();
        let text = String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?;
        if status.is_success() { Ok(text) } else { Err(format!("{status} to {parameters}: {text}").into()) }
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
pub(super) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    rest.get(..rest.find(after)?)
}

/// As `20300102T030405Z`.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    Timestamp(seconds * 1000).to_string().replace(['-', ':'], "").replace(".000", "")
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

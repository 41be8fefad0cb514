//! Asking the host's resolvers. The sockets are made where the tasks run: in the host's own namespace.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Sends a DNS message to resolvers and returns the first answer. What comes back is checked by the caller.
#[async_trait]
pub trait Forwarder: Send + Sync + std::fmt::Debug + 'static {
    async fn forward(&self, query: &[u8], upstreams: &[SocketAddr]) -> io::Result<Vec<u8>>;
}

/// Asks over UDP from a fresh port each time, and over TCP where the answer is too long for that.
#[derive(Debug, Clone)]
pub struct HostForwarder {
    /// How long one resolver may take before the next is asked.
    pub patience: Duration,
}

impl Default for HostForwarder {
    fn default() -> Self {
        Self { patience: Duration::from_secs(2) }
    }
}

/// Resolvers that are asked, as many as libc would.
const UPSTREAMS_MAX: usize = 3;
const ANSWER_MAX: usize = 4096;

#[async_trait]
impl Forwarder for HostForwarder {
    async fn forward(&self, query: &[u8], upstreams: &[SocketAddr]) -> io::Result<Vec<u8>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no resolver to ask");
        for upstream in upstreams.iter().take(UPSTREAMS_MAX) {
            match timeout(self.patience, ask(query, *upstream)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(e)) => last = e,
                Err(_) => {
                    last = io::Error::new(io::ErrorKind::TimedOut, format!("{upstream} did not answer"));
                }
            }
        }
        Err(last)
    }
}

async fn ask(query: &[u8], upstream: SocketAddr) -> io::Result<Vec<u8>> {
    const TRUNCATED: u8 = 2;
    let answer = ask_udp(query, upstream).await?;
    let is_truncated = answer.get(2).is_some_and(|flags| flags & TRUNCATED != 0);
    if is_truncated { ask_tcp(query, upstream).await } else { Ok(answer) }
}

async fn ask_udp(query: &[u8], upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if upstream.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; ANSWER_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // A stray answer under another id is somebody's guess: wait on.
        if length >= 12 && query.get(..2) == buffer.get(..2) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(query: &[u8], upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[length.to_be_bytes().as_slice(), query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

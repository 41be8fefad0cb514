//! A real etcd, alone on loopback, driven over gRPC by as many writers over 100 connections (what its own
//! benchmark does). Speaks just the one call it needs.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Load, VALUE_BYTES, key};

const CONNECTIONS: usize = 100;
const READY_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn writes(writers: usize, each: Duration) -> io::Result<Load> {
    let etcd = Etcd::start().await?;
    let connections = Arc::new(etcd.writers(writers).await?);
    let before = etcd.fsyncs().await?;
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let connections = Arc::clone(&connections);
            tokio::spawn(async move {
                let mut number = 0;
                while started.elapsed() < each {
                    connections.put(writer, number).await?;
                    number += 1;
                }
                io::Result::Ok(number)
            })
        })
        .collect();
    let mut transactions = 0;
    for task in tasks {
        transactions += task.await??;
    }
    let elapsed = started.elapsed();
    Ok(Load { transactions, elapsed, fsyncs: etcd.fsyncs().await? - before })
}

/// What etcd's own tool makes of it: `etcdctl check perf --load=l`, which is 500 clients that put values of 1 KiB for
/// a minute, held at 8,000 a second at most.
pub(super) async fn check_perf() -> io::Result<Load> {
    let etcd = Etcd::start().await?;
    let before = etcd.fsyncs().await?;
    let started = Instant::now();
    let mut command = tokio::process::Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").arg(format!("--endpoints=http://{}", etcd.client));
    let output = command.args(["check", "perf", "--load=l"]).stdin(Stdio::null()).output().await?;
    let elapsed = started.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.lines().find_map(throughput).ok_or_else(|| {
        io::Error::other(format!("etcdctl check perf: {said}{}", String::from_utf8_lossy(&output.stderr)))
    })?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate of puts
    let transactions = (rate * elapsed.as_secs_f64()) as u64;
    Ok(Load { transactions, elapsed, fsyncs: etcd.fsyncs().await? - before })
}

/// `PASS: Throughput is 5770 writes/s`, or `FAIL: Throughput too low: 5770 writes/s`.
fn throughput(line: &str) -> Option<f64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let unit = words.iter().position(|word| *word == "writes/s")?;
    line.contains("Throughput").then(|| words.get(unit - 1)?.parse().ok()).flatten()
}

/// Connections that writers share, in turn.
pub(crate) struct Writers(Vec<Connection>);

impl Writers {
    pub(crate) async fn put(&self, writer: usize, number: u64) -> io::Result<()> {
        put(self.0[writer % self.0.len()].clone(), &key(writer, number)).await
    }
}

/// Ends with this, and its data with it.
pub(crate) struct Etcd {
    process: Child,
    client: SocketAddr,
    peer: SocketAddr,
    directory: tempfile::TempDir,
}

impl Etcd {
    pub(crate) async fn writers(&self, writers: usize) -> io::Result<Writers> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS.min(writers) {
            connections.push(connect(self.client).await?);
        }
        Ok(Writers(connections))
    }

    pub(crate) async fn start() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (client, peer) = (free_address()?, free_address()?);
        let etcd = Self { process: spawn(directory.path(), client, peer)?, client, peer, directory };
        etcd.ready().await?;
        Ok(etcd)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.client
    }

    /// One more connection, for one writer.
    pub(crate) async fn connect_to(address: SocketAddr) -> io::Result<Writers> {
        Ok(Writers(vec![connect(address).await?]))
    }

    /// `kill -9`, and at once a new process on the same data; does not wait for it.
    pub(crate) fn kill_and_start(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = spawn(self.directory.path(), self.client, self.peer)?;
        Ok(())
    }

    async fn ready(&self) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let ready = match connect(self.client).await {
                Ok(connection) => put(connection, "/ready").await,
                Err(error) => Err(error),
            };
            match ready {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Of its log and of its backend, from its own metrics.
    async fn fsyncs(&self) -> io::Result<u64> {
        let mut stream = TcpStream::connect(self.client).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let counters = [
            "etcd_disk_wal_fsync_duration_seconds_count ",
            "etcd_disk_backend_commit_duration_seconds_count ",
        ];
        let counts = answer
            .lines()
            .filter_map(|line| counters.iter().find_map(|counter| line.strip_prefix(counter)))
            .filter_map(|count| count.parse::<u64>().ok());
        Ok(counts.sum())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(directory: &Path, client: SocketAddr, peer: SocketAddr) -> io::Result<Child> {
    let url = |address: SocketAddr| format!("http://{address}");
    Command::new("etcd")
        .arg("--data-dir")
        .arg(directory)
        .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
        .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
        .args(["--initial-cluster", &format!("default={}", url(peer))])
        // Room for the run, and the snapshot interval that newer versions default to.
        .args(["--quota-backend-bytes", "8589934592", "--snapshot-count", "100000"])
        .args(["--log-level", "error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

type Connection = SendRequest<Full<Bytes>>;

async fn connect(address: SocketAddr) -> io::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (connection, driver) = handshake.await.map_err(io::Error::other)?;
    tokio::spawn(driver);
    Ok(connection)
}

async fn put(mut connection: Connection, key: &str) -> io::Result<()> {
    connection.ready().await.map_err(io::Error::other)?;
    let request = http::Request::post("http://etcd/etcdserverpb.KV/Put")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(put_message(key)))
        .map_err(io::Error::other)?;
    let response = connection.send_request(request).await.map_err(io::Error::other)?;
    let refused = |why: &dyn std::fmt::Debug| io::Error::other(format!("etcd refused a put: {why:?}"));
    if response.headers().contains_key("grpc-status") {
        return Err(refused(response.headers()));
    }
    let body = response.into_body().collect().await.map_err(io::Error::other)?;
    match body.trailers().and_then(|trailers| trailers.get("grpc-status")) {
        Some(status) if status == "0" => Ok(()),
        _ => Err(refused(&body.trailers())),
    }
}

/// `PutRequest { key = 1, value = 2 }` in a gRPC frame.
fn put_message(key: &str) -> Bytes {
    let mut message = BytesMut::with_capacity(VALUE_BYTES + key.len() + 16);
    message.put_bytes(0, 5);
    put_field(&mut message, 1, key.as_bytes());
    put_field(&mut message, 2, &[7; VALUE_BYTES]);
    let length = u32::try_from(message.len() - 5).expect("a put of 1 KiB is small");
    message[1..5].copy_from_slice(&length.to_be_bytes());
    message.freeze()
}

fn put_field(message: &mut BytesMut, number: u8, content: &[u8]) {
    message.put_u8(number << 3 | 2);
    let mut length = content.len();
    while length >= 0x80 {
        message.put_u8(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    message.put_u8(u8::try_from(length).expect("seven bits"));
    message.put_slice(content);
}

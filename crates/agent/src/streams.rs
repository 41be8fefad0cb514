//! Byte streams of this host's instances: logs, consoles, programs, displays.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::disks::Disks;
use crate::log::Decoder;
use crate::meter::Meter;
use crate::network::{AskError, Networks};
use client::disks::{BackupWish, DiskOf};
use client::frames::Frame;
use driver::{ByteStream, ComputeDriver, DriverError, Exec, ExecRequest};
use model::Uid;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, DuplexStream};

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);
/// Bytes in flight between a program and its reader.
const PIPE: usize = 64 * 1024;
/// How far from the end a tail is looked for.
const TAIL_MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Network(#[from] AskError),
    #[error("the log cannot be read: {0}")]
    Log(#[from] std::io::Error),
}

/// Opens streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    drivers: Vec<Arc<dyn ComputeDriver>>,
    networks: Option<Networks>,
    disks: Disks,
    meter: Meter,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("drivers", &self.drivers.len()).finish_non_exhaustive()
    }
}

impl Streams {
    pub(crate) fn new(
        drivers: Vec<Arc<dyn ComputeDriver>>,
        networks: Option<Networks>,
        disks: Disks,
        meter: Meter,
    ) -> Self {
        Self { drivers, networks, disks, meter }
    }

    /// What the payload printed: the last `tail` lines, or all; with `follow` also what it will print.
    pub async fn logs(
        &self,
        uid: &Uid,
        container: &str,
        follow: bool,
        tail: Option<u64>,
    ) -> Result<Pin<Box<dyn ByteStream>>, StreamError> {
        let driver = self.driver(uid).await?;
        let console = driver.console().ok_or_else(|| unsupported(driver, "show logs"))?;
        let path = console.log_path(uid, container).await?;
        let mut file = File::open(&path).await?;
        if let Some(lines) = tail {
            seek_to_tail(&mut file, lines).await?;
        }
        let (reader, writer) = tokio::io::duplex(PIPE);
        tokio::spawn(copy_log(file, path, Decoder::new(console.log_format()), writer, follow));
        Ok(Box::pin(reader))
    }

    pub async fn console(&self, uid: &Uid) -> Result<Pin<Box<dyn ByteStream>>, StreamError> {
        let driver = self.driver(uid).await?;
        let console = driver.console().ok_or_else(|| unsupported(driver, "attach to a console"))?;
        Ok(console.attach(uid).await?)
    }

    pub async fn display(&self, uid: &Uid) -> Result<Pin<Box<dyn ByteStream>>, StreamError> {
        let driver = self.driver(uid).await?;
        let display = driver.display().ok_or_else(|| unsupported(driver, "show a display"))?;
        Ok(display.vnc(uid).await?)
    }

    /// Runs a program; the stream carries [`Frame`]s both ways.
    pub async fn exec(
        &self,
        uid: &Uid,
        request: ExecRequest,
    ) -> Result<Pin<Box<dyn ByteStream>>, StreamError> {
        let driver = self.driver(uid).await?;
        let access = driver.exec().ok_or_else(|| unsupported(driver, "run programs inside"))?;
        let exec = access.exec(uid, request).await?;
        let (near, far) = tokio::io::duplex(PIPE);
        tokio::spawn(carry(exec, far));
        Ok(Box::pin(near))
    }

    /// A TCP port of an instance, through its own network.
    pub async fn forward(&self, uid: &Uid, port: u16) -> Result<Pin<Box<dyn ByteStream>>, StreamError> {
        Ok(Box::pin(self.networks()?.connect(uid, port).await?))
    }

    /// What differs from the plan of a VPC here, as JSON of [`client::networks::NetworkCheck`]; with `repair` it is
    /// programmed again.
    pub async fn check_network(
        &self,
        vpc: &Uid,
        repair: bool,
    ) -> Result<Pin<Box<dyn ByteStream>>, StreamError> {
        Ok(said(&self.networks()?.check(vpc, repair).await?)?)
    }

    /// Counters of all ports here, as a JSON list of [`client::networks::PortCount`].
    pub async fn network_counters(&self) -> Result<Pin<Box<dyn ByteStream>>, StreamError> {
        Ok(said(&self.networks()?.counters().await?)?)
    }

    /// What an instance used in the last hours, as a JSON list of [`client::samples::Sample`].
    pub fn samples(&self, uid: &Uid) -> Result<Pin<Box<dyn ByteStream>>, StreamError> {
        Ok(said(&self.meter.samples(uid))?)
    }

    /// What was recorded of flows of a VPC here, of one port or of all, as lines.
    pub async fn flows(
        &self,
        vpc: &Uid,
        port: &str,
        whole: bool,
    ) -> Result<Pin<Box<dyn ByteStream>>, StreamError> {
        let text = self.networks()?.flows(vpc, port, whole).await?;
        Ok(once(text.into_bytes()))
    }

    /// A disk of this host as one file, as [`client::disks`] says.
    pub fn disk(&self, of: DiskOf, uid: &Uid) -> Pin<Box<dyn ByteStream>> {
        self.disks.send(of, uid)
    }

    /// What is in a volume of this host, or what changed in it, as a stream of the `backup` crate.
    pub fn backup(&self, wish: BackupWish) -> Pin<Box<dyn ByteStream>> {
        self.disks.send_backup(wish)
    }

    fn networks(&self) -> Result<&Networks, AskError> {
        self.networks.as_ref().ok_or(AskError::Off)
    }

    async fn driver(&self, uid: &Uid) -> Result<&dyn ComputeDriver, DriverError> {
        for driver in &self.drivers {
            match driver.observe(uid).await {
                Err(DriverError::NotFound(_)) => {}
                Err(e) => return Err(e),
                Ok(_) => return Ok(&**driver),
            }
        }
        Err(DriverError::NotFound(uid.to_string()))
    }
}

/// A stream that says one thing and ends.
fn said(answer: &impl serde::Serialize) -> Result<Pin<Box<dyn ByteStream>>, AskError> {
    let json = serde_json::to_vec(answer).map_err(|e| AskError::Failed(e.to_string()))?;
    Ok(once(json))
}

fn once(bytes: Vec<u8>) -> Pin<Box<dyn ByteStream>> {
    Box::pin(tokio::io::join(std::io::Cursor::new(bytes), tokio::io::sink()))
}

fn unsupported(driver: &dyn ComputeDriver, what: &str) -> DriverError {
    DriverError::Unsupported { driver: driver.name(), what: what.into() }
}

/// Places the file where its last `lines` lines begin.
async fn seek_to_tail(file: &mut File, lines: u64) -> std::io::Result<()> {
    let size = file.metadata().await?.len();
    let start = size.saturating_sub(TAIL_MAX_BYTES);
    file.seek(std::io::SeekFrom::Start(start)).await?;
    let mut end = Vec::new();
    file.take(TAIL_MAX_BYTES).read_to_end(&mut end).await?;
    let text = end.strip_suffix(b"\n").unwrap_or(&end);
    let newlines = text.iter().enumerate().rev().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1);
    let wanted = usize::try_from(lines).unwrap_or(usize::MAX);
    let offset = match wanted {
        0 => end.len(),
        n => newlines.take(n).nth(n - 1).unwrap_or(0),
    };
    file.seek(std::io::SeekFrom::Start(start + offset as u64)).await?;
    Ok(())
}

/// Copies a log until the reader goes away, or to its end.
async fn copy_log(mut file: File, path: PathBuf, mut decoder: Decoder, mut to: DuplexStream, follow: bool) {
    let mut buffer = vec![0; PIPE];
    loop {
        match file.read(&mut buffer).await {
            Err(_) => return,
            Ok(0) if !follow => return,
            Ok(0) => {
                tokio::time::sleep(FOLLOW_EVERY).await;
                // A log that became shorter was started anew; one that is gone belongs to a deleted instance.
                let Ok(meta) = tokio::fs::metadata(&path).await else { return };
                let position = file.stream_position().await.unwrap_or(0);
                if meta.len() < position && file.seek(std::io::SeekFrom::Start(0)).await.is_err() {
                    return;
                }
                // Finds out whether the reader is still there.
                if to.flush().await.is_err() {
                    return;
                }
            }
            Ok(n) => {
                if to.write_all(&decoder.decode(&buffer[..n])).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Carries a program's streams as frames until it has ended and its output is read.
async fn carry(exec: Exec, far: DuplexStream) {
    let Exec { stdin, stdout, stderr, exit } = exec;
    let (mut from_caller, to_caller) = tokio::io::split(far);
    let to_caller = Arc::new(tokio::sync::Mutex::new(to_caller));
    let input = async {
        let mut stdin = Some(stdin);
        loop {
            match Frame::read(&mut from_caller).await {
                Ok(Some(Frame::Stdin(data))) if data.is_empty() => stdin = None,
                Ok(Some(Frame::Stdin(data))) => {
                    if let Some(stdin) = &mut stdin
                        && stdin.write_all(&data).await.is_err()
                    {
                        // The program closed its input; it may still have something to say.
                        std::future::pending::<()>().await;
                    }
                }
                Ok(Some(_)) => {}
                // The caller went away: dropping the program ends it.
                Ok(None) | Err(_) => return,
            }
        }
    };
    let output = async {
        let out = pump(stdout, Frame::Stdout, &to_caller);
        let err = pump(stderr, Frame::Stderr, &to_caller);
        let (code, (), ()) = tokio::join!(exit, out, err);
        let last = match code {
            Ok(code) => Frame::Exit(code),
            Err(e) => Frame::Failed(e.to_string()),
        };
        let mut to_caller = to_caller.lock().await;
        // A caller that went away needs no exit code.
        let _ = to_caller.write_all(&last.encode()).await;
        let _ = to_caller.shutdown().await;
    };
    tokio::select! {
        () = input => {}
        () = output => {}
    }
}

async fn pump(
    mut from: Pin<Box<dyn AsyncRead + Send>>,
    frame: fn(Vec<u8>) -> Frame,
    to: &tokio::sync::Mutex<tokio::io::WriteHalf<DuplexStream>>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(n) if n > 0 => {
                if to.lock().await.write_all(&frame(buffer[..n].to_vec()).encode()).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

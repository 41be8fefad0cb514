//! Byte streams to and from hosts: logs, consoles, programs, ports, images, and what hosts say of networks. The server only passes them on.

use std::io;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use client::disks::{BackupWish, DiskOf};
use futures::Stream;
use model::compute::{ArtifactRole, Image};
use model::storage::VolumeBackup;
use model::{ApiError, Uid};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

/// A two-way stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What is wanted of a sandbox on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum StreamRequest {
    /// What it printed; with `follow` also what it will print.
    Logs { uid: Uid, container: String, follow: bool, tail: Option<u64> },
    /// Its serial console or terminal.
    Console { uid: Uid },
    /// A program inside it; the stream carries the frames of `client::frames`.
    Exec { uid: Uid, container: String, argv: Vec<String>, tty: bool },
    /// Its display, as RFB.
    Display { uid: Uid },
    /// A TCP port of it, through its own network.
    Forward { uid: Uid, port: u16 },
    /// What differs from the plan of a VPC, as JSON (`client::networks`); with `repair` it is programmed again.
    NetworkCheck { vpc: Uid, repair: bool },
    /// What was recorded of flows of a VPC, of one port or of all, as lines.
    NetworkFlows {
        vpc: Uid,
        port: String,
        /// With what is noted behind the usual words.
        #[serde(default)]
        whole: bool,
    },
    /// A disk as one file (`client::disks`).
    Disk { of: DiskOf, uid: Uid },
    /// What is in a volume, or what changed in it, as a stream of the `backup` crate.
    Backup { wish: BackupWish },
    /// What it used in the last hours, as JSON (`client::samples`).
    Samples { uid: Uid },
    /// Counters of all ports on the host, as JSON (`client::networks`).
    NetworkCounters,
}

/// The way to hosts.
#[async_trait]
pub trait HostGateway: Send + Sync + 'static {
    async fn open(&self, host: &str, request: StreamRequest) -> Result<Pin<Box<dyn Duplex>>, ApiError>;
}

pub type Upload = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Where image files are kept.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Takes one file of an image, checks and converts it, and reports in the image's status.
    async fn upload(&self, image: Image, role: ArtifactRole, body: Upload) -> Result<(), ApiError>;
    /// A verified file by its SHA-256, and its size.
    async fn open(&self, sha256: &str) -> Result<(Pin<Box<dyn AsyncRead + Send>>, u64), ApiError>;
}

/// What is in backups.
#[async_trait]
pub trait Backups: Send + Sync + 'static {
    /// All of it, as one stream.
    async fn read(&self, backup: VolumeBackup) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError>;
    /// Makes a backup, which has nothing yet, of such a stream.
    async fn write(&self, backup: VolumeBackup, body: Upload) -> Result<(), ApiError>;
}

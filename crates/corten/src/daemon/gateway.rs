//! The way from the server to the streams of hosts: in this process, or over TLS to a host that joined.

use std::pin::Pin;
use std::sync::Arc;

use agent::{AskError, StreamError, Streams};
use async_trait::async_trait;
use client::disks::{BackupWish, DiskOf};
use controllers::backup::VolumeReader;
use controllers::flow_log::FlowReader;
use controllers::image::Disks;
use driver::{DriverError, ExecRequest};
use model::{ApiError, Reason, Uid};
use parking_lot::RwLock;
use server::http::{Duplex, HostGateway, StreamRequest};
use tokio::io::AsyncRead;

use super::remote::RemoteHosts;

/// Knows the local host once its agent has started, and asks the others.
pub(crate) struct Gateway {
    local: Arc<RwLock<Option<(String, Streams)>>>,
    remote: RemoteHosts,
}

impl Gateway {
    pub(crate) fn new(remote: RemoteHosts) -> Self {
        Self { local: Arc::default(), remote }
    }

    pub(crate) fn set_local(&self, host: &str, streams: Streams) {
        *self.local.write() = Some((host.to_owned(), streams));
    }
}

#[async_trait]
impl HostGateway for Gateway {
    async fn open(&self, host: &str, request: StreamRequest) -> Result<Pin<Box<dyn Duplex>>, ApiError> {
        let local =
            self.local.read().as_ref().filter(|(name, _)| name == host).map(|(_, streams)| streams.clone());
        match local {
            Some(streams) => open(&streams, request).await,
            None => self.remote.open(host, request).await,
        }
    }
}

#[async_trait]
impl Disks for Gateway {
    async fn open(
        &self,
        host: &str,
        of: DiskOf,
        uid: &Uid,
    ) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        let stream = HostGateway::open(self, host, StreamRequest::Disk { of, uid: uid.clone() }).await?;
        Ok(Box::pin(stream))
    }
}

#[async_trait]
impl VolumeReader for Gateway {
    async fn open(&self, host: &str, wish: BackupWish) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        let stream = HostGateway::open(self, host, StreamRequest::Backup { wish }).await?;
        Ok(Box::pin(stream))
    }
}

#[async_trait]
impl FlowReader for Gateway {
    async fn open(&self, host: &str, vpc: &Uid) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        let wanted = StreamRequest::NetworkFlows { vpc: vpc.clone(), port: String::new(), whole: true };
        let stream = HostGateway::open(self, host, wanted).await?;
        Ok(Box::pin(stream))
    }
}

/// Opens a stream of this host.
pub(crate) async fn open(
    streams: &Streams,
    request: StreamRequest,
) -> Result<Pin<Box<dyn Duplex>>, ApiError> {
    let stream = match request {
        StreamRequest::Logs { uid, container, follow, tail } => {
            streams.logs(&uid, &container, follow, tail).await
        }
        StreamRequest::Console { uid } => streams.console(&uid).await,
        StreamRequest::Display { uid } => streams.display(&uid).await,
        StreamRequest::Exec { uid, container, argv, tty } => {
            streams.exec(&uid, ExecRequest { container, argv, tty }).await
        }
        StreamRequest::Forward { uid, port } => streams.forward(&uid, port).await,
        StreamRequest::NetworkCheck { vpc, repair } => streams.check_network(&vpc, repair).await,
        StreamRequest::NetworkFlows { vpc, port, whole } => streams.flows(&vpc, &port, whole).await,
        StreamRequest::Disk { of, uid } => Ok(streams.disk(of, &uid)),
        StreamRequest::Backup { wish } => Ok(streams.backup(wish)),
        StreamRequest::Samples { uid } => streams.samples(&uid),
        StreamRequest::NetworkCounters => streams.network_counters().await,
    };
    match stream {
        Ok(stream) => Ok(Box::pin(stream)),
        Err(e) => Err(translate(&e)),
    }
}

fn translate(e: &StreamError) -> ApiError {
    let reason = match e {
        StreamError::Driver(DriverError::NotFound(_)) | StreamError::Network(AskError::NoPort) => {
            Reason::NotFound
        }
        StreamError::Driver(DriverError::Unsupported { .. }) | StreamError::Network(AskError::Off) => {
            Reason::NotImplemented
        }
        StreamError::Driver(DriverError::WrongState(_)) => Reason::Conflict,
        StreamError::Driver(DriverError::Invalid(_)) => Reason::BadRequest,
        StreamError::Driver(DriverError::TimedOut { .. }) | StreamError::Network(AskError::Silent(_)) => {
            Reason::Timeout
        }
        StreamError::Network(AskError::Closed(_)) => Reason::ServiceUnavailable,
        StreamError::Log(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return ApiError::new(Reason::NotFound, "nothing has been printed yet");
        }
        StreamError::Driver(DriverError::Failed { .. })
        | StreamError::Log(_)
        | StreamError::Network(AskError::Failed(_)) => Reason::InternalError,
    };
    ApiError::new(reason, e.to_string())
}

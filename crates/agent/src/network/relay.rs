//! The way of `corten ssh` into a VPC: a port of this host's loopback that leads to a guest's ssh server, through the
//! guest's own network namespace. Only who may connect to this host's loopback comes that far.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sys::namespace::within_network;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::blocking::blocking;

/// Connections to one guest at the same time.
const CONNECTIONS_MAX: usize = 64;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const SSH: u16 = 22;

/// Goes on until it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    guest: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Leads to `guest` in the network kept at `namespace`; at the address of an earlier relay when it is free.
    pub(super) async fn start(
        namespace: &Path,
        guest: IpAddr,
        before: Option<SocketAddr>,
    ) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = match TcpListener::bind(before.filter(|a| a.ip().is_loopback()).unwrap_or(any)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind(any).await?,
        };
        let (address, guest) = (listener.local_addr()?, SocketAddr::new(guest, SSH));
        let task = tokio::spawn(serve(listener, namespace.to_owned(), guest));
        Ok(Self { address, guest, task })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn leads_to(&self, guest: IpAddr) -> bool {
        self.guest.ip() == guest
    }
}

async fn serve(listener: TcpListener, namespace: PathBuf, guest: SocketAddr) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((caller, _)) = listener.accept().await else {
            // Out of descriptors, most likely: it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let namespace = namespace.clone();
        tokio::spawn(async move {
            let _slot = slot;
            // A guest that does not answer shows itself by the closed connection.
            if let Err(e) = carry(caller, namespace, guest).await {
                tracing::debug!(%guest, error = %e, "a connection to a guest ended");
            }
        });
    }
}

async fn carry(mut caller: TcpStream, namespace: PathBuf, guest: SocketAddr) -> io::Result<()> {
    let mut stream = connect(namespace, guest).await?;
    tokio::io::copy_bidirectional(&mut caller, &mut stream).await.map(|_| ())
}

/// Connects to a guest from inside of the network kept at `namespace`.
pub(super) async fn connect(namespace: PathBuf, guest: SocketAddr) -> io::Result<TcpStream> {
    let connect = move || {
        let namespace = File::open(namespace)?;
        within_network(Some(&namespace), || std::net::TcpStream::connect_timeout(&guest, CONNECT_WITHIN))
    };
    let stream = blocking(connect).await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

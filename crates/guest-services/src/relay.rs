//! Carries guests' connections to the cloud's own API, byte by byte: what is said is between the guest and the server.
//! That a packet comes here at all is the data plane's to decide; which way it came by, the directory says.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::Uid;
use model::network::Passage;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::directory::{Directory, Door};
use crate::endpoint::accept;
use crate::limit::Slots;

/// Bytes under way in each direction of a connection.
const BUFFER: usize = 16 << 10;
/// How long the server is tried; it may be starting anew.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
const TRY_EVERY: Duration = Duration::from_millis(250);

/// A two-way stream to the server.
pub trait Way: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Way for T {}

/// The way to the server.
#[async_trait]
pub trait Upstream: Send + Sync + Debug {
    /// One that is refused, with [`io::ErrorKind::PermissionDenied`], is not tried again.
    async fn open(&self, passage: &Passage) -> io::Result<Pin<Box<dyn Way>>>;
}

/// There is no way.
#[derive(Debug)]
pub struct NoUpstream;

#[async_trait]
impl Upstream for NoUpstream {
    async fn open(&self, _passage: &Passage) -> io::Result<Pin<Box<dyn Way>>> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) directory: watch::Receiver<Arc<Directory>>,
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) connections: Arc<Slots>,
    /// How long a connection may be silent, or its reader keep what is for him waiting.
    pub(crate) idle: Duration,
}

pub(crate) async fn serve(listener: TcpListener, relay: Arc<Relay>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, port) = accept(&listener).await;
        while connections.try_join_next().is_some() {}
        let Ok((from, to)) = ends(&stream) else { continue };
        let door = relay.directory.borrow().door(port, to).cloned();
        let Some(passage) = door.and_then(|door| door.passage(port, from)) else { continue };
        let Some(slot) = relay.connections.take(port) else {
            tracing::debug!(port, "a port has too many connections to the cloud's API");
            continue;
        };
        let relay = Arc::clone(&relay);
        connections.spawn(async move {
            tokio::select! {
                () = relay.carry(stream, &passage) => {}
                () = relay.closed(port, to, &passage.uid) => {
                    tracing::debug!(endpoint = passage.endpoint, "a connection ended with its endpoint");
                }
            }
            drop(slot);
        });
    }
}

fn ends(stream: &TcpStream) -> io::Result<(IpAddr, IpAddr)> {
    // Small messages of TLS wait for nobody; failing to say so costs time only.
    let _ = stream.set_nodelay(true);
    let plain = |address: SocketAddr| address.ip().to_canonical();
    Ok((plain(stream.peer_addr()?), plain(stream.local_addr()?)))
}

impl Relay {
    /// Ends when the way that a connection came by is no more.
    async fn closed(&self, port: u32, to: IpAddr, uid: &Uid) {
        let mut directory = self.directory.clone();
        loop {
            let is_open =
                directory.borrow_and_update().door(port, to).is_some_and(|door| door.endpoint.uid == *uid);
            if !is_open || directory.changed().await.is_err() {
                return;
            }
        }
    }

    async fn carry(&self, guest: TcpStream, passage: &Passage) {
        match self.open(passage).await {
            Ok(server) => carry(guest, server, self.idle).await,
            Err(e) => tracing::debug!(endpoint = passage.endpoint, error = %e, "no way to the server"),
        }
    }

    async fn open(&self, passage: &Passage) -> io::Result<Pin<Box<dyn Way>>> {
        let deadline = Instant::now() + OPEN_WITHIN;
        loop {
            let opened = tokio::time::timeout_at(deadline, self.upstream.open(passage)).await?;
            match opened {
                Err(e) if e.kind() != io::ErrorKind::PermissionDenied && Instant::now() < deadline => {
                    tokio::time::sleep(TRY_EVERY).await;
                }
                result => return result,
            }
        }
    }
}

/// Copies both ways until both have ended, either fails, or nothing moves for too long. Each side is read only as fast as
/// the other takes it.
async fn carry(
    guest: impl AsyncRead + AsyncWrite + Send,
    server: impl AsyncRead + AsyncWrite + Send,
    idle: Duration,
) {
    let (from_guest, to_guest) = tokio::io::split(guest);
    let (from_server, to_server) = tokio::io::split(server);
    let moved = Mutex::new(Instant::now());
    let both = async {
        // Either side going away is how a connection ends.
        let _ = tokio::try_join!(pump(from_guest, to_server, &moved), pump(from_server, to_guest, &moved),);
    };
    let silent = async {
        loop {
            let due = *moved.lock() + idle;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    };
    tokio::select! {
        () = both => {}
        () = silent => {}
    }
}

async fn pump(
    from: impl AsyncRead + Send,
    to: impl AsyncWrite + Send,
    moved: &Mutex<Instant>,
) -> io::Result<()> {
    tokio::pin!(from, to);
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        *moved.lock() = Instant::now();
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        *moved.lock() = Instant::now();
    }
}

impl Door {
    fn passage(&self, port: u32, from: IpAddr) -> Option<Passage> {
        Some(Passage {
            project: self.endpoint.project.clone(),
            endpoint: self.endpoint.name.clone(),
            uid: self.endpoint.uid.clone(),
            port: self.clients.get(&port)?.clone(),
            from,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use crate::directory::EndpointId;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn both_directions_are_carried_to_their_ends() {
        let (mut guest, near) = duplex(64);
        let (far, mut server) = duplex(64);
        let carried = tokio::spawn(carry(near, far, IDLE));
        let said = vec![7; 100_000];
        let talk = async {
            guest.write_all(&said).await.unwrap();
            guest.shutdown().await.unwrap();
            let mut heard = Vec::new();
            guest.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let answer = async {
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await.unwrap();
            server.write_all(b"bye").await.unwrap();
            server.shutdown().await.unwrap();
            heard
        };
        let (answered, heard) = tokio::join!(talk, answer);
        assert_eq!((answered.as_slice(), heard == said), (&b"bye"[..], true));
        carried.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_or_does_not_read_is_let_go() {
        let (mut guest, near) = duplex(64);
        let (far, mut server) = duplex(64);
        let began = Instant::now();
        let carried = tokio::spawn(carry(near, far, IDLE));
        tokio::time::sleep(IDLE / 2).await;
        guest.write_all(b"x").await.unwrap();
        carried.await.unwrap();
        assert_eq!(began.elapsed(), IDLE + IDLE / 2, "from the last byte on");
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 1);
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0, "and the server is told");

        let (mut guest, near) = duplex(64);
        let (far, _unread) = duplex(64);
        let began = Instant::now();
        let carried = tokio::spawn(carry(near, far, IDLE));
        let writer = tokio::spawn(async move { guest.write_all(&vec![0; 1 << 20]).await });
        carried.await.unwrap();
        assert!(writer.await.unwrap().is_err(), "nobody took it");
        assert_eq!(began.elapsed(), IDLE);
    }

    /// Fails twice, as a server does that starts anew, or refuses.
    #[derive(Debug, Default)]
    struct Starting {
        refuses: bool,
        asked: Mutex<Vec<Passage>>,
        ends: Mutex<Vec<DuplexStream>>,
    }

    #[async_trait]
    impl Upstream for Starting {
        async fn open(&self, passage: &Passage) -> io::Result<Pin<Box<dyn Way>>> {
            let mut asked = self.asked.lock();
            asked.push(passage.clone());
            if self.refuses {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            if asked.len() < 3 {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = duplex(64);
            self.ends.lock().push(far);
            Ok(Box::pin(near))
        }
    }

    fn directory(uid: u8, address: IpAddr, ports: &[u32]) -> Arc<Directory> {
        let door = Door {
            endpoint: EndpointId { project: "p".into(), name: "e".into(), uid: Uid::from_random([uid; 16]) },
            addresses: vec![address],
            clients: Arc::new(
                ports.iter().map(|port| (*port, format!("port{port}"))).collect::<HashMap<_, _>>(),
            ),
        };
        Arc::new(Directory { doors: vec![Arc::new(door)], ..Directory::default() })
    }

    fn relay(directory: watch::Receiver<Arc<Directory>>, upstream: Arc<Starting>) -> Relay {
        Relay { directory, upstream, connections: Slots::new(2, 3), idle: IDLE }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_starts_is_waited_for_and_one_that_refuses_is_not() {
        let address = IpAddr::from([169, 254, 171, 3]);
        let (_sender, receiver) = watch::channel(directory(1, address, &[5]));
        let door = receiver.borrow().door(5, address).cloned().expect("the door");
        let passage = door.passage(5, IpAddr::from([10, 0, 0, 2])).expect("a passage");
        assert_eq!((passage.port.as_str(), passage.endpoint.as_str()), ("port5", "e"));
        let starting = Arc::new(Starting::default());
        assert!(relay(receiver.clone(), Arc::clone(&starting)).open(&passage).await.is_ok());
        assert_eq!(*starting.asked.lock(), vec![passage.clone(); 3]);
        let refusing = Arc::new(Starting { refuses: true, ..Starting::default() });
        assert!(relay(receiver, Arc::clone(&refusing)).open(&passage).await.is_err());
        assert_eq!(refusing.asked.lock().len(), 1);
    }

    #[tokio::test]
    async fn a_way_that_is_gone_ends_its_connections() {
        let address = IpAddr::from([169, 254, 171, 3]);
        let (sender, receiver) = watch::channel(directory(1, address, &[5, 6]));
        assert!(receiver.borrow().door(7, address).is_none(), "no port of its");
        assert!(receiver.borrow().door(5, IpAddr::from([10, 0, 0, 9])).is_none(), "no address of its");
        let relay = Arc::new(relay(receiver, Arc::default()));
        let uid = Uid::from_random([1; 16]);
        let closed = {
            let (relay, uid) = (Arc::clone(&relay), uid.clone());
            tokio::spawn(async move { relay.closed(5, address, &uid).await })
        };
        sender.send_replace(directory(1, address, &[5]));
        tokio::task::yield_now().await;
        assert!(!closed.is_finished(), "it is still there");
        sender.send_replace(directory(2, address, &[5]));
        closed.await.expect("another endpoint in its place");
        sender.send_replace(directory(1, address, &[6]));
        relay.closed(5, address, &uid).await;
    }
}

//! The sockets of DNS: takes queries, sends replies from the address that was asked, out of the interface that
//! asked, and keeps every port to its share of what may be under way.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use sys::sockets::{Arrival, Departure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Forwarder, Pending, Step, Transport, answer};
use crate::directory::Directory;
use crate::endpoint::{Endpoint, accept, contain};
use crate::limit::{Rate, Slot, Slots};

/// A query is a question and EDNS; a longer one is not meant well.
const QUERY_MAX: usize = 1232;
/// How long a TCP client may stay silent, and how many queries one connection carries.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const QUERIES_MAX: usize = 100;

/// What answers DNS in one VPC.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) directory: watch::Receiver<Arc<Directory>>,
    pub(crate) forwarder: Arc<dyn Forwarder>,
    /// Queries of every port, over UDP and TCP.
    pub(crate) rate: Rate,
    pub(crate) started: Instant,
    /// Queries that wait for a resolver.
    pub(crate) queries: Arc<Slots>,
    /// TCP connections.
    pub(crate) connections: Arc<Slots>,
}

pub(crate) async fn serve_udp(endpoint: Endpoint, resolver: Arc<Resolver>) {
    let endpoint = Arc::new(endpoint);
    let mut waiting = JoinSet::new();
    let mut buffer = vec![0; QUERY_MAX];
    loop {
        let arrival = endpoint.receive(&mut buffer).await;
        while waiting.try_join_next().is_some() {}
        let directory = resolver.snapshot();
        match resolver.step(&directory, arrival.interface, Transport::Udp, &buffer[..arrival.length]) {
            Step::Silence => {}
            Step::Reply(bytes) => send(&endpoint, &bytes, &arrival),
            Step::Forward(pending) => {
                // Above its share a port is answered by silence, and asks again: a refusal would be believed.
                let Some(slot) = resolver.queries.take(arrival.interface) else { continue };
                let (endpoint, resolver) = (Arc::clone(&endpoint), Arc::clone(&resolver));
                waiting.spawn(async move {
                    let bytes = resolver.resolve(*pending, &directory, slot).await;
                    send(&endpoint, &bytes, &arrival);
                });
            }
        }
    }
}

pub(crate) async fn serve_tcp(listener: TcpListener, resolver: Arc<Resolver>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, port) = accept(&listener).await;
        while connections.try_join_next().is_some() {}
        if !resolver.directory.borrow().ports.contains_key(&port) {
            continue;
        }
        let Some(slot) = resolver.connections.take(port) else { continue };
        let resolver = Arc::clone(&resolver);
        connections.spawn(async move {
            if let Err(e) = converse(stream, port, &resolver).await {
                tracing::trace!(port, error = %e, "a DNS connection ended");
            }
            drop(slot);
        });
    }
}

/// Queries and replies with their lengths before them (RFC 7766), one after another.
async fn converse(mut stream: TcpStream, port: u32, resolver: &Resolver) -> io::Result<()> {
    for _ in 0..QUERIES_MAX {
        let read = async {
            let length = usize::from(stream.read_u16().await?);
            if length > QUERY_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the query is too long"));
            }
            let mut query = vec![0; length];
            stream.read_exact(&mut query).await?;
            Ok(query)
        };
        let query = timeout(SILENCE_MAX, read).await??;
        let directory = resolver.snapshot();
        let bytes = match resolver.step(&directory, port, Transport::Tcp, &query) {
            Step::Silence => return Ok(()),
            Step::Reply(bytes) => bytes,
            Step::Forward(pending) => {
                let Some(slot) = resolver.queries.take(port) else { return Ok(()) };
                resolver.resolve(*pending, &directory, slot).await
            }
        };
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        let message = [length.to_be_bytes().as_slice(), bytes.as_slice()].concat();
        timeout(SILENCE_MAX, stream.write_all(&message)).await??;
    }
    Ok(())
}

impl Resolver {
    fn snapshot(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.borrow())
    }

    /// What to do about a query; nothing above the port's share.
    fn step(&self, directory: &Directory, port: u32, transport: Transport, query: &[u8]) -> Step {
        let is_port = directory.ports.contains_key(&port);
        if !is_port || !self.rate.admit(port, self.started.elapsed()) {
            return Step::Silence;
        }
        contain(port, || answer(directory, port, transport, query)).unwrap_or(Step::Silence)
    }

    async fn resolve(&self, pending: Pending, directory: &Directory, _slot: Slot) -> Vec<u8> {
        let mut id = [0; 2];
        // Without random numbers an answer could be forged, so none is asked for.
        if SystemRandom::new().fill(&mut id).is_err() {
            return pending.finish(0, None);
        }
        let id = u16::from_be_bytes(id);
        let Ok(question) = pending.question(id) else {
            return pending.finish(id, None);
        };
        let answer = self.forwarder.forward(&question, &directory.upstreams).await;
        if let Err(e) = &answer {
            tracing::debug!(vpc = %directory.vpc, error = %e, "no resolver answered");
        }
        pending.finish(id, answer.as_deref().ok())
    }
}

fn send(endpoint: &Endpoint, bytes: &[u8], arrival: &Arrival) {
    if !bytes.is_empty() {
        let departure =
            Departure { to: arrival.from, source: Some(arrival.to), interface: arrival.interface };
        endpoint.send(bytes, &departure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Port;
    use crate::dns::HostForwarder;

    #[test]
    fn a_port_above_its_share_is_not_answered() {
        let port = || Port { uid: model::Uid::default(), nic: Arc::default(), instance: None };
        let ports = [1, 2].map(|interface| (interface, port())).into();
        let directory = Directory { ports, ..Directory::default() };
        let resolver = Resolver {
            directory: watch::channel(Arc::default()).1,
            forwarder: Arc::new(HostForwarder::default()),
            rate: Rate::new(0, 2),
            started: Instant::now(),
            queries: Slots::new(1, 1),
            connections: Slots::new(1, 1),
        };
        // A header that asks nothing: the answer is that it is malformed.
        let answers =
            |port| matches!(resolver.step(&directory, port, Transport::Udp, &[0; 12]), Step::Reply(_));
        assert_eq!([1, 1, 1, 2].map(answers), [true, true, false, true]);
        assert!(!answers(3), "no port");
    }
}

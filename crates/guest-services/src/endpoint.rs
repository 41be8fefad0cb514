//! Datagram sockets and listeners of a VPC's namespace as the tasks use them: a packet with its interface in, a
//! packet with its interface out, a connection with its port.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use sys::sockets::{self, Arrival, Departure};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Rest after an error that has no cause in the packet, so that a broken socket does not burn a core.
const REST: Duration = Duration::from_millis(100);

/// A socket of datagrams. The runtime's type for UDP watches raw sockets just as well, and needs no `unsafe`.
#[derive(Debug)]
pub(crate) struct Endpoint {
    socket: UdpSocket,
}

impl Endpoint {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: UdpSocket::from_std(fd.into())? })
    }

    /// The next datagram that fits the buffer.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> Arrival {
        loop {
            let read = || sockets::receive(self.socket.as_fd(), buffer);
            let outcome = self.socket.async_io(Interest::READABLE, read).await;
            match outcome {
                Ok(arrival) => return arrival,
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {}
                Err(e) => {
                    tracing::debug!(error = %e, "cannot receive");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Sends a datagram or loses it, as networks do: who asked asks again.
    pub(crate) fn send(&self, bytes: &[u8], departure: &Departure) {
        if let Err(e) = sockets::send(self.socket.as_fd(), bytes, departure) {
            tracing::debug!(to = %departure.to, interface = departure.interface, error = %e, "cannot send");
        }
    }

    pub(crate) fn join(&self, group: std::net::Ipv6Addr, interface: u32) -> io::Result<()> {
        sockets::join(self.socket.as_fd(), group, interface)
    }

    pub(crate) fn leave(&self, group: std::net::Ipv6Addr, interface: u32) -> io::Result<()> {
        sockets::leave(self.socket.as_fd(), group, interface)
    }
}

/// Runs an answer's pure part: a fault in a decoder costs the packet that found it, not the service of a whole VPC.
pub(crate) fn contain<T>(interface: u32, answer: impl FnOnce() -> T) -> Option<T> {
    // Sound to go on after: the answer is made from an immutable directory, and what it made is gone.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(answer));
    if outcome.is_err() {
        tracing::error!(interface, "a guest's packet made an answer panic; it is dropped");
    }
    outcome.ok()
}

/// The next connection and the port it is from, which only the data plane's mark can tell: 0 is no port.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, u32) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let port = sockets::mark(&stream).unwrap_or(0);
                return (stream, port);
            }
            Err(e) => {
                tracing::debug!(error = %e, "cannot accept");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_its_packet_only() {
        assert_eq!(contain(1, || 7), Some(7));
        assert_eq!(contain(1, || -> u8 { panic!("a decoder's fault") }), None);
    }
}

//! A container's terminal as a stream, by the monitor's socket.
//!
//! The socket keeps packets apart. A packet from the monitor is one byte for the stream it belongs to, which
//! says nothing on a terminal, and up to 8 KiB of output; a packet to it is input as it is.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram as StdSocket;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixDatagram;

/// The monitor's largest packet.
const PACKET_MAX: usize = 1 + 8192;

/// Ends when the container does.
#[derive(Debug)]
pub(crate) struct Attached {
    /// Driven as a datagram socket: of a stream, a short read would be taken to mean that nothing is left.
    socket: UnixDatagram,
    packet: Box<[u8; PACKET_MAX]>,
    /// What of the packet was not read yet.
    unread: std::ops::Range<usize>,
}

impl Attached {
    /// Connects to the socket `attach` in the container's bundle.
    pub(crate) fn open(bundle: &Path) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        // A socket's address is at most 108 bytes long, a path is not.
        let folder = File::open(bundle)?;
        let short = format!("/proc/self/fd/{}/attach", folder.as_raw_fd());
        connect(fd.as_raw_fd(), &UnixAddr::new(short.as_str())?)?;
        let socket = UnixDatagram::from_std(StdSocket::from(fd))?;
        Ok(Self { socket, packet: Box::new([0; PACKET_MAX]), unread: 0..0 })
    }
}

impl AsyncRead for Attached {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            let mut packet = ReadBuf::new(this.packet.as_mut_slice());
            ready!(this.socket.poll_recv(context, &mut packet))?;
            match packet.filled().len() {
                0 => return Poll::Ready(Ok(())),
                length => this.unread = 1..length,
            }
        }
        let end = this.unread.end.min(this.unread.start + to.remaining());
        to.put_slice(&this.packet[this.unread.start..end]);
        this.unread.start = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Attached {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let most = from.len().min(PACKET_MAX - 1);
        self.socket.poll_send(context, &from[..most])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown(std::net::Shutdown::Write))
    }
}

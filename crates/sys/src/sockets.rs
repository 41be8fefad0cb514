//! Datagrams that know the interface they came in by and leave by the interface they are told to. Made inside of
//! [`within_network`](crate::namespace::within_network) a socket belongs to that namespace for all its life. Who may
//! ask what on which interface is the caller's business.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    self, AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol,
    SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, sockopt,
};

/// A datagram that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Bytes of it in the buffer.
    pub length: usize,
    pub from: SocketAddr,
    /// The address it was sent to: one of ours, a multicast group or broadcast.
    pub to: IpAddr,
    /// The interface it came in by.
    pub interface: u32,
    /// IPv6 only: what was left of its hop limit.
    pub hop_limit: Option<u8>,
}

/// Where a datagram goes, and how it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    pub to: SocketAddr,
    /// Our address it comes from; the kernel's choice when `None`.
    pub source: Option<IpAddr>,
    /// The interface it goes out by, whatever routes say.
    pub interface: u32,
}

/// A UDP socket bound to `address` whose datagrams are [received](receive) with their interface. It may
/// broadcast and does not block.
pub fn udp(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = open(address, SockType::Datagram, None)?;
    match address {
        SocketAddr::V4(_) => {
            socket::setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
            socket::setsockopt(&fd, sockopt::Broadcast, &true)?;
        }
        SocketAddr::V6(_) => socket::setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    bind(&fd, address)?;
    Ok(fd)
}

/// A TCP listener that does not block. The address need not be there yet (IP_FREEBIND).
pub fn tcp_listener(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let fd = open(address, SockType::Stream, None)?;
    socket::setsockopt(&fd, sockopt::IpFreebind, &true)?;
    bind(&fd, address)?;
    socket::listen(&fd, Backlog::new(backlog)?)?;
    Ok(TcpListener::from(fd))
}

/// A raw ICMPv6 socket that receives router solicitations only and sends with hop limit 255, as neighbour
/// discovery demands (RFC 4861). The kernel fills in checksums.
pub fn router_discovery() -> io::Result<OwnedFd> {
    const ROUTER_SOLICITATION: u8 = 133;
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let fd = open(any, SockType::Raw, Some(SockProtocol::IcmpV6))?;
    pass_only(&fd, ROUTER_SOLICITATION)?;
    socket::setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
    socket::setsockopt(&fd, sockopt::Ipv6RecvHopLimit, &true)?;
    socket::setsockopt(&fd, sockopt::Ipv6MulticastHops, &255)?;
    socket::setsockopt(&fd, sockopt::Ipv6Ttl, &255)?;
    Ok(fd)
}

/// Receives the group's datagrams that come in by the interface.
pub fn join(fd: BorrowedFd<'_>, group: Ipv6Addr, interface: u32) -> io::Result<()> {
    borrow_as_udp(fd)?.join_multicast_v6(&group, interface)
}

/// Undoes [`join`].
pub fn leave(fd: BorrowedFd<'_>, group: Ipv6Addr, interface: u32) -> io::Result<()> {
    borrow_as_udp(fd)?.leave_multicast_v6(&group, interface)
}

/// Receives one datagram. Those that do not fit the buffer, or come without a word on their interface, are
/// errors of kind `InvalidData`.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Arrival> {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = socket::recvmsg::<SockaddrStorage>(
        fd.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let mut way = None;
    let mut hop_limit = None;
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                way = u32::try_from(info.ipi_ifindex).ok().map(|interface| (IpAddr::V4(to), interface));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                way = Some((IpAddr::V6(info.ipi6_addr.s6_addr.into()), info.ipi6_ifindex));
            }
            ControlMessageOwned::Ipv6HopLimit(limit) => hop_limit = u8::try_from(limit).ok(),
            _ => {}
        }
    }
    let from = message.address.as_ref().and_then(address_of);
    let (Some((to, interface)), Some(from)) = (way, from) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a datagram without its interface"));
    };
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a datagram longer than the buffer"));
    }
    Ok(Arrival { length: message.bytes, from, to, interface, hop_limit })
}

/// Sends one datagram.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8], departure: &Departure) -> io::Result<()> {
    let slices = [IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match departure.to {
        SocketAddr::V4(to) => {
            let source = match departure.source {
                Some(IpAddr::V4(source)) => source,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let info = libc::in_pktinfo {
                ipi_ifindex: i32::try_from(departure.interface).map_err(io::Error::other)?,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            socket::sendmsg(fd.as_raw_fd(), &slices, &control, flags, Some(&SockaddrIn::from(to)))?;
        }
        SocketAddr::V6(to) => {
            let source = match departure.source {
                Some(IpAddr::V6(source)) => source,
                _ => Ipv6Addr::UNSPECIFIED,
            };
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: source.octets() },
                ipi6_ifindex: departure.interface,
            };
            // A link-local address means nothing without its link.
            let to = SocketAddrV6::new(*to.ip(), to.port(), 0, departure.interface);
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            socket::sendmsg(fd.as_raw_fd(), &slices, &control, flags, Some(&SockaddrIn6::from(to)))?;
        }
    }
    Ok(())
}

/// The mark of a socket (SO_MARK). Where `tcp_fwmark_accept` is set, an accepted socket has its first packet's.
pub fn mark(socket: &impl AsFd) -> io::Result<u32> {
    Ok(socket::getsockopt(socket, sockopt::Mark)?)
}

/// Sets how many hops what is sent from now on may make.
pub fn set_hop_limit(socket: &impl AsFd, is_ipv6: bool, hops: u8) -> io::Result<()> {
    let hops = i32::from(hops);
    if is_ipv6 {
        socket::setsockopt(socket, sockopt::Ipv6Ttl, &hops)?;
    } else {
        socket::setsockopt(socket, sockopt::Ipv4Ttl, &hops)?;
    }
    Ok(())
}

fn open(address: SocketAddr, kind: SockType, protocol: Option<SockProtocol>) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)?;
    if kind == SockType::Stream {
        // Connections of an earlier process may still be winding down.
        socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    if address.is_ipv6() && kind != SockType::Raw {
        socket::setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    Ok(fd)
}

fn bind(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let named = |e: nix::Error| {
        let e = io::Error::from(e);
        io::Error::new(e.kind(), format!("bind {address}: {e}"))
    };
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(named)
}

/// The standard library's type for the calls it has and nix lacks; works for every sort of socket.
fn borrow_as_udp(fd: BorrowedFd<'_>) -> io::Result<UdpSocket> {
    Ok(UdpSocket::from(fd.try_clone_to_owned()?))
}

fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    storage.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6)))
}

/// Sets a filter that lets one type of ICMPv6 message through (RFC 3542, section 3.2).
#[allow(unsafe_code)]
fn pass_only(fd: &OwnedFd, kind: u8) -> io::Result<()> {
    /// ICMPV6_FILTER of linux/icmpv6.h.
    const FILTER: libc::c_int = 1;
    let mut blocked = [u32::MAX; 8];
    blocked[usize::from(kind >> 5)] &= !(1 << (kind & 31));
    let length = libc::socklen_t::try_from(size_of_val(&blocked)).map_err(io::Error::other)?;
    // SAFETY: the pointer is to 32 bytes that outlive the call, which reads exactly `length` of them.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_ICMPV6, FILTER, blocked.as_ptr().cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

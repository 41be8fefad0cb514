//! Packets as bytes, each with a mark by which it is known where it arrives, and sockets that send and hear them.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use sys::namespace::within_network;
use trace::Traffic;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOPS: u8 = 64;
const SYN: u8 = 2;

/// Sends and hears in one network namespace.
pub(super) struct Ear {
    ear: UdpSocket,
    mouths: [UdpSocket; 2],
}

impl Ear {
    pub(super) fn open(namespace: &Path) -> Self {
        let kept = File::open(namespace).expect("a namespace");
        let open = |family, kind, protocol| {
            let fd = within_network(Some(&kept), || {
                socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)
                    .map_err(std::io::Error::from)
            });
            UdpSocket::from(fd.expect("a raw socket"))
        };
        let raw = |family| open(family, SockType::Raw, SockProtocol::Raw);
        Self {
            ear: open(AddressFamily::Packet, SockType::Datagram, SockProtocol::EthAll),
            mouths: [raw(AddressFamily::Inet), raw(AddressFamily::Inet6)],
        }
    }

    pub(super) fn send(&self, packet: &[u8], to: IpAddr) {
        let mouth = &self.mouths[usize::from(to.is_ipv6())];
        // Where there is no route it goes nowhere: that is a verdict too.
        let _ = mouth.send_to(packet, (to, 0));
    }

    /// Marks of packets that have come since the last time, for one of these addresses.
    pub(super) fn marks(&self, own: &[IpAddr]) -> Vec<u16> {
        let mut buffer = [0; 2048];
        let mut marks = Vec::new();
        while let Ok(length) = self.ear.recv(&mut buffer) {
            marks.extend(mark(&buffer[..length], own));
        }
        marks
    }
}

/// The mark of a packet to one of these addresses.
fn mark(packet: &[u8], own: &[IpAddr]) -> Option<u16> {
    let (destination, protocol, body): (IpAddr, u8, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (Ipv4Addr::from(destination).into(), *packet.get(9)?, packet.get(20..)?)
        }
        6 => {
            let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (Ipv6Addr::from(destination).into(), *packet.get(6)?, packet.get(40..)?)
        }
        _ => return None,
    };
    if !own.contains(&destination) {
        return None;
    }
    // Guests answer questions of ICMP under the same identifier.
    let at = match (protocol, *body.first()?) {
        (ICMP, 8 | 13) | (ICMPV6, 128 | 139) => 4,
        (ICMP | ICMPV6, _) => return None,
        _ => 0,
    };
    Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?))
}

/// A whole packet. The mark is the sender's port, the identifier of ICMP, or the first bytes of another protocol.
pub(super) fn packet(source: IpAddr, destination: IpAddr, traffic: Traffic, mark: u16) -> Vec<u8> {
    let mark = mark.to_be_bytes();
    let (protocol, mut body, checksum_at) = match traffic {
        Traffic::Tcp { to, .. } => {
            let to = to.to_be_bytes();
            let rest = [0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, SYN, 4, 0, 0, 0, 0, 0];
            (TCP, [&mark[..], &to, &rest].concat(), Some(16))
        }
        Traffic::Udp { to, .. } => (UDP, [&mark[..], &to.to_be_bytes(), &[0, 8], &[0, 0]].concat(), Some(6)),
        Traffic::Icmp { kind, code } => {
            let protocol = if destination.is_ipv4() { ICMP } else { ICMPV6 };
            (protocol, [&[kind, code, 0, 0][..], &mark, &[0; 14]].concat(), Some(2))
        }
        Traffic::Other { number } => (number, [&mark[..], &[0; 6]].concat(), None),
    };
    if let Some(at) = checksum_at {
        let sum = checksum(source, destination, protocol, &body);
        body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    [head(source, destination, protocol, body.len()), body].concat()
}

/// The kernel fills in IPv4's own checksum.
fn head(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let size = |add: usize| u16::try_from(length + add).expect("short").to_be_bytes();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let [high, low] = size(20);
            let start = [0x45, 0, high, low, 0, 0, 0, 0, HOPS, protocol, 0, 0];
            [&start[..], &source.octets(), &destination.octets()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let [high, low] = size(0);
            let start = [0x60, 0, 0, 0, high, low, protocol, HOPS];
            [&start[..], &source.octets(), &destination.octets()].concat()
        }
        _ => panic!("{source} and {destination} are of different families"),
    }
}

/// The Internet checksum (RFC 1071), over the addresses as well but for ICMP.
fn checksum(source: IpAddr, destination: IpAddr, protocol: u8, body: &[u8]) -> u16 {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let pseudo = match protocol {
        ICMP => Vec::new(),
        _ => [&octets(source)[..], &octets(destination), &[0, protocol], &length].concat(),
    };
    let words = pseudo.chunks(2).chain(body.chunks(2));
    let sum: u32 = words.map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).expect("folded")
}

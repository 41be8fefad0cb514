//! Flows as the kernel has them: connections from its tracking (ctnetlink), and what the filter refused from its log
//! (nfnetlink_log). Both sockets belong to the VPC's namespace.

use std::io;
use std::net::IpAddr;

use driver::{Count, DriverError, Flow, FlowKey, FlowLook, FlowWatch, Refused};
use nix::errno::Errno;
use sys::netlink::{Attributes, Message, NetlinkError, Protocol, Socket, attribute, attributes};

use crate::error::VpcError;

/// The group that a VPC's filter writes what it refused to; namespaces have groups of their own.
pub(crate) const LOG_GROUP: u16 = 1;
/// What is written for a packet that may not leave its port, and for one that may not enter another.
pub(crate) const LEAVING: &str = "out";
pub(crate) const ENTERING: &str = "in";

/// linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h, nfnetlink_log.h.
const CONNTRACK_GET: u16 = 1 << 8 | 1;
const LOG_PACKET: u16 = 4 << 8;
const LOG_CONFIG: u16 = 4 << 8 | 1;
/// Of the family-independent head of every netfilter message.
const HEAD: usize = 4;
/// The longest heads that are read: IPv6 and ports.
const COPY_BYTES: u32 = 64;

const TCP: u8 = 6;
const UDP: u8 = 17;

#[derive(Debug)]
pub(crate) struct Watch {
    tracked: Socket,
    log: Socket,
    label: String,
}

impl Watch {
    /// In the network namespace of the calling thread.
    pub(crate) fn open(label: &str) -> Result<Self, VpcError> {
        let mut log = Socket::open(Protocol::Netfilter)?;
        let [high, low] = LOG_GROUP.to_be_bytes();
        // Bind, and copy the beginning of each packet.
        let bind = Attributes::new().put(1, [1]);
        let mode = Attributes::new().put(2, [&COPY_BYTES.to_be_bytes()[..], &[2, 0]].concat());
        for attributes in [bind, mode] {
            let message = Message::new(LOG_CONFIG, 0, &[0, 0, high, low], &attributes);
            log.request(&message).map_err(VpcError::network("listen to what the filter refuses"))?;
        }
        Ok(Self { tracked: Socket::open(Protocol::Netfilter)?, log, label: label.to_owned() })
    }

    fn read(&mut self) -> Result<FlowLook, VpcError> {
        let (mut refused, mut lost) = (Vec::new(), false);
        loop {
            match self.log.news() {
                Ok(news) => {
                    let packets = news.iter().filter(|news| news.kind == LOG_PACKET);
                    refused.extend(packets.filter_map(|news| logged(news.body.get(HEAD..)?)));
                    break;
                }
                // The kernel says so once, and goes on with what comes after.
                Err(NetlinkError::Socket(e)) if is_overrun(&e) => lost = true,
                Err(e) => return Err(VpcError::network("read what the filter refused")(e)),
            }
        }
        let all = Message::new(CONNTRACK_GET, 0, &[0; HEAD], &Attributes::new());
        let answers = self.tracked.dump(&all).map_err(VpcError::network("list connections"))?;
        let flows = answers.iter().filter_map(|answer| tracked(answer.body.get(HEAD..)?));
        Ok(FlowLook { flows: flows.collect(), refused, lost })
    }
}

impl FlowWatch for Watch {
    fn look(&mut self) -> Result<FlowLook, DriverError> {
        self.read().map_err(|e| e.about(&self.label))
    }
}

fn is_overrun(e: &io::Error) -> bool {
    e.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

/// A connection. Its destination is who answers: a floating address is its port's own here.
fn tracked(body: &[u8]) -> Option<Flow> {
    let (there, back) = (tuple(attribute(body, 1)?)?, tuple(attribute(body, 2)?)?);
    let id = attribute(body, 12).and_then(be32)?;
    let key = FlowKey { destination: back.source, destination_port: back.source_port, ..there };
    let count = |kind| attribute(body, kind).map(count).unwrap_or_default();
    Some(Flow { id, key: without_icmp(key), sent: count(9), answered: count(10) })
}

/// A direction of a connection.
fn tuple(body: &[u8]) -> Option<FlowKey> {
    let (ip, proto) = (attribute(body, 1)?, attribute(body, 2)?);
    let address =
        |v4, v6| attributes(ip).find(|(kind, _)| [v4, v6].contains(kind)).and_then(|(_, a)| octets(a));
    let port = |kind| attribute(proto, kind).and_then(be16).unwrap_or_default();
    Some(FlowKey {
        protocol: *attribute(proto, 1)?.first()?,
        source: address(1, 3)?,
        destination: address(2, 4)?,
        source_port: port(2),
        destination_port: port(3),
    })
}

fn count(body: &[u8]) -> Count {
    let number = |kind| {
        let bytes: Option<[u8; 8]> = attribute(body, kind).and_then(|value| value.try_into().ok());
        bytes.map(u64::from_be_bytes).unwrap_or_default()
    };
    Count { packets: number(1), bytes: number(2) }
}

/// A packet of the log: its head, and whose rules refused it.
fn logged(body: &[u8]) -> Option<Refused> {
    let prefix = attribute(body, 10)?;
    let packet = attribute(body, 9)?;
    let (protocol, source, destination, length, rest) = match packet.first()? >> 4 {
        4 => {
            let rest = packet.get(usize::from(packet.first()? & 15) * 4..).unwrap_or_default();
            let addresses = (octets(packet.get(12..16)?)?, octets(packet.get(16..20)?)?);
            (*packet.get(9)?, addresses.0, addresses.1, be16(packet.get(2..4)?)?.into(), rest)
        }
        6 => {
            let length = u64::from(be16(packet.get(4..6)?)?) + 40;
            let addresses = (octets(packet.get(8..24)?)?, octets(packet.get(24..40)?)?);
            (*packet.get(6)?, addresses.0, addresses.1, length, packet.get(40..).unwrap_or_default())
        }
        _ => return None,
    };
    let has_ports = matches!(protocol, TCP | UDP);
    let port = |at: usize| rest.get(at..at + 2).and_then(be16).filter(|_| has_ports).unwrap_or_default();
    let key = FlowKey { protocol, source, source_port: port(0), destination, destination_port: port(2) };
    Some(Refused { key, bytes: length, leaving: prefix.starts_with(LEAVING.as_bytes()) })
}

/// Only what has ports has ports.
fn without_icmp(key: FlowKey) -> FlowKey {
    match key.protocol {
        TCP | UDP => key,
        _ => FlowKey { source_port: 0, destination_port: 0, ..key },
    }
}

fn octets(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

fn be16(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}

fn be32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_the_log_are_read_as_far_as_they_go() {
        let mut packet = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x30, 0x39, 0, 80]);
        let message = |packet: &[u8]| Attributes::new().put(9, packet).text(10, LEAVING);
        let read = logged(message(&packet).as_bytes()).unwrap();
        let key = FlowKey {
            protocol: TCP,
            source: IpAddr::from([10, 0, 0, 1]),
            source_port: 12345,
            destination: IpAddr::from([10, 0, 0, 2]),
            destination_port: 80,
        };
        assert_eq!(read, Refused { key, bytes: 60, leaving: true });
        for length in 0..packet.len() {
            // No port is better than a wrong one.
            let cut = logged(message(&packet[..length]).as_bytes());
            assert_eq!(cut.is_some(), length >= 20, "{length}");
        }
    }

    #[test]
    fn a_translated_connection_leads_to_who_answers() {
        let side = |source: [u8; 4], destination: [u8; 4], ports: [u16; 2]| {
            let ip = Attributes::new().put(1, source).put(2, destination);
            let proto =
                Attributes::new().put(1, [UDP]).put(2, ports[0].to_be_bytes()).put(3, ports[1].to_be_bytes());
            Attributes::new().nest(1, &ip).nest(2, &proto)
        };
        let counts = Attributes::new().put(1, 3_u64.to_be_bytes()).put(2, 300_u64.to_be_bytes());
        let body = Attributes::new()
            .nest(1, &side([10, 0, 0, 1], [192, 0, 2, 7], [1000, 53]))
            .nest(2, &side([10, 0, 0, 2], [10, 0, 0, 1], [53, 1000]))
            .nest(9, &counts)
            .put(12, 7_u32.to_be_bytes());
        let flow = tracked(body.as_bytes()).unwrap();
        assert_eq!((flow.id, flow.key.destination), (7, IpAddr::from([10, 0, 0, 2])));
        assert_eq!((flow.sent, flow.answered), (Count { packets: 3, bytes: 300 }, Count::default()));
        assert_eq!(tracked(&[]), None);
    }
}

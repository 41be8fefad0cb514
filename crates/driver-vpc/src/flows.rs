//! Flows as the kernel has them: connections from its tracking (ctnetlink), and what the filter refused from its log
//! (nfnetlink_log). Both sockets belong to the VPC's namespace.

use std::io;

use driver::{DriverError, Flow, FlowKey, FlowLook, FlowWatch, Refused};
use nix::errno::Errno;
use sys::netlink::{Attributes, Message, NetlinkError, Protocol, Socket, attribute};

use crate::connections::{Connection, Tracker};
use crate::error::VpcError;
use crate::rtnl::address;

/// The group that a VPC's filter writes what it refused to; namespaces have groups of their own.
pub(crate) const LOG_GROUP: u16 = 1;
/// What is written for a packet that may not leave its port, and for one that may not enter another.
pub(crate) const LEAVING: &str = "out";
pub(crate) const ENTERING: &str = "in";

/// linux/netfilter/nfnetlink.h, nfnetlink_log.h.
const LOG_PACKET: u16 = 4 << 8;
const LOG_CONFIG: u16 = 4 << 8 | 1;
/// Of the family-independent head of every netfilter message.
const HEAD: usize = 4;
/// The longest heads that are read: IPv6 and ports.
const COPY_BYTES: u32 = 64;
/// How long the kernel gathers packets before it hands them on, in hundredths of a second.
const HAND_ON_AFTER: u32 = 10;

const TCP: u8 = 6;
const UDP: u8 = 17;

#[derive(Debug)]
pub(crate) struct Watch {
    tracked: Tracker,
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
        let patience = Attributes::new().put(4, HAND_ON_AFTER.to_be_bytes());
        for attributes in [bind, mode, patience] {
            let message = Message::new(LOG_CONFIG, 0, &[0, 0, high, low], &attributes);
            log.request(&message).map_err(VpcError::network("listen to what the filter refuses"))?;
        }
        Ok(Self { tracked: Tracker::open()?, log, label: label.to_owned() })
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
        let tracked = self.tracked.connections().map_err(VpcError::network("list connections"))?;
        Ok(FlowLook { flows: tracked.iter().map(flow).collect(), refused, lost })
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

/// Its destination is who answers: a floating address is its port's own here.
fn flow(connection: &Connection) -> Flow {
    let Connection { original, reply, id, counts: [sent, answered], .. } = connection;
    let has_ports = has_ports(original.protocol);
    let port = |port: u16| if has_ports { port } else { 0 };
    let key = FlowKey {
        protocol: original.protocol,
        source: original.source,
        source_port: port(original.source_port),
        destination: reply.source,
        destination_port: port(reply.source_port),
    };
    Flow { id: *id, key, sent: *sent, answered: *answered }
}

/// A packet of the log: its head, and whose rules refused it.
fn logged(body: &[u8]) -> Option<Refused> {
    let prefix = attribute(body, 10)?;
    let packet = attribute(body, 9)?;
    let (protocol, source, destination, length, rest) = match packet.first()? >> 4 {
        4 => {
            let rest = packet.get(usize::from(packet.first()? & 15) * 4..).unwrap_or_default();
            let addresses = (address(packet.get(12..16)?)?, address(packet.get(16..20)?)?);
            (*packet.get(9)?, addresses.0, addresses.1, be16(packet.get(2..4)?)?.into(), rest)
        }
        6 => {
            let length = u64::from(be16(packet.get(4..6)?)?) + 40;
            let addresses = (address(packet.get(8..24)?)?, address(packet.get(24..40)?)?);
            (*packet.get(6)?, addresses.0, addresses.1, length, packet.get(40..).unwrap_or_default())
        }
        _ => return None,
    };
    let port = |at: usize| rest.get(at..at + 2).and_then(be16).filter(|_| has_ports(protocol)).unwrap_or(0);
    let key = FlowKey { protocol, source, source_port: port(0), destination, destination_port: port(2) };
    Some(Refused { key, bytes: length, leaving: prefix.starts_with(LEAVING.as_bytes()) })
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP)
}

fn be16(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

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
}

//! The kernel's list of connections over netlink (ctnetlink).

use std::io;
use std::net::IpAddr;

use driver::Count;
use nix::errno::Errno;
use sys::netlink::{Answer, Attributes, Message, NetlinkError, Protocol, Socket, attribute};

use crate::rtnl::address;

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const STATISTICS: u16 = SUBSYSTEM << 8 | 5;
/// struct nfgenmsg.
const HEAD: usize = 4;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
/// Of the answer about all connections of a namespace.
const COUNT: u16 = 1;
/// What was sent in either direction.
const COUNTERS: [u16; 2] = [9, 10];
const PACKETS: u16 = 1;
const BYTES: u16 = 2;
const NESTED: u16 = 0x8000;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// Type and code, of ICMP and of ICMPv6.
const ICMP: [(u16, u16); 2] = [(5, 6), (8, 9)];

/// A connection as its first packet began it, with what became of that packet's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) original: Tuple,
    pub(crate) reply: Tuple,
    pub(crate) id: u32,
    /// Of the original direction and of the reply; nothing where the kernel does not count.
    pub(crate) counts: [Count; 2],
    family: u8,
    /// What tells the kernel which one is meant.
    raw: Attributes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) icmp: Option<(u8, u8)>,
}

impl Connection {
    #[cfg(test)]
    pub(super) fn of(original: Tuple, reply: Tuple) -> Self {
        Self { original, reply, id: 0, counts: [Count::default(); 2], family: 0, raw: Attributes::new() }
    }
}

#[derive(Debug)]
pub(crate) struct Tracker {
    socket: Socket,
}

impl Tracker {
    /// Of the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Netfilter)? })
    }

    pub(crate) fn connections(&mut self) -> Result<Vec<Connection>, NetlinkError> {
        if self.is_empty()? {
            return Ok(Vec::new());
        }
        let answers = self.socket.dump(&Message::new(GET, 0, &[0; HEAD], &Attributes::new()))?;
        Ok(answers.iter().filter_map(parse).collect())
    }

    /// One that has ended meanwhile is a success.
    pub(super) fn forget(&mut self, connection: &Connection) -> Result<(), NetlinkError> {
        let head = [connection.family, 0, 0, 0];
        match self.socket.request(&Message::new(DELETE, 0, &head, &connection.raw)) {
            Err(e) if !e.is(Errno::ENOENT) => Err(e),
            _ => Ok(()),
        }
    }

    /// Whether there are any. To list them, the kernel goes through the connections of the whole host, which takes
    /// milliseconds even when this namespace has none.
    fn is_empty(&mut self) -> Result<bool, NetlinkError> {
        let answers = self.socket.request(&Message::new(STATISTICS, 0, &[0; HEAD], &Attributes::new()))?;
        let count = answers.iter().find_map(|answer| attribute(answer.body.get(HEAD..)?, COUNT));
        Ok(count.is_some_and(|count| count == [0; 4]))
    }
}

fn parse(answer: &Answer) -> Option<Connection> {
    let (head, bytes) = answer.body.split_at_checked(HEAD)?;
    let (original, reply) = (attribute(bytes, ORIGINAL)?, attribute(bytes, REPLY)?);
    let id = attribute(bytes, ID)?;
    Some(Connection {
        original: parse_tuple(original)?,
        reply: parse_tuple(reply)?,
        id: id.try_into().map(u32::from_be_bytes).ok()?,
        counts: COUNTERS.map(|kind| attribute(bytes, kind).map(parse_count).unwrap_or_default()),
        family: head[0],
        raw: Attributes::new().put(ORIGINAL | NESTED, original).put(ID, id),
    })
}

fn parse_count(bytes: &[u8]) -> Count {
    let number = |kind| attribute(bytes, kind).and_then(|value| value.try_into().ok());
    let number = |kind| number(kind).map_or(0, u64::from_be_bytes);
    Count { packets: number(PACKETS), bytes: number(BYTES) }
}

fn parse_tuple(bytes: &[u8]) -> Option<Tuple> {
    let (ends, protocol) = (attribute(bytes, TUPLE_IP)?, attribute(bytes, TUPLE_PROTOCOL)?);
    // Source and destination are 1 and 2 of IPv4, 3 and 4 of IPv6.
    let end = |v4, v6| attribute(ends, v4).or_else(|| attribute(ends, v6)).and_then(address);
    let byte = |kind| attribute(protocol, kind).and_then(|value| value.first().copied());
    let port = |kind| attribute(protocol, kind).and_then(|value| value.try_into().ok());
    Some(Tuple {
        source: end(1, 3)?,
        destination: end(2, 4)?,
        protocol: byte(NUMBER)?,
        source_port: port(SOURCE_PORT).map_or(0, u16::from_be_bytes),
        destination_port: port(DESTINATION_PORT).map_or(0, u16::from_be_bytes),
        icmp: ICMP.into_iter().find_map(|(kind, code)| Some((byte(kind)?, byte(code)?))),
    })
}

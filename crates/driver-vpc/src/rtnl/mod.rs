//! Links, addresses, routes, lookups and neighbours over netlink (rtnetlink(7)), as the few facts that a VPC is made of.
//! Each kind reads as values and writes from the same values. A socket serves the namespace it was opened in.

mod addresses;
mod links;
mod lookups;
mod neighbours;
mod news;
mod routes;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sys::netlink::{Protocol, Socket};

pub(crate) use addresses::Address;
pub(crate) use links::{Counts, Link, LinkKind, NewLink};
pub(crate) use lookups::Lookup;
pub(crate) use neighbours::{Forwarding, Neighbour};
pub(crate) use news::{Ear, News};
pub(crate) use routes::{MAIN, Route, Way};

/// Marks our routes, lookups and proxies, so that nobody else's are touched (/etc/iproute2/rt_protos gives 67 no name).
pub(crate) const OURS: u8 = 67;

const FAMILY_IPV4: u8 = 2;
const FAMILY_BRIDGE: u8 = 7;
const FAMILY_IPV6: u8 = 10;

/// Speaks with one network namespace.
#[derive(Debug)]
pub(crate) struct Rtnl {
    socket: Socket,
}

impl Rtnl {
    /// With the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Route)? })
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { FAMILY_IPV4 } else { FAMILY_IPV6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|b| IpAddr::V4(Ipv4Addr::from(b)));
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|b| IpAddr::V6(Ipv6Addr::from(b)));
    v4().or_else(v6)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// A number in the middle of a fixed head.
fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes.get(at..at + 4)?)
}

//! Addresses of devices.

use std::net::IpAddr;

use nix::errno::Errno;
use sys::netlink::{Answer, Attributes, Message, NetlinkError, attribute, flags};

use super::{News, Rtnl, address, family, number_at, octets};

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
/// struct ifaddrmsg.
const HEAD: usize = 8;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
/// Uniqueness is the control plane's promise; nobody on a point-to-point link could object.
const NO_DUPLICATE_DETECTION: u8 = 2;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) device: u32,
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl Rtnl {
    pub(crate) fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let answers = self.socket.dump(&Message::new(GET_ADDRESS, 0, &[0; HEAD], &Attributes::new()))?;
        Ok(answers.iter().filter_map(parse).collect())
    }

    /// An address that is there is a success.
    pub(crate) fn add_address(&mut self, address: &Address) -> Result<(), NetlinkError> {
        let message = message(NEW_ADDRESS, flags::CREATE | flags::EXCLUSIVE, address);
        match self.socket.request(&message) {
            Err(e) if !e.is(Errno::EEXIST) => Err(e),
            _ => Ok(()),
        }
    }

    /// An address that is gone is a success.
    pub(crate) fn delete_address(&mut self, address: &Address) -> Result<(), NetlinkError> {
        match self.socket.request(&message(DELETE_ADDRESS, 0, address)) {
            Err(e) if !e.is(Errno::EADDRNOTAVAIL) && !e.is(Errno::ENODEV) => Err(e),
            _ => Ok(()),
        }
    }
}

fn message(kind: u16, flags: u16, address: &Address) -> Message {
    let mut head = [0; HEAD];
    head[0] = family(address.address);
    head[1] = address.prefix;
    head[2] = if address.address.is_ipv6() { NO_DUPLICATE_DETECTION } else { 0 };
    head[4..].copy_from_slice(&address.device.to_ne_bytes());
    let bytes = octets(address.address);
    Message::new(kind, flags, &head, &Attributes::new().put(LOCAL, &bytes).put(ADDRESS, &bytes))
}

pub(super) fn news(answer: &Answer) -> Option<News> {
    match answer.kind {
        NEW_ADDRESS => parse(answer).map(News::Address),
        DELETE_ADDRESS => parse(answer).map(News::AddressGone),
        _ => None,
    }
}

fn parse(answer: &Answer) -> Option<Address> {
    let bytes = answer.body.get(HEAD..)?;
    let local = attribute(bytes, LOCAL).or_else(|| attribute(bytes, ADDRESS))?;
    Some(Address {
        device: number_at(&answer.body, 4)?,
        address: address(local)?,
        prefix: *answer.body.get(1)?,
    })
}

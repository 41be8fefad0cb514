//! Neighbours that do not change, proxies, and the forwarding entries of VXLAN devices.

use std::net::IpAddr;

use nix::errno::Errno;
use sys::netlink::{Answer, Attributes, Message, NetlinkError, attribute, flags};

use super::{FAMILY_BRIDGE, FAMILY_IPV4, FAMILY_IPV6, News, OURS, Rtnl, address, family, number_at, octets};

const NEW_NEIGHBOUR: u16 = 28;
const DELETE_NEIGHBOUR: u16 = 29;
const GET_NEIGHBOUR: u16 = 30;
const SET_TABLE: u16 = 67;
/// struct ndmsg.
const HEAD: usize = 12;
const DESTINATION: u16 = 1;
const MAC: u16 = 2;
const PROTOCOL: u16 = 12;
const PERMANENT: u16 = 0x80;
const NO_ARP: u16 = 0x40;
const FLAG_SELF: u8 = 2;
const FLAG_PROXY: u8 = 8;
/// struct ndtmsg.
const TABLE_HEAD: usize = 4;
const TABLE_NAME: u16 = 1;
const TABLE_SETTINGS: u16 = 6;
const SETTING_DEVICE: u16 = 1;
/// In milliseconds, of 64 bits.
const SETTING_PROXY_DELAY: u16 = 13;

/// Whose Ethernet address the kernel need not ask for, and nobody can tell it otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Neighbour {
    pub(crate) device: u32,
    pub(crate) address: IpAddr,
    /// `None`: we answer for it on this device.
    pub(crate) mac: Option<[u8; 6]>,
}

/// At which host's address an Ethernet address is, behind a VXLAN device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Forwarding {
    pub(crate) device: u32,
    pub(crate) mac: [u8; 6],
    pub(crate) host: IpAddr,
}

impl Rtnl {
    /// Permanent neighbours, whoever made them, and our own proxies.
    pub(crate) fn neighbours(&mut self) -> Result<Vec<Neighbour>, NetlinkError> {
        let mut found = self.list_neighbours(0)?;
        found.extend(self.proxies()?);
        Ok(found)
    }

    /// The kernel tells nobody when these change.
    pub(crate) fn proxies(&mut self) -> Result<Vec<Neighbour>, NetlinkError> {
        self.list_neighbours(FLAG_PROXY)
    }

    fn list_neighbours(&mut self, flags: u8) -> Result<Vec<Neighbour>, NetlinkError> {
        let ask = Message::new(GET_NEIGHBOUR, 0, &head(0, 0, 0, flags), &Attributes::new());
        Ok(self.socket.dump(&ask)?.iter().filter_map(parse).collect())
    }

    /// A proxy on this device answers at once; by default it waits up to 0.8 s, in case somebody else does. Not by
    /// way of proc(5): there the kernel looks through all devices of this name, whichever namespaces they are in.
    pub(crate) fn answer_at_once(&mut self, device: u32) -> Result<(), NetlinkError> {
        for (family, table) in [(FAMILY_IPV4, "arp_cache"), (FAMILY_IPV6, "ndisc_cache")] {
            let settings = Attributes::new()
                .put(SETTING_DEVICE, device.to_ne_bytes())
                .put(SETTING_PROXY_DELAY, 0_u64.to_ne_bytes());
            let what = Attributes::new().text(TABLE_NAME, table).nest(TABLE_SETTINGS, &settings);
            let mut head = [0; TABLE_HEAD];
            head[0] = family;
            match self.socket.request(&Message::new(SET_TABLE, 0, &head, &what)) {
                // This device does without IPv6, or the kernel does.
                Err(e) if family == FAMILY_IPV6 && e.is(Errno::ENOENT) => {}
                set => set.map(drop)?,
            }
        }
        Ok(())
    }

    /// Takes the place of what is known of this address.
    pub(crate) fn set_neighbour(&mut self, neighbour: &Neighbour) -> Result<(), NetlinkError> {
        let message = message(NEW_NEIGHBOUR, flags::CREATE | flags::REPLACE, neighbour);
        self.socket.request(&message).map(|_| ())
    }

    /// One that is gone is a success.
    pub(crate) fn delete_neighbour(&mut self, neighbour: &Neighbour) -> Result<(), NetlinkError> {
        accept_absence(self.socket.request(&message(DELETE_NEIGHBOUR, 0, neighbour)).map(|_| ()))
    }

    /// Of all VXLAN devices.
    pub(crate) fn forwardings(&mut self) -> Result<Vec<Forwarding>, NetlinkError> {
        let ask = Message::new(GET_NEIGHBOUR, 0, &head(FAMILY_BRIDGE, 0, 0, 0), &Attributes::new());
        Ok(self.socket.dump(&ask)?.iter().filter_map(parse_forwarding).collect())
    }

    pub(crate) fn set_forwarding(&mut self, entry: &Forwarding) -> Result<(), NetlinkError> {
        let message = forwarding(NEW_NEIGHBOUR, flags::CREATE | flags::REPLACE, entry);
        self.socket.request(&message).map(|_| ())
    }

    pub(crate) fn delete_forwarding(&mut self, entry: &Forwarding) -> Result<(), NetlinkError> {
        accept_absence(self.socket.request(&forwarding(DELETE_NEIGHBOUR, 0, entry)).map(|_| ()))
    }
}

fn accept_absence(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(e) if !e.is(Errno::ENOENT) && !e.is(Errno::ENODEV) => Err(e),
        _ => Ok(()),
    }
}

fn head(family: u8, device: u32, state: u16, flags: u8) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[0] = family;
    head[4..8].copy_from_slice(&device.to_ne_bytes());
    head[8..10].copy_from_slice(&state.to_ne_bytes());
    head[10] = flags;
    head
}

fn message(kind: u16, flags: u16, neighbour: &Neighbour) -> Message {
    let (state, mark) = if neighbour.mac.is_some() { (PERMANENT, 0) } else { (0, FLAG_PROXY) };
    let head = head(family(neighbour.address), neighbour.device, state, mark);
    let mut all = Attributes::new().put(DESTINATION, octets(neighbour.address)).put(PROTOCOL, [OURS]);
    if let Some(mac) = neighbour.mac {
        all = all.put(MAC, mac);
    }
    Message::new(kind, flags, &head, &all)
}

fn forwarding(kind: u16, flags: u16, entry: &Forwarding) -> Message {
    let head = head(FAMILY_BRIDGE, entry.device, PERMANENT | NO_ARP, FLAG_SELF);
    let all = Attributes::new().put(MAC, entry.mac).put(DESTINATION, octets(entry.host));
    Message::new(kind, flags, &head, &all)
}

/// A neighbour that is no longer permanent is gone, whatever else it is now.
pub(super) fn news(answer: &Answer) -> Option<News> {
    let is_new = match answer.kind {
        NEW_NEIGHBOUR => true,
        DELETE_NEIGHBOUR => false,
        _ => return None,
    };
    let (head, bytes) = answer.body.split_at_checked(HEAD)?;
    if head[0] == FAMILY_BRIDGE {
        // What has no host's address is no forwarding entry of a tunnel.
        let entry = parse_forwarding(answer)?;
        return Some(if is_new { News::Forwarding(entry) } else { News::ForwardingGone(entry) });
    }
    if head[10] & FLAG_PROXY != 0 {
        return None;
    }
    let gone = || Some(News::NeighbourGone(number_at(head, 4)?, address(attribute(bytes, DESTINATION)?)?));
    parse(answer).filter(|_| is_new).map(News::Neighbour).or_else(gone)
}

fn parse(answer: &Answer) -> Option<Neighbour> {
    let (head, bytes) = answer.body.split_at_checked(HEAD)?;
    let state = u16::from_ne_bytes([head[8], head[9]]);
    let is_proxy = head[10] & FLAG_PROXY != 0;
    let is_ours = attribute(bytes, PROTOCOL) == Some(&[OURS]);
    if is_proxy && !is_ours || !is_proxy && state & PERMANENT == 0 {
        return None;
    }
    let mac = attribute(bytes, MAC).and_then(|mac| mac.try_into().ok()).filter(|_| !is_proxy);
    Some(Neighbour { device: number_at(head, 4)?, address: address(attribute(bytes, DESTINATION)?)?, mac })
}

fn parse_forwarding(answer: &Answer) -> Option<Forwarding> {
    let (head, bytes) = answer.body.split_at_checked(HEAD)?;
    Some(Forwarding {
        device: number_at(head, 4)?,
        mac: attribute(bytes, MAC)?.try_into().ok()?,
        host: address(attribute(bytes, DESTINATION)?)?,
    })
}

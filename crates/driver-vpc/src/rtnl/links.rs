//! Devices: listed, made, changed, deleted.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use sys::netlink::{Answer, Attributes, Message, NetlinkError, attribute, flags};

use super::{News, Rtnl, address, number, number_at, octets};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
/// struct ifinfomsg.
const HEAD: usize = 16;
const UP: u32 = 1;
/// The group of devices that are about to go.
const DOOMED: u32 = 0x636f;

const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const LOWER: u16 = 5;
const MASTER: u16 = 10;
const INFO: u16 = 18;
const ALIAS: u16 = 20;
const COUNTERS: u16 = 23;
const GROUP: u16 = 27;
const NAMESPACE: u16 = 28;
const OTHER_NAMESPACE: u16 = 37;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const VLAN_ID: u16 = 1;
const VXLAN_ID: u16 = 1;
const VXLAN_LOCAL4: u16 = 4;
const VXLAN_LEARNING: u16 = 7;
const VXLAN_PORT: u16 = 15;
const VXLAN_LOCAL6: u16 = 17;

/// A device as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Empty when nobody set one.
    pub(crate) alias: String,
    /// All zero for devices without one.
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// `veth`, `tun`, `vxlan`; empty for hardware.
    pub(crate) kind: String,
    /// Of a VXLAN device: its identifier and own address.
    pub(crate) vxlan: Option<(u32, IpAddr)>,
    /// The bridge that it is in.
    pub(crate) master: Option<u32>,
    /// The number that its namespace gives that of the other end.
    pub(crate) other_namespace: Option<i32>,
    pub(crate) counts: Counts,
}

/// What crossed a device, as the host sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) received_packets: u64,
    pub(crate) sent_packets: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) dropped: u64,
}

/// A device to be made; it is down at first.
#[derive(Debug, Clone)]
pub(crate) struct NewLink<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u16,
    /// Where it is to be; `None` is the namespace of the socket.
    pub(crate) namespace: Option<BorrowedFd<'a>>,
    pub(crate) kind: LinkKind<'a>,
}

#[derive(Debug, Clone)]
pub(crate) enum LinkKind<'a> {
    /// With the other end.
    Veth(Box<NewLink<'a>>),
    /// The other end of a veth, which has no kind of its own.
    Peer,
    /// RFC 7348. Its socket stays in the namespace of the netlink socket, wherever the device is.
    Vxlan {
        vni: u32,
        local: IpAddr,
        port: u16,
    },
    Bridge,
    /// IEEE 802.1Q on another device.
    Vlan {
        lower: u32,
        number: u16,
    },
}

impl Rtnl {
    pub(crate) fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let answers = self.socket.dump(&Message::new(GET_LINK, 0, &[0; HEAD], &Attributes::new()))?;
        Ok(answers.iter().filter_map(parse).collect())
    }

    pub(crate) fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let named = Attributes::new().text(NAME, name);
        match self.socket.request(&Message::new(GET_LINK, 0, &[0; HEAD], &named)) {
            Ok(answers) => Ok(answers.iter().find_map(parse)),
            Err(e) if e.is(Errno::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn add_link(&mut self, link: &NewLink<'_>) -> Result<(), NetlinkError> {
        let flags = flags::CREATE | flags::EXCLUSIVE;
        self.socket.request(&Message::new(NEW_LINK, flags, &[0; HEAD], &attributes(link))).map(|_| ())
    }

    pub(crate) fn set_alias(&mut self, index: u32, alias: &str) -> Result<(), NetlinkError> {
        self.change(index, None, &Attributes::new().put(ALIAS, alias.as_bytes()))
    }

    pub(crate) fn set_mac(&mut self, index: u32, mac: [u8; 6]) -> Result<(), NetlinkError> {
        self.change(index, None, &Attributes::new().put(ADDRESS, mac))
    }

    pub(crate) fn set_mtu(&mut self, index: u32, mtu: u16) -> Result<(), NetlinkError> {
        self.change(index, None, &Attributes::new().put(MTU, u32::from(mtu).to_ne_bytes()))
    }

    pub(crate) fn set_master(&mut self, index: u32, bridge: u32) -> Result<(), NetlinkError> {
        self.change(index, None, &Attributes::new().put(MASTER, bridge.to_ne_bytes()))
    }

    pub(crate) fn raise(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.change(index, Some(UP), &Attributes::new())
    }

    /// What is gone already is a success.
    pub(crate) fn delete_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        let message = Message::new(DELETE_LINK, 0, &head(index, 0), &Attributes::new());
        self.socket.request(&message).map(|_| ()).or_else(accept_absence)
    }

    /// All at once: the kernel waits some 20 ms for its readers whenever it deletes, be it one device or a hundred.
    pub(crate) fn delete_links(&mut self, indexes: &[u32]) -> Result<(), NetlinkError> {
        if let [one] = indexes {
            return self.delete_link(*one);
        }
        let group = Attributes::new().put(GROUP, DOOMED.to_ne_bytes());
        for index in indexes {
            self.change(*index, None, &group).or_else(accept_absence)?;
        }
        if indexes.is_empty() {
            return Ok(());
        }
        let message = Message::new(DELETE_LINK, 0, &[0; HEAD], &group);
        self.socket.request(&message).map(|_| ()).or_else(accept_absence)
    }

    fn change(&mut self, index: u32, flag: Option<u32>, what: &Attributes) -> Result<(), NetlinkError> {
        let message = Message::new(NEW_LINK, 0, &head(index, flag.unwrap_or(0)), what);
        self.socket.request(&message).map(|_| ())
    }
}

fn accept_absence(error: NetlinkError) -> Result<(), NetlinkError> {
    if error.is(Errno::ENODEV) { Ok(()) } else { Err(error) }
}

/// Family, kind, index, flags and the mask of flags to change.
fn head(index: u32, flags: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..].copy_from_slice(&flags.to_ne_bytes());
    head
}

fn attributes(link: &NewLink<'_>) -> Attributes {
    let mut all = Attributes::new()
        .text(NAME, link.name)
        .put(ADDRESS, link.mac)
        .put(MTU, u32::from(link.mtu).to_ne_bytes());
    if let Some(namespace) = link.namespace {
        all = all.put(NAMESPACE, namespace.as_raw_fd().to_ne_bytes());
    }
    let (kind, data) = match &link.kind {
        LinkKind::Peer => return all,
        LinkKind::Veth(peer) => {
            let peer = [&[0; HEAD], attributes(peer).as_bytes()].concat();
            ("veth", Attributes::new().put(VETH_PEER, peer))
        }
        LinkKind::Vxlan { vni, local, port } => ("vxlan", vxlan(*vni, *local, *port)),
        LinkKind::Bridge => ("bridge", Attributes::new()),
        LinkKind::Vlan { lower, number } => {
            all = all.put(LOWER, lower.to_ne_bytes());
            ("vlan", Attributes::new().put(VLAN_ID, number.to_ne_bytes()))
        }
    };
    all.nest(INFO, &Attributes::new().text(INFO_KIND, kind).nest(INFO_DATA, &data))
}

/// Neither learns nor floods: it has no group and no default destination, so what has no entry is dropped.
fn vxlan(vni: u32, local: IpAddr, port: u16) -> Attributes {
    let local_kind = if local.is_ipv4() { VXLAN_LOCAL4 } else { VXLAN_LOCAL6 };
    Attributes::new()
        .put(VXLAN_ID, vni.to_ne_bytes())
        .put(local_kind, octets(local))
        .put(VXLAN_LEARNING, [0])
        .put(VXLAN_PORT, port.to_be_bytes())
}

/// A link that is there or has changed, and the index of one that is gone. A bridge tells of its ports in a family of its
/// own, which is no news of the link.
pub(super) fn news(answer: &Answer) -> Option<News> {
    let index = number_at(&answer.body, 4)?;
    match (answer.kind, answer.body.first()?) {
        (NEW_LINK, 0) => parse(answer).map(News::Link),
        (DELETE_LINK, 0) => Some(News::LinkGone(index)),
        _ => None,
    }
}

fn parse(answer: &Answer) -> Option<Link> {
    if answer.kind != NEW_LINK {
        return None;
    }
    let bytes = answer.body.get(HEAD..)?;
    let text = |kind| {
        attribute(bytes, kind)
            .map(|value| String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned())
    };
    let info = attribute(bytes, INFO).unwrap_or_default();
    let kind = attribute(info, INFO_KIND).unwrap_or_default();
    let data = attribute(info, INFO_DATA).unwrap_or_default();
    Some(Link {
        index: number_at(&answer.body, 4)?,
        name: text(NAME)?,
        alias: text(ALIAS).unwrap_or_default(),
        mac: attribute(bytes, ADDRESS).and_then(|mac| mac.try_into().ok()).unwrap_or_default(),
        mtu: attribute(bytes, MTU).and_then(number).unwrap_or(0),
        up: number_at(&answer.body, 8)? & UP != 0,
        kind: String::from_utf8_lossy(kind.strip_suffix(&[0]).unwrap_or(kind)).into_owned(),
        vxlan: parse_vxlan(data).filter(|_| kind.starts_with(b"vxlan")),
        master: attribute(bytes, MASTER).and_then(number),
        other_namespace: attribute(bytes, OTHER_NAMESPACE).and_then(number).map(u32::cast_signed),
        counts: attribute(bytes, COUNTERS).map(counts).unwrap_or_default(),
    })
}

fn parse_vxlan(data: &[u8]) -> Option<(u32, IpAddr)> {
    let local = attribute(data, VXLAN_LOCAL4).or_else(|| attribute(data, VXLAN_LOCAL6));
    Some((number(attribute(data, VXLAN_ID)?)?, address(local?)?))
}

/// struct rtnl_link_stats64.
fn counts(bytes: &[u8]) -> Counts {
    let at = |place: usize| {
        let value = bytes.get(place * 8..place * 8 + 8).and_then(|value| value.try_into().ok());
        value.map_or(0, u64::from_ne_bytes)
    };
    Counts {
        received_packets: at(0),
        sent_packets: at(1),
        received_bytes: at(2),
        sent_bytes: at(3),
        dropped: at(6) + at(7),
    }
}

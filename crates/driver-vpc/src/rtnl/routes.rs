//! Routes of the main table that are ours.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;
use sys::netlink::{Answer, Attributes, Message, NetlinkError, attribute, flags};

use super::{FAMILY_IPV4, FAMILY_IPV6, OURS, Rtnl, address, family, number, octets};

const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
/// struct rtmsg.
const HEAD: usize = 12;
const DESTINATION: u16 = 1;
const DEVICE: u16 = 4;
const GATEWAY: u16 = 5;
const TABLE: u16 = 15;
const VIA: u16 = 18;
const MAIN: u8 = 254;
const UNICAST: u8 = 1;
const SCOPE_LINK: u8 = 253;
/// The gateway need not be in a network of the device.
const ON_LINK: u32 = 4;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) destination: IpNet,
    pub(crate) device: u32,
    /// May be of the other family: IPv4 by an IPv6 next hop (RFC 5549).
    pub(crate) via: Option<IpAddr>,
}

impl Rtnl {
    /// Routes that carry our mark.
    pub(crate) fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let answers = self.route_answers()?;
        Ok(answers.iter().filter(|a| a.body.get(5) == Some(&OURS)).filter_map(parse).collect())
    }

    /// Devices that default routes lead out by, whoever made them.
    pub(crate) fn default_devices(&mut self) -> Result<Vec<u32>, NetlinkError> {
        let routes = self.route_answers()?.iter().filter_map(parse).collect::<Vec<_>>();
        Ok(routes.into_iter().filter(|r| r.destination.prefix_len() == 0).map(|r| r.device).collect())
    }

    fn route_answers(&mut self) -> Result<Vec<Answer>, NetlinkError> {
        let mut answers = Vec::new();
        for family in [FAMILY_IPV4, FAMILY_IPV6] {
            let mut head = [0; HEAD];
            head[0] = family;
            answers.extend(self.socket.dump(&Message::new(GET_ROUTE, 0, &head, &Attributes::new()))?);
        }
        Ok(answers)
    }

    /// Takes the place of another route to the same destination, with no moment between them.
    pub(crate) fn set_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let flags = flags::CREATE | flags::REPLACE;
        self.socket.request(&message(NEW_ROUTE, flags, route)).map(|_| ())
    }

    /// Leaves another route to the same destination alone.
    pub(crate) fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        match self.socket.request(&message(NEW_ROUTE, flags::CREATE | flags::EXCLUSIVE, route)) {
            Err(e) if !e.is(Errno::EEXIST) => Err(e),
            _ => Ok(()),
        }
    }

    /// A route that is gone is a success.
    pub(crate) fn delete_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        match self.socket.request(&message(DELETE_ROUTE, 0, route)) {
            Err(e) if !e.is(Errno::ESRCH) && !e.is(Errno::ENODEV) => Err(e),
            _ => Ok(()),
        }
    }
}

fn message(kind: u16, flags: u16, route: &Route) -> Message {
    let mut head = [0; HEAD];
    let destination = route.destination.addr();
    head[0] = family(destination);
    head[1] = route.destination.prefix_len();
    head[4] = MAIN;
    head[5] = OURS;
    head[6] = if route.via.is_some() || destination.is_ipv6() { 0 } else { SCOPE_LINK };
    head[7] = UNICAST;
    let on_link = if route.via.is_some() { ON_LINK } else { 0 };
    head[8..].copy_from_slice(&on_link.to_ne_bytes());
    let mut all =
        Attributes::new().put(DESTINATION, octets(destination)).put(DEVICE, route.device.to_ne_bytes());
    all = match route.via {
        None => all,
        Some(via) if via.is_ipv4() == destination.is_ipv4() => all.put(GATEWAY, octets(via)),
        Some(via) => {
            let family = u16::from(family(via)).to_ne_bytes();
            all.put(VIA, [&family[..], &octets(via)].concat())
        }
    };
    Message::new(kind, flags, &head, &all)
}

fn parse(answer: &Answer) -> Option<Route> {
    let (head, bytes) = answer.body.split_at_checked(HEAD)?;
    let table = attribute(bytes, TABLE).and_then(number).unwrap_or(u32::from(head[4]));
    if table != u32::from(MAIN) || head[7] != UNICAST {
        return None;
    }
    let any = if head[0] == FAMILY_IPV4 { vec![0; 4] } else { vec![0; 16] };
    let destination = address(attribute(bytes, DESTINATION).unwrap_or(&any))?;
    let via = attribute(bytes, GATEWAY).or_else(|| attribute(bytes, VIA).and_then(|via| via.get(2..)));
    Some(Route {
        destination: IpNet::new(destination, head[1]).ok()?,
        device: number(attribute(bytes, DEVICE)?)?,
        via: via.and_then(address),
    })
}

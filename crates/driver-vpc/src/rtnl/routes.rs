//! Routes that are ours, of every table.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;
use sys::netlink::{Answer, Attributes, Message, NetlinkError, attribute, flags};

use super::{FAMILY_IPV4, FAMILY_IPV6, News, OURS, Rtnl, address, family, number, octets};

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
const UNICAST: u8 = 1;
const BLACKHOLE: u8 = 6;
const UNREACHABLE: u8 = 7;
const SCOPE_LINK: u8 = 253;
/// The gateway need not be in a network of the device.
const ON_LINK: u32 = 4;

/// The table that every namespace has.
pub(crate) const MAIN: u32 = 254;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) table: u32,
    pub(crate) destination: IpNet,
    pub(crate) way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// By a device; `via` may be of the other family: IPv4 by an IPv6 next hop (RFC 5549).
    Device { device: u32, via: Option<IpAddr> },
    /// Dropped, and the sender is told.
    Unreachable,
    /// Dropped.
    Blackhole,
}

impl Route {
    /// In the main table.
    pub(crate) fn main(destination: IpNet, device: u32, via: Option<IpAddr>) -> Self {
        Self { table: MAIN, destination, way: Way::Device { device, via } }
    }

    pub(crate) fn device(&self) -> Option<u32> {
        match self.way {
            Way::Device { device, .. } => Some(device),
            Way::Unreachable | Way::Blackhole => None,
        }
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = if self.table == MAIN { String::new() } else { format!(" in table {}", self.table) };
        match self.way {
            Way::Device { device, .. } => write!(f, "{} by {device}{table}", self.destination),
            Way::Unreachable => write!(f, "{} unreachable{table}", self.destination),
            Way::Blackhole => write!(f, "{} dropped{table}", self.destination),
        }
    }
}

impl Rtnl {
    /// Routes that carry our mark.
    pub(crate) fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let answers = self.route_answers()?;
        Ok(answers.iter().filter(|a| a.body.get(5) == Some(&OURS)).filter_map(parse).collect())
    }

    /// Devices that default routes of the main table lead out by, whoever made them.
    pub(crate) fn default_devices(&mut self) -> Result<Vec<u32>, NetlinkError> {
        let routes = self.route_answers()?.iter().filter_map(parse).collect::<Vec<_>>();
        let defaults = routes.iter().filter(|r| r.table == MAIN && r.destination.prefix_len() == 0);
        Ok(defaults.filter_map(Route::device).collect())
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
    // A number beyond a byte stands in the attribute alone.
    head[4] = u8::try_from(route.table).unwrap_or(0);
    head[5] = OURS;
    let mut all =
        Attributes::new().put(DESTINATION, octets(destination)).put(TABLE, route.table.to_ne_bytes());
    match route.way {
        Way::Unreachable => head[7] = UNREACHABLE,
        Way::Blackhole => head[7] = BLACKHOLE,
        Way::Device { device, via } => {
            head[6] = if via.is_some() || destination.is_ipv6() { 0 } else { SCOPE_LINK };
            head[7] = UNICAST;
            let on_link = if via.is_some() { ON_LINK } else { 0 };
            head[8..].copy_from_slice(&on_link.to_ne_bytes());
            all = all.put(DEVICE, device.to_ne_bytes());
            all = match via {
                None => all,
                Some(via) if via.is_ipv4() == destination.is_ipv4() => all.put(GATEWAY, octets(via)),
                Some(via) => {
                    let family = u16::from(family(via)).to_ne_bytes();
                    all.put(VIA, [&family[..], &octets(via)].concat())
                }
            };
        }
    }
    Message::new(kind, flags, &head, &all)
}

/// One of others is news where it took the place of what may have been ours.
pub(super) fn news(answer: &Answer) -> Option<News> {
    if !matches!(answer.kind, NEW_ROUTE | DELETE_ROUTE) {
        return None;
    }
    let is_ours = answer.body.get(5) == Some(&OURS);
    let (head, bytes) = answer.body.split_at_checked(HEAD)?;
    let Some(place) = place(head, bytes) else { return is_ours.then_some(News::Unclear) };
    match (answer.kind, is_ours) {
        (NEW_ROUTE, true) => match parse(answer) {
            Some(route) => Some(News::Route { route, replaces: answer.replaces() }),
            None => Some(News::Unclear),
        },
        (NEW_ROUTE, false) if !answer.replaces() => None,
        (DELETE_ROUTE, false) => None,
        _ => Some(News::RouteGone(place)),
    }
}

/// Table and destination.
fn place(head: &[u8], bytes: &[u8]) -> Option<(u32, IpNet)> {
    let table = attribute(bytes, TABLE).and_then(number).unwrap_or(u32::from(head[4]));
    let any = if head[0] == FAMILY_IPV4 { vec![0; 4] } else { vec![0; 16] };
    let destination = address(attribute(bytes, DESTINATION).unwrap_or(&any))?;
    Some((table, IpNet::new(destination, head[1]).ok()?))
}

fn parse(answer: &Answer) -> Option<Route> {
    let (head, bytes) = answer.body.split_at_checked(HEAD)?;
    let (table, destination) = place(head, bytes)?;
    let via = attribute(bytes, GATEWAY).or_else(|| attribute(bytes, VIA).and_then(|via| via.get(2..)));
    let way = match head[7] {
        UNICAST => Way::Device { device: number(attribute(bytes, DEVICE)?)?, via: via.and_then(address) },
        BLACKHOLE => Way::Blackhole,
        UNREACHABLE => Way::Unreachable,
        _ => return None,
    };
    Some(Route { table, destination, way })
}

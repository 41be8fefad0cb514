//! Rules that say which table of routes a packet is looked up in (ip-rule(8)); those that are ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nix::errno::Errno;
use sys::netlink::{Answer, Attributes, Message, NetlinkError, attribute, flags};

use super::{FAMILY_IPV4, FAMILY_IPV6, News, OURS, Rtnl, address, family, number, octets};

const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;
const GET_RULE: u16 = 34;
/// struct `fib_rule_hdr`.
const HEAD: usize = 12;
const SOURCE: u16 = 2;
const INPUT: u16 = 3;
const PRIORITY: u16 = 6;
const SUPPRESS_PREFIX: u16 = 14;
const TABLE: u16 = 15;
const PROTOCOL: u16 = 21;
const TO_TABLE: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lookup {
    /// Lower ones come first.
    pub(crate) priority: u32,
    /// Sources it is for; with a prefix of 0 it is for all of the family.
    pub(crate) source: IpNet,
    /// Packets that came in by the device of this name only.
    pub(crate) input: Option<String>,
    pub(crate) table: u32,
    /// A default route that the table has does not count.
    pub(crate) skips_default: bool,
}

impl std::fmt::Display for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let input = self.input.as_ref().map(|device| format!(" by {device}")).unwrap_or_default();
        write!(f, "from {}{input} in table {}", self.source, self.table)
    }
}

impl Rtnl {
    /// Rules that carry our mark.
    pub(crate) fn lookups(&mut self) -> Result<Vec<Lookup>, NetlinkError> {
        let mut found = Vec::new();
        for family in [FAMILY_IPV4, FAMILY_IPV6] {
            let mut head = [0; HEAD];
            head[0] = family;
            let answers = self.socket.dump(&Message::new(GET_RULE, 0, &head, &Attributes::new()))?;
            found.extend(answers.iter().filter_map(parse));
        }
        Ok(found)
    }

    /// One that is there is a success.
    pub(crate) fn add_lookup(&mut self, lookup: &Lookup) -> Result<(), NetlinkError> {
        match self.socket.request(&message(NEW_RULE, flags::CREATE | flags::EXCLUSIVE, lookup)) {
            Err(e) if !e.is(Errno::EEXIST) => Err(e),
            _ => Ok(()),
        }
    }

    /// One that is gone is a success.
    pub(crate) fn delete_lookup(&mut self, lookup: &Lookup) -> Result<(), NetlinkError> {
        match self.socket.request(&message(DELETE_RULE, 0, lookup)) {
            Err(e) if !e.is(Errno::ENOENT) => Err(e),
            _ => Ok(()),
        }
    }
}

fn message(kind: u16, flags: u16, lookup: &Lookup) -> Message {
    let mut head = [0; HEAD];
    let source = lookup.source.addr();
    head[0] = family(source);
    head[2] = lookup.source.prefix_len();
    head[4] = u8::try_from(lookup.table).unwrap_or(0);
    head[7] = TO_TABLE;
    let mut all = Attributes::new()
        .put(PRIORITY, lookup.priority.to_ne_bytes())
        .put(TABLE, lookup.table.to_ne_bytes())
        .put(PROTOCOL, [OURS]);
    if lookup.source.prefix_len() > 0 {
        all = all.put(SOURCE, octets(source));
    }
    if let Some(device) = &lookup.input {
        all = all.text(INPUT, device);
    }
    if lookup.skips_default {
        all = all.put(SUPPRESS_PREFIX, 0_u32.to_ne_bytes());
    }
    Message::new(kind, flags, &head, &all)
}

pub(super) fn news(answer: &Answer) -> Option<News> {
    match answer.kind {
        NEW_RULE => parse(answer).map(News::Lookup),
        DELETE_RULE => parse(answer).map(News::LookupGone),
        _ => None,
    }
}

fn parse(answer: &Answer) -> Option<Lookup> {
    let (head, bytes) = answer.body.split_at_checked(HEAD)?;
    if attribute(bytes, PROTOCOL) != Some(&[OURS]) || head[7] != TO_TABLE {
        return None;
    }
    let any: IpAddr =
        if head[0] == FAMILY_IPV4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = attribute(bytes, SOURCE).map_or(Some(any), address)?;
    let input = attribute(bytes, INPUT).map(|name| name.strip_suffix(&[0]).unwrap_or(name));
    Some(Lookup {
        priority: attribute(bytes, PRIORITY).and_then(number).unwrap_or(0),
        source: IpNet::new(source, head[2]).ok()?,
        input: input.map(|name| String::from_utf8_lossy(name).into_owned()),
        table: attribute(bytes, TABLE).and_then(number).unwrap_or(u32::from(head[4])),
        skips_default: attribute(bytes, SUPPRESS_PREFIX).and_then(number) == Some(0),
    })
}

//! What the kernel tells of changes, in the words of what is listed.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use sys::netlink::{Answer, NetlinkError, Places, Protocol, Socket};

use super::{
    Address, Forwarding, Link, Lookup, Neighbour, Route, addresses, links, lookups, neighbours, routes,
};

/// `RTMGRP_LINK`, `_NEIGH`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`.
const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400;
/// `RTMGRP_IPV4_RULE` and `RTNLGRP_IPV6_RULE`.
const RULES: u32 = 0x80 | 1 << 18;

/// One change. Of routes, lookups and neighbours only what the lists would show counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// New, or no longer as it was.
    Link(Link),
    LinkGone(u32),
    Address(Address),
    AddressGone(Address),
    Route {
        route: Route,
        replaces: bool,
    },
    /// From this table, to this destination.
    RouteGone((u32, IpNet)),
    Lookup(Lookup),
    LookupGone(Lookup),
    Neighbour(Neighbour),
    NeighbourGone(u32, IpAddr),
    Forwarding(Forwarding),
    ForwardingGone(Forwarding),
    /// Something of ours has changed in a way that we do not understand.
    Unclear,
}

/// Hears of changes in the network namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Ear {
    socket: Socket,
}

impl Ear {
    /// In the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::subscribed(Protocol::Route, GROUPS | RULES)? })
    }

    /// As [`Self::open`], for the namespaces of the other ends of its links.
    pub(crate) fn elsewhere() -> io::Result<Places> {
        Places::open(Protocol::Route, GROUPS)
    }

    /// What has changed since the last call. An error also when there was more than could be kept.
    pub(crate) fn news(&mut self) -> Result<Vec<News>, NetlinkError> {
        Ok(self.socket.news()?.iter().filter_map(parse).collect())
    }
}

fn parse(answer: &Answer) -> Option<News> {
    let kinds = [links::news, addresses::news, routes::news, lookups::news, neighbours::news];
    kinds.into_iter().find_map(|parse| parse(answer))
}

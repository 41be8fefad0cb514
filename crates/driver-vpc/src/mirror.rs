//! What a VPC's namespace has, kept up to date by what the kernel tells: read once, then every change is taken over,
//! whoever made it. So a look costs what has changed, and nothing that others do is missed. What cannot be followed with
//! certainty is read anew: when the kernel had more to tell than the socket could keep, when something is not understood.

use std::collections::BTreeMap;

use crate::error::VpcError;
use crate::rtnl::{Counts, Ear, Link, News, Rtnl};
use crate::tables::Tables;

#[derive(Debug)]
pub(crate) struct Mirror {
    ear: Ear,
    links: BTreeMap<u32, Link>,
    /// Of all devices.
    tables: Tables,
    /// Counts changes.
    revision: u64,
}

impl Mirror {
    /// Of the network namespace of the calling thread and of `rtnl`.
    pub(crate) fn open(rtnl: &mut Rtnl) -> Result<Self, VpcError> {
        let (links, tables) = (BTreeMap::new(), Tables::default());
        let mut mirror = Self { ear: Ear::open()?, links, tables, revision: 0 };
        mirror.read(rtnl)?;
        Ok(mirror)
    }

    /// Takes over what has happened. `rtnl` speaks with the same namespace.
    pub(crate) fn look(&mut self, rtnl: &mut Rtnl) -> Result<(), VpcError> {
        self.listen(rtnl)?;
        self.look_at_proxies(rtnl)
    }

    /// As [`Self::look`], but for proxies, of which the kernel does not tell.
    pub(crate) fn listen(&mut self, rtnl: &mut Rtnl) -> Result<(), VpcError> {
        let understood = match self.ear.news() {
            Ok(news) => news.into_iter().all(|news| self.take(news, false)),
            Err(e) => {
                tracing::debug!(error = %e, "what changed in a network was more than could be heard");
                false
            }
        };
        if understood { Ok(()) } else { self.read(rtnl) }
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// Another number when anything is not as it was.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// As [`Tables::read_all`] has them.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// What is told while we read is taken over once more: the last word on each thing is the same.
    fn read(&mut self, rtnl: &mut Rtnl) -> Result<(), VpcError> {
        self.revision += 1;
        // Deaf for what was before; also an error is over then.
        let _ = self.ear.news();
        let links = rtnl.links().map_err(VpcError::network("list links"))?;
        self.links = links.into_iter().map(|link| (link.index, quiet(link))).collect();
        self.tables = Tables::read_all(rtnl)?;
        for news in self.ear.news().map_err(VpcError::network("follow what changes"))? {
            if !self.take(news, true) {
                let why = "something is changing the network of a VPC while it is read; it is tried again";
                return Err(VpcError::Invalid(why.into()));
            }
        }
        Ok(())
    }

    fn look_at_proxies(&mut self, rtnl: &mut Rtnl) -> Result<(), VpcError> {
        let found = rtnl.proxies().map_err(VpcError::network("list proxies"))?;
        let known = self.tables.neighbours.iter().filter(|neighbour| neighbour.mac.is_none()).count();
        if known != found.len() || !found.iter().all(|proxy| self.tables.neighbours.contains(proxy)) {
            self.tables.neighbours.retain(|neighbour| neighbour.mac.is_some());
            self.tables.neighbours.extend(found);
            self.revision += 1;
        }
        Ok(())
    }

    /// False when what is known can no longer be relied on. `again`: what has been read may be from later than this.
    fn take(&mut self, news: News, again: bool) -> bool {
        let tables = &mut self.tables;
        let changed = match news {
            News::Unclear => return false,
            News::Link(link) => {
                let link = quiet(link);
                let known = self.links.get(&link.index);
                // The kernel drops the routes of a link that goes down, and says nothing of IPv4's.
                if !link.up && (again || known.is_some_and(|known| known.up)) {
                    tables.routes.retain(|route| route.device() != Some(link.index));
                }
                let changed = known != Some(&link);
                self.links.insert(link.index, link);
                changed
            }
            News::LinkGone(index) => {
                tables.forget(index);
                self.links.remove(&index).is_some()
            }
            News::Address(address) => !address.address.is_loopback() && tables.addresses.insert(address),
            News::AddressGone(address) => tables.addresses.remove(&address),
            News::Route { route, replaces } => {
                if replaces && !tables.routes.contains(&route) {
                    tables.remove_routes((route.table, route.destination));
                }
                tables.routes.insert(route)
            }
            News::RouteGone(place) => tables.remove_routes(place),
            News::Lookup(lookup) => tables.lookups.insert(lookup),
            News::LookupGone(lookup) => tables.lookups.remove(&lookup),
            News::Neighbour(neighbour) if tables.neighbours.contains(&neighbour) => false,
            News::Neighbour(neighbour) => {
                tables.remove_neighbour(neighbour.device, neighbour.address);
                tables.neighbours.insert(neighbour)
            }
            News::NeighbourGone(device, address) => tables.remove_neighbour(device, address),
            News::Forwarding(entry) if tables.forwardings.contains(&entry) => false,
            News::Forwarding(entry) => {
                tables.forwardings.retain(|f| (f.device, f.mac) != (entry.device, entry.mac));
                tables.forwardings.insert(entry)
            }
            News::ForwardingGone(entry) => tables.forwardings.remove(&entry),
        };
        self.revision += u64::from(changed);
        true
    }
}

/// Without what changes by itself.
fn quiet(link: Link) -> Link {
    Link { counts: Counts::default(), ..link }
}

//! Addresses, routes, lookups, neighbours and forwarding entries of one namespace as sets, and the way from one to another.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use driver::{Drift, Mac};
use ipnet::IpNet;

use crate::error::VpcError;
use crate::rtnl::{Address, Forwarding, Lookup, Neighbour, Route, Rtnl, Way};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) addresses: BTreeSet<Address>,
    pub(crate) routes: BTreeSet<Route>,
    pub(crate) lookups: BTreeSet<Lookup>,
    pub(crate) neighbours: BTreeSet<Neighbour>,
    pub(crate) forwardings: BTreeSet<Forwarding>,
}

impl Tables {
    /// All of the socket's namespace but the loopback's own addresses. `overlay` is the VXLAN device, if any.
    pub(crate) fn read(rtnl: &mut Rtnl, overlay: Option<u32>) -> Result<Self, VpcError> {
        let mut tables = Self { forwardings: BTreeSet::new(), ..Self::read_most(rtnl)? };
        if overlay.is_some() {
            tables.forwardings = read_forwardings(rtnl)?;
            tables.forwardings.retain(|entry| Some(entry.device) == overlay);
        }
        Ok(tables)
    }

    /// As [`Self::read`], with the forwarding entries of every VXLAN device.
    pub(crate) fn read_all(rtnl: &mut Rtnl) -> Result<Self, VpcError> {
        Ok(Self { forwardings: read_forwardings(rtnl)?, ..Self::read_most(rtnl)? })
    }

    fn read_most(rtnl: &mut Rtnl) -> Result<Self, VpcError> {
        let addresses = rtnl.addresses().map_err(VpcError::network("list addresses"))?;
        let neighbours = rtnl.neighbours().map_err(VpcError::network("list neighbours"))?;
        Ok(Self {
            addresses: addresses.into_iter().filter(|a| !a.address.is_loopback()).collect(),
            routes: rtnl.routes().map_err(VpcError::network("list routes"))?.into_iter().collect(),
            lookups: rtnl.lookups().map_err(VpcError::network("list lookups"))?.into_iter().collect(),
            neighbours: neighbours.into_iter().collect(),
            forwardings: BTreeSet::new(),
        })
    }

    /// Away with all of a device that is gone.
    pub(crate) fn forget(&mut self, device: u32) {
        self.addresses.retain(|address| address.device != device);
        self.routes.retain(|route| route.device() != Some(device));
        self.neighbours.retain(|neighbour| neighbour.device != device);
        self.forwardings.retain(|entry| entry.device != device);
    }

    /// Routes of a table to a destination.
    fn routes_to(&self, table: u32, destination: IpNet) -> impl Iterator<Item = &Route> {
        let route = |way| Route { table, destination, way };
        // The first way and the last in their order.
        self.routes.range(route(Way::Device { device: 0, via: None })..=route(Way::Blackhole))
    }

    fn has_route_to(&self, table: u32, destination: IpNet) -> bool {
        self.routes_to(table, destination).next().is_some()
    }

    /// One that is no proxy.
    fn neighbour(&self, device: u32, address: IpAddr) -> Option<&Neighbour> {
        let neighbour = |mac| Neighbour { device, address, mac: Some(mac) };
        self.neighbours.range(neighbour([0; 6])..=neighbour([0xff; 6])).next()
    }

    fn has_forwarding(&self, device: u32, mac: [u8; 6]) -> bool {
        let entry = |host| Forwarding { device, mac, host };
        // The first address and the last in their order.
        let all = entry(Ipv4Addr::UNSPECIFIED.into())..=entry(Ipv6Addr::from_bits(u128::MAX).into());
        self.forwardings.range(all).next().is_some()
    }

    /// Routes of this table to this destination; tells whether there was one.
    pub(crate) fn remove_routes(&mut self, (table, destination): (u32, IpNet)) -> bool {
        let found: Vec<Route> = self.routes_to(table, destination).cloned().collect();
        let before = self.routes.len();
        for route in &found {
            self.routes.remove(route);
        }
        self.routes.len() != before
    }

    /// Not a proxy; tells whether there was one.
    pub(crate) fn remove_neighbour(&mut self, device: u32, address: IpAddr) -> bool {
        let found = self.neighbour(device, address).cloned();
        found.is_some_and(|found| self.neighbours.remove(&found))
    }

    /// Keeps what concerns these devices.
    pub(crate) fn only(mut self, devices: &[u32]) -> Self {
        self.addresses.retain(|a| devices.contains(&a.device));
        self.routes.retain(|r| r.device().is_some_and(|device| devices.contains(&device)));
        self.lookups.clear();
        self.neighbours.retain(|n| devices.contains(&n.device));
        self
    }

    /// Makes `actual` this. First what is new, each before what relies on it; then away with what is too much. A
    /// route that changes its way does so at one moment.
    pub(crate) fn apply(&self, actual: &Self, rtnl: &mut Rtnl) -> Result<(), VpcError> {
        for address in self.addresses.difference(&actual.addresses) {
            let what = || format!("add address {}/{}", address.address, address.prefix);
            rtnl.add_address(address).map_err(|e| VpcError::network(what())(e))?;
        }
        for neighbour in self.neighbours.difference(&actual.neighbours) {
            let what = || format!("set neighbour {}", neighbour.address);
            rtnl.set_neighbour(neighbour).map_err(|e| VpcError::network(what())(e))?;
        }
        for entry in self.forwardings.difference(&actual.forwardings) {
            let what = || format!("set forwarding entry {} at {}", Mac(entry.mac), entry.host);
            rtnl.set_forwarding(entry).map_err(|e| VpcError::network(what())(e))?;
        }
        for route in self.routes.difference(&actual.routes) {
            let what = || format!("set route {route}");
            rtnl.set_route(route).map_err(|e| VpcError::network(what())(e))?;
        }
        // A table is filled before anything is looked up in it.
        for lookup in self.lookups.difference(&actual.lookups) {
            let what = || format!("look up packets {lookup}");
            rtnl.add_lookup(lookup).map_err(|e| VpcError::network(what())(e))?;
        }
        self.remove_what_is_too_much(actual, rtnl)
    }

    fn remove_what_is_too_much(&self, actual: &Self, rtnl: &mut Rtnl) -> Result<(), VpcError> {
        for lookup in actual.lookups.difference(&self.lookups) {
            let what = || format!("no longer look up packets {lookup}");
            rtnl.delete_lookup(lookup).map_err(|e| VpcError::network(what())(e))?;
        }
        for route in actual.routes.difference(&self.routes) {
            // One whose destination is kept was replaced above.
            if !self.has_route_to(route.table, route.destination) {
                let what = || format!("delete route {route}");
                rtnl.delete_route(route).map_err(|e| VpcError::network(what())(e))?;
            }
        }
        for neighbour in actual.neighbours.difference(&self.neighbours) {
            let is_replaced =
                neighbour.mac.is_some() && self.neighbour(neighbour.device, neighbour.address).is_some();
            if !is_replaced {
                let what = || format!("delete neighbour {}", neighbour.address);
                rtnl.delete_neighbour(neighbour).map_err(|e| VpcError::network(what())(e))?;
            }
        }
        for entry in actual.forwardings.difference(&self.forwardings) {
            if !self.has_forwarding(entry.device, entry.mac) {
                let what = || format!("delete forwarding entry {}", Mac(entry.mac));
                rtnl.delete_forwarding(entry).map_err(|e| VpcError::network(what())(e))?;
            }
        }
        for address in actual.addresses.difference(&self.addresses) {
            let what = || format!("delete address {}", address.address);
            rtnl.delete_address(address).map_err(|e| VpcError::network(what())(e))?;
        }
        Ok(())
    }

    /// How `actual` differs, in words.
    pub(crate) fn drift(&self, actual: &Self) -> Vec<Drift> {
        let mut all = Vec::new();
        both(&mut all, "address", &self.addresses, &actual.addresses, |a| {
            format!("{}/{} on {}", a.address, a.prefix, a.device)
        });
        both(&mut all, "route", &self.routes, &actual.routes, Route::to_string);
        both(&mut all, "lookup", &self.lookups, &actual.lookups, Lookup::to_string);
        both(&mut all, "neighbour", &self.neighbours, &actual.neighbours, |n| {
            format!("{} on {}", n.address, n.device)
        });
        both(&mut all, "fdb", &self.forwardings, &actual.forwardings, |f| {
            format!("{} at {}", Mac(f.mac), f.host)
        });
        all
    }
}

fn read_forwardings(rtnl: &mut Rtnl) -> Result<BTreeSet<Forwarding>, VpcError> {
    let all = rtnl.forwardings().map_err(VpcError::network("list forwarding entries"))?;
    Ok(all.into_iter().collect())
}

fn both<T: Ord>(
    all: &mut Vec<Drift>,
    kind: &'static str,
    wanted: &BTreeSet<T>,
    found: &BTreeSet<T>,
    tell: impl Fn(&T) -> String,
) {
    all.extend(wanted.difference(found).map(|item| Drift { kind, what: tell(item), missing: true }));
    all.extend(found.difference(wanted).map(|item| Drift { kind, what: tell(item), missing: false }));
}

//! The containers' end of a port: its addresses, and a default route to the gateway. A container that may change
//! its own network can undo this; it is put right at the next turn, and what others see does not depend on it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;

use driver::{Drift, Link, PortPlan};
use sys::namespace;

use crate::ends::{Identity, identity};
use crate::error::VpcError;
use crate::layout::{LOOPBACK, all, host_prefix, single};
use crate::links::open_sandbox;
use crate::names::GATEWAY_MAC;
use crate::rtnl::{Address, Lookup, Neighbour, Route, Rtnl};
use crate::sysctl;

/// The card with the default route.
const FIRST: &str = "eth0";
/// Tables of other cards: what answers from one's address leaves by it.
const TABLES: u32 = 1000;
const PRIORITY: u32 = 1000;

/// Sets up the other end of a port whose device is a veth, and tells in which namespace that was. `on_link` are the
/// networks that it reaches without a router; none where every packet goes through the host.
pub(crate) fn configure(port: &PortPlan, mtu: u16, on_link: &[IpNet]) -> Result<Option<Identity>, VpcError> {
    let Link::Veth { namespace: path, name } = &port.link else { return Ok(None) };
    let sandbox = open_sandbox(path)?;
    namespace::within_network(Some(&sandbox), || {
        let mut rtnl = Rtnl::open()?;
        configure_here(&mut rtnl, port, name, mtu, on_link)
    })?;
    identity(&sandbox).map(Some)
}

/// Whether a port's other end is not where the plan says: its sandbox was made anew, or is another one now.
pub(crate) fn is_detached(port: &PortPlan) -> Result<bool, VpcError> {
    let Link::Veth { namespace: path, name } = &port.link else { return Ok(false) };
    if !namespace::is_held(path) {
        return Ok(true);
    }
    within(path, || {
        let found = Rtnl::open()?.link(name).map_err(VpcError::network(format!("look for {name}")))?;
        Ok(found.is_none())
    })
}

/// What is missing at the other end.
pub(crate) fn drift(port: &PortPlan, on_link: &[IpNet]) -> Result<Vec<Drift>, VpcError> {
    let Link::Veth { namespace: path, name } = &port.link else { return Ok(Vec::new()) };
    if !namespace::is_held(path) {
        return Ok(vec![Drift {
            kind: "link",
            what: format!("namespace {}", path.display()),
            missing: true,
        }]);
    }
    within(path, || {
        let mut rtnl = Rtnl::open()?;
        let found = rtnl.link(name).map_err(VpcError::network(format!("look for {name}")))?;
        let Some(device) = found.filter(|link| link.up) else {
            return Ok(vec![Drift {
                kind: "link",
                what: format!("{name} of port {}", port.uid),
                missing: true,
            }]);
        };
        let present = rtnl.addresses().map_err(VpcError::network("list addresses"))?;
        let missing = addresses(port, device.index, on_link).into_iter().filter(|a| !present.contains(a));
        let tell = |a: Address| format!("{}/{} of port {}", a.address, a.prefix, port.uid);
        Ok(missing.map(|a| Drift { kind: "address", what: tell(a), missing: true }).collect())
    })
}

fn within<T: Send>(path: &Path, work: impl FnOnce() -> Result<T, VpcError> + Send) -> Result<T, VpcError> {
    namespace::within_network(Some(&open_sandbox(path)?), work)
}

fn configure_here(
    rtnl: &mut Rtnl,
    port: &PortPlan,
    name: &str,
    mtu: u16,
    on_link: &[IpNet],
) -> Result<(), VpcError> {
    let what = || format!("set up {name} of port {}", port.uid);
    let failed = |e| VpcError::network(what())(e);
    let Some(device) = rtnl.link(name).map_err(failed)? else {
        let why = "the container's end is gone, though the VPC's is there; delete the port's device";
        return Err(VpcError::Invalid(format!("{}: {why}", what())));
    };
    if device.mac != port.mac.0 {
        rtnl.set_mac(device.index, port.mac.0).map_err(failed)?;
    }
    if device.mtu != u32::from(mtu) {
        rtnl.set_mtu(device.index, mtu).map_err(failed)?;
    }
    if !device.up {
        sysctl::ignore_advertisements(name)?;
        rtnl.raise(LOOPBACK).map_err(failed)?;
        rtnl.raise(device.index).map_err(failed)?;
    }
    let present: BTreeSet<Address> = rtnl.addresses().map_err(failed)?.into_iter().collect();
    for address in addresses(port, device.index, on_link).difference(&present) {
        rtnl.add_address(address).map_err(failed)?;
    }
    let known = rtnl.neighbours().map_err(failed)?;
    // A router on the segment says itself which address it has.
    for address in port.gateways.iter().filter(|_| on_link.is_empty()) {
        let gateway = Neighbour { device: device.index, address: *address, mac: Some(GATEWAY_MAC) };
        if !known.contains(&gateway) {
            rtnl.set_neighbour(&gateway).map_err(failed)?;
        }
    }
    for route in defaults(port, device.index) {
        // Of several ports in one sandbox the first has the default route.
        rtnl.add_route(&route).map_err(failed)?;
        if name != FIRST && on_link.is_empty() {
            let table = TABLES + device.index;
            rtnl.add_route(&Route { table, ..route }).map_err(failed)?;
        }
    }
    for address in port.addresses.iter().filter(|_| name != FIRST && on_link.is_empty()) {
        let lookup = Lookup {
            priority: PRIORITY,
            source: single(*address),
            input: None,
            table: TABLES + device.index,
            skips_default: false,
        };
        rtnl.add_lookup(&lookup).map_err(failed)?;
    }
    Ok(())
}

fn addresses(port: &PortPlan, device: u32, on_link: &[IpNet]) -> BTreeSet<Address> {
    let prefix = |address: IpAddr| {
        let network = on_link.iter().find(|network| network.contains(&address));
        network.map_or(host_prefix(address), IpNet::prefix_len)
    };
    let address = |address: &IpAddr| Address { device, address: *address, prefix: prefix(*address) };
    port.addresses.iter().map(address).collect()
}

/// One per family, by the first gateway of that family that the port has addresses of.
fn defaults(port: &PortPlan, device: u32) -> Vec<Route> {
    let everything: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let route = |unspecified: IpAddr| {
        let of_family = |address: &&IpAddr| address.is_ipv4() == unspecified.is_ipv4();
        port.addresses.iter().find(of_family)?;
        let via = *port.gateways.iter().find(of_family)?;
        Some(Route::main(all(unspecified), device, Some(via)))
    };
    everything.into_iter().filter_map(route).collect()
}

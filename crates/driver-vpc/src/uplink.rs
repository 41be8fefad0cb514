//! The host's side of uplinks: one end of a veth pair per VPC, its addresses, the ways to floating addresses, and
//! the host's table. Works in the host's namespace, one caller at a time.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;

use driver::VpcPlan;
use model::Uid;
use nft::{Connection, Difference};

use crate::VpcOptions;
use crate::announce::announce;
use crate::error::VpcError;
use crate::host_rules::{self, HostUplink};
use crate::layout::{single, wants_ipv6};
use crate::names::{
    GATEWAY_MAC, UPLINK, UPLINK_MAC, UplinkAddresses, uplink_alias, uplink_device, uplink_vpc,
};
use crate::rtnl::{Address, Link, LinkKind, Neighbour, NewLink, Route, Rtnl};
use crate::sysctl;
use crate::tables::Tables;

/// All that concerns uplinks in the host's namespace.
#[derive(Debug)]
pub(crate) struct HostSide {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
}

impl HostSide {
    pub(crate) fn read(rtnl: &mut Rtnl) -> Result<Self, VpcError> {
        Ok(Self {
            links: rtnl.links().map_err(VpcError::network("list the host's links"))?,
            addresses: rtnl.addresses().map_err(VpcError::network("list the host's addresses"))?,
            routes: rtnl.routes().map_err(VpcError::network("list the host's routes"))?,
        })
    }

    /// VPCs that have an uplink here.
    pub(crate) fn vpcs(&self, tag: &str) -> Vec<Uid> {
        self.links.iter().filter_map(|link| uplink_vpc(tag, &link.alias)).collect()
    }

    pub(crate) fn link(&self, tag: &str, vpc: &Uid) -> Option<&Link> {
        let alias = uplink_alias(tag, vpc);
        self.links.iter().find(|link| link.alias == alias)
    }

    pub(crate) fn addresses_of(&self, link: &Link) -> Option<UplinkAddresses> {
        let mut own = self.addresses.iter().filter(|address| address.device == link.index);
        own.find_map(|address| UplinkAddresses::of_host_end(address.address))
    }

    /// A pair that nobody on this host uses, searched from the VPC's preferred one on.
    fn free_addresses(&self, vpc: &Uid) -> Result<UplinkAddresses, VpcError> {
        let taken: BTreeSet<IpAddr> = self.addresses.iter().map(|address| address.address).collect();
        let start = UplinkAddresses::preferred(vpc);
        let slots = (0..UplinkAddresses::SLOTS)
            .map(|step| UplinkAddresses { slot: (start + step) % UplinkAddresses::SLOTS });
        let is_free =
            |pair: &UplinkAddresses| !taken.contains(&pair.host4()) && !taken.contains(&pair.vpc4());
        slots.into_iter().find(is_free).ok_or_else(|| {
            VpcError::Invalid("every link-local address pair of this host is taken: use fewer VPCs".into())
        })
    }

    /// Uplinks as the kernel has them, all but one VPC's.
    fn others(&self, tag: &str, vpc: &Uid) -> Vec<HostUplink> {
        let others = self.links.iter().filter(|link| uplink_vpc(tag, &link.alias).is_some_and(|u| u != *vpc));
        let uplink = |link: &Link| {
            let routes = self.routes.iter().filter(|route| route.device() == Some(link.index));
            let floating = routes.map(|route| route.destination.addr()).collect();
            Some(HostUplink { device: link.index, addresses: self.addresses_of(link)?, floating })
        };
        others.filter_map(uplink).collect()
    }
}

/// Makes the pair where it is missing; both ends are down. Tells the addresses it has or will have.
pub(crate) fn ensure_link(
    rtnl: &mut Rtnl,
    options: &VpcOptions,
    plan: &VpcPlan,
    vpc: &File,
) -> Result<UplinkAddresses, VpcError> {
    let side = HostSide::read(rtnl)?;
    if let Some(link) = side.link(&options.tag, &plan.uid) {
        if let Some(addresses) = side.addresses_of(link) {
            return Ok(addresses);
        }
        // Made, but its addresses were not: begin again.
        delete(rtnl, link)?;
    }
    let addresses = side.free_addresses(&plan.uid)?;
    let name = uplink_device(&options.tag, &plan.uid);
    if let Some(half) = side.links.iter().find(|link| link.name == name) {
        delete(rtnl, half)?;
    }
    let what = || format!("make the uplink {name}");
    let failed = |e| VpcError::network(what())(e);
    let peer = NewLink {
        name: UPLINK,
        mac: UPLINK_MAC,
        mtu: plan.mtu,
        namespace: Some(vpc.as_fd()),
        kind: LinkKind::Peer,
    };
    let kind = LinkKind::Veth(Box::new(peer));
    rtnl.add_link(&NewLink { name: &name, mac: GATEWAY_MAC, mtu: plan.mtu, namespace: None, kind })
        .map_err(failed)?;
    let Some(link) = rtnl.link(&name).map_err(failed)? else {
        return Err(VpcError::Invalid(format!("{name} was deleted while it was made; try again")));
    };
    let own = Address { device: link.index, address: addresses.host4(), prefix: 31 };
    rtnl.add_address(&own).map_err(failed)?;
    rtnl.set_alias(link.index, &uplink_alias(&options.tag, &plan.uid)).map_err(failed)?;
    Ok(addresses)
}

/// Filter, link, addresses, routes, in this order.
pub(crate) fn ensure_ways(rtnl: &mut Rtnl, options: &VpcOptions, plan: &VpcPlan) -> Result<(), VpcError> {
    let side = HostSide::read(rtnl)?;
    sysctl::prepare_host(wants_ipv6(plan))?;
    filter(&side, options, plan)?.commit()?;
    let Some(link) = side.link(&options.tag, &plan.uid) else { return Ok(()) };
    if !link.up {
        rtnl.raise(link.index).map_err(VpcError::network(format!("raise {}", link.name)))?;
    }
    let (wanted, actual) = tables(rtnl, &side, link, plan)?;
    answer_for_floating(rtnl, &wanted)?;
    wanted.apply(&actual, rtnl)?;
    let proxies = wanted.neighbours.difference(&actual.neighbours).filter(|n| n.mac.is_none());
    announce(&proxies.collect::<Vec<_>>(), &side.links)
}

/// The host's side as it should be and as it is.
pub(crate) fn tables(
    rtnl: &mut Rtnl,
    side: &HostSide,
    link: &Link,
    plan: &VpcPlan,
) -> Result<(Tables, Tables), VpcError> {
    let device = link.index;
    let mut wanted = Tables::default();
    let Some(pair) = side.addresses_of(link) else { return Ok((wanted, Tables::default())) };
    let mut ends = vec![(pair.host4(), pair.vpc4(), 31)];
    if wants_ipv6(plan) {
        ends.push((pair.host6(), pair.vpc6(), 127));
    }
    for (own, peer, prefix) in ends {
        wanted.addresses.insert(Address { device, address: own, prefix });
        wanted.neighbours.insert(Neighbour { device, address: peer, mac: Some(UPLINK_MAC) });
    }
    for address in floating(plan) {
        let via = if address.is_ipv4() { pair.vpc4() } else { pair.vpc6() };
        wanted.routes.insert(Route::main(single(address), device, Some(via)));
        for outside in outside_devices(rtnl, side, address)? {
            wanted.neighbours.insert(Neighbour { device: outside, address, mac: None });
        }
    }
    let all = Tables::read(rtnl, None)?;
    let mut actual = all.clone().only(&[device]);
    // The host's end of a link made before its alias has a link-local address of its own; it is left alone.
    actual.addresses.retain(|a| !crate::layout::is_link_local6(a.address));
    // Proxies of ours stand on devices that are not: those for no uplink's address are too much.
    let elsewhere: BTreeSet<IpAddr> =
        all.routes.difference(&actual.routes).map(|r| r.destination.addr()).collect();
    let proxies = all.neighbours.iter().filter(|n| n.mac.is_none() && !elsewhere.contains(&n.address));
    actual.neighbours.extend(proxies.cloned());
    Ok((wanted, actual))
}

/// Proxies whose address has lost its route, after an uplink is gone.
pub(crate) fn remove_lost_proxies(rtnl: &mut Rtnl) -> Result<(), VpcError> {
    let all = Tables::read(rtnl, None)?;
    let routed: BTreeSet<IpAddr> = all.routes.iter().map(|route| route.destination.addr()).collect();
    for proxy in all.neighbours.iter().filter(|n| n.mac.is_none() && !routed.contains(&n.address)) {
        rtnl.delete_neighbour(proxy).map_err(VpcError::network(format!("delete proxy {}", proxy.address)))?;
    }
    Ok(())
}

/// Removes a VPC's uplink and what the host knows of it; the table too, with the last one.
pub(crate) fn remove(rtnl: &mut Rtnl, options: &VpcOptions, vpc: &Uid) -> Result<(), VpcError> {
    let side = HostSide::read(rtnl)?;
    let name = uplink_device(&options.tag, vpc);
    for link in side.links.iter().filter(|link| link.name == name) {
        delete(rtnl, link)?;
    }
    remove_lost_proxies(rtnl)?;
    let others = side.others(&options.tag, vpc);
    let failed = "clear the host's table";
    let mut connection = Connection::open()?;
    let table = host_rules::table(&options.tag, &others, options.vxlan_port);
    let exists = connection.tables().map_err(VpcError::filter(failed))?;
    if !exists.contains(&(table.family, table.name.clone())) {
        return Ok(());
    }
    if others.is_empty() {
        let mut batch = nft::Batch::new();
        batch.delete_table(table.family, &table.name);
        return connection.commit(&batch).map_err(VpcError::filter(failed));
    }
    table.apply(&mut connection).map(|_| ()).map_err(VpcError::filter(failed))
}

/// A difference of the host's table, ready to be written.
pub(crate) struct Pending {
    connection: Connection,
    pub(crate) difference: Difference,
}

impl Pending {
    fn commit(mut self) -> Result<(), VpcError> {
        self.connection.commit(&self.difference.batch).map_err(VpcError::filter("write the host's table"))
    }
}

pub(crate) fn filter(side: &HostSide, options: &VpcOptions, plan: &VpcPlan) -> Result<Pending, VpcError> {
    let mut uplinks = side.others(&options.tag, &plan.uid);
    let own = side.link(&options.tag, &plan.uid);
    if let Some((link, addresses)) = own.and_then(|link| Some((link, side.addresses_of(link)?))) {
        uplinks.push(HostUplink { device: link.index, addresses, floating: floating(plan).collect() });
    }
    let table = host_rules::table(&options.tag, &uplinks, options.vxlan_port);
    let mut connection = Connection::open()?;
    let actual = nft::Actual::read(&mut connection, table.family, &table.name)
        .map_err(VpcError::filter("read the host's table"))?;
    Ok(Pending { difference: table.difference(&actual), connection })
}

fn delete(rtnl: &mut Rtnl, link: &Link) -> Result<(), VpcError> {
    rtnl.delete_link(link.index).map_err(VpcError::network(format!("delete {}", link.name)))
}

/// Addresses that are ours outside: floating and shared ones, and those of ports here that leave as themselves.
fn floating(plan: &VpcPlan) -> impl Iterator<Item = IpAddr> {
    plan.uplink.iter().flat_map(|uplink| {
        let ports = plan.ports.iter().flat_map(|port| &port.addresses).copied();
        let leaves = |address: &IpAddr| uplink.egress.iter().any(|network| network.contains(address));
        let shared = uplink.shared.iter().map(|shared| shared.address);
        uplink.floating.iter().map(|(outside, _)| *outside).chain(shared).chain(ports.filter(leaves))
    })
}

/// Where others would ask for a floating address: the device in whose network it is, or those that lead out.
fn outside_devices(rtnl: &mut Rtnl, side: &HostSide, address: IpAddr) -> Result<Vec<u32>, VpcError> {
    let holds = |a: &&Address| {
        let network = ipnet::IpNet::new(a.address, a.prefix).ok();
        !a.address.is_loopback() && network.is_some_and(|network| network.contains(&address))
    };
    let near: BTreeSet<u32> = side.addresses.iter().filter(holds).map(|a| a.device).collect();
    if near.is_empty() {
        let devices = rtnl.default_devices().map_err(VpcError::network("list default routes"))?;
        return Ok(devices.into_iter().collect::<BTreeSet<u32>>().into_iter().collect());
    }
    Ok(near.into_iter().collect())
}

fn answer_for_floating(rtnl: &mut Rtnl, wanted: &Tables) -> Result<(), VpcError> {
    let devices: BTreeSet<u32> =
        wanted.neighbours.iter().filter(|n| n.mac.is_none()).map(|n| n.device).collect();
    if devices.is_empty() {
        return Ok(());
    }
    let links = rtnl.links().map_err(VpcError::network("list the host's links"))?;
    let names = links.iter().filter(|link| devices.contains(&link.index));
    for link in names {
        rtnl.answer_at_once(link.index).map_err(VpcError::network(format!("have {} answer", link.name)))?;
        sysctl::answer_for_others(&link.name)?;
    }
    Ok(())
}

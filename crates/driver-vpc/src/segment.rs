//! Ports on a physical segment: a namespace with nothing but a bridge, to which the guests' links and one wire to the
//! host's side are joined. Nothing is routed, translated or answered here: the segment's own network does all that.
//! What is checked is that a guest speaks under its own network card's address only.
//!
//! ```text
//! guest -- tap or veth --\                              /-- trunk: the device, or the VLAN on it
//!                         bridge `segment` -- wire -- bridge of the host
//! guest -- tap or veth --/        (namespace)           (one per device and VLAN, or one that is there)
//! ```

use std::fs::File;
use std::os::fd::AsFd;

use driver::{Drift, PortLink, SegmentPlan, VpcPlan};
use model::Uid;
use nft::{
    Base, ChainKind, Connection, Element, Family, Field, Hook, KeyType, Policy, Rule, Set, Table, key,
};
use sys::namespace::within_network;

use crate::VpcOptions;
use crate::error::VpcError;
use crate::layout::Devices;
use crate::links::{self, Found};
use crate::names::{
    GATEWAY_MAC, UPLINK, UPLINK_MAC, segment_alias, segment_bridge, segment_vlan, uplink_alias, uplink_device,
};
use crate::rtnl::{Link, LinkKind, NewLink, Rtnl};
use crate::rules::TABLE;
use crate::{sandbox, sysctl};

/// The bridge inside of the namespace.
const BRIDGE: &str = "segment";
const ARP: u16 = 0x0806;
const PRIORITY: i32 = -300;

/// Inside of the segment's namespace. Tells the links of the ports.
pub(crate) fn ensure_inside(
    plan: &VpcPlan,
    segment: &SegmentPlan,
    detached: &[&Uid],
    failures: &mut Vec<VpcError>,
) -> Result<Vec<Link>, VpcError> {
    let mut rtnl = Rtnl::open()?;
    sysctl::only_bridge()?;
    let bridge = ensure_bridge(&mut rtnl, BRIDGE, plan.mtu)?;
    let mut found = Found::sort(plan, list(&mut rtnl)?);
    found.stale.extend(detached.iter().filter_map(|uid| found.ports.remove(*uid)));
    // The wire has no place among a VPC's own devices.
    found.stale.retain(|link| link.name != UPLINK);
    links::remove_stale(&mut rtnl, &mut found)?;
    for port in plan.ports.iter().filter(|port| !found.ports.contains_key(&port.uid)).collect::<Vec<_>>() {
        match links::add_port(&mut rtnl, port, plan.mtu) {
            Ok(link) => drop(found.ports.insert(port.uid.clone(), link)),
            Err(e) => failures.push(e),
        }
    }
    let table = filter(plan, &found.devices());
    let mut connection = Connection::open()?;
    table.apply(&mut connection).map_err(VpcError::filter("write the segment's filter"))?;
    let wire = rtnl.link(UPLINK).map_err(VpcError::network("look for the segment's wire"))?;
    for link in found.ports.values().chain(&wire) {
        join(&mut rtnl, link, &bridge)?;
    }
    for port in &plan.ports {
        if found.ports.contains_key(&port.uid) {
            failures.extend(sandbox::configure(port, plan.mtu, &segment.networks).err());
        }
    }
    Ok(found.ports.into_values().collect())
}

/// In the host's namespace: the wire, and the bridge that joins it to the device.
pub(crate) fn ensure_on_host(
    rtnl: &mut Rtnl,
    options: &VpcOptions,
    plan: &VpcPlan,
    segment: &SegmentPlan,
    namespace: &File,
) -> Result<(), VpcError> {
    let all = list(rtnl)?;
    let Some(device) = all.iter().find(|link| link.name == segment.link) else {
        return Err(VpcError::Invalid(format!(
            "this host has no device {:?}, which spec.link of the subnet names; place the instance on a host that has it",
            segment.link
        )));
    };
    let trunk = match segment.vlan {
        Some(vlan) => Some(ensure_vlan(rtnl, options, segment, device, vlan)?),
        None if device.kind == "bridge" => None,
        None => Some(device.clone()),
    };
    let bridge = match trunk {
        None => device.clone(),
        Some(trunk) => {
            let name = segment_bridge(&options.tag, segment);
            refuse_a_used_device(rtnl, &trunk, &name)?;
            let bridge = ensure_bridge(rtnl, &name, plan.mtu)?;
            rtnl.set_alias(bridge.index, &segment_alias(&options.tag))
                .map_err(VpcError::network(format!("name {name}")))?;
            join(rtnl, &trunk, &bridge)?;
            bridge
        }
    };
    let alias = uplink_alias(&options.tag, &plan.uid);
    let wire = match list(rtnl)?.into_iter().find(|link| link.alias == alias) {
        Some(wire) => wire,
        None => add_wire(rtnl, options, plan, namespace)?,
    };
    join(rtnl, &wire, &bridge)
}

/// What is missing of a segment, inside of its namespace.
pub(crate) fn drift(plan: &VpcPlan) -> Result<Vec<Drift>, VpcError> {
    let mut rtnl = Rtnl::open()?;
    let links = list(&mut rtnl)?;
    let missing = |what: String| Drift { kind: "link", what, missing: true };
    let bridge = links.iter().find(|link| link.name == BRIDGE && link.up).map(|link| link.index);
    let mut all = Vec::new();
    if bridge.is_none() {
        all.push(missing(BRIDGE.into()));
    }
    let joined = |link: &&Link| link.up && link.master == bridge;
    if !links.iter().filter(joined).any(|link| link.name == UPLINK) {
        all.push(missing("the wire to the host".into()));
    }
    let ports = plan.ports.iter();
    let apart = ports.filter(|p| !links.iter().filter(joined).any(|link| link.alias == p.uid.as_str()));
    all.extend(apart.map(|port| missing(format!("port {}", port.uid))));
    let found = Found::sort(plan, links);
    let table = filter(plan, &found.devices());
    let mut connection = Connection::open()?;
    let actual = nft::Actual::read(&mut connection, table.family, &table.name)
        .map_err(VpcError::filter("read the segment's filter"))?;
    all.extend(crate::vpc::filter_drift(&table.difference(&actual)));
    Ok(all)
}

/// Bridges and VLANs of ours that no wire is joined to any more. In the host's namespace.
pub(crate) fn remove_unused(rtnl: &mut Rtnl, options: &VpcOptions) -> Result<(), VpcError> {
    let all = list(rtnl)?;
    let ours = segment_alias(&options.tag);
    let is_wire = |link: &Link| link.kind == "veth" && link.alias.starts_with("corten-");
    let is_idle = |bridge: &&Link| {
        bridge.kind == "bridge"
            && bridge.alias == ours
            && !all.iter().any(|link| link.master == Some(bridge.index) && is_wire(link))
    };
    for bridge in all.iter().filter(is_idle) {
        let vlans = all.iter().filter(|link| link.master == Some(bridge.index) && link.alias == ours);
        for doomed in vlans.chain([bridge]) {
            rtnl.delete_link(doomed.index).map_err(VpcError::network(format!("delete {}", doomed.name)))?;
        }
    }
    Ok(())
}

/// A guest speaks as its own card.
fn filter(plan: &VpcPlan, devices: &Devices) -> Table {
    let mut table = Table::new(Family::Bridge, TABLE);
    let index = KeyType::InterfaceIndex;
    let checked = || plan.ports.iter().filter(|port| port.source_check);
    let device = |uid: &Uid| devices.ports.get(uid).copied();
    let ports = checked().filter_map(|port| Some(Element::new(key([device(&port.uid)?.into()]))));
    table.set(Set::new("ports", &[index]), ports.collect::<Vec<_>>());
    let macs =
        checked().filter_map(|port| Some(Element::new(key([device(&port.uid)?.into(), port.mac.0.into()]))));
    table.set(Set::new("macs", &[index, KeyType::EtherAddress]), macs.collect::<Vec<_>>());
    let from = || Rule::new().in_set(&[Field::InputDevice], "ports");
    let rules = vec![
        from().not_in_set(&[Field::InputDevice, Field::EtherSource], "macs").drop(),
        from()
            .equal(Field::EtherType, ARP)
            .not_in_set(&[Field::InputDevice, Field::ArpSenderMac], "macs")
            .drop(),
    ];
    let base =
        Base { kind: ChainKind::Filter, hook: Hook::Prerouting, priority: PRIORITY, policy: Policy::Accept };
    table.base_chain("prerouting", base, rules);
    table
}

fn ensure_bridge(rtnl: &mut Rtnl, name: &str, mtu: u16) -> Result<Link, VpcError> {
    let what = || format!("make the bridge {name}");
    let failed = |e| VpcError::network(what())(e);
    if rtnl.link(name).map_err(failed)?.is_none() {
        let link = NewLink { name, mac: bridge_mac(name), mtu, namespace: None, kind: LinkKind::Bridge };
        rtnl.add_link(&link).map_err(failed)?;
    }
    let made = links::find(rtnl, name)?;
    if !made.up {
        rtnl.raise(made.index).map_err(failed)?;
    }
    Ok(made)
}

/// Of its own, and not the lowest of its members', which comes and goes.
fn bridge_mac(name: &str) -> [u8; 6] {
    let digest = crate::names::fnv(name.as_bytes()).to_be_bytes();
    [0x02, 0xc2, digest[0], digest[1], digest[2], digest[3]]
}

fn ensure_vlan(
    rtnl: &mut Rtnl,
    options: &VpcOptions,
    segment: &SegmentPlan,
    device: &Link,
    vlan: u16,
) -> Result<Link, VpcError> {
    let name = segment_vlan(&options.tag, segment);
    let what = || format!("make VLAN {vlan} on {}", device.name);
    let failed = |e| VpcError::network(what())(e);
    if rtnl.link(&name).map_err(failed)?.is_none() {
        let mtu = u16::try_from(device.mtu).unwrap_or(u16::MAX);
        let kind = LinkKind::Vlan { lower: device.index, number: vlan };
        let link = NewLink { name: &name, mac: device.mac, mtu, namespace: None, kind };
        rtnl.add_link(&link).map_err(failed)?;
    }
    let made = links::find(rtnl, &name)?;
    rtnl.set_alias(made.index, &segment_alias(&options.tag)).map_err(failed)?;
    Ok(made)
}

/// A device with addresses would lose them for the host once it is in a bridge.
fn refuse_a_used_device(rtnl: &mut Rtnl, trunk: &Link, bridge: &str) -> Result<(), VpcError> {
    let own = rtnl.link(bridge).map_err(VpcError::network(format!("look for {bridge}")))?;
    if trunk.master.is_some() && trunk.master != own.map(|link| link.index) {
        return Err(VpcError::Invalid(format!(
            "{} is in another bridge already; name that bridge in spec.link of the subnet",
            trunk.name
        )));
    }
    let addresses = rtnl.addresses().map_err(VpcError::network("list the host's addresses"))?;
    let used =
        addresses.iter().find(|a| a.device == trunk.index && !crate::layout::is_link_local6(a.address));
    match used {
        None => Ok(()),
        Some(used) => Err(VpcError::Invalid(format!(
            "{} has the host's address {}: make a bridge of it and name that, or give the subnet a VLAN",
            trunk.name, used.address
        ))),
    }
}

fn add_wire(
    rtnl: &mut Rtnl,
    options: &VpcOptions,
    plan: &VpcPlan,
    namespace: &File,
) -> Result<Link, VpcError> {
    let name = uplink_device(&options.tag, &plan.uid);
    let what = || format!("make the wire {name}");
    let failed = |e| VpcError::network(what())(e);
    if let Some(half) = rtnl.link(&name).map_err(failed)? {
        rtnl.delete_link(half.index).map_err(failed)?;
    }
    let peer = NewLink {
        name: UPLINK,
        mac: UPLINK_MAC,
        mtu: plan.mtu,
        namespace: Some(namespace.as_fd()),
        kind: LinkKind::Peer,
    };
    let kind = LinkKind::Veth(Box::new(peer));
    rtnl.add_link(&NewLink { name: &name, mac: GATEWAY_MAC, mtu: plan.mtu, namespace: None, kind })
        .map_err(failed)?;
    let made = links::find(rtnl, &name)?;
    rtnl.set_alias(made.index, &uplink_alias(&options.tag, &plan.uid)).map_err(failed)?;
    Ok(made)
}

/// Into the bridge, and up.
fn join(rtnl: &mut Rtnl, link: &Link, bridge: &Link) -> Result<(), VpcError> {
    let failed = |e| VpcError::network(format!("join {} to {}", link.name, bridge.name))(e);
    if link.master != Some(bridge.index) {
        rtnl.set_master(link.index, bridge.index).map_err(failed)?;
    }
    if !link.up {
        rtnl.raise(link.index).map_err(failed)?;
    }
    Ok(())
}

fn list(rtnl: &mut Rtnl) -> Result<Vec<Link>, VpcError> {
    rtnl.links().map_err(VpcError::network("list links"))
}

/// All of a segment that this host has, in order: the host's side last, so that no guest is heard unchecked.
pub(crate) fn ensure(
    on_host: impl FnOnce() -> Result<(), VpcError>,
    plan: &VpcPlan,
    segment: &SegmentPlan,
    namespace: &File,
    detached: &[&Uid],
    failures: &mut Vec<VpcError>,
) -> Result<Vec<Link>, VpcError> {
    let inside = |failures: &mut Vec<VpcError>| {
        within_network(Some(namespace), || ensure_inside(plan, segment, detached, failures))
    };
    inside(failures)?;
    on_host()?;
    // Again, for the wire: it has come since.
    inside(failures)
}

/// As the agent hears of them.
pub(crate) fn port_links(plan: &VpcPlan, links: &[Link], namespace: &std::path::Path) -> Vec<PortLink> {
    let link = |uid: &Uid| {
        let link = links.iter().find(|link| link.alias == uid.as_str())?;
        let (device, index) = (link.name.clone(), link.index);
        Some(PortLink { uid: uid.clone(), device, index, namespace: namespace.to_owned() })
    };
    plan.ports.iter().filter_map(|port| link(&port.uid)).collect()
}

//! Devices in a VPC's namespace: found by what they say they are, made where missing, taken away where too much.
//! Whatever is made here is down, so that nothing passes before the filter knows it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use driver::{Drift, Link as PlannedLink, PortPlan, VpcPlan};
use model::Uid;
use sys::namespace;

use crate::error::VpcError;
use crate::layout::{Devices, LOOPBACK};
use crate::names::{GATEWAY_MAC, OVERLAY, UPLINK, peer_device, port_device, tunnel_mac};
use crate::rtnl::{Link, LinkKind, NewLink, Rtnl};

/// Two uids with one name are unlikely, three with two impossible to meet.
const ATTEMPTS: u8 = 8;

/// What of the plan has a device, and which devices have nothing of the plan.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) ports: BTreeMap<Uid, Link>,
    pub(crate) overlay: Option<Link>,
    pub(crate) uplink: Option<Link>,
    /// Links to peers, by the peer.
    pub(crate) peers: BTreeMap<Uid, Link>,
    pub(crate) stale: Vec<Link>,
}

impl Found {
    /// A port is known by its device's alias. One whose making was cut short has none yet and is stale, as is one
    /// of another sort than planned, or a tunnel with another number.
    pub(crate) fn sort(plan: &VpcPlan, links: impl IntoIterator<Item = Link>) -> Self {
        let mut found = Self::default();
        let ports: HashMap<&str, &PortPlan> =
            plan.ports.iter().map(|port| (port.uid.as_str(), port)).collect();
        for link in links.into_iter().filter(|link| link.index != LOOPBACK) {
            let port = ports.get(link.alias.as_str());
            let peer = peer_of(plan, &link);
            match port {
                Some(port) if link.kind == kind(&port.link) && !found.ports.contains_key(&port.uid) => {
                    found.ports.insert(port.uid.clone(), link);
                }
                _ if link.name == OVERLAY && is_overlay_of(plan, &link) => found.overlay = Some(link),
                _ if link.name == UPLINK && plan.uplink.is_some() => found.uplink = Some(link),
                _ if peer.is_some() => found.peers.extend(peer.map(|uid| (uid, link))),
                // Devices that a kernel puts into every namespace (tunl0, sit0 ...) have no use and do no harm.
                _ if is_ours(&link) => found.stale.push(link),
                _ => {}
            }
        }
        found
    }

    pub(crate) fn devices(&self) -> Devices {
        Devices {
            ports: self.ports.iter().map(|(uid, link)| (uid.clone(), link.index)).collect(),
            names: self.ports.iter().map(|(uid, link)| (uid.clone(), link.name.clone())).collect(),
            peers: self.peers.iter().map(|(uid, link)| (uid.clone(), link.index)).collect(),
            overlay: self.overlay.as_ref().map(|link| link.index),
            uplink: self.uplink.as_ref().map(|link| link.index),
        }
    }

    pub(crate) fn drift(&self, plan: &VpcPlan) -> Vec<Drift> {
        let missing = |what: String| Drift { kind: "link", what, missing: true };
        let ports = plan.ports.iter().filter(|port| !self.ports.contains_key(&port.uid));
        let mut all: Vec<Drift> = ports.map(|port| missing(format!("port {}", port.uid))).collect();
        if plan.underlay.is_some() && self.overlay.is_none() {
            all.push(missing(OVERLAY.into()));
        }
        if plan.uplink.is_some() && self.uplink.is_none() {
            all.push(missing(UPLINK.into()));
        }
        let peers = plan.peers.iter().filter(|p| p.is_linked() && !self.peers.contains_key(&p.uid));
        all.extend(peers.map(|peer| missing(format!("to peer {}", peer.uid))));
        let down = self.all().filter(|link| !link.up);
        all.extend(down.map(|link| missing(format!("{} is down", link.name))));
        all.extend(self.stale.iter().map(|link| Drift {
            kind: "link",
            what: link.name.clone(),
            missing: false,
        }));
        all
    }

    fn all(&self) -> impl Iterator<Item = &Link> {
        self.ports.values().chain(self.peers.values()).chain(&self.overlay).chain(&self.uplink)
    }

    /// Lets packets through; the filter is in place.
    pub(crate) fn raise(&self, rtnl: &mut Rtnl) -> Result<(), VpcError> {
        for link in self.all().filter(|link| !link.up) {
            let raised = rtnl.answer_at_once(link.index).and_then(|()| rtnl.raise(link.index));
            raised.map_err(VpcError::network(format!("raise {}", link.name)))?;
        }
        Ok(())
    }

    pub(crate) fn set_mtu(&self, rtnl: &mut Rtnl, mtu: u16) -> Result<(), VpcError> {
        for link in self.all().filter(|link| link.mtu != u32::from(mtu)) {
            rtnl.set_mtu(link.index, mtu)
                .map_err(VpcError::network(format!("set the MTU of {}", link.name)))?;
        }
        Ok(())
    }
}

fn kind(link: &PlannedLink) -> &'static str {
    match link {
        PlannedLink::Tap { .. } => "tun",
        PlannedLink::Veth { .. } => "veth",
    }
}

fn is_ours(link: &Link) -> bool {
    matches!(link.kind.as_str(), "tun" | "veth" | "vxlan")
}

/// The peer that a link leads to.
fn peer_of(plan: &VpcPlan, link: &Link) -> Option<Uid> {
    let peers = plan.peers.iter().filter(|peer| peer.is_linked() && link.kind == "veth");
    peers.map(|peer| &peer.uid).find(|uid| peer_device(uid) == link.name).cloned()
}

fn is_overlay_of(plan: &VpcPlan, link: &Link) -> bool {
    plan.underlay.is_some_and(|own| link.vxlan == Some((plan.vni, own)))
}

/// Takes away what has no place in the plan. In the VPC's namespace.
pub(crate) fn remove_stale(rtnl: &mut Rtnl, found: &mut Found) -> Result<(), VpcError> {
    let stale: Vec<u32> = std::mem::take(&mut found.stale).iter().map(|link| link.index).collect();
    rtnl.delete_links(&stale).map_err(VpcError::network("delete links that have no place in the plan"))
}

/// Makes a port's device where it is missing. In the VPC's namespace.
pub(crate) fn add_port(rtnl: &mut Rtnl, port: &PortPlan, mtu: u16) -> Result<Link, VpcError> {
    let what = || format!("make the link of port {}", port.uid);
    let name = free_name(rtnl, &port.uid)?;
    match &port.link {
        PlannedLink::Tap { user_id } => {
            sys::tap::create(&name, *user_id).map_err(|e| VpcError::system(what())(e))?;
        }
        PlannedLink::Veth { namespace: path, name: inner } => {
            let sandbox = open_sandbox(path)?;
            let peer = NewLink {
                name: inner,
                mac: port.mac.0,
                mtu,
                namespace: Some(sandbox.as_fd()),
                kind: LinkKind::Peer,
            };
            let kind = LinkKind::Veth(Box::new(peer));
            let link = NewLink { name: &name, mac: GATEWAY_MAC, mtu, namespace: None, kind };
            rtnl.add_link(&link).map_err(|e| VpcError::network(what())(e))?;
        }
    }
    let made = find(rtnl, &name)?;
    if matches!(port.link, PlannedLink::Tap { .. }) {
        rtnl.set_mac(made.index, GATEWAY_MAC).map_err(|e| VpcError::network(what())(e))?;
        rtnl.set_mtu(made.index, mtu).map_err(|e| VpcError::network(what())(e))?;
    }
    // Last: from now on it counts as made.
    rtnl.set_alias(made.index, port.uid.as_str()).map_err(|e| VpcError::network(what())(e))?;
    find(rtnl, &name)
}

/// Makes the VXLAN device. Within the host's namespace, where its socket stays, and straight into the VPC's.
pub(crate) fn add_overlay(
    host: &mut Rtnl,
    vpc: &File,
    plan: &VpcPlan,
    own: IpAddr,
    port: u16,
) -> Result<(), VpcError> {
    let kind = LinkKind::Vxlan { vni: plan.vni, local: own, port };
    let link =
        NewLink { name: OVERLAY, mac: tunnel_mac(own), mtu: plan.mtu, namespace: Some(vpc.as_fd()), kind };
    let what = format!("make the VXLAN device {} at {own} (is another cloud using this number?)", plan.vni);
    host.add_link(&link).map_err(VpcError::network(what))
}

/// The namespace that a port's other end is in, made when missing.
pub(crate) fn open_sandbox(path: &Path) -> Result<File, VpcError> {
    let what = || format!("make the network namespace {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| VpcError::system(what())(e))?;
    }
    namespace::hold_network(path).map_err(|e| VpcError::system(what())(e))?;
    File::open(path).map_err(|e| VpcError::system(what())(e))
}

fn free_name(rtnl: &mut Rtnl, port: &Uid) -> Result<String, VpcError> {
    for attempt in 0..ATTEMPTS {
        let name = port_device(port, attempt);
        if rtnl.link(&name).map_err(VpcError::network(format!("look for {name}")))?.is_none() {
            return Ok(name);
        }
    }
    Err(VpcError::Invalid(format!("no device name is free for port {port}: delete what is stale")))
}

/// A device that was just made.
pub(crate) fn find(rtnl: &mut Rtnl, name: &str) -> Result<Link, VpcError> {
    let found = rtnl.link(name).map_err(VpcError::network(format!("look for {name}")))?;
    found.ok_or_else(|| VpcError::Invalid(format!("{name} was deleted while it was made; try again")))
}

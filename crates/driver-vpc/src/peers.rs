//! Links between peered VPCs: a veth pair with one end in each one's namespace. Either VPC's turn may make it, and
//! the other finds its end there; each raises its own end, once its filter knows it.

use std::fs::File;
use std::os::fd::AsFd;

use driver::{PeerPlan, VpcPlan};
use sys::namespace::within_network;

use crate::error::VpcError;
use crate::names::{peer_device, peer_mac};
use crate::rtnl::{LinkKind, NewLink, Rtnl};

/// Makes the pair where an end is missing. One caller at a time: the other VPC may be about to do the same.
pub(crate) fn ensure_link(own: &File, other: &File, plan: &VpcPlan, peer: &PeerPlan) -> Result<(), VpcError> {
    let (near, far) = (peer_device(&peer.uid), peer_device(&plan.uid));
    let ends = [(own, near.as_str()), (other, far.as_str())];
    let mut found = Vec::new();
    for (namespace, name) in ends {
        found.extend(index(namespace, name)?.map(|index| (namespace, index)));
    }
    if found.len() == ends.len() {
        return Ok(());
    }
    // One whose other end is elsewhere, in a namespace that the kernel still takes apart.
    for (namespace, index) in found {
        within_network(Some(namespace), || {
            let gone = Rtnl::open()?.delete_link(index);
            gone.map_err(VpcError::network(format!("delete half of the link to peer {}", peer.uid)))
        })?;
    }
    within_network(Some(own), || {
        let far = NewLink {
            name: &far,
            mac: peer_mac(&peer.uid, &plan.uid),
            mtu: plan.mtu,
            namespace: Some(other.as_fd()),
            kind: LinkKind::Peer,
        };
        let kind = LinkKind::Veth(Box::new(far));
        let mac = peer_mac(&plan.uid, &peer.uid);
        let link = NewLink { name: &near, mac, mtu: plan.mtu, namespace: None, kind };
        let made = Rtnl::open()?.add_link(&link);
        made.map_err(VpcError::network(format!("make the link to peer {}", peer.uid)))
    })
}

fn index(namespace: &File, name: &str) -> Result<Option<u32>, VpcError> {
    within_network(Some(namespace), || {
        let link = Rtnl::open()?.link(name).map_err(VpcError::network(format!("look for {name}")))?;
        Ok(link.map(|link| link.index))
    })
}

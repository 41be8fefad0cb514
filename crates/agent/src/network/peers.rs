//! Peers of VPCs: who they are, and this host's part in carrying between them. They may be of another project, so the
//! networks of two projects with a peering between them are made in one turn.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use driver::{PeerPlan, Reach};
use model::network::{Cidr, Peering, PeeringSpec, Port, Vpc};
use reconcile::Cache;

use super::plan::{View, addresses};

/// Another VPC that one may talk to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer<'a> {
    /// What the peering is called on this side.
    pub(super) peering: &'a str,
    pub(super) vpc: &'a Vpc,
    /// The objects of its project.
    view: &'a View,
}

/// Projects that the objects of one concern: itself, and those that it has a peering with by the word of either side.
pub(super) fn neighbourhood(peerings: &Cache<Peering>, project: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([project.to_owned()]);
    for peering in peerings.filter(|peering| sides(peering).contains(&project)) {
        all.extend(sides(&peering).map(str::to_owned));
    }
    all
}

/// The projects of both sides of a peering.
pub(super) fn sides(peering: &Peering) -> [&str; 2] {
    let own = peering.metadata.namespace.as_str();
    [own, peering.spec.peer_project(own)]
}

impl View {
    /// Peers of a VPC of this project: both sides have said so, and their ranges are apart.
    pub(super) fn peers_of<'a>(&'a self, vpc: &'a Vpc) -> Vec<Peer<'a>> {
        let own = self.peerings.iter().filter(|peering| peering.spec.vpc == vpc.metadata.name);
        let peer = |peering: &'a Arc<Peering>| {
            let [own, other] = sides(peering);
            let view = if own == other { self } else { self.others.get(other)? };
            view.peerings.iter().find(|answer| PeeringSpec::is_answered(peering, answer))?;
            let there = view.vpcs.iter().find(|there| there.metadata.name == peering.spec.peer_vpc)?;
            let apart = vpc.spec.overlap(&there.spec).is_none();
            apart.then_some(Peer { peering: &peering.metadata.name, vpc: there, view })
        };
        own.filter_map(peer).collect()
    }

    /// This host's part in carrying between a VPC and a peer, if it has one. The one with the smaller uid carries: its
    /// overlay knows where the other's ports are, and its namespace is wherever the other has ports.
    pub(super) fn peer_plan(&self, vpc: &Vpc, peer: &Peer<'_>) -> Option<PeerPlan> {
        let (own, other) = (&vpc.metadata.uid, &peer.vpc.metadata.uid);
        let reach = if own < other {
            let theirs = peer.view.ports_of(peer.vpc);
            Reach::Carried { here: peer.view.here(peer.vpc), remotes: peer.view.remotes(&theirs) }
        } else if self.here(vpc).is_empty() {
            return None;
        } else {
            Reach::Link
        };
        let ranges = peer.vpc.spec.ranges().map(Cidr::net).collect();
        Some(PeerPlan { uid: other.clone(), ranges, reach })
    }

    /// Ports whose groups a rule of the VPC may name: its own, and those of peers in the same project.
    pub(super) fn named_ports<'a>(&'a self, vpc: &'a Vpc, peers: &[Peer<'a>]) -> Vec<&'a Arc<Port>> {
        let same = peers.iter().filter(|peer| peer.vpc.metadata.namespace == vpc.metadata.namespace);
        let peers = same.flat_map(|peer| self.ports_of(peer.vpc));
        self.ports_of(vpc).into_iter().chain(peers).collect()
    }

    /// Addresses of a VPC's ports on this host.
    fn here(&self, vpc: &Vpc) -> Vec<IpAddr> {
        let local = self.ports_of(vpc).into_iter().filter(|port| self.is_here(port));
        local.flat_map(|port| addresses(port)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use driver::{Hop, Link, RemotePlan};
    use model::network::{Address, RouteTarget, SubnetSpec, VpcSpec};
    use model::{Object, ObjectMeta, Spec};

    use super::super::plan::tests::{object, route, view};
    use super::*;

    fn elsewhere<S: Spec>(name: &str, number: u8, spec: S) -> Arc<Object<S>> {
        let mut made = (*object(name, number, spec)).clone();
        made.metadata = ObjectMeta { uid: made.metadata.uid, ..ObjectMeta::in_project("q", name) };
        Arc::new(made)
    }

    /// The VPC `v` of one project and `w` of another, with a port of `w` on the other host, and one here if wanted.
    fn peered(number: u8, here: bool) -> (View, Arc<Vpc>, Arc<Vpc>) {
        let (mut view, vpc) = view();
        let range = VpcSpec { ipv4_ranges: vec!["10.9.0.0/16".parse().unwrap()], ..VpcSpec::default() };
        let other = elsewhere("w", number, range);
        let say = |vpc: &str, project: &str, peer: &str| PeeringSpec {
            vpc: vpc.into(),
            peer_project: project.into(),
            peer_vpc: peer.into(),
        };
        let port = |name: &str, last: u8| {
            let mut port = (*super::super::plan::tests::port(name, last, &[])).clone();
            port.metadata.namespace = "q".into();
            port.spec.addresses = vec![Address(IpAddr::from([10, 9, 0, last]))];
            port.status.host_address = Some(Address(IpAddr::from([192, 0, 2, 2])));
            Arc::new(port)
        };
        let subnet =
            SubnetSpec { vpc: "w".into(), cidr: "10.9.0.0/24".parse().ok(), ..SubnetSpec::default() };
        let links = here.then(|| ("near".to_owned(), Link::Tap { user_id: 8 }));
        let theirs = View {
            host: view.host.clone(),
            underlay: Some(IpAddr::from([192, 0, 2, 1])),
            vpcs: vec![other.clone()],
            subnets: vec![elsewhere("s", 121, subnet)],
            ports: [("near", 30), ("far", 31)]
                .iter()
                .filter(|(name, _)| here || *name == "far")
                .map(|(name, last)| port(name, *last))
                .collect(),
            peerings: vec![elsewhere("back", 122, say("w", "p", "v"))],
            links: links.into_iter().collect(),
            ..View::default()
        };
        view.underlay = theirs.underlay;
        view.vpcs = vec![vpc.clone()];
        view.peerings = vec![object("there", 123, say("v", "q", "w"))];
        view.others = BTreeMap::from([("q".to_owned(), theirs)]);
        (view, vpc, other)
    }

    #[test]
    fn the_smaller_uid_carries() {
        let (view, vpc, other) = peered(200, true);
        assert!(vpc.metadata.uid < other.metadata.uid);
        let plan = view.plan(&vpc);
        let [peer] = plan.peers.as_slice() else { panic!("{:?}", plan.peers) };
        let far = RemotePlan { address: IpAddr::from([10, 9, 0, 31]), host: IpAddr::from([192, 0, 2, 2]) };
        let here = vec![IpAddr::from([10, 9, 0, 30])];
        assert_eq!(peer.reach, Reach::Carried { here, remotes: vec![far] });
        assert_eq!(peer.uid, other.metadata.uid);

        let (mut view, vpc, other) = peered(50, true);
        assert!(vpc.metadata.uid > other.metadata.uid);
        assert_eq!(view.plan(&vpc).peers[0].reach, Reach::Link);
        view.links.clear();
        let plan = view.plan(&vpc);
        assert!(plan.is_empty() && plan.peers.is_empty(), "no port here, no part in it");
    }

    #[test]
    fn a_host_of_the_peers_ports_alone_carries_too() {
        let (mut view, vpc, _) = peered(200, true);
        view.links.clear();
        assert!(!view.plan(&vpc).is_empty(), "packets of the peer's port cross here");
        let (mut view, vpc, _) = peered(200, false);
        view.links.clear();
        assert!(view.plan(&vpc).is_empty());
    }

    #[test]
    fn it_takes_the_word_of_both_and_ranges_apart() {
        let (mut view, vpc, other) = peered(200, true);
        let mut main = (*view.tables[0]).clone();
        let target = RouteTarget { peering: "there".into(), ..RouteTarget::default() };
        main.spec.routes = vec![route("10.9.0.0/16", target)];
        view.tables = vec![Arc::new(main)];
        let hop = |view: &View| view.plan(&vpc).tables[0].routes[0].target.clone();
        assert_eq!(hop(&view), Hop::Peer(other.metadata.uid.clone()));
        let theirs = view.others.get_mut("q").expect("the other project");
        let said = std::mem::take(&mut theirs.peerings);
        assert_eq!(hop(&view), Hop::Blackhole, "the other side has not said so");
        let theirs = view.others.get_mut("q").expect("the other project");
        theirs.peerings = said;
        let mut wide = (*other).clone();
        wide.spec.ipv4_ranges.push("10.0.128.0/20".parse().unwrap());
        theirs.vpcs = vec![Arc::new(wide)];
        assert_eq!(hop(&view), Hop::Blackhole, "their ranges overlap");
        assert!(view.plan(&vpc).peers.is_empty());
    }
}

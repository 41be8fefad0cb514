//! Hosts as the index keeps them, the domains they sit in, and the pools that group equal ones.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::compute::{Cell, TopologyKey};
use model::topology::Taint;

use super::bindings::Binding;
use super::hash;
use super::room::{Room, amounts};
use super::slab::{Id, Slab};
use super::tree::{Leaf, Tree};
use crate::HostView;

/// One host: known by a report, by instances bound to it, or by both.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: Arc<str>,
    /// The last report. Nothing while only bindings name the host, or when it was removed before they were.
    /// Boxed, because placements need only the rest, and want it close together.
    pub(crate) view: Option<Box<HostView>>,
    pub(crate) room: Room,
    pub(crate) seat: Seat,
    pool: usize,
    leaf: usize,
    /// Hashes of its images, sorted.
    images: Vec<u64>,
    pub(crate) bound: Vec<Id<Binding>>,
}

/// Where a host sits: the domain of each level of the topology.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    pub(crate) zone: u32,
    pub(crate) rack: u32,
    pub(crate) host: u32,
}

impl Seat {
    pub(crate) fn at(self, topology: TopologyKey) -> u32 {
        match topology {
            TopologyKey::Host => self.host,
            TopologyKey::Rack => self.rack,
            TopologyKey::Zone => self.zone,
        }
    }
}

/// Hosts that serve the same cells and carry the same taints.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) cells: Vec<Cell>,
    pub(crate) taints: Vec<Taint>,
    members: BTreeSet<(Seat, u32)>,
    pub(crate) tree: Tree,
    /// Members came or went since the tree was built.
    stale: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Hosts {
    pub(crate) slab: Slab<Host>,
    by_name: HashMap<Arc<str>, Id<Host>, RandomState>,
    /// Domains by name. They are few and never forgotten.
    zones: HashMap<String, u32, RandomState>,
    racks: HashMap<(u32, String), u32, RandomState>,
    /// The zone of each rack.
    rack_zones: Vec<u32>,
    pub(crate) pools: Vec<Pool>,
    /// The hosts that have an image, sorted, by the image's hash.
    holders: HashMap<u64, Vec<u32>, RandomState>,
    /// Hosts with a report.
    pub(crate) known: usize,
}

impl Host {
    pub(crate) fn has_image(&self, image: u64) -> bool {
        self.images.binary_search(&image).is_ok()
    }

    /// What its leaf says; nothing while the host takes no instances.
    fn as_leaf(&self) -> Option<Leaf> {
        self.view.as_ref().filter(|view| view.ready && !view.cordoned)?;
        Some(Leaf::of(self.room.free(), self.room.load(), self.seat))
    }
}

impl Hosts {
    pub(crate) fn find(&self, name: &str) -> Option<Id<Host>> {
        self.by_name.get(name).copied()
    }

    /// The host of this name, made known if need be.
    pub(crate) fn find_or_add(&mut self, name: &str) -> Id<Host> {
        if let Some(id) = self.find(name) {
            return id;
        }
        let name: Arc<str> = name.into();
        let id = self.slab.insert(Host {
            name: name.clone(),
            view: None,
            room: Room::default(),
            seat: Seat::default(),
            pool: 0,
            leaf: 0,
            images: Vec::new(),
            bound: Vec::new(),
        });
        self.slab[id].seat.host = id.raw();
        self.by_name.insert(name, id);
        id
    }

    pub(crate) fn zone(&mut self, name: &str) -> u32 {
        if let Some(zone) = self.zones.get(name) {
            return *zone;
        }
        let zone = Id::<()>::from_index(self.zones.len()).raw();
        self.zones.insert(name.into(), zone);
        zone
    }

    pub(crate) fn seat(&mut self, id: Id<Host>, view: &HostView) -> Seat {
        let zone = self.zone(&view.zone);
        let next = Id::<()>::from_index(self.racks.len()).raw();
        let rack = *self.racks.entry((zone, view.rack.clone())).or_insert(next);
        if rack == next {
            self.rack_zones.push(zone);
        }
        Seat { zone, rack, host: id.raw() }
    }

    /// Takes in a report: room, images, seat and pool. Says which pool is new, if one is.
    pub(crate) fn settle(&mut self, id: Id<Host>, seat: Seat, view: HostView) -> Option<usize> {
        let pools = self.pools.len();
        let pool = self.pool(&view.cells, &view.taints);
        self.set_images(id, view.images.iter().map(|digest| hash::stable(digest)).collect());
        let host = &mut self.slab[id];
        let moved = host.view.is_none() || host.seat != seat || host.pool != pool;
        if host.view.is_none() {
            self.known += 1;
        }
        host.room.resize(amounts(&view.allocatable));
        if moved {
            self.leave_pool(id);
            let host = &mut self.slab[id];
            (host.seat, host.pool) = (seat, pool);
            self.pools[pool].members.insert((seat, id.raw()));
            self.pools[pool].stale = true;
        }
        self.slab[id].view = Some(Box::new(view));
        self.refresh(id);
        (self.pools.len() > pools).then_some(pool)
    }

    /// Forgets a host's report, and the host when nothing is bound to it.
    pub(crate) fn remove(&mut self, id: Id<Host>) {
        self.leave_pool(id);
        self.set_images(id, Vec::new());
        let host = &mut self.slab[id];
        if host.view.take().is_some() {
            self.known -= 1;
        }
        host.room.resize([0; 3]);
        self.drop_if_unused(id);
    }

    pub(crate) fn drop_if_unused(&mut self, id: Id<Host>) {
        let host = &self.slab[id];
        if host.view.is_none() && host.bound.is_empty() {
            self.by_name.remove(&host.name);
            self.slab.remove(id);
        }
    }

    /// Brings the host's leaf up to date.
    pub(crate) fn refresh(&mut self, id: Id<Host>) {
        let host = &self.slab[id];
        if host.view.is_none() {
            return;
        }
        let pool = &mut self.pools[host.pool];
        if !pool.stale {
            pool.tree.set(host.leaf, host.as_leaf());
        }
    }

    /// Builds anew the trees whose members have changed: once for any number of hosts that joined.
    pub(crate) fn rebuild_stale(&mut self) {
        for pool in self.pools.iter_mut().filter(|pool| pool.stale) {
            let leaves = pool.members.iter().enumerate().map(|(leaf, (_, raw))| {
                let id = Id::from_raw(*raw);
                self.slab[id].leaf = leaf;
                (id, self.slab[id].as_leaf())
            });
            pool.tree = Tree::build(leaves);
            pool.stale = false;
        }
    }

    /// The hosts of a rack that are in these pools.
    pub(crate) fn in_rack(&self, rack: u32, pools: &[usize]) -> impl Iterator<Item = Id<Host>> {
        let zone = self.rack_zones[rack as usize];
        let seat = move |host| (Seat { zone, rack, host }, host);
        let members = pools.iter().map(move |pool| self.pools[*pool].members.range(seat(0)..=seat(u32::MAX)));
        members.flatten().map(|(_, raw)| Id::from_raw(*raw))
    }

    /// Hosts that have the image.
    pub(crate) fn holders(&self, image: u64) -> &[u32] {
        self.holders.get(&image).map_or(&[], Vec::as_slice)
    }

    fn pool(&mut self, cells: &[Cell], taints: &[Taint]) -> usize {
        let found = self.pools.iter().position(|pool| pool.cells == cells && pool.taints == taints);
        found.unwrap_or_else(|| {
            self.pools.push(Pool {
                cells: cells.into(),
                taints: taints.into(),
                members: BTreeSet::new(),
                tree: Tree::default(),
                stale: true,
            });
            self.pools.len() - 1
        })
    }

    fn leave_pool(&mut self, id: Id<Host>) {
        let host = &self.slab[id];
        if host.view.is_some() {
            let pool = &mut self.pools[host.pool];
            pool.members.remove(&(host.seat, id.raw()));
            pool.stale = true;
        }
    }

    fn set_images(&mut self, id: Id<Host>, mut images: Vec<u64>) {
        images.sort_unstable();
        let old = std::mem::replace(&mut self.slab[id].images, images.clone());
        for image in old.iter().filter(|image| images.binary_search(image).is_err()) {
            if let Some(holders) = self.holders.get_mut(image) {
                if let Ok(at) = holders.binary_search(&id.raw()) {
                    holders.remove(at);
                }
                if holders.is_empty() {
                    self.holders.remove(image);
                }
            }
        }
        for image in images.iter().filter(|image| old.binary_search(image).is_err()) {
            let holders = self.holders.entry(*image).or_default();
            if let Err(at) = holders.binary_search(&id.raw()) {
                holders.insert(at, id.raw());
            }
        }
    }
}

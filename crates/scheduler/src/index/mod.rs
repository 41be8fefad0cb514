//! The index: hosts and bindings, kept so that a placement needs to look at few of them. This file owns the
//! public verbs and keeps the parts in step; each part has a file of its own.

mod answer;
mod bindings;
mod class;
mod hash;
mod hosts;
mod neighbours;
mod preempt;
mod query;
mod room;
mod search;
mod shape;
mod slab;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::Resources;
use model::compute::Affinity;

use self::bindings::{Binding, Bindings};
use self::class::{Class, Step};
use self::hosts::{Host, Hosts};
use self::neighbours::{Neighbours, selects};
use self::room::{amounts, resources};
use self::shape::{Rule, Shape, Shapes, Wish};
use self::slab::{Id, Slab};
use crate::filter::Eligibility;
use crate::{HostView, Request};

pub use self::search::{IMAGE_HOLDERS_MAX, VISITS_MAX};

/// Why an instance cannot be bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error("host {host:?} is not known: bind to a host that has reported")]
    UnknownHost { host: String },
    #[error("{key} is bound to {host}: unbind it first")]
    BoundElsewhere { key: String, host: Arc<str> },
    #[error("{host} has {free} free, {key} asks for {asked}: place it again")]
    NoRoom { key: String, host: Arc<str>, free: Resources, asked: Resources },
}

/// Hosts and what is bound to them, ready for placements.
///
/// Verbs that only ask take `&mut self` as well: they compile requests and keep what they have compiled.
#[derive(Debug, Default)]
pub struct Index {
    hosts: Hosts,
    bindings: Bindings,
    neighbours: Neighbours,
    classes: Classes,
    shapes: Shapes,
    /// Grows with every change that an answer may depend on.
    version: u64,
}

#[derive(Debug, Default)]
struct Classes {
    slab: Slab<Class>,
    ids: HashMap<Eligibility, Id<Class>, RandomState>,
}

impl Index {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what a host says of itself. A report that says nothing new costs nothing.
    pub fn upsert_host(&mut self, view: HostView) {
        let view = view.normalized();
        let id = self.hosts.find_or_add(&view.name);
        if self.hosts.slab[id].view.as_deref() == Some(&view) {
            return;
        }
        let seat = self.hosts.seat(id, &view);
        let moves = self.hosts.slab[id].view.is_none() || self.hosts.slab[id].seat != seat;
        if moves {
            self.seat_all(id, Step::Down);
        }
        let left = self.dismiss(id);
        let new_pool = self.hosts.settle(id, seat, view);
        if let Some(pool) = new_pool {
            for (_, class) in self.classes.slab.iter_mut() {
                class.admit_pool(pool, &self.hosts.pools[pool]);
            }
        }
        self.admit(id, &left, moves);
        if moves {
            self.seat_all(id, Step::Up);
        }
        self.version += 1;
    }

    /// Forgets a host. What is bound to it stays bound, and counts again should the host return.
    pub fn remove_host(&mut self, name: &str) {
        let Some(id) = self.hosts.find(name) else { return };
        self.seat_all(id, Step::Down);
        for class in self.dismiss(id) {
            self.neighbours.drop_censuses(class);
        }
        self.hosts.remove(id);
        self.version += 1;
    }

    /// Claims a host for an instance. Doing so again changes nothing; with other resources or labels it resizes
    /// or relabels the instance in its place. Checks room, and only room: the rest was for the placement to say.
    pub fn bind(&mut self, request: &Request, host: &str) -> Result<(), BindError> {
        let key = request.key();
        let Some(id) = self.hosts.find(host).filter(|id| self.hosts.slab[*id].view.is_some()) else {
            return Err(BindError::UnknownHost { host: host.into() });
        };
        let shape_id = self.compile(request);
        let shape = &self.shapes.slab[shape_id];
        let (demand, record) = (shape.demand, &self.hosts.slab[id]);
        let old = self.bindings.find(&key);
        if let Some(old) = old.filter(|old| old.host != id) {
            return Err(BindError::BoundElsewhere { key, host: self.hosts.slab[old.host].name.clone() });
        }
        let held = old.map_or([0; 3], |old| old.demand);
        if !record.room.may_change(&held, &demand) {
            let (free, asked) = (resources(&record.room.free()), resources(&demand));
            return Err(BindError::NoRoom { key, host: record.name.clone(), free, asked });
        }
        self.enter(key.into(), id, shape_id);
        Ok(())
    }

    /// Takes note that an instance is on a host, as a fact: whether there is room or not, whether the host has
    /// reported or not, and wherever the instance was before.
    pub fn adopt(&mut self, request: &Request, host: &str) {
        let (id, shape) = (self.hosts.find_or_add(host), self.compile(request));
        self.enter(request.key().into(), id, shape);
    }

    /// Releases what `key` (`project/name`) holds. Says whether it held anything.
    pub fn unbind(&mut self, key: &str) -> bool {
        let Some(binding) = self.bindings.strike(key, &mut self.hosts.slab) else { return false };
        self.release(&binding);
        self.version += 1;
        true
    }

    /// The host that `key` is bound to.
    pub fn host_of(&self, key: &str) -> Option<&Arc<str>> {
        self.bindings.find(key).map(|binding| &self.hosts.slab[binding.host].name)
    }

    /// What is free on a host; nothing when it is not known.
    pub fn free(&self, host: &str) -> Option<Resources> {
        let host = &self.hosts.slab[self.hosts.find(host)?];
        host.view.as_ref().map(|_| resources(&host.room.free()))
    }

    /// Hosts that have reported.
    pub fn hosts(&self) -> usize {
        self.hosts.known
    }

    pub fn bound(&self) -> usize {
        self.bindings.len()
    }

    /// Binds without asking for room, in the place of whatever the key was bound to.
    fn enter(&mut self, key: Arc<str>, host: Id<Host>, shape: Id<Shape>) {
        let shape = &self.shapes.slab[shape];
        let same = |old: &Binding| {
            old.host == host
                && old.demand == shape.demand
                && old.role == shape.role
                && old.repels == shape.repels
                && old.priority == shape.priority
        };
        let old = self.bindings.find(&key);
        if old.is_some_and(same) {
            return;
        }
        let is_bound = old.is_some();
        let (demand, role, repels) = (shape.demand, shape.role, shape.repels.clone());
        let binding = Binding::new(key.clone(), host, demand, role, repels.clone(), shape.priority);
        let old = if is_bound { self.bindings.strike(&key, &mut self.hosts.slab) } else { None };
        self.neighbours.use_by_binding(role, &repels, Step::Up);
        let record = &mut self.hosts.slab[host];
        record.room.claim(&demand);
        if record.view.is_some() {
            self.neighbours.seat(role, &repels, record.seat, Step::Up, &self.classes.slab);
        }
        self.bindings.enter(binding, &mut self.hosts.slab[host].bound);
        self.hosts.refresh(host);
        // Only now, so that a host known by this instance alone is not forgotten in between.
        if let Some(old) = old {
            self.release(&old);
        }
        self.version += 1;
    }

    /// Gives back what a struck binding held.
    fn release(&mut self, binding: &Binding) {
        let host = &mut self.hosts.slab[binding.host];
        host.room.release(&binding.demand);
        if host.view.is_some() {
            let (role, seat) = (binding.role, host.seat);
            self.neighbours.seat(role, &binding.repels, seat, Step::Down, &self.classes.slab);
        }
        self.neighbours.use_by_binding(binding.role, &binding.repels, Step::Down);
        self.hosts.refresh(binding.host);
        self.hosts.drop_if_unused(binding.host);
    }

    /// The request's shape, with everything it speaks of in place.
    fn prepare(&mut self, request: &Request) -> Id<Shape> {
        self.hosts.rebuild_stale();
        let id = self.compile(request);
        let shape = &self.shapes.slab[id];
        for rule in shape.rules.iter().filter(|rule| matches!(rule.wish, Wish::Even { .. })) {
            let class = &self.classes.slab[shape.class];
            self.neighbours.take_census(rule.group, rule.topology, shape.class, class);
        }
        id
    }

    fn compile(&mut self, request: &Request) -> Id<Shape> {
        if let Some(id) = self.shapes.find(request) {
            return id;
        }
        if self.shapes.is_full() {
            self.shapes.clear();
            self.classes = Classes::default();
            self.neighbours.forget_unused();
        }
        let class = self.classes.of(Eligibility::of(request), &mut self.hosts);
        let rules = self.rules(request);
        let role = self.neighbours.role(&request.project, &request.labels);
        let images = request.images.iter().map(|digest| hash::stable(digest)).collect();
        self.shapes.insert(Shape::new(request, class, role, rules, amounts(&request.resources), images))
    }

    fn rules(&mut self, request: &Request) -> Vec<Rule> {
        let placement = &request.placement;
        let near = |a: &Affinity| (a.labels.clone(), a.topology, Wish::Near, a.prefer);
        let apart = |a: &Affinity| (a.labels.clone(), a.topology, Wish::Apart, a.prefer);
        let wishes: Vec<_> = placement
            .affinity
            .iter()
            .map(near)
            .chain(placement.anti_affinity.iter().map(apart))
            .chain(
                placement
                    .spread
                    .iter()
                    .map(|s| (s.labels.clone(), s.topology, Wish::Even { max_skew: s.max_skew }, s.prefer)),
            )
            .collect();
        wishes
            .into_iter()
            .map(|(selector, topology, wish, prefer)| Rule {
                group: self.neighbours.group(&request.project, &selector, &self.hosts.slab),
                topology,
                wish,
                prefer,
                own: selects(&selector, &request.labels),
            })
            .collect()
    }

    /// Counts all instances of a host that has reported in or out of the domains it sits in.
    fn seat_all(&mut self, id: Id<Host>, step: Step) {
        let host = &self.hosts.slab[id];
        if host.view.is_none() {
            return;
        }
        for binding in host.bound.iter().map(|id| self.bindings.get(*id)) {
            self.neighbours.seat(binding.role, &binding.repels, host.seat, step, &self.classes.slab);
        }
    }

    /// Takes the host out of all classes; answers with those it was in.
    fn dismiss(&mut self, id: Id<Host>) -> Vec<Id<Class>> {
        let seat = self.hosts.slab[id].seat;
        let left = self.classes.slab.iter_mut().filter_map(|(id, class)| class.dismiss(seat).then_some(id));
        left.collect()
    }

    /// Takes the host into the classes that it suits. Where that changes which domains a class reaches, its
    /// censuses are dropped.
    fn admit(&mut self, id: Id<Host>, left: &[Id<Class>], moves: bool) {
        let host = &self.hosts.slab[id];
        for (class_id, class) in self.classes.slab.iter_mut() {
            let (was_in, is_in) = (left.contains(&class_id), class.admit(host));
            if was_in != is_in || (is_in && moves) {
                self.neighbours.drop_censuses(class_id);
            }
        }
    }
}

impl Classes {
    fn of(&mut self, wanted: Eligibility, hosts: &mut Hosts) -> Id<Class> {
        if let Some(id) = self.ids.get(&wanted) {
            return *id;
        }
        let id = self.slab.insert(Class::new(wanted.clone(), hosts));
        self.ids.insert(wanted, id);
        id
    }
}

//! Shapes: requests without their names, compiled once. Looking one up costs a hash over its texts; everything
//! after that is numbers.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::Resources;
use model::compute::{Affinity, Cell, SpreadConstraint, Strategy, Toleration, TopologyKey};

use super::class::Class;
use super::neighbours::{Group, Labels, Repulsion, Role};
use super::room::Amounts;
use super::slab::{Id, Slab};
use crate::{Refusal, Request};

/// Most shapes kept; beyond, all are forgotten and compiled anew as they come.
pub(crate) const SHAPES_MAX: usize = 4096;

/// Everything about a request that its answer depends on, but for its name and a pinned host.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Likeness<'a> {
    project: &'a str,
    labels: &'a Labels,
    cell: Cell,
    resources: Resources,
    images: &'a [String],
    pools: &'a [String],
    zone: &'a str,
    host_labels: &'a Labels,
    strategy: Strategy,
    affinity: &'a [Affinity],
    anti_affinity: &'a [Affinity],
    spread: &'a [SpreadConstraint],
    tolerations: &'a [Toleration],
    priority: i32,
}

impl<'a> Likeness<'a> {
    fn of(request: &'a Request) -> Self {
        let placement = &request.placement;
        Self {
            project: &request.project,
            labels: &request.labels,
            cell: request.cell,
            resources: request.resources,
            images: &request.images,
            pools: &request.pools,
            zone: &placement.zone,
            host_labels: &placement.host_labels,
            strategy: placement.strategy,
            affinity: &placement.affinity,
            anti_affinity: &placement.anti_affinity,
            spread: &placement.spread,
            tolerations: &placement.tolerations,
            priority: placement.priority,
        }
    }
}

/// A rule about neighbours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) group: Id<Group>,
    pub(crate) topology: TopologyKey,
    pub(crate) wish: Wish,
    /// Only a preference.
    pub(crate) prefer: bool,
    /// Whether the request is itself of the group.
    pub(crate) own: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    Near,
    Apart,
    Even { max_skew: u32 },
}

#[derive(Debug)]
pub(crate) struct Shape {
    sample: Request,
    pub(crate) class: Id<Class>,
    pub(crate) role: Id<Role>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) repels: Arc<[Repulsion]>,
    pub(crate) demand: Amounts,
    pub(crate) strategy: Strategy,
    pub(crate) priority: i32,
    /// Hashes of its images.
    pub(crate) images: Vec<u64>,
    /// The last refusal, with the version of the index that it speaks of.
    pub(crate) refusal: Option<(u64, Refusal)>,
}

impl Shape {
    pub(crate) fn new(
        request: &Request,
        class: Id<Class>,
        role: Id<Role>,
        rules: Vec<Rule>,
        demand: Amounts,
        images: Vec<u64>,
    ) -> Self {
        let repels = rules.iter().filter(|r| matches!(r.wish, Wish::Apart) && !r.prefer);
        Self {
            sample: Request { name: String::new(), ..request.clone() },
            class,
            role,
            repels: repels.map(|r| (r.group, r.topology)).collect(),
            rules,
            demand,
            strategy: request.placement.strategy,
            priority: request.placement.priority,
            images,
            refusal: None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Shapes {
    pub(crate) slab: Slab<Shape>,
    by_hash: HashMap<u64, Vec<Id<Shape>>, RandomState>,
    state: RandomState,
    /// The one found last: what was placed is mostly bound next.
    last: Option<Id<Shape>>,
}

impl Shapes {
    pub(crate) fn find(&mut self, request: &Request) -> Option<Id<Shape>> {
        let wanted = Likeness::of(request);
        let is_like = |id: &Id<Shape>| Likeness::of(&self.slab[*id].sample) == wanted;
        if let Some(last) = self.last.filter(is_like) {
            return Some(last);
        }
        let ids = self.by_hash.get(&self.state.hash_one(&wanted))?;
        self.last = ids.iter().copied().find(is_like);
        self.last
    }

    pub(crate) fn insert(&mut self, shape: Shape) -> Id<Shape> {
        let hash = self.state.hash_one(Likeness::of(&shape.sample));
        let id = self.slab.insert(shape);
        self.by_hash.entry(hash).or_default().push(id);
        id
    }

    pub(crate) fn is_full(&self) -> bool {
        self.slab.len() >= SHAPES_MAX
    }

    pub(crate) fn clear(&mut self) {
        self.slab.clear();
        self.by_hash.clear();
        self.last = None;
    }
}

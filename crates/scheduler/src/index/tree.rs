//! The tournament tree of a pool: an implicit binary tree over its hosts in the order zone, rack, id. Every node
//! knows the best that is below it, so that a search can leave out whole branches.

use super::hosts::{Host, Seat};
use super::room::{Amounts, fits};
use super::slab::Id;
use crate::score::LOAD_MAX;

/// Stands for "more than one" where a node would name its zone or rack.
const MIXED: u32 = u32::MAX;

/// The best that hosts below a node offer, each in its own right: rarely is one host best in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    free: Amounts,
    /// Lowest and highest load; the other way round when no host below takes instances.
    pub(crate) low: u8,
    pub(crate) high: u8,
    zone: u32,
    rack: u32,
    /// One bit per image that some host below has, at the bit of the image's hash.
    pub(crate) images: u64,
}

const NOTHING: Summary =
    Summary { free: [0; 3], low: LOAD_MAX + 1, high: 0, zone: MIXED, rack: MIXED, images: 0 };

impl Summary {
    /// A host that takes instances.
    pub(crate) fn of(free: Amounts, load: u8, seat: Seat, images: u64) -> Self {
        Self { free, low: load, high: load, zone: seat.zone, rack: seat.rack, images }
    }

    pub(crate) fn has_room(&self, demand: &Amounts) -> bool {
        self.low <= self.high && fits(demand, &self.free)
    }

    /// The zone of all hosts below, when it is one.
    pub(crate) fn zone(&self) -> Option<u32> {
        (self.zone != MIXED).then_some(self.zone)
    }

    pub(crate) fn rack(&self) -> Option<u32> {
        (self.rack != MIXED).then_some(self.rack)
    }

    fn is_nothing(&self) -> bool {
        self.low > self.high
    }

    fn join(&self, other: &Self) -> Self {
        if self.is_nothing() {
            return *other;
        }
        if other.is_nothing() {
            return *self;
        }
        Self {
            free: std::array::from_fn(|d| self.free[d].max(other.free[d])),
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            zone: if self.zone == other.zone { self.zone } else { MIXED },
            rack: if self.rack == other.rack { self.rack } else { MIXED },
            images: self.images | other.images,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// `nodes[1]` is the root, `2n` and `2n + 1` are below `n`, the leaves are the second half.
    nodes: Vec<Summary>,
    hosts: Vec<Id<Host>>,
}

impl Tree {
    pub(crate) const ROOT: usize = 1;

    /// `leaves` come in the order in which they shall stand.
    pub(crate) fn build(leaves: Vec<(Id<Host>, Option<Summary>)>) -> Self {
        let width = leaves.len().next_power_of_two();
        let mut nodes = vec![NOTHING; 2 * width];
        for (i, (_, summary)) in leaves.iter().enumerate() {
            nodes[width + i] = summary.unwrap_or(NOTHING);
        }
        for n in (1..width).rev() {
            nodes[n] = nodes[2 * n].join(&nodes[2 * n + 1]);
        }
        Self { nodes, hosts: leaves.into_iter().map(|(host, _)| host).collect() }
    }

    /// Corrects one leaf, and its ancestors as far up as anything changes.
    pub(crate) fn set(&mut self, leaf: usize, summary: Option<Summary>) {
        let mut n = self.width() + leaf;
        let mut new = summary.unwrap_or(NOTHING);
        while self.nodes[n] != new {
            self.nodes[n] = new;
            n /= 2;
            if n == 0 {
                break;
            }
            new = self.nodes[2 * n].join(&self.nodes[2 * n + 1]);
        }
    }

    pub(crate) fn node(&self, n: usize) -> Option<&Summary> {
        self.nodes.get(n)
    }

    /// The host that node `n` is, when it is a leaf.
    pub(crate) fn host(&self, n: usize) -> Option<Id<Host>> {
        self.hosts.get(n.checked_sub(self.width())?).copied()
    }

    fn width(&self) -> usize {
        self.nodes.len() / 2
    }
}

//! The tournament tree of a pool: an implicit binary tree over blocks of its hosts, in the order zone, rack, id.
//! Every node knows the best that is below it, so that a search can leave out whole branches. Small on purpose:
//! with ten thousand hosts it stays in a core's own cache.

use std::ops::Range;

use super::hosts::{Host, Seat};
use super::room::{Amounts, fits};
use super::slab::Id;

/// Stands for "more than one" where a node would name its zone or rack.
const MIXED: u32 = u32::MAX;
/// Stands for "no host that takes instances".
const NONE: u32 = u32::MAX - 1;

/// Classes of free memory and of free cpu: 1, 1.5, 2, 3, 4, 6 ... units, the sizes that instances usually have.
const CLASSES: usize = 24;
/// The unit of each: 256 MiB, and a quarter of a core.
const UNITS: [u64; 2] = [256 << 20, 250];

/// Hosts of one block, the lowest level of the tree.
pub(crate) const BLOCK: usize = 8;

/// What hosts below a node offer, each in its own right: rarely is one host best in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    free: Amounts,
    zone: u32,
    rack: u32,
}

/// A host's place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) offer: Offer,
    pub(crate) load: u8,
}

/// The best below a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) offer: Offer,
    /// Lowest and highest load of the hosts with at least so much free memory (first) or cpu (second). Without
    /// the classes, the load of hosts that are full would hide that of those that are not.
    low: [[u8; CLASSES]; 2],
    high: [[u8; CLASSES]; 2],
}

const NOTHING: Offer = Offer { free: [0; 3], zone: NONE, rack: NONE };
const NOBODY: Leaf = Leaf { offer: NOTHING, load: 0 };
const EMPTY: Summary = Summary { offer: NOTHING, low: [[u8::MAX; CLASSES]; 2], high: [[0; CLASSES]; 2] };

/// The class that an amount of free memory (0) or cpu (1) is in; all of a higher class are more.
fn class(dimension: usize, amount: u64) -> usize {
    let units = amount / UNITS[dimension];
    let half = match units.checked_ilog2() {
        None => 0,
        Some(0) => 1 + usize::from(2 * amount >= 3 * UNITS[dimension]),
        Some(log) => 1 + 2 * log as usize + usize::from(units >> (log - 1) & 1 == 1),
    };
    half.min(CLASSES - 1)
}

/// What a request needs, with the classes in which to look for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    demand: Amounts,
    classes: [usize; 2],
}

impl Need {
    pub(crate) fn of(demand: Amounts) -> Self {
        Self { demand, classes: [class(0, demand[0]), class(1, demand[1])] }
    }
}

impl Leaf {
    /// A host that takes instances.
    pub(crate) fn of(free: Amounts, load: u8, seat: Seat) -> Self {
        Self { offer: Offer { free, zone: seat.zone, rack: seat.rack }, load }
    }

    pub(crate) fn seat(&self, host: Id<Host>) -> Seat {
        Seat { zone: self.offer.zone, rack: self.offer.rack, host: host.raw() }
    }
}

impl Offer {
    pub(crate) fn has_room(&self, need: &Need) -> bool {
        self.zone != NONE && fits(&need.demand, &self.free)
    }

    /// The zone of all hosts below, when it is one.
    pub(crate) fn zone(&self) -> Option<u32> {
        (self.zone != MIXED).then_some(self.zone)
    }

    pub(crate) fn rack(&self) -> Option<u32> {
        (self.rack != MIXED).then_some(self.rack)
    }

    pub(crate) fn free(&self) -> &Amounts {
        &self.free
    }

    fn join(&self, other: &Self) -> Self {
        Self {
            free: std::array::from_fn(|d| self.free[d].max(other.free[d])),
            zone: common(self.zone, other.zone),
            rack: common(self.rack, other.rack),
        }
    }
}

impl Summary {
    /// No host below that has room has a lower load.
    pub(crate) fn lowest(&self, need: &Need) -> u8 {
        self.low[0][need.classes[0]].max(self.low[1][need.classes[1]])
    }

    /// No host below that has room has a higher load.
    pub(crate) fn highest(&self, need: &Need) -> u8 {
        self.high[0][need.classes[0]].min(self.high[1][need.classes[1]])
    }

    fn of(block: &[Leaf]) -> Self {
        let mut summary = EMPTY;
        for leaf in block.iter().filter(|leaf| **leaf != NOBODY) {
            summary.offer = summary.offer.join(&leaf.offer);
            for dimension in 0..2 {
                let class = class(dimension, leaf.offer.free[dimension]);
                summary.low[dimension][..=class].iter_mut().for_each(|low| *low = leaf.load.min(*low));
                summary.high[dimension][..=class].iter_mut().for_each(|high| *high = leaf.load.max(*high));
            }
        }
        summary
    }

    fn join(&self, other: &Self) -> Self {
        Self {
            offer: self.offer.join(&other.offer),
            low: each(&self.low, &other.low, u8::min),
            high: each(&self.high, &other.high, u8::max),
        }
    }
}

fn each(a: &[[u8; CLASSES]; 2], b: &[[u8; CLASSES]; 2], choose: impl Fn(u8, u8) -> u8) -> [[u8; CLASSES]; 2] {
    std::array::from_fn(|d| std::array::from_fn(|class| choose(a[d][class], b[d][class])))
}

fn common(a: u32, b: u32) -> u32 {
    match (a, b) {
        (NONE, only) | (only, NONE) => only,
        (a, b) if a == b => a,
        _ => MIXED,
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// `nodes[1]` is the root, `2n` and `2n + 1` are below `n`, the second half are the blocks.
    nodes: Vec<Summary>,
    leaves: Vec<Leaf>,
    hosts: Vec<Id<Host>>,
}

impl Tree {
    pub(crate) const ROOT: usize = 1;

    /// `hosts` come in the order in which they shall stand; without a leaf a host takes no instances.
    pub(crate) fn build(hosts: impl Iterator<Item = (Id<Host>, Option<Leaf>)>) -> Self {
        let (hosts, leaves): (Vec<_>, Vec<_>) =
            hosts.map(|(host, leaf)| (host, leaf.unwrap_or(NOBODY))).unzip();
        let width = leaves.len().div_ceil(BLOCK).next_power_of_two();
        let mut nodes = vec![EMPTY; 2 * width];
        for (node, block) in nodes[width..].iter_mut().zip(leaves.chunks(BLOCK)) {
            *node = Summary::of(block);
        }
        for n in (1..width).rev() {
            nodes[n] = nodes[2 * n].join(&nodes[2 * n + 1]);
        }
        Self { nodes, leaves, hosts }
    }

    /// Corrects one leaf, and what is above it as far up as anything changes.
    pub(crate) fn set(&mut self, at: usize, leaf: Option<Leaf>) {
        self.leaves[at] = leaf.unwrap_or(NOBODY);
        let mut n = self.width() + at / BLOCK;
        let mut new = Summary::of(&self.leaves[self.block(n)]);
        while n > 0 && self.nodes[n] != new {
            self.nodes[n] = new;
            n /= 2;
            if n > 0 {
                new = self.nodes[2 * n].join(&self.nodes[2 * n + 1]);
            }
        }
    }

    pub(crate) fn node(&self, n: usize) -> Option<&Summary> {
        self.nodes.get(n)
    }

    /// The hosts of node `n` with their leaves, when it is a block.
    pub(crate) fn hosts(&self, n: usize) -> Option<impl Iterator<Item = (Id<Host>, &Leaf)>> {
        (n >= self.width()).then(|| {
            let block = self.block(n);
            self.hosts[block.clone()].iter().copied().zip(&self.leaves[block])
        })
    }

    fn width(&self) -> usize {
        self.nodes.len() / 2
    }

    fn block(&self, n: usize) -> Range<usize> {
        let first = (n - self.width()) * BLOCK;
        first.min(self.leaves.len())..(first + BLOCK).min(self.leaves.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_amount_is_never_in_a_lower_class() {
        for (dimension, unit) in UNITS.into_iter().enumerate() {
            let amounts = (0..4096).map(|n| n * unit / 16).chain([unit << 20, u64::MAX]);
            let classes: Vec<usize> = amounts.map(|amount| class(dimension, amount)).collect();
            assert!(classes.is_sorted());
            assert_eq!((classes[0], classes.last()), (0, Some(&(CLASSES - 1))));
        }
        assert!(class(0, 3 << 30) > class(0, (3 << 30) - 1), "usual sizes begin a class");
        assert!(class(1, 2000) > class(1, 1999));
    }

    #[test]
    fn hosts_without_room_do_not_count_for_the_load() {
        let seat = |host| Seat { zone: 0, rack: 0, host };
        let (gib, cores) = (1 << 30, 1000);
        let full = Leaf::of([0, 8 * cores, 0], 100, seat(0));
        let half = Leaf::of([4 * gib, 4 * cores, 0], 50, seat(1));
        let leaves = [full, half].into_iter().enumerate();
        let tree = Tree::build(leaves.map(|(i, leaf)| (Id::from_index(i), Some(leaf))));
        let root = tree.node(Tree::ROOT).unwrap();
        assert_eq!(root.highest(&Need::of([gib, cores, 0])), 50);
        assert_eq!(root.highest(&Need::of([0, cores, 0])), 100);
        assert!(!root.offer.has_room(&Need::of([5 * gib, 0, 0])));
    }
}

//! Branch and bound over the pools' trees: the two best hosts, without looking at most.

use std::cmp::Reverse;

use super::hash;
use super::hosts::Host;
use super::query::{Check, Obstacle, Pin, Query, Test};
use super::slab::Id;
use super::tree::{BLOCK, Leaf, Need, Offer, Tree};
use crate::Score;
use crate::score::PREFERENCE;
use model::compute::{Strategy, TopologyKey};

/// Nodes after which a search that has found a host stops looking for a better one.
pub const VISITS_MAX: usize = 2048;
/// Of the hosts that have an image of the request, so many are looked at.
pub const IMAGE_HOLDERS_MAX: usize = 16;
/// Up to so many hosts that alone can fulfil a rule are looked at one by one.
const LIST_MAX: usize = 256;
/// A class is looked at host by host when at most one in so many hosts is in it.
const RARE: usize = 16;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) host: Id<Host>,
    pub(crate) score: Score,
    total: i32,
    lot: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) best: Option<Candidate>,
    pub(crate) second: Option<Candidate>,
    /// Hosts looked at.
    pub(crate) examined: usize,
}

pub(crate) fn run(query: &Query) -> Found {
    let need = Need::of(query.shape.demand);
    let mut search = Search { query, found: Found::default(), visits: 0, need, hope: Hope::of(query) };
    if let Some(hosts) = short_list(query) {
        for host in hosts {
            search.consider(host);
        }
    } else {
        search.scout();
        search.walk_pools();
    }
    search.found
}

/// The few hosts among which the answer must be, when some rule leaves only few.
fn short_list(query: &Query) -> Option<Vec<Id<Host>>> {
    match query.pin {
        Pin::To(host) => return Some(vec![host]),
        Pin::Nowhere => return Some(Vec::new()),
        Pin::Anywhere => {}
    }
    if let Some(hosts) = neighbours(query) {
        return Some(hosts);
    }
    let rare = query.class.len * RARE <= query.index.hosts.known && !query.class.wanted.labels.is_empty();
    rare.then(|| query.class.iter().collect())
}

/// The hosts near which the request must be, when they are few.
fn neighbours(query: &Query) -> Option<Vec<Id<Host>>> {
    let near = |topology| {
        let required = query.checks.iter().filter(move |c| c.test == Test::Near && c.topology == topology);
        required.map(|check| check.counts).min_by_key(|counts| counts.len())
    };
    if let Some(counts) = near(TopologyKey::Host).filter(|counts| counts.len() <= LIST_MAX) {
        return Some(counts.keys().map(|raw| Id::from_raw(*raw)).collect());
    }
    let racks = near(TopologyKey::Rack).filter(|counts| counts.len() <= LIST_MAX)?;
    let hosts = racks.keys().flat_map(|rack| query.index.hosts.in_rack(*rack, &query.class.pools));
    // One too many is enough to know that they are too many.
    let hosts: Vec<_> = hosts.take(LIST_MAX + 1).collect();
    (hosts.len() <= LIST_MAX).then_some(hosts)
}

/// The most points that parts not yet decided may still bring.
#[derive(Debug, Clone, Copy)]
struct Hope {
    zone: i32,
    rack: i32,
    host: i32,
}

impl Hope {
    fn of(query: &Query) -> Self {
        let wishes = |topology| {
            let near = |c: &&Check| c.test == Test::PreferNear && c.topology == topology;
            PREFERENCE * i32::try_from(query.checks.iter().filter(near).count()).unwrap_or(0)
        };
        Self {
            zone: wishes(TopologyKey::Zone),
            rack: wishes(TopologyKey::Rack),
            host: wishes(TopologyKey::Host),
        }
    }
}

/// Points of the rules about the zone and rack that a branch lies in, once it lies in one.
#[derive(Debug, Clone, Copy, Default)]
struct Settled {
    zone: Option<i32>,
    rack: Option<i32>,
}

/// A branch worth entering, and the most points a host in it can have.
#[derive(Clone, Copy)]
struct Branch {
    node: usize,
    settled: Settled,
    bound: i32,
}

struct Search<'a> {
    query: &'a Query<'a>,
    found: Found,
    visits: usize,
    need: Need,
    hope: Hope,
}

impl Search<'_> {
    /// Looks first at hosts that have what the request would like. Where these are all there are, nothing has to
    /// be hoped for elsewhere. Images are not looked for elsewhere in any case: where hundreds of hosts have one,
    /// no tree can say in which branch, and the best of a sample is hardly worse than the best of all.
    fn scout(&mut self) {
        let query = self.query;
        for check in &query.checks {
            let few = check.counts.len() <= LIST_MAX;
            if check.test == Test::PreferNear && check.topology == TopologyKey::Host && few {
                check.counts.keys().for_each(|raw| self.consider(Id::from_raw(*raw)));
                self.hope.host -= PREFERENCE;
            }
        }
        for image in &query.shape.images {
            let holders = query.index.hosts.holders(*image);
            // Evenly from all of them, beginning somewhere else for every request.
            let step = holders.len().div_ceil(IMAGE_HOLDERS_MAX).max(1);
            let first = usize::try_from(query.seed % step as u64).unwrap_or(0);
            holders[first.min(holders.len())..]
                .iter()
                .step_by(step)
                .for_each(|raw| self.consider(Id::from_raw(*raw)));
        }
    }

    fn walk_pools(&mut self) {
        let query = self.query;
        let tree = |pool: usize| &query.index.hosts.pools[pool].tree;
        let roots = query.class.pools.iter();
        let mut roots: Vec<_> = roots
            .filter_map(|pool| Some((*pool, self.branch(tree(*pool), Tree::ROOT, Settled::default())?)))
            .collect();
        roots.sort_unstable_by_key(|(pool, branch)| {
            (Reverse(branch.bound), hash::mix(query.seed ^ *pool as u64))
        });
        for (pool, branch) in roots {
            self.walk(tree(pool), branch);
        }
    }

    fn walk(&mut self, tree: &Tree, at: Branch) {
        if !self.is_worth_it(at.bound) {
            return;
        }
        self.visits += 1;
        if let Some(block) = tree.hosts(at.node) {
            return self.walk_block(block, at.settled);
        }
        // A coin of the request's own decides which of two equal branches comes first.
        let coin = usize::from(self.query.seed >> (at.node.ilog2() % 64) & 1 == 1);
        let first = self.branch(tree, 2 * at.node + coin, at.settled);
        let second = self.branch(tree, 2 * at.node + 1 - coin, at.settled);
        match (first, second) {
            (Some(a), Some(b)) => {
                let (a, b) = if b.bound > a.bound { (b, a) } else { (a, b) };
                self.walk(tree, a);
                self.walk(tree, b);
            }
            (Some(only), None) | (None, Some(only)) => self.walk(tree, only),
            (None, None) => {}
        }
    }

    fn walk_block<'t>(&mut self, block: impl Iterator<Item = (Id<Host>, &'t Leaf)>, settled: Settled) {
        let mut worthy = [None; BLOCK];
        for (slot, (host, leaf)) in worthy.iter_mut().zip(block) {
            let bound = self.bound(&leaf.offer, leaf.load, settled).map(|(_, bound)| bound);
            *slot = bound.map(|bound| (bound, self.lot(host), host, leaf));
        }
        worthy.sort_unstable_by_key(|slot| Reverse(slot.map(|(bound, lot, ..)| (bound, lot))));
        for (bound, _, host, leaf) in worthy.into_iter().flatten() {
            if !self.is_worth_it(bound) {
                return;
            }
            if self.is_new(host) {
                let query = self.query;
                self.enter(host, query.judge_as(host, leaf.seat(host), leaf.load, leaf.offer.free()));
            }
        }
    }

    /// The branch at `node`; nothing when no host in it can serve.
    fn branch(&self, tree: &Tree, node: usize, settled: Settled) -> Option<Branch> {
        let summary = tree.node(node)?;
        let load = match self.query.shape.strategy {
            Strategy::Spread => summary.lowest(&self.need),
            Strategy::Pack => summary.highest(&self.need),
        };
        let (settled, bound) = self.bound(&summary.offer, load, settled)?;
        Some(Branch { node, settled, bound })
    }

    /// The most points that a host behind this offer can have, none having a better load; nothing when no such
    /// host can serve.
    fn bound(&self, offer: &Offer, load: u8, mut settled: Settled) -> Option<(Settled, i32)> {
        if !offer.has_room(&self.need) {
            return None;
        }
        if let (None, Some(zone)) = (settled.zone, offer.zone()) {
            if self.query.class.zone.is_some_and(|wanted| wanted != zone) {
                return None;
            }
            settled.zone = Some(self.points(TopologyKey::Zone, zone)?);
        }
        if let (None, Some(rack)) = (settled.rack, offer.rack()) {
            settled.rack = Some(self.points(TopologyKey::Rack, rack)?);
        }
        let bound = self.query.load_points(load)
            + settled.zone.unwrap_or(self.hope.zone)
            + settled.rack.unwrap_or(self.hope.rack)
            + self.hope.host;
        Some((settled, bound))
    }

    /// Points of all rules about a domain; nothing when one forbids it.
    fn points(&self, topology: TopologyKey, place: u32) -> Option<i32> {
        let rules = self.query.checks.iter().filter(|check| check.topology == topology);
        rules.map(|check| check.points(place)).sum()
    }

    fn is_worth_it(&self, bound: i32) -> bool {
        let beats_second = self.found.second.is_none_or(|second| bound > second.total);
        beats_second && (self.visits < VISITS_MAX || self.found.best.is_none())
    }

    /// Decides between hosts of equal score.
    fn lot(&self, host: Id<Host>) -> u64 {
        hash::mix(self.query.seed ^ u64::from(host.raw()))
    }

    fn consider(&mut self, host: Id<Host>) {
        if self.is_new(host) {
            self.enter(host, self.query.judge(host));
        }
    }

    fn is_new(&self, host: Id<Host>) -> bool {
        let is = |candidate: &Option<Candidate>| candidate.is_some_and(|c| c.host == host);
        !is(&self.found.best) && !is(&self.found.second)
    }

    fn enter(&mut self, host: Id<Host>, judgement: Result<Score, Obstacle>) {
        self.found.examined += 1;
        let Ok(score) = judgement else { return };
        let new = Candidate { host, score, total: score.total(), lot: self.lot(host) };
        let beats =
            |old: &Option<Candidate>| old.is_none_or(|old| (new.total, new.lot) > (old.total, old.lot));
        if beats(&self.found.best) {
            self.found.second = self.found.best.replace(new);
        } else if beats(&self.found.second) {
            self.found.second = Some(new);
        }
    }
}

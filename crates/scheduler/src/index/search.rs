//! Branch and bound over the pools' trees: the two best hosts, without looking at most.

use super::hash;
use super::hosts::{Host, image_bit};
use super::query::{Check, Pin, Query, Test};
use super::slab::Id;
use super::tree::{Summary, Tree};
use crate::Score;
use crate::score::PREFERENCE;
use model::compute::{Strategy, TopologyKey};

/// Nodes after which a search that has found a host stops looking for a better one.
pub const VISITS_MAX: usize = 8192;
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
    let mut search = Search { query, found: Found::default(), visits: 0, hope: Hope::of(query) };
    if let Some(hosts) = short_list(query) {
        hosts.into_iter().for_each(|host| search.consider(host));
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
    let near = query.checks.iter().filter(|c| c.test == Test::Near && c.topology == TopologyKey::Host);
    if let Some(check) = near.min_by_key(|c| c.counts.len()).filter(|c| c.counts.len() <= LIST_MAX) {
        return Some(check.counts.keys().map(|raw| Id::from_raw(*raw)).collect());
    }
    let rare = query.class.len * RARE <= query.index.hosts.known && !query.class.wanted.labels.is_empty();
    rare.then(|| query.class.iter().collect())
}

/// The most points that parts not yet decided may still bring.
#[derive(Debug, Clone, Copy)]
struct Hope {
    zone: i32,
    rack: i32,
    host: i32,
    /// Whether hosts with the request's images are still to come.
    images: bool,
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
            images: !query.shape.images.is_empty(),
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
    hope: Hope,
}

impl Search<'_> {
    /// Looks first at hosts that alone have what the request would like, where they are few. Nothing has to be
    /// hoped for elsewhere then, and the bounds are tight.
    fn scout(&mut self) {
        let query = self.query;
        for check in &query.checks {
            let few = check.counts.len() <= LIST_MAX;
            if check.test == Test::PreferNear && check.topology == TopologyKey::Host && few {
                check.counts.keys().for_each(|raw| self.consider(Id::from_raw(*raw)));
                self.hope.host -= PREFERENCE;
            }
        }
        let holders = query.shape.images.iter().filter_map(|image| query.index.hosts.holders(*image));
        if self.hope.images && holders.clone().map(std::collections::BTreeSet::len).sum::<usize>() <= LIST_MAX
        {
            holders.flatten().for_each(|raw| self.consider(Id::from_raw(*raw)));
            self.hope.images = false;
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
            (std::cmp::Reverse(branch.bound), hash::mix(query.seed ^ *pool as u64))
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
        if let Some(host) = tree.host(at.node) {
            return self.consider(host);
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

    /// The branch at `node`; nothing when no host in it can serve.
    fn branch(&self, tree: &Tree, node: usize, mut settled: Settled) -> Option<Branch> {
        let query = self.query;
        let summary = tree.node(node).filter(|s| s.has_room(&query.shape.demand))?;
        if let (None, Some(zone)) = (settled.zone, summary.zone()) {
            if query.class.zone.is_some_and(|wanted| wanted != zone) {
                return None;
            }
            settled.zone = Some(self.points(TopologyKey::Zone, zone)?);
        }
        if let (None, Some(rack)) = (settled.rack, summary.rack()) {
            settled.rack = Some(self.points(TopologyKey::Rack, rack)?);
        }
        let bound = self.load_and_images(summary)
            + settled.zone.unwrap_or(self.hope.zone)
            + settled.rack.unwrap_or(self.hope.rack)
            + self.hope.host;
        Some(Branch { node, settled, bound })
    }

    /// Points of all rules about a domain; nothing when one forbids it.
    fn points(&self, topology: TopologyKey, place: u32) -> Option<i32> {
        let rules = self.query.checks.iter().filter(|check| check.topology == topology);
        rules.map(|check| check.points(place)).sum()
    }

    fn load_and_images(&self, summary: &Summary) -> i32 {
        let query = self.query;
        let load = match query.shape.strategy {
            Strategy::Spread => query.load_points(summary.low),
            Strategy::Pack => query.load_points(summary.high),
        };
        if !self.hope.images {
            return load;
        }
        let may_be_there = |image: &&u64| summary.images & image_bit(**image) != 0;
        load + query.image_points(query.shape.images.iter().filter(may_be_there).count())
    }

    fn is_worth_it(&self, bound: i32) -> bool {
        let beats_second = self.found.second.is_none_or(|second| bound > second.total);
        beats_second && (self.visits < VISITS_MAX || self.found.best.is_none())
    }

    fn consider(&mut self, host: Id<Host>) {
        let is = |candidate: &Option<Candidate>| candidate.is_some_and(|c| c.host == host);
        if is(&self.found.best) || is(&self.found.second) {
            return;
        }
        self.found.examined += 1;
        let Ok(score) = self.query.judge(host) else { return };
        let lot = hash::mix(self.query.seed ^ u64::from(host.raw()));
        let new = Candidate { host, score, total: score.total(), lot };
        let beats =
            |old: &Option<Candidate>| old.is_none_or(|old| (new.total, new.lot) > (old.total, old.lot));
        if beats(&self.found.best) {
            self.found.second = self.found.best.replace(new);
        } else if beats(&self.found.second) {
            self.found.second = Some(new);
        }
    }
}

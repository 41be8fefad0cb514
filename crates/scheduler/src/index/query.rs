//! A request made ready for judging hosts: its rules with the counts they speak of, and the judgement itself.

use model::compute::{Strategy, TopologyKey};

use super::Index;
use super::class::{Class, Counts};
use super::hash;
use super::hosts::{Host, Seat};
use super::neighbours::{Labels, TOPOLOGIES};
use super::room::{Amounts, shortage};
use super::shape::{Rule, Shape, Wish};
use super::slab::Id;
use crate::filter::Filter;
use crate::score::{IMAGES_MAX, LOAD_MAX, PREFERENCE, UNEVEN_STEP};
use crate::{Reason, Request, Score};

pub(crate) struct Query<'a> {
    pub(crate) index: &'a Index,
    pub(crate) shape: &'a Shape,
    pub(crate) class: &'a Class,
    pub(crate) checks: Vec<Check<'a>>,
    pub(crate) pin: Pin,
    /// Decides between equal hosts.
    pub(crate) seed: u64,
}

/// The host that a request asks for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pin {
    Anywhere,
    To(Id<Host>),
    /// It asks for a host that is not known.
    Nowhere,
}

/// A rule about neighbours, as a test of the number of instances in a domain.
pub(crate) struct Check<'a> {
    pub(crate) topology: TopologyKey,
    pub(crate) counts: &'a Counts,
    pub(crate) test: Test,
    selector: &'a Labels,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Near,
    PreferNear,
    Apart,
    /// Of the instances there, none may be one that keeps this one away.
    NotRepelled,
    PreferApart,
    AtMost(u32),
    PreferAtMost(u32),
}

/// What keeps a host from taking the request.
#[derive(Clone, Copy)]
pub(crate) enum Obstacle {
    NotPinned,
    Ineligible,
    /// A check, by its number.
    Neighbours(usize),
    Short(Reason, usize),
}

/// A host, and what came of judging it.
pub(crate) type Judgement<'a> = (&'a Host, Id<Host>, Result<Score, Obstacle>);

impl Test {
    /// Points for a domain with `count` instances; nothing when the rule forbids it.
    pub(crate) fn points(self, count: u32) -> Option<i32> {
        match self {
            Self::Near => (count > 0).then_some(0),
            Self::Apart | Self::NotRepelled => (count == 0).then_some(0),
            Self::AtMost(limit) => (count <= limit).then_some(0),
            Self::PreferNear => Some(if count > 0 { PREFERENCE } else { 0 }),
            Self::PreferApart => Some(if count > 0 { -PREFERENCE } else { 0 }),
            Self::PreferAtMost(limit) => {
                let excess = i32::try_from(count.saturating_sub(limit)).unwrap_or(i32::MAX);
                Some(-excess.saturating_mul(UNEVEN_STEP).min(PREFERENCE))
            }
        }
    }

    fn reason(self) -> Reason {
        match self {
            Self::Near | Self::PreferNear => Reason::NotNear,
            Self::Apart | Self::PreferApart => Reason::TooNear,
            Self::NotRepelled => Reason::Repelled,
            Self::AtMost(_) | Self::PreferAtMost(_) => Reason::Uneven,
        }
    }
}

impl Check<'_> {
    /// The test's points for a domain of its topology.
    pub(crate) fn points(&self, place: u32) -> Option<i32> {
        self.test.points(self.counts.get(&place).copied().unwrap_or(0))
    }
}

impl<'a> Query<'a> {
    pub(crate) fn new(index: &'a Index, shape: &'a Shape, request: &Request) -> Self {
        let pin = match request.placement.host.as_str() {
            "" => Pin::Anywhere,
            name => index.hosts.find(name).map_or(Pin::Nowhere, Pin::To),
        };
        let mut query = Self {
            index,
            shape,
            class: &index.classes.slab[shape.class],
            checks: Vec::new(),
            pin,
            seed: hash::mix(hash::stable(&request.project) ^ hash::stable(&request.name).rotate_left(1)),
        };
        query.checks = shape.rules.iter().filter_map(|rule| query.check(rule)).collect();
        query.add_repulsions();
        // Hosts report the first reason in the order of `Reason`.
        query.checks.sort_by_key(|check| check.test.reason());
        query
    }

    pub(crate) fn host(&self, id: Id<Host>) -> &'a Host {
        &self.index.hosts.slab[id]
    }

    /// The host's score, or the first thing that keeps it from taking the request.
    pub(crate) fn judge(&self, id: Id<Host>) -> Result<Score, Obstacle> {
        let host = self.host(id);
        self.judge_as(id, host.seat, host.room.load(), &host.room.free())
    }

    /// The same, where the caller has the host's seat, load and free room at hand: fetching it from memory costs
    /// more than all the rest.
    pub(crate) fn judge_as(
        &self,
        id: Id<Host>,
        seat: Seat,
        load: u8,
        free: &Amounts,
    ) -> Result<Score, Obstacle> {
        if self.pin != Pin::Anywhere && self.pin != Pin::To(id) {
            return Err(Obstacle::NotPinned);
        }
        if !self.class.contains(id.raw()) {
            return Err(Obstacle::Ineligible);
        }
        let mut score = Score { load: self.load_points(load), ..Score::default() };
        for (i, check) in self.checks.iter().enumerate() {
            let points = check.points(seat.at(check.topology)).ok_or(Obstacle::Neighbours(i))?;
            match check.test {
                Test::PreferNear => score.near += points,
                Test::PreferApart => score.apart += points,
                Test::PreferAtMost(_) => score.even += points,
                Test::Near | Test::Apart | Test::NotRepelled | Test::AtMost(_) => {}
            }
        }
        if let Some((reason, dimension)) = shortage(&self.shape.demand, free) {
            return Err(Obstacle::Short(reason, dimension));
        }
        if !self.shape.images.is_empty() {
            let host = self.host(id);
            let present = self.shape.images.iter().filter(|image| host.has_image(**image)).count();
            score.images = self.image_points(present);
        }
        Ok(score)
    }

    pub(crate) fn load_points(&self, load: u8) -> i32 {
        i32::from(match self.shape.strategy {
            Strategy::Spread => LOAD_MAX.saturating_sub(load),
            Strategy::Pack => load,
        })
    }

    /// Points for having so many of the request's images.
    fn image_points(&self, present: usize) -> i32 {
        let share = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        IMAGES_MAX.saturating_mul(share(present)) / share(self.shape.images.len()).max(1)
    }

    /// Every known host with its judgement.
    pub(crate) fn judgements(&self) -> impl Iterator<Item = Judgement<'a>> {
        let known = self.index.hosts.slab.iter().filter(|(_, host)| host.view.is_some());
        known.map(|(id, host)| (host, id, self.judge(id)))
    }

    pub(crate) fn reason(&self, id: Id<Host>, obstacle: Obstacle) -> Reason {
        match obstacle {
            Obstacle::NotPinned => Reason::OtherHost,
            Obstacle::Ineligible => self.filter(id).map_or(Reason::NotReady, |filter| filter.reason),
            Obstacle::Neighbours(i) => self.checks[i].test.reason(),
            Obstacle::Short(reason, _) => reason,
        }
    }

    /// The obstacle in words, to be read after the host's name.
    pub(crate) fn detail(&self, id: Id<Host>, obstacle: Obstacle) -> String {
        let host = self.host(id);
        match obstacle {
            Obstacle::NotPinned => "is not the asked-for host".into(),
            Obstacle::Ineligible => match (self.filter(id), &host.view) {
                (Some(filter), Some(view)) => filter.explain(view, &self.class.wanted),
                _ => "has not reported".into(),
            },
            Obstacle::Neighbours(i) => self.checks[i].detail(host),
            Obstacle::Short(_, dimension) => {
                let (asked, free) = (self.shape.demand, host.room.free());
                match dimension {
                    0 => format!("has {} memory free of {} asked for", bytes(free[0]), bytes(asked[0])),
                    1 => format!("has {} cpu free of {} asked for", cpu(free[1]), cpu(asked[1])),
                    _ => format!("has {} disk free of {} asked for", bytes(free[2]), bytes(asked[2])),
                }
            }
        }
    }

    fn filter(&self, id: Id<Host>) -> Option<&'static Filter> {
        self.class.wanted.obstacle(self.host(id).view.as_ref()?)
    }

    /// The rule as a check; nothing when every domain passes.
    fn check(&self, rule: &Rule) -> Option<Check<'a>> {
        let group = &self.index.neighbours.groups[rule.group];
        let counts = group.members(rule.topology);
        let test = match (rule.wish, rule.prefer) {
            // The first of a group that wants to be together has nobody to be near to.
            (Wish::Near, _) if counts.is_empty() && rule.own => return None,
            (Wish::Near, false) => Test::Near,
            (Wish::Near, true) => Test::PreferNear,
            (Wish::Apart, false) => Test::Apart,
            (Wish::Apart, true) => Test::PreferApart,
            (Wish::Even { max_skew }, prefer) => {
                let fewest = group.fewest(rule.topology, self.shape.class)?;
                let limit = fewest.saturating_add(max_skew.max(1)).saturating_sub(u32::from(rule.own));
                if prefer { Test::PreferAtMost(limit) } else { Test::AtMost(limit) }
            }
        };
        Some(Check { topology: rule.topology, counts, test, selector: &group.selector })
    }

    /// The rules of others: instances already there that want nobody of this request's groups near them.
    fn add_repulsions(&mut self) {
        let neighbours = &self.index.neighbours;
        for group in neighbours.roles[self.shape.role].groups.iter().map(|id| &neighbours.groups[*id]) {
            for topology in TOPOLOGIES {
                let counts = group.repellers(topology);
                if !counts.is_empty() {
                    let selector = &group.selector;
                    self.checks.push(Check { topology, counts, test: Test::NotRepelled, selector });
                }
            }
        }
    }
}

impl Check<'_> {
    fn detail(&self, host: &Host) -> String {
        let count = self.counts.get(&host.seat.at(self.topology)).copied().unwrap_or(0);
        let labels: Vec<String> = self.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let labels = labels.join(",");
        let level = match self.topology {
            TopologyKey::Host => "",
            TopologyKey::Rack => "its rack ",
            TopologyKey::Zone => "its zone ",
        };
        match self.test {
            Test::Near | Test::PreferNear => format!("{level}has no instance with {labels}"),
            Test::Apart | Test::PreferApart => format!("{level}has {count} of {labels}, to keep away from"),
            Test::NotRepelled => format!("{level}has {count} that keep {labels} away"),
            Test::AtMost(limit) | Test::PreferAtMost(limit) => {
                format!("{level}has {count} of {labels}, and the spread allows {limit} before this one")
            }
        }
    }
}

fn bytes(amount: u64) -> model::Bytes {
    model::Bytes(amount)
}

fn cpu(amount: u64) -> model::CpuMillis {
    model::CpuMillis(amount)
}

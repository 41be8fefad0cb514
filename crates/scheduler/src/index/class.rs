//! Classes: which hosts may serve requests that ask the same of the host itself. One bit per host, corrected when
//! a host changes, so that a search never compares labels.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use model::compute::TopologyKey;

use super::hosts::{Host, Hosts, Pool, Seat};
use super::slab::Id;
use crate::filter::Eligibility;

/// Instances or hosts per domain; domains without any are not in it. Keyed by our own small numbers, which
/// nobody outside can choose, so a fixed hash is safe.
pub(crate) type Counts = HashMap<u32, u32, FixedState>;

#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) wanted: Eligibility,
    /// The one zone it may be in.
    pub(crate) zone: Option<u32>,
    bits: Vec<u64>,
    /// Eligible hosts.
    pub(crate) len: usize,
    racks: Counts,
    zones: Counts,
    /// Pools whose cells and taints suit.
    pub(crate) pools: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Up,
    Down,
}

/// Counts one up or down; answers with the number before and after.
pub(crate) fn shift(counts: &mut Counts, place: u32, step: Step) -> (u32, u32) {
    let count = counts.entry(place).or_insert(0);
    let before = *count;
    *count = match step {
        Step::Up => before + 1,
        Step::Down => before.saturating_sub(1),
    };
    let after = *count;
    if after == 0 {
        counts.remove(&place);
    }
    (before, after)
}

impl Class {
    pub(crate) fn new(wanted: Eligibility, hosts: &mut Hosts) -> Self {
        let zone = (!wanted.zone.is_empty()).then(|| hosts.zone(&wanted.zone));
        let mut class = Self {
            wanted,
            zone,
            bits: Vec::new(),
            len: 0,
            racks: Counts::default(),
            zones: Counts::default(),
            pools: Vec::new(),
        };
        for (_, host) in hosts.slab.iter() {
            class.admit(host);
        }
        for (i, pool) in hosts.pools.iter().enumerate() {
            class.admit_pool(i, pool);
        }
        class
    }

    pub(crate) fn admit_pool(&mut self, index: usize, pool: &Pool) {
        if self.wanted.admits(&pool.cells, &pool.taints) {
            self.pools.push(index);
        }
    }

    /// Takes the host in if it is eligible. Says whether it is.
    pub(crate) fn admit(&mut self, host: &Host) -> bool {
        let eligible = host.view.as_ref().is_some_and(|view| self.wanted.obstacle(view).is_none());
        if eligible {
            let at = host.seat.host as usize;
            if self.bits.len() <= at / 64 {
                self.bits.resize(at / 64 + 1, 0);
            }
            self.bits[at / 64] |= 1 << (at % 64);
            self.count(host.seat, Step::Up);
            self.len += 1;
        }
        eligible
    }

    /// Takes the host out. Says whether it was in.
    pub(crate) fn dismiss(&mut self, seat: Seat) -> bool {
        let was_in = self.contains(seat.host);
        if was_in {
            let at = seat.host as usize;
            self.bits[at / 64] &= !(1 << (at % 64));
            self.count(seat, Step::Down);
            self.len -= 1;
        }
        was_in
    }

    pub(crate) fn contains(&self, host: u32) -> bool {
        let at = host as usize;
        self.bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Id<Host>> {
        self.bits.iter().enumerate().flat_map(|(i, word)| {
            let (base, mut rest) = (i * 64, *word);
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(Id::from_index(base + bit))
            })
        })
    }

    /// Whether the domain has an eligible host.
    pub(crate) fn reaches(&self, topology: TopologyKey, place: u32) -> bool {
        match topology {
            TopologyKey::Host => self.contains(place),
            TopologyKey::Rack => self.racks.contains_key(&place),
            TopologyKey::Zone => self.zones.contains_key(&place),
        }
    }

    /// How many domains have an eligible host.
    pub(crate) fn domains(&self, topology: TopologyKey) -> usize {
        match topology {
            TopologyKey::Host => self.len,
            TopologyKey::Rack => self.racks.len(),
            TopologyKey::Zone => self.zones.len(),
        }
    }

    fn count(&mut self, seat: Seat, step: Step) {
        shift(&mut self.racks, seat.rack, step);
        shift(&mut self.zones, seat.zone, step);
    }
}

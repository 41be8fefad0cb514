//! Safety and exactness, over random histories: what the index answers is what a full scan would.

use std::collections::{BTreeMap, BTreeSet};

use model::compute::{Affinity, SpreadConstraint, TopologyKey};
use proptest::collection::vec;
use proptest::prelude::*;
use scheduler::{
    BindError, HostView, IMAGE_HOLDERS_MAX, Index, Placement, Reason, Refusal, Request, Verdict,
};

use crate::reference::World;
use crate::world::{Step, any_host, any_request, any_step, gib, host, labels, request};

/// The index beside the reference, through the same history.
#[derive(Default)]
struct Pair {
    index: Index,
    world: World,
    /// Hosts that facts have overdrawn: smaller reports, and instances found on them.
    excused: BTreeSet<String>,
}

impl Pair {
    fn play(&mut self, step: Step) {
        match step {
            Step::Report(view) => self.report(view),
            Step::Lose(name) => {
                self.index.remove_host(&name);
                self.world.hosts.remove(&name);
            }
            Step::Start(request) => self.start(&request),
            Step::Find(request, host) => {
                self.index.adopt(&request, &host);
                self.world.bound.insert(request.key(), (request, host.clone()));
                self.excuse(host);
            }
            Step::Stop(n) => {
                let Some(key) = self.nth(n) else { return };
                assert!(self.index.unbind(&key));
                self.world.bound.remove(&key);
            }
            Step::Rebind(n, resources, host) => self.rebind(n, resources, host),
        }
    }

    fn report(&mut self, view: HostView) {
        self.index.upsert_host(view.clone());
        let name = view.name.clone();
        self.world.hosts.insert(name.clone(), view);
        self.excuse(name);
    }

    fn excuse(&mut self, host: String) {
        if self.world.hosts.contains_key(&host) && !self.is_within_bounds(&host) {
            self.excused.insert(host);
        }
    }

    fn start(&mut self, request: &Request) {
        if self.world.bound.contains_key(&request.key()) {
            return;
        }
        if let Ok(placement) = self.check(request) {
            self.index.bind(request, &placement.host).unwrap();
            self.world.bound.insert(request.key(), (request.clone(), placement.host.to_string()));
        }
    }

    fn rebind(&mut self, n: usize, resources: model::Resources, host: Option<String>) {
        let Some(key) = self.nth(n) else { return };
        let (old, on) = self.world.bound[&key].clone();
        let host = host.unwrap_or_else(|| on.clone());
        let new = Request { resources, ..old };
        match self.index.bind(&new, &host) {
            Ok(()) => {
                assert_eq!(host, on, "a bound key went to another host");
                self.world.bound.insert(key, (new, host));
            }
            Err(BindError::BoundElsewhere { .. }) => assert_ne!(host, on),
            Err(BindError::UnknownHost { .. }) => assert!(!self.world.hosts.contains_key(&host)),
            Err(BindError::NoRoom { .. }) => {
                let before = self.world.bound.insert(key.clone(), (new, on.clone()));
                assert!(!self.is_within_bounds(&on), "there was room on {on}");
                self.world.bound.extend(before.map(|before| (key, before)));
            }
        }
    }

    /// Asks both sides the same question and compares all that they say.
    fn check(&mut self, request: &Request) -> Result<Placement, Refusal> {
        let expected = self.world.judge(request);
        let verdicts = self.index.verdicts(request);
        let said: BTreeMap<String, Result<i32, Reason>> = verdicts
            .into_iter()
            .map(|(name, verdict)| match verdict {
                Verdict::Fits(score) => (name.to_string(), Ok(score.total())),
                Verdict::Rejected { reason, detail } => {
                    assert!(!detail.is_empty());
                    (name.to_string(), Err(reason))
                }
            })
            .collect();
        assert_eq!(said, expected, "verdicts for {request:?}");
        let mut scores: Vec<i32> = expected.values().filter_map(|v| v.as_ref().ok()).copied().collect();
        scores.sort_unstable_by(|a, b| b.cmp(a));
        let answer = self.index.place(request);
        match &answer {
            Ok(placement) => {
                let explanation = &placement.explanation;
                assert_eq!(expected[&*placement.host], Ok(explanation.score.total()), "{request:?}");
                let second = explanation.runner_up.as_ref().map(|next| next.score.total());
                let found = [Some(explanation.score.total()), second];
                for (best, found) in [scores.first(), scores.get(1)].into_iter().zip(found) {
                    let lost = best.copied().unwrap_or(0) - found.unwrap_or(0);
                    assert!((0..=self.may_lose(request)).contains(&lost), "{lost} lost for {request:?}");
                    assert_eq!(best.is_some(), found.is_some(), "runner-up for {request:?}");
                }
                assert_eq!(explanation.hosts, expected.len());
            }
            Err(refusal) => {
                assert!(scores.is_empty(), "a host was overlooked for {request:?}");
                let mut counts = BTreeMap::new();
                for reason in expected.values().filter_map(|v| v.as_ref().err()) {
                    *counts.entry(*reason).or_insert(0) += 1;
                }
                assert_eq!(refusal.counts.iter().copied().collect::<BTreeMap<_, _>>(), counts);
                assert_eq!(refusal.counts.iter().map(|(_, n)| n).sum::<usize>(), expected.len());
                assert_eq!(refusal.hosts, expected.len());
                self.check_nearest(request, refusal);
            }
        }
        assert_eq!(self.index.place(request), answer, "asking again gives another answer");
        answer
    }

    /// Points by which a host may be worse than the best: those for images, where more hosts have one than are
    /// looked at.
    fn may_lose(&self, request: &Request) -> i32 {
        let holders = |image| self.world.hosts.values().filter(|host| host.images.contains(image)).count();
        let all_seen = request.images.iter().all(|image| holders(image) <= IMAGE_HOLDERS_MAX);
        if all_seen { 0 } else { 15 }
    }

    /// What a refusal offers instead does fit, and on no host does more fit in every respect.
    fn check_nearest(&mut self, request: &Request, refusal: &Refusal) {
        let Some(nearest) = &refusal.nearest else { return };
        let smaller = Request { resources: nearest.resources, ..request.clone() };
        assert!(nearest.resources.fits_in(&request.resources) && nearest.resources != request.resources);
        assert!(self.world.judge(&smaller)[&*nearest.host].is_ok(), "the offer does not fit: {refusal}");
    }

    fn check_room(&self) {
        let all_promised = self.world.promised();
        for (name, view) in &self.world.hosts {
            let promised = all_promised.get(name.as_str()).copied().unwrap_or_default();
            let free = self.index.free(name).unwrap();
            let all = [view.allocatable.memory.0, view.allocatable.cpu.0, view.allocatable.disk.0];
            for (d, free) in [free.memory.0, free.cpu.0, free.disk.0].into_iter().enumerate() {
                assert_eq!(u128::from(free), u128::from(all[d]).saturating_sub(promised[d]), "{name}");
            }
            assert!(
                within(view, promised) || self.excused.contains(name),
                "{name} is overdrawn by a placement"
            );
        }
        for (key, (_, host)) in &self.world.bound {
            assert_eq!(self.index.host_of(key).map(|name| &**name), Some(host.as_str()));
        }
        assert_eq!(self.index.bound(), self.world.bound.len());
        assert_eq!(self.index.hosts(), self.world.hosts.len());
    }

    fn is_within_bounds(&self, host: &str) -> bool {
        within(&self.world.hosts[host], self.world.promised().get(host).copied().unwrap_or_default())
    }

    fn nth(&self, n: usize) -> Option<String> {
        let bound = &self.world.bound;
        bound.keys().nth(n % bound.len().max(1)).cloned()
    }
}

fn within(host: &HostView, [memory, cpu, disk]: [u128; 3]) -> bool {
    let all = host.allocatable;
    memory <= u128::from(all.memory.0) && cpu <= u128::from(all.cpu.0) && disk <= u128::from(all.disk.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Verdicts, scores, refusals and room are those of the reference after any history.
    #[test]
    fn the_index_answers_as_a_full_scan_would(hosts in vec(any_host(), 0..12), steps in vec(any_step(), 0..60)) {
        let mut pair = Pair::default();
        for view in hosts {
            pair.report(view);
        }
        for step in steps {
            pair.play(step);
            pair.check_room();
        }
    }

    /// The same with few kinds of requests, so that what is kept for them lives through changes of hosts.
    #[test]
    fn what_is_kept_between_questions_stays_true(
        hosts in vec(any_host(), 0..12),
        sets in vec(any_request(), 1..4),
        steps in vec(any_step(), 0..60),
    ) {
        let mut pair = Pair::default();
        for view in hosts {
            pair.report(view);
        }
        for (n, step) in steps.into_iter().enumerate() {
            pair.play(match step {
                Step::Start(_) => Step::Start(Request { name: format!("n{n}"), ..sets[n % sets.len()].clone() }),
                other => other,
            });
        }
        pair.check_room();
    }

    /// Whatever is asked for and however often, a host that only placements bind to is never overdrawn.
    #[test]
    fn placements_never_overdraw(hosts in vec(any_host(), 1..12), requests in vec(any_request(), 0..80)) {
        let mut pair = Pair::default();
        for view in hosts {
            pair.report(view);
        }
        for request in requests {
            if let Ok(placement) = pair.index.place(&request)
                && pair.index.bind(&request, &placement.host).is_ok()
            {
                pair.world.bound.insert(request.key(), (request, placement.host.to_string()));
            }
        }
        pair.check_room();
    }

    /// A set that is spread stays even within its skew over the domains it can reach, from the first instance on.
    #[test]
    fn a_spread_set_is_never_more_uneven_than_allowed(
        hosts in vec(any_host(), 1..12),
        topology in prop::sample::select(vec![TopologyKey::Host, TopologyKey::Rack, TopologyKey::Zone]),
        max_skew in 1..4_u32,
        count in 1..40_u32,
    ) {
        let mut pair = Pair::default();
        for view in hosts {
            pair.report(view);
        }
        for n in 0..count {
            let mut instance = request(&format!("web-{n}"), gib(1, 1));
            instance.labels = labels(&[("app", "web")]);
            instance.placement.spread = vec![SpreadConstraint {
                labels: instance.labels.clone(), topology, max_skew, prefer: false,
            }];
            pair.start(&instance);
            let domains = pair.world.eligible_domains(&instance, topology);
            let members = pair.world.members("p", &instance.labels, topology);
            let counts: Vec<u32> =
                domains.iter().map(|d| members.get(d).copied().unwrap_or(0)).collect();
            let (most, fewest) = (counts.iter().max().unwrap_or(&0), counts.iter().min().unwrap_or(&0));
            prop_assert!(most - fewest <= max_skew, "{counts:?}");
        }
    }

    /// Two instances of which either wants the other elsewhere are never in one domain, whichever came first.
    #[test]
    fn anti_affinity_holds_in_both_directions(
        hosts in vec(any_host(), 1..12),
        topology in prop::sample::select(vec![TopologyKey::Host, TopologyKey::Rack, TopologyKey::Zone]),
        shy in vec(any::<bool>(), 1..20),
    ) {
        let mut pair = Pair::default();
        for view in hosts {
            pair.report(view);
        }
        let (shy_ones, plain) = (labels(&[("app", "web"), ("tier", "back")]), labels(&[("app", "web")]));
        for (n, is_shy) in shy.into_iter().enumerate() {
            let mut instance = request(&format!("i{n}"), gib(1, 1));
            instance.labels = if is_shy { shy_ones.clone() } else { plain.clone() };
            if is_shy {
                let all = Affinity { labels: plain.clone(), topology, prefer: false };
                instance.placement.anti_affinity = vec![all];
            }
            pair.start(&instance);
        }
        let all = pair.world.members("p", &plain, topology);
        for domain in pair.world.members("p", &shy_ones, topology).keys() {
            prop_assert_eq!(all[domain], 1, "someone stands beside an instance that wants to be alone");
        }
    }
}

/// A generator of our own for worlds too large to be generated value by value (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Clouds large enough that no list of candidates is short: all the search's ways of cutting branches.
    #[test]
    fn large_clouds_are_searched_exactly(
        seed in any::<u64>(),
        views in vec(any_host(), 40),
        requests in vec(any_request(), 60),
    ) {
        let mut dice = Dice(seed);
        let mut pair = Pair::default();
        for n in 0..700 {
            let mut view = views[usize::try_from(dice.roll(40)).unwrap()].clone();
            view.name = format!("host-{n}");
            view.rack = format!("r{}", dice.roll(20));
            pair.report(view);
        }
        for n in 0..1500 {
            let mut found = requests[usize::try_from(dice.roll(60)).unwrap()].clone();
            found.name = format!("found-{n}");
            found.placement.anti_affinity.clear();
            let host = format!("host-{}", dice.roll(700));
            pair.index.adopt(&found, &host);
            pair.world.bound.insert(found.key(), (found, host));
        }
        pair.excused = pair.world.hosts.keys().cloned().collect();
        for request in requests {
            pair.start(&request);
        }
        pair.check_room();
    }
}

/// More kinds of requests than are kept compiled: forgetting them must not change an answer.
#[test]
fn forgotten_shapes_leave_the_rules_in_force() {
    let mut pair = Pair::default();
    for n in 0..4 {
        pair.report(host(&format!("host-{n}"), gib(64, 512)));
    }
    let alone = |name: &str| {
        let mut instance = request(name, gib(1, 1));
        instance.labels = labels(&[("app", "db")]);
        instance.placement.anti_affinity =
            vec![Affinity { labels: instance.labels.clone(), ..Affinity::default() }];
        instance
    };
    pair.start(&alone("db-0"));
    for n in 0..9000_u64 {
        let mut other = request(&format!("other-{n}"), gib(0, 0));
        other.labels = labels(&[("n", &n.to_string())]);
        pair.index.place(&other).unwrap();
    }
    for n in 1..6 {
        pair.start(&alone(&format!("db-{n}")));
    }
    pair.check_room();
    assert_eq!(pair.index.bound(), 4, "one database per host and no more");
}

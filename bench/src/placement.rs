//! How many placements a second the scheduler decides and claims, on one core, and what a refusal costs. Owns
//! the cloud that is simulated and the mix that is asked for; prints nothing.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::time::{Duration, Instant};

use model::compute::{
    Affinity, Cell, Isolation, PayloadKind, PlacementSpec, SpreadConstraint, Strategy, TopologyKey,
};
use model::topology::Taint;
use model::{Bytes, CpuMillis, Resources};
use scheduler::{HostView, Index, Request};

/// What was measured.
#[derive(Debug, Clone)]
pub(crate) struct PlacementNumbers {
    pub(crate) hosts: usize,
    /// Instances bound while measuring; old ones leave as new ones come.
    pub(crate) bound: usize,
    /// One entry per kind of request, and last all of them in turn.
    pub(crate) mixes: Vec<MixNumbers>,
    /// A refusal with the reasons of all hosts counted, after something has changed.
    pub(crate) refusal: Duration,
    /// The same refusal while nothing changes.
    pub(crate) refusal_again: Duration,
    /// Reading all hosts and everything that is bound.
    pub(crate) build: Duration,
}

/// A kind of request: decided, with its explanation, and bound. Between two batches the oldest are unbound, which
/// is not counted.
#[derive(Debug, Clone)]
pub(crate) struct MixNumbers {
    pub(crate) name: &'static str,
    pub(crate) placements: usize,
    /// Of these, how many found no host.
    pub(crate) refused: usize,
    pub(crate) per_second: f64,
    /// The same per second of the processor's time, for a machine that has other things to do as well; as
    /// `per_second` where the kernel does not tell.
    pub(crate) per_cpu_second: f64,
    /// Of the decision alone.
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    /// Hosts that a decision looked at, on average.
    pub(crate) examined: f64,
}

const VM: Cell = Cell::new(Isolation::Vm, PayloadKind::Disk);
const POD: Cell = Cell::new(Isolation::Namespace, PayloadKind::Containers);
const RACK_SIZE: usize = 40;
const ZONES: usize = 3;
/// Instances per set: those that share labels and rules.
const SET_SIZE: usize = 100;
/// Sets that grow at the same time, in turn.
const SETS: usize = 50;
/// Images that instances start from; every host has a tenth of them.
const IMAGES: usize = 200;

/// Placements that are timed together.
const BATCH: usize = 500;

/// Hosts of the cloud that the promise speaks of.
pub(crate) const HOSTS: usize = 10_000;
/// Instances that are bound before anything is measured: the cloud is about half full.
pub(crate) const BOUND: usize = 100_000;

/// The promised numbers: 10,000 hosts, half full.
pub(crate) fn run() -> PlacementNumbers {
    measure(HOSTS, BOUND, 200_000)
}

/// The same for a cloud of another size.
pub(crate) fn measure(hosts: usize, bound: usize, placements: usize) -> PlacementNumbers {
    let started = Instant::now();
    let mut cloud = Cloud::new(hosts, bound);
    let build = started.elapsed();
    let refusal = cloud.refuse(200, true);
    let refusal_again = cloud.refuse(20_000, false);
    let kinds: [(&'static str, &[Rules]); 7] = [
        ("no rules", &[Rules::None]),
        ("pack", &[Rules::Pack]),
        ("cached image", &[Rules::Image]),
        ("spread over racks", &[Rules::Spread]),
        ("anti-affinity on hosts", &[Rules::Apart]),
        ("affinity to a rack", &[Rules::Near]),
        (
            "all in turn",
            &[Rules::None, Rules::Spread, Rules::Apart, Rules::Image, Rules::Near, Rules::Pack, Rules::Zone],
        ),
    ];
    // A cloud of its own for each, so that none finds what another has left.
    let mixes =
        kinds.map(|(name, rules)| Cloud::new(hosts, bound).place_many(name, rules, placements)).into();
    PlacementNumbers { hosts, bound, mixes, refusal, refusal_again, build }
}

#[derive(Debug, Clone, Copy)]
enum Rules {
    None,
    Pack,
    Image,
    Zone,
    Spread,
    Apart,
    Near,
}

struct Cloud {
    index: Index,
    /// Keys of what is bound, the oldest first.
    bound: VecDeque<String>,
    made: usize,
    refused: usize,
}

impl Cloud {
    /// Hosts in three zones and racks of forty, one in ten tainted, one in fifty cordoned; then instances that
    /// were bound before, none with rules.
    fn new(hosts: usize, bound: usize) -> Self {
        let mut index = Index::new();
        (0..hosts).for_each(|n| index.upsert_host(host(n)));
        let mut cloud = Self { index, bound: VecDeque::new(), made: 0, refused: 0 };
        for n in 0..bound {
            let request = cloud.next(&[Rules::None]);
            // A step that shares no factor with the number of hosts: every host gets some of every size.
            cloud.index.adopt(&request, &host_name(n * 7919 / SETS % hosts));
            cloud.bound.push_back(request.key());
        }
        cloud
    }

    fn place_many(&mut self, name: &'static str, rules: &[Rules], placements: usize) -> MixNumbers {
        let (mut elapsed, mut busy) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..placements / BATCH {
            // Made outside of what is measured, but just before: in the cloud they come from a cache.
            let requests: Vec<Request> = (0..BATCH).map(|_| self.next(rules)).collect();
            let (started, cpu) = (Instant::now(), cpu_time());
            for request in &requests {
                match black_box(self.index.place(request)) {
                    Ok(placement) => self.index.bind(request, &placement.host).expect("it has room"),
                    Err(_) => self.refused += 1,
                }
            }
            let wall = started.elapsed();
            elapsed += wall;
            busy += cpu.zip(cpu_time()).map_or(wall, |(before, after)| after.saturating_sub(before));
            self.replace_oldest(&requests);
        }
        let (mut decisions, mut examined) = (Vec::new(), 0);
        for _ in 0..placements / 10 {
            let request = self.next(rules);
            let started = Instant::now();
            let placement = black_box(self.index.place(&request));
            decisions.push(started.elapsed());
            if let Ok(placement) = placement {
                examined += placement.explanation.examined;
                self.index.bind(&request, &placement.host).expect("it has room");
                self.replace_oldest(&[request]);
            }
        }
        decisions.sort_unstable();
        MixNumbers {
            name,
            placements,
            refused: self.refused,
            per_second: placements as f64 / elapsed.as_secs_f64(),
            per_cpu_second: placements as f64 / busy.as_secs_f64(),
            median: decisions[decisions.len() / 2],
            p99: decisions[decisions.len() * 99 / 100],
            examined: examined as f64 / decisions.len() as f64,
        }
    }

    /// The oldest instances go, as many as have come.
    fn replace_oldest(&mut self, new: &[Request]) {
        let bound = new.iter().map(Request::key).filter(|key| self.index.host_of(key).is_some());
        for key in bound.collect::<Vec<_>>() {
            self.bound.push_back(key);
            if let Some(oldest) = self.bound.pop_front() {
                self.index.unbind(&oldest);
            }
        }
    }

    fn refuse(&mut self, times: u32, with_changes: bool) -> Duration {
        let mut giant = self.next(&[Rules::None]);
        giant.resources.memory = Bytes::gib(4096);
        let mut total = Duration::ZERO;
        for _ in 0..times {
            if with_changes {
                let request = self.next(&[Rules::None]);
                let host = self.index.place(&request).map(|p| p.host).expect("there is room");
                self.index.bind(&request, &host).expect("it has room");
                self.replace_oldest(&[request]);
            }
            let started = Instant::now();
            black_box(self.index.place(&giant)).expect_err("no host is that large");
            total += started.elapsed();
        }
        total / times
    }

    fn next(&mut self, rules: &[Rules]) -> Request {
        let n = self.made;
        self.made += 1;
        // Fifty sets grow side by side; when they are full, fifty others begin.
        let set = n / (SETS * SET_SIZE) * SETS + n % SETS;
        request(n, set, rules[set % rules.len()])
    }
}

/// How long this thread has run on a processor (the first number of schedstat, in nanoseconds).
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn host_name(n: usize) -> String {
    format!("host-{n}")
}

fn host(n: usize) -> HostView {
    let rack = n / RACK_SIZE;
    let tainted = Taint { key: "dedicated".into(), value: "batch".into() };
    HostView {
        name: host_name(n),
        zone: format!("zone-{}", rack % ZONES),
        rack: format!("rack-{rack}"),
        labels: BTreeMap::from([("disk".into(), if n.is_multiple_of(3) { "hdd" } else { "ssd" }.into())]),
        taints: if n.is_multiple_of(10) { vec![tainted] } else { Vec::new() },
        cordoned: n.is_multiple_of(50),
        ready: true,
        allocatable: Resources { cpu: CpuMillis::cores(128), memory: Bytes::gib(64), disk: Bytes::gib(1000) },
        cells: vec![VM, POD],
        images: (0..IMAGES / 10).map(|i| image((n * 7 + i * 11) % IMAGES)).collect(),
        pools: BTreeMap::new(),
    }
}

fn image(n: usize) -> String {
    format!("{n:064x}")
}

fn request(n: usize, set: usize, rules: Rules) -> Request {
    let labels: BTreeMap<String, String> =
        [("app".into(), format!("app-{set}")), ("tier".into(), "front".into())].into();
    let own = BTreeMap::from([("app".into(), format!("app-{set}"))]);
    let near = |topology| vec![Affinity { labels: own.clone(), topology, prefer: false }];
    let mut placement = PlacementSpec::default();
    match rules {
        Rules::None | Rules::Image => {}
        Rules::Pack => placement.strategy = Strategy::Pack,
        Rules::Zone => placement.zone = format!("zone-{}", set % ZONES),
        Rules::Spread => {
            let topology = TopologyKey::Rack;
            placement.spread = vec![SpreadConstraint { labels: own, topology, max_skew: 1, prefer: false }];
        }
        Rules::Apart => placement.anti_affinity = near(TopologyKey::Host),
        Rules::Near => placement.affinity = near(TopologyKey::Rack),
    }
    let sizes = [(1, 2), (2, 4), (1, 1), (4, 8)];
    // A set that stays in one rack has to fit into it.
    let (cores, gibs) = if matches!(rules, Rules::Near) { (1, 1) } else { sizes[set % sizes.len()] };
    Request {
        project: format!("project-{}", set % 20),
        name: format!("instance-{n}"),
        labels,
        cell: if set.is_multiple_of(2) { VM } else { POD },
        resources: Resources { cpu: CpuMillis::cores(cores), memory: Bytes::gib(gibs), disk: Bytes::gib(10) },
        placement,
        images: if matches!(rules, Rules::Image) { vec![image(set % IMAGES)] } else { Vec::new() },
        pools: Vec::new(),
    }
}

//! The ledger: what is committed, noted at every commit beside the store, with the promises that must hold in
//! every committed state; and the hash of the whole history, which one seed must repeat.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use model::compute::Instance;
use model::identity::Quota;
use model::topology::Host;
use model::{Resource, Resources};
use parking_lot::Mutex;
use store::{Op, Revision, Txn};

use crate::clock::Clock;

/// How long a quota takes to be in force for every call: one that was admitted before may still be under way.
const QUOTA_IN_FORCE_AFTER_MS: u64 = 5_000;

#[derive(Debug)]
pub(crate) struct Ledger {
    clock: Arc<Clock>,
    traced: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hash: u64,
    commits: u64,
    instances: BTreeMap<String, Instance>,
    hosts: BTreeMap<String, Host>,
    /// With the time of their last change.
    quotas: BTreeMap<String, (u64, Quota)>,
    broken: Option<String>,
}

/// What a project holds.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    resources: Resources,
    instances: u64,
}

impl Ledger {
    /// A traced ledger prints every commit.
    pub(crate) fn new(clock: Arc<Clock>, traced: bool) -> Arc<Self> {
        let state = State { hash: 0xcbf2_9ce4_8422_2325, ..State::default() };
        Arc::new(Self { clock, traced, state: Mutex::new(state) })
    }

    /// Notes a committed transaction and checks the new state.
    pub(crate) fn note(&self, revision: Revision, txn: &Txn) {
        let now = self.clock.elapsed_ms();
        let mut state = self.state.lock();
        state.commits += 1;
        state.mix(&now.to_le_bytes());
        state.mix(&revision.to_le_bytes());
        let before = state.usage();
        for op in &txn.ops {
            let (key, value) = match op {
                Op::Put { key, value, .. } => (key, Some(&value[..])),
                Op::Delete { key } => (key, None),
            };
            state.mix(key.as_bytes());
            state.mix(value.unwrap_or_default());
            state.apply(now, key, value);
            if self.traced {
                let mut line = format!("{now:9} {revision:6} {key} ");
                // Writing to a String cannot fail.
                let _ = write!(line, "{}", String::from_utf8_lossy(value.unwrap_or(b"deleted")));
                println!("{line}");
            }
        }
        let broken = state.overpromised().or_else(|| state.over_quota(now, &before));
        if let Some(what) = broken {
            state.broken.get_or_insert(format!("at revision {revision}: {what}"));
        }
    }

    /// Notes that something that must never happen has happened.
    pub(crate) fn breach(&self, what: String) {
        self.state.lock().broken.get_or_insert(what);
    }

    pub(crate) fn broken(&self) -> Option<String> {
        self.state.lock().broken.clone()
    }

    pub(crate) fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    pub(crate) fn commits(&self) -> u64 {
        self.state.lock().commits
    }
}

impl State {
    /// FNV-1a.
    fn mix(&mut self, bytes: &[u8]) {
        self.hash = bytes.iter().fold(self.hash, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    }

    fn apply(&mut self, now: u64, key: &str, value: Option<&[u8]>) {
        if key.starts_with(&Instance::KIND.prefix()) {
            update(&mut self.instances, key, value);
        } else if key.starts_with(&Host::KIND.prefix()) {
            update(&mut self.hosts, key, value);
        } else if key.starts_with(&Quota::KIND.prefix()) {
            let quota = value.and_then(|value| serde_json::from_slice(value).ok());
            match quota {
                Some(quota) => self.quotas.insert(key.to_owned(), (now, quota)),
                None => self.quotas.remove(key),
            };
        }
    }

    /// No host's room is promised twice.
    fn overpromised(&self) -> Option<String> {
        let mut promised: BTreeMap<&str, Resources> = BTreeMap::new();
        for instance in self.instances.values().filter(|i| !i.status.host.is_empty()) {
            *promised.entry(&instance.status.host).or_default() += instance.spec.resources;
        }
        self.hosts.values().find_map(|host| {
            let used = promised.get(&*host.metadata.name)?;
            let room = host.allocatable();
            // One that has not reported yet, though instances were bound to its name before.
            if room == Resources::ZERO {
                return None;
            }
            let what = format!("host {} has {room} and {used} of it is promised", host.metadata.name);
            (!used.fits_in(&room)).then_some(what)
        })
    }

    fn usage(&self) -> BTreeMap<String, Usage> {
        let mut usage: BTreeMap<String, Usage> = BTreeMap::new();
        for instance in self.instances.values() {
            let used = usage.entry(instance.metadata.namespace.clone()).or_default();
            used.resources += instance.spec.resources;
            used.instances += 1;
        }
        usage
    }

    /// No project comes to hold more than its quota allows. (A quota may be set below what is held.)
    fn over_quota(&self, now: u64, before: &BTreeMap<String, Usage>) -> Option<String> {
        let after = self.usage();
        let in_force = self.quotas.values().filter(|(since, _)| since + QUOTA_IN_FORCE_AFTER_MS < now);
        in_force.map(|(_, quota)| quota).find_map(|quota| {
            let project = &quota.metadata.namespace;
            let used = after.get(project).copied().unwrap_or_default();
            let had = before.get(project).copied().unwrap_or_default();
            let limit = &quota.spec;
            let memory = used.resources.memory > had.resources.memory
                && limit.memory.is_some_and(|limit| used.resources.memory > limit);
            let count = used.instances > had.instances
                && limit.counts.get("instances").is_some_and(|limit| used.instances > *limit);
            (memory || count)
                .then(|| format!("project {project} came to hold {used:?}, over its quota {limit:?}"))
        })
    }
}

fn update<R: Resource>(map: &mut BTreeMap<String, R>, key: &str, value: Option<&[u8]>) {
    match value.and_then(|value| serde_json::from_slice(value).ok()) {
        Some(object) => map.insert(key.to_owned(), object),
        None => map.remove(key),
    };
}

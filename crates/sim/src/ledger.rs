//! The ledger: what is committed, noted at every commit beside the store, with the promises that must hold in
//! every committed state; and the hash of the whole history, which one seed must repeat.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::compute::Instance;
use model::identity::Quota;
use model::topology::Host;
use model::{Resource, Resources};
use parking_lot::Mutex;
use store::{Op, Revision, Txn};

use crate::clock::Clock;

#[derive(Debug)]
pub(crate) struct Ledger {
    clock: Arc<Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hash: u64,
    commits: u64,
    instances: BTreeMap<String, Instance>,
    hosts: BTreeMap<String, Host>,
    quotas: BTreeMap<String, Quota>,
    broken: Option<String>,
}

impl Ledger {
    pub(crate) fn new(clock: Arc<Clock>) -> Arc<Self> {
        let state = State { hash: 0xcbf2_9ce4_8422_2325, ..State::default() };
        Arc::new(Self { clock, state: Mutex::new(state) })
    }

    /// Notes a committed transaction and checks the new state.
    pub(crate) fn note(&self, revision: Revision, txn: &Txn) {
        let mut state = self.state.lock();
        state.commits += 1;
        state.mix(&self.clock.elapsed_ms().to_le_bytes());
        state.mix(&revision.to_le_bytes());
        for op in &txn.ops {
            let (key, value) = match op {
                Op::Put { key, value, .. } => (key, Some(&value[..])),
                Op::Delete { key } => (key, None),
            };
            state.mix(key.as_bytes());
            state.mix(value.unwrap_or_default());
            state.apply(key, value);
        }
        let broken = state.overpromised().or_else(|| state.over_quota());
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

    fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        if key.starts_with(&Instance::KIND.prefix()) {
            update(&mut self.instances, key, value);
        } else if key.starts_with(&Host::KIND.prefix()) {
            update(&mut self.hosts, key, value);
        } else if key.starts_with(&Quota::KIND.prefix()) {
            update(&mut self.quotas, key, value);
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
            let what = format!("host {} has {room} and {used} of it is promised", host.metadata.name);
            (!used.fits_in(&room)).then_some(what)
        })
    }

    fn over_quota(&self) -> Option<String> {
        self.quotas.values().find_map(|quota| {
            let project = &quota.metadata.namespace;
            let mut used = Resources::ZERO;
            let mut count = 0;
            for instance in self.instances.values().filter(|i| i.metadata.namespace == *project) {
                used += instance.spec.resources;
                count += 1;
            }
            let limit = &quota.spec;
            let over = limit.memory.is_some_and(|limit| used.memory > limit)
                || limit.cpu.is_some_and(|limit| used.cpu > limit)
                || limit.counts.get("instances").is_some_and(|limit| count > *limit);
            over.then(|| {
                format!("project {project} holds {count} instances of {used}, over its quota {limit:?}")
            })
        })
    }
}

fn update<R: Resource>(map: &mut BTreeMap<String, R>, key: &str, value: Option<&[u8]>) {
    match value.and_then(|value| serde_json::from_slice(value).ok()) {
        Some(object) => map.insert(key.to_owned(), object),
        None => map.remove(key),
    };
}

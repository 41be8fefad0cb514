//! Random transactions from several tasks at once, judged by a model: every success has its place in the one
//! order of revisions, every conflict tells a truth of the time when it happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use store::{ListOptions, Op, Revision, Store, StoreError, Txn};

use crate::backend::{self, ALL, Bed};

#[derive(Debug, Clone)]
enum Expect {
    Nothing,
    Absent(usize),
    /// As last seen by this task.
    Unchanged(usize),
}

#[derive(Debug, Clone)]
struct Step {
    expect: Expect,
    /// Key and whether it is put or deleted.
    ops: Vec<(usize, bool)>,
}

#[derive(Debug)]
struct Done {
    txn: Txn,
    /// The newest revisions known before the call and after the answer.
    before: Revision,
    after: Revision,
    outcome: Result<Revision, StoreError>,
}

const KEYS: usize = 4;

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let key = 0..KEYS;
    let expect = prop_oneof![
        Just(Expect::Nothing),
        key.clone().prop_map(Expect::Absent),
        key.clone().prop_map(Expect::Unchanged),
    ];
    let ops = proptest::collection::vec((key, proptest::bool::weighted(0.7)), 0..4);
    let step = (expect, ops).prop_map(|(expect, ops)| Step { expect, ops });
    proptest::collection::vec(proptest::collection::vec(step, 1..15), 1..8)
}

fn name(key: usize) -> String {
    format!("k{key}")
}

async fn run(store: Arc<dyn Store>, task: usize, steps: Vec<Step>) -> Vec<Done> {
    let mut done = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let mut txn = match step.expect {
            Expect::Nothing => Txn::new(),
            Expect::Absent(key) => Txn::new().when(name(key), 0),
            Expect::Unchanged(key) => {
                let entry = store.get(&name(key), None).await.unwrap();
                Txn::new().when(name(key), entry.map_or(0, |entry| entry.mod_revision))
            }
        };
        for (key, put) in step.ops {
            txn = if put { txn.put(name(key), format!("{task}/{number}")) } else { txn.delete(name(key)) };
        }
        tokio::task::yield_now().await;
        let before = store.revision();
        let outcome = store.txn(txn.clone()).await;
        done.push(Done { txn, before, after: store.revision(), outcome });
    }
    done
}

type Model = BTreeMap<String, (Revision, String)>;

fn apply(model: &mut Model, txn: &Txn, revision: Revision) {
    for op in &txn.ops {
        match op {
            Op::Put { key, value, .. } => {
                model.insert(key.clone(), (revision, String::from_utf8(value.to_vec()).unwrap()));
            }
            Op::Delete { key } => {
                model.remove(key);
            }
        }
    }
}

fn at(model: &Model, key: &str) -> Revision {
    model.get(key).map_or(0, |(revision, _)| *revision)
}

fn holds(state: &Model, txn: &Txn) -> bool {
    txn.compares.iter().all(|compare| at(state, &compare.key) == compare.mod_revision)
}

fn changes(state: &Model, txn: &Txn) -> bool {
    txn.ops.iter().any(|op| match op {
        Op::Put { .. } => is_last(txn, op),
        Op::Delete { key } => is_last(txn, op) && at(state, key) != 0,
    })
}

/// The states after each revision, from the successes alone: each revision was made by one of those who were told
/// it; the others changed nothing.
fn replay(done: &[Done]) -> Vec<Model> {
    let mut told: BTreeMap<Revision, Vec<&Done>> = BTreeMap::new();
    for done in done {
        if let Ok(revision) = done.outcome {
            told.entry(revision).or_default().push(done);
        }
    }
    let mut states = vec![Model::new()];
    for (revision, told) in told.range(1..) {
        let before = states.last().unwrap();
        assert_eq!(*revision as usize, states.len(), "a revision that nobody was told");
        let after = told
            .iter()
            .filter(|maker| holds(before, &maker.txn) && changes(before, &maker.txn))
            .find_map(|maker| {
                let mut after = before.clone();
                apply(&mut after, &maker.txn, *revision);
                let idle = |done: &Done| holds(&after, &done.txn) && !changes(&after, &done.txn);
                told.iter().all(|done| std::ptr::eq(*done, *maker) || idle(done)).then_some(after)
            })
            .unwrap_or_else(|| panic!("nobody can have made revision {revision}: {told:?}"));
        states.push(after);
    }
    states
}

async fn check(bed: Bed, scripts: Vec<Vec<Step>>) {
    let tasks: Vec<_> = scripts
        .into_iter()
        .enumerate()
        .map(|(task, steps)| tokio::spawn(run(Arc::clone(&bed.store), task, steps)))
        .collect();
    let mut done = Vec::new();
    for task in tasks {
        done.extend(task.await.unwrap());
    }
    let states = replay(&done);
    assert_eq!(bed.store.revision() as usize, states.len() - 1, "every revision was somebody's success");

    for done in &done {
        let between = || &states[done.before as usize..=done.after as usize];
        match &done.outcome {
            Ok(revision) => {
                assert!((done.before..=done.after).contains(revision), "{done:?}");
                let state = &states[*revision as usize];
                for op in &done.txn.ops {
                    match op {
                        Op::Put { key, value, .. } if is_last(&done.txn, op) => {
                            let (written, found) = &state[key];
                            assert_eq!((*written, found.as_bytes()), (*revision, &value[..]), "{done:?}");
                        }
                        Op::Delete { key } if is_last(&done.txn, op) => assert_eq!(at(state, key), 0),
                        _ => {}
                    }
                }
            }
            Err(StoreError::Conflict { key, expected, actual }) => {
                assert_ne!(expected, actual);
                assert!(between().iter().any(|state| at(state, key) == *actual), "{done:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    for (revision, state) in states.iter().enumerate() {
        let options = ListOptions { at: Some(revision as Revision), ..ListOptions::default() };
        let page = bed.store.list("", options).await.unwrap();
        let listed: Model = page
            .entries
            .iter()
            .map(|entry| {
                let value = String::from_utf8(entry.value.to_vec()).unwrap();
                (entry.key.to_string(), (entry.mod_revision, value))
            })
            .collect();
        assert_eq!(&listed, state, "at revision {revision}");
    }
}

fn is_last(txn: &Txn, op: &Op) -> bool {
    let key = |op: &Op| match op {
        Op::Put { key, .. } | Op::Delete { key } => key.clone(),
    };
    let last = txn.ops.iter().rev().find(|other| key(other) == key(op));
    last.is_some_and(|last| std::ptr::eq(last, op))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn memory(scripts in steps()) {
        runtime().block_on(async { check(backend::memory(ALL).await, scripts).await });
    }

    #[test]
    fn sqlite(scripts in steps()) {
        runtime().block_on(async { check(backend::sqlite(ALL).await, scripts).await });
    }
}

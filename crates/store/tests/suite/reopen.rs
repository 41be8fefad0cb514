//! What is the same after the store was opened again.

use std::time::Duration;

use proptest::prelude::*;
use store::{Entry, Event, ListOptions, Op, Retention, SqliteStore, Store, StoreError, Txn};

use crate::backend::{ALL, small};

#[derive(Debug, Clone)]
enum Step {
    Put(u8),
    Delete(u8),
    Both(u8, u8),
    /// This many revisions back.
    Compact(u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..12u8;
    let step = prop_oneof![
        8 => key.clone().prop_map(Step::Put),
        4 => key.clone().prop_map(Step::Delete),
        2 => (key.clone(), key).prop_map(|(put, delete)| Step::Both(put, delete)),
        1 => (0..30u64).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..200)
}

async fn entries(store: &SqliteStore) -> (u64, Vec<Entry>) {
    let page = store.list("", ListOptions::default()).await.unwrap();
    (page.revision, page.entries)
}

async fn events(store: &SqliteStore, from: u64) -> Vec<Event> {
    let mut events = Vec::new();
    let mut watcher = store.watch("", from).await.unwrap();
    let mut seen = from;
    while seen < store.revision() {
        let batch = watcher.next().await.unwrap();
        seen = batch.revision;
        events.extend(batch.events);
    }
    events
}

async fn check(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(directory.path(), small(ALL)).await.unwrap();
    let mut oldest = 0;
    for (number, step) in steps.into_iter().enumerate() {
        let name = |key: u8| format!("k{key}");
        let value = vec![u8::try_from(number % 251).unwrap(); 300];
        match step {
            Step::Put(key) => drop(store.txn(Txn::new().put(name(key), value)).await.unwrap()),
            Step::Delete(key) => drop(store.txn(Txn::new().delete(name(key))).await.unwrap()),
            Step::Both(put, delete) => {
                store.txn(Txn::new().put(name(put), value).delete(name(delete))).await.unwrap();
            }
            Step::Compact(back) => {
                oldest = oldest.max(store.revision().saturating_sub(back));
                store.compact(oldest).await.unwrap();
            }
            Step::Reopen => {
                let before = (entries(&store).await, events(&store, oldest).await);
                let cluster = store.cluster_id().to_owned();
                drop(store);
                store = SqliteStore::open(directory.path(), small(ALL)).await.unwrap();
                assert_eq!((entries(&store).await, events(&store, oldest).await), before);
                assert_eq!(store.cluster_id(), cluster);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn content_and_kept_history_are_the_same(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(steps));
    }
}

#[tokio::test]
async fn the_revision_outlives_everything_it_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path(), small(ALL)).await.unwrap();
    for number in 0..200 {
        store.txn(Txn::new().put("a", number.to_string())).await.unwrap();
    }
    let last = store.txn(Txn::new().delete("a")).await.unwrap();
    store.compact(last).await.unwrap();
    drop(store);
    let store = SqliteStore::open(directory.path(), small(ALL)).await.unwrap();
    assert_eq!(store.revision(), last);
    assert_eq!(store.txn(Txn::new().put("b", "1")).await.unwrap(), last + 1);
}

#[tokio::test]
async fn history_is_bounded_on_disk_too() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention { revisions: 100, bytes: usize::MAX };
    let store = SqliteStore::open(directory.path(), small(retention)).await.unwrap();
    for number in 0..2000_u32 {
        store.txn(Txn::new().put("a", number.to_be_bytes().to_vec())).await.unwrap();
    }
    let gone = store.get("a", Some(1800)).await;
    assert!(matches!(gone, Err(StoreError::Compacted { .. })), "{gone:?}");
    assert!(store.get("a", Some(1950)).await.unwrap().is_some());
    drop(store);
    let database = rusqlite::Connection::open(directory.path().join("store.db")).unwrap();
    let rows: i64 = database.query_row("SELECT count(*) FROM log", (), |row| row.get(0)).unwrap();
    assert!((100..300).contains(&rows), "{rows} rows for 2000 writes");
}

#[tokio::test]
async fn a_lease_has_its_full_time_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path(), small(ALL)).await.unwrap();
    let lease = store.lease_grant(Duration::from_hours(1)).await.unwrap();
    let revoked = store.lease_grant(Duration::from_hours(1)).await.unwrap();
    let op = Op::Put { key: "a".to_owned(), value: "x".into(), lease: Some(lease) };
    store.txn(Txn { ops: vec![op], ..Txn::new() }).await.unwrap();
    store.lease_revoke(revoked).await.unwrap();
    drop(store);

    let store = SqliteStore::open(directory.path(), small(ALL)).await.unwrap();
    store.lease_keep_alive(lease).await.unwrap();
    assert!(matches!(store.lease_keep_alive(revoked).await, Err(StoreError::LeaseNotFound(_))));
    assert!(store.lease_grant(Duration::from_secs(1)).await.unwrap() > revoked, "an id is never used again");
    store.lease_revoke(lease).await.unwrap();
    assert_eq!(store.get("a", None).await.unwrap(), None, "it still knows its keys");
}

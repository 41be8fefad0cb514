//! Leases: keys die with theirs, at its end or when it is revoked.

use std::time::Duration;

use store::{LeaseId, Op, Store, StoreError, Txn};

super::on_every_backend![
    a_revoked_lease_takes_its_keys_along,
    a_key_written_without_the_lease_stays,
    a_lease_that_is_not_there_is_refused,
    an_expired_lease_deletes_its_keys,
    a_lease_kept_alive_lives,
];

const LONG: Duration = Duration::from_hours(1);

fn put(key: &str, lease: LeaseId) -> Txn {
    let op = Op::Put { key: key.to_owned(), value: "x".into(), lease: Some(lease) };
    Txn { ops: vec![op], ..Txn::new() }
}

async fn a_revoked_lease_takes_its_keys_along(store: &dyn Store) {
    let lease = store.lease_grant(LONG).await.unwrap();
    let other = store.lease_grant(LONG).await.unwrap();
    assert_ne!(lease, other);
    store.txn(put("a", lease)).await.unwrap();
    store.txn(put("b", lease)).await.unwrap();
    store.txn(put("c", other)).await.unwrap();
    assert_eq!(store.get("a", None).await.unwrap().unwrap().lease, Some(lease));

    let mut watcher = store.watch("", 3).await.unwrap();
    store.lease_revoke(lease).await.unwrap();
    let batch = watcher.next().await.unwrap();
    let deleted: Vec<_> = batch.events.iter().map(|event| (event.revision, &*event.key)).collect();
    assert_eq!(deleted, [(4, "a"), (4, "b")], "one transaction");
    assert!(store.get("c", None).await.unwrap().is_some());
}

async fn a_key_written_without_the_lease_stays(store: &dyn Store) {
    let lease = store.lease_grant(LONG).await.unwrap();
    let other = store.lease_grant(LONG).await.unwrap();
    store.txn(put("plain", lease)).await.unwrap();
    store.txn(put("moved", lease)).await.unwrap();
    store.txn(put("deleted", lease)).await.unwrap();
    store.txn(Txn::new().put("plain", "y").delete("deleted")).await.unwrap();
    store.txn(put("moved", other)).await.unwrap();
    let before = store.revision();
    store.lease_revoke(lease).await.unwrap();
    assert_eq!(store.revision(), before, "it had no keys left");
    assert!(store.get("plain", None).await.unwrap().is_some());
    assert!(store.get("moved", None).await.unwrap().is_some());
    store.lease_revoke(other).await.unwrap();
    assert!(store.get("moved", None).await.unwrap().is_none());
}

async fn a_lease_that_is_not_there_is_refused(store: &dyn Store) {
    let lease = store.lease_grant(LONG).await.unwrap();
    store.lease_revoke(lease).await.unwrap();
    let missing = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::LeaseNotFound(id)) if id == lease), "{result:?}");
    };
    missing(store.lease_keep_alive(lease).await);
    missing(store.lease_revoke(lease).await);
    missing(store.txn(put("a", lease)).await.map(drop));
    assert!(store.lease_grant(LONG).await.unwrap() > lease, "an id is never used again");
}

async fn an_expired_lease_deletes_its_keys(store: &dyn Store) {
    let lease = store.lease_grant(Duration::from_millis(200)).await.unwrap();
    store.txn(put("a", lease)).await.unwrap();
    let mut watcher = store.watch("", 1).await.unwrap();
    let batch = watcher.next().await.unwrap();
    assert_eq!(batch.events.len(), 1);
    assert!(batch.events[0].entry.is_none());
    let kept = store.lease_keep_alive(lease).await;
    assert!(matches!(kept, Err(StoreError::LeaseNotFound(_))), "{kept:?}");
}

async fn a_lease_kept_alive_lives(store: &dyn Store) {
    let short = store.lease_grant(Duration::from_millis(400)).await.unwrap();
    let kept = store.lease_grant(Duration::from_millis(800)).await.unwrap();
    store.txn(put("short", short)).await.unwrap();
    store.txn(put("kept", kept)).await.unwrap();
    let mut watcher = store.watch("", 2).await.unwrap();
    let first = watcher.next().await.unwrap();
    assert_eq!(&*first.events[0].key, "short");
    store.lease_keep_alive(kept).await.unwrap();
    assert!(store.get("kept", None).await.unwrap().is_some());
    let second = watcher.next().await.unwrap();
    assert_eq!(&*second.events[0].key, "kept", "and dies when nobody keeps it");
}

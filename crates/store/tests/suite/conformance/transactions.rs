//! Transactions: all or nothing, at one revision, on the condition that was given.

use store::{Op, Store, StoreError, Txn, limits};

super::on_every_backend![
    revisions_count_transactions,
    all_operations_share_a_revision,
    a_failed_comparison_writes_nothing,
    absence_can_be_compared,
    what_changes_nothing_has_no_revision,
    the_last_operation_on_a_key_counts,
    a_key_is_created_anew_after_deletion,
    too_large_is_refused,
];

async fn revisions_count_transactions(store: &dyn Store) {
    assert_eq!(store.revision(), 0);
    assert_eq!(store.txn(Txn::new().put("a", "1")).await.unwrap(), 1);
    assert_eq!(store.txn(Txn::new().put("a", "2")).await.unwrap(), 2);
    assert_eq!(store.txn(Txn::new().delete("a")).await.unwrap(), 3);
    assert_eq!(store.revision(), 3);
}

async fn all_operations_share_a_revision(store: &dyn Store) {
    store.txn(Txn::new().put("gone", "x")).await.unwrap();
    let revision = store.txn(Txn::new().put("a", "1").put("b", "2").delete("gone")).await.unwrap();
    for key in ["a", "b"] {
        let entry = store.get(key, None).await.unwrap().unwrap();
        assert_eq!((entry.create_revision, entry.mod_revision), (revision, revision));
    }
    assert_eq!(store.get("gone", None).await.unwrap(), None);
}

async fn a_failed_comparison_writes_nothing(store: &dyn Store) {
    let first = store.txn(Txn::new().put("a", "1")).await.unwrap();
    let second = store.txn(Txn::new().when("a", first).put("a", "2")).await.unwrap();
    let error = store.txn(Txn::new().when("a", first).put("a", "3").put("b", "3")).await.unwrap_err();
    match error {
        StoreError::Conflict { key, expected, actual } => {
            assert_eq!((key.as_str(), expected, actual), ("a", first, second));
        }
        other => panic!("{other}"),
    }
    assert_eq!(&store.get("a", None).await.unwrap().unwrap().value[..], b"2");
    assert_eq!(store.get("b", None).await.unwrap(), None);
    assert_eq!(store.revision(), second);
}

async fn absence_can_be_compared(store: &dyn Store) {
    store.txn(Txn::new().when("a", 0).put("a", "1")).await.unwrap();
    let again = store.txn(Txn::new().when("a", 0).put("a", "2")).await;
    assert!(matches!(again, Err(StoreError::Conflict { expected: 0, actual: 1, .. })), "{again:?}");
    store.txn(Txn::new().delete("a")).await.unwrap();
    store.txn(Txn::new().when("a", 0).put("a", "3")).await.unwrap();
}

async fn what_changes_nothing_has_no_revision(store: &dyn Store) {
    assert_eq!(store.txn(Txn::new()).await.unwrap(), 0);
    store.txn(Txn::new().put("a", "1")).await.unwrap();
    assert_eq!(store.txn(Txn::new().when("a", 1)).await.unwrap(), 1);
    assert_eq!(store.txn(Txn::new().delete("nothing")).await.unwrap(), 1);
    assert_eq!(store.revision(), 1);
    let conflict = store.txn(Txn::new().when("a", 7)).await;
    assert!(matches!(conflict, Err(StoreError::Conflict { .. })), "{conflict:?}");
    assert_eq!(store.txn(Txn::new().put("a", "1")).await.unwrap(), 2, "the same value again is a change");
}

async fn the_last_operation_on_a_key_counts(store: &dyn Store) {
    let mut watcher = store.watch("", 0).await.unwrap();
    store.txn(Txn::new().put("a", "1").delete("a").put("b", "1").put("a", "2")).await.unwrap();
    assert_eq!(&store.get("a", None).await.unwrap().unwrap().value[..], b"2");
    let keys: Vec<_> = watcher.next().await.unwrap().events.into_iter().map(|event| event.key).collect();
    assert_eq!(keys.iter().map(|key| &**key).collect::<Vec<_>>(), ["b", "a"]);
    store.txn(Txn::new().put("c", "1").delete("c")).await.unwrap();
    assert_eq!(store.revision(), 1);
}

async fn a_key_is_created_anew_after_deletion(store: &dyn Store) {
    store.txn(Txn::new().put("a", "1")).await.unwrap();
    store.txn(Txn::new().put("a", "2")).await.unwrap();
    let entry = store.get("a", None).await.unwrap().unwrap();
    assert_eq!((entry.create_revision, entry.mod_revision), (1, 2));
    store.txn(Txn::new().delete("a")).await.unwrap();
    store.txn(Txn::new().put("a", "3")).await.unwrap();
    let entry = store.get("a", None).await.unwrap().unwrap();
    assert_eq!((entry.create_revision, entry.mod_revision), (4, 4));
}

async fn too_large_is_refused(store: &dyn Store) {
    let largest = vec![7; limits::MAX_VALUE_BYTES];
    store.txn(Txn::new().put("a", largest.clone())).await.unwrap();
    assert_eq!(store.get("a", None).await.unwrap().unwrap().value, largest);

    let mut larger = largest.clone();
    larger.push(7);
    let many = Txn { ops: vec![Op::Delete { key: "k".into() }; limits::MAX_TXN_OPS + 1], ..Txn::new() };
    for (what, txn) in [
        ("the value", Txn::new().put("a", larger)),
        ("the key", Txn::new().put("k".repeat(limits::MAX_KEY_BYTES + 1), "1")),
        ("the key", Txn::new().when("k".repeat(limits::MAX_KEY_BYTES + 1), 0)),
        ("the list of operations", many),
        (
            "the transaction",
            Txn::new().put("a", largest.clone()).put("b", largest.clone()).put("c", largest.clone()),
        ),
    ] {
        match store.txn(txn).await {
            Err(StoreError::TooLarge { what: named, .. }) => assert_eq!(named, what),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(store.revision(), 1);
}

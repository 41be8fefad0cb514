//! Reads: at any kept revision, in key order, in pages.

use store::{ListOptions, Store, StoreError, Txn};

super::on_every_backend![
    any_kept_revision_can_be_read,
    a_list_holds_what_is_under_its_prefix,
    pages_stay_at_one_revision,
    compacted_revisions_are_gone,
    compaction_keeps_what_is_alive,
    the_future_has_not_happened,
];

async fn value(store: &dyn Store, key: &str, at: u64) -> Option<String> {
    let entry = store.get(key, Some(at)).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

async fn keys(store: &dyn Store, prefix: &str, at: Option<u64>) -> Vec<String> {
    let page = store.list(prefix, ListOptions { at, ..ListOptions::default() }).await.unwrap();
    assert!(!page.more);
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

async fn any_kept_revision_can_be_read(store: &dyn Store) {
    store.txn(Txn::new().put("a", "1")).await.unwrap();
    store.txn(Txn::new().put("a", "2").put("b", "2")).await.unwrap();
    store.txn(Txn::new().delete("a")).await.unwrap();
    store.txn(Txn::new().put("a", "4")).await.unwrap();
    let mut seen = Vec::new();
    for at in 0..=4 {
        seen.push(value(store, "a", at).await.unwrap_or_default());
    }
    assert_eq!(seen, ["", "1", "2", "", "4"]);
    assert_eq!(keys(store, "", Some(1)).await, ["a"]);
    assert_eq!(keys(store, "", Some(3)).await, ["b"]);
    assert_eq!(keys(store, "", None).await, ["a", "b"]);
}

async fn a_list_holds_what_is_under_its_prefix(store: &dyn Store) {
    let all = ["/a", "/a/1", "/a/2", "/a0", "/b/1", "/a/\u{10ffff}"];
    for key in all {
        store.txn(Txn::new().put(key, key)).await.unwrap();
    }
    assert_eq!(keys(store, "/a/", None).await, ["/a/1", "/a/2", "/a/\u{10ffff}"]);
    assert_eq!(keys(store, "/c", None).await, Vec::<String>::new());
    assert_eq!(keys(store, "", None).await.len(), all.len());
}

async fn pages_stay_at_one_revision(store: &dyn Store) {
    for number in 0..10 {
        store.txn(Txn::new().put(format!("k{number}"), "1")).await.unwrap();
    }
    let first = store.list("k", ListOptions { limit: 4, ..ListOptions::default() }).await.unwrap();
    assert_eq!((first.entries.len(), first.more, first.revision), (4, true, 10));

    store.txn(Txn::new().delete("k5").put("k55", "new").put("k9", "new")).await.unwrap();
    let mut seen: Vec<_> = first.entries;
    let mut more = true;
    while more {
        let after = seen.last().map(|entry| entry.key.to_string());
        let options = ListOptions { at: Some(first.revision), after, limit: 4 };
        let page = store.list("k", options).await.unwrap();
        assert_eq!(page.revision, first.revision);
        more = page.more;
        seen.extend(page.entries);
    }
    let keys: Vec<_> = seen.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, (0..10).map(|number| format!("k{number}")).collect::<Vec<_>>());
    assert!(seen.iter().all(|entry| entry.value == "1"));

    let exact = store.list("k", ListOptions { limit: 10, ..ListOptions::default() }).await.unwrap();
    assert!(!exact.more, "a page that ends with the last entry has no more");
}

async fn compacted_revisions_are_gone(store: &dyn Store) {
    for number in 1..=5 {
        store.txn(Txn::new().put("a", number.to_string())).await.unwrap();
    }
    store.compact(3).await.unwrap();
    assert_eq!(value(store, "a", 3).await.unwrap(), "3");
    assert_eq!(value(store, "a", 5).await.unwrap(), "5");
    let gone = store.get("a", Some(2)).await;
    assert!(matches!(gone, Err(StoreError::Compacted { asked: 2, oldest: 3 })), "{gone:?}");
    let gone = store.list("", ListOptions { at: Some(2), ..ListOptions::default() }).await;
    assert!(matches!(gone, Err(StoreError::Compacted { asked: 2, oldest: 3 })), "{gone:?}");
    store.compact(2).await.unwrap();
    assert_eq!(value(store, "a", 3).await.unwrap(), "3", "an earlier compaction changes nothing");
}

async fn compaction_keeps_what_is_alive(store: &dyn Store) {
    store.txn(Txn::new().put("old", "1").put("deleted", "1").put("again", "1")).await.unwrap();
    store.txn(Txn::new().delete("deleted").delete("again")).await.unwrap();
    store.txn(Txn::new().put("again", "3")).await.unwrap();
    for revision in 1..=3 {
        store.compact(revision).await.unwrap();
        assert_eq!(keys(store, "", None).await, ["again", "old"]);
    }
    assert_eq!(keys(store, "", Some(3)).await, ["again", "old"]);
    let entry = store.get("old", None).await.unwrap().unwrap();
    assert_eq!((entry.create_revision, entry.mod_revision), (1, 1));
    assert_eq!(store.txn(Txn::new().put("old", "4")).await.unwrap(), 4, "revisions go on after a compaction");
}

async fn the_future_has_not_happened(store: &dyn Store) {
    store.txn(Txn::new().put("a", "1")).await.unwrap();
    let future = |error| matches!(error, StoreError::Future { asked: 2, newest: 1 });
    assert!(future(store.get("a", Some(2)).await.unwrap_err()));
    assert!(future(store.list("", ListOptions { at: Some(2), ..ListOptions::default() }).await.unwrap_err()));
    assert!(future(store.watch("", 2).await.err().unwrap()));
    assert!(future(store.compact(2).await.unwrap_err()));
}

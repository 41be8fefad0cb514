//! Watches: every change under the prefix, in order, once, or `Compacted`.

use futures::FutureExt;
use store::{Event, Store, StoreError, Txn, Watcher};

super::on_every_backend![
    a_watch_tells_what_happened_and_what_was_before,
    a_revision_is_never_torn,
    a_watch_starts_at_any_kept_revision,
    other_prefixes_are_silent,
    a_reader_too_far_behind_is_told,
    an_idle_watcher_outlives_compaction,
    waiting_can_be_given_up,
    concurrent_writers_are_seen_in_order,
];

/// The events up to and including `revision`.
async fn until(watcher: &mut dyn Watcher, revision: u64) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let batch = watcher.next().await.unwrap();
        assert!(batch.events.is_sorted_by_key(|event| event.revision));
        assert!(batch.events.iter().all(|event| event.revision <= batch.revision));
        events.extend(batch.events);
        if batch.revision >= revision {
            return events;
        }
    }
}

fn text(event: &Event) -> String {
    let side = |entry: &Option<store::Entry>| {
        let entry = entry.as_ref().map(|entry| String::from_utf8(entry.value.to_vec()).unwrap());
        entry.unwrap_or_else(|| "-".to_owned())
    };
    format!("{} {}: {} -> {}", event.revision, event.key, side(&event.previous), side(&event.entry))
}

async fn a_watch_tells_what_happened_and_what_was_before(store: &dyn Store) {
    let mut watcher = store.watch("", 0).await.unwrap();
    store.txn(Txn::new().put("a", "1")).await.unwrap();
    store.txn(Txn::new().put("a", "2").put("b", "2")).await.unwrap();
    store.txn(Txn::new().delete("a")).await.unwrap();
    store.txn(Txn::new().put("a", "4")).await.unwrap();
    let events = until(&mut *watcher, 4).await;
    let told: Vec<_> = events.iter().map(text).collect();
    assert_eq!(told, ["1 a: - -> 1", "2 a: 1 -> 2", "2 b: - -> 2", "3 a: 2 -> -", "4 a: - -> 4"]);
    assert_eq!(events[1].entry.as_ref().unwrap().create_revision, 1);
    assert_eq!(events[1].previous.as_ref().unwrap().mod_revision, 1);
}

async fn a_revision_is_never_torn(store: &dyn Store) {
    for round in 0..40 {
        let txn = (0..100).fold(Txn::new(), |txn, key| txn.put(format!("k{key}"), round.to_string()));
        store.txn(txn).await.unwrap();
    }
    let mut watcher = store.watch("k", 0).await.unwrap();
    let mut seen = 0;
    while seen < 40 {
        let batch = watcher.next().await.unwrap();
        for revision in seen + 1..=batch.revision {
            let count = batch.events.iter().filter(|event| event.revision == revision).count();
            assert_eq!(count, 100, "revision {revision}");
        }
        assert!(batch.revision > seen);
        seen = batch.revision;
    }
}

async fn a_watch_starts_at_any_kept_revision(store: &dyn Store) {
    for number in 1..=20 {
        store.txn(Txn::new().put(format!("k{}", number % 3), number.to_string())).await.unwrap();
    }
    for from in 0..20 {
        let mut watcher = store.watch("k", from).await.unwrap();
        let events = until(&mut *watcher, 20).await;
        let revisions: Vec<_> = events.iter().map(|event| event.revision).collect();
        assert_eq!(revisions, (from + 1..=20).collect::<Vec<_>>());
    }
    let mut watcher = store.watch("k", 20).await.unwrap();
    assert!(watcher.next().now_or_never().is_none());
}

async fn other_prefixes_are_silent(store: &dyn Store) {
    let mut hosts = store.watch("/hosts/", 0).await.unwrap();
    let mut one = store.watch("/hosts/1", 0).await.unwrap();
    let mut all = store.watch("", 0).await.unwrap();
    for key in ["/hosts", "/other/1", "/hosts/2"] {
        store.txn(Txn::new().put(key, "x")).await.unwrap();
    }
    assert!(one.next().now_or_never().is_none());
    assert_eq!(until(&mut *hosts, 3).await.len(), 1);
    assert_eq!(until(&mut *all, 3).await.len(), 3);
    store.txn(Txn::new().put("/hosts/1", "x")).await.unwrap();
    assert_eq!(until(&mut *one, 4).await.len(), 1);
    drop(hosts);
    store.txn(Txn::new().put("/hosts/1", "y")).await.unwrap();
    assert_eq!(until(&mut *one, 5).await.len(), 1);
}

async fn a_reader_too_far_behind_is_told(store: &dyn Store) {
    store.txn(Txn::new().put("a", "1")).await.unwrap();
    let mut watcher = store.watch("a", 1).await.unwrap();
    for number in 2..=5 {
        store.txn(Txn::new().put("a", number.to_string())).await.unwrap();
    }
    store.compact(4).await.unwrap();
    for _ in 0..2 {
        let behind = watcher.next().await;
        assert!(matches!(behind, Err(StoreError::Compacted { asked: 1, oldest: 4 })), "{behind:?}");
    }
    let behind = store.watch("a", 3).await.err().unwrap();
    assert!(matches!(behind, StoreError::Compacted { asked: 3, oldest: 4 }), "{behind}");
    let mut watcher = store.watch("a", 4).await.unwrap();
    assert_eq!(until(&mut *watcher, 5).await.len(), 1);
}

async fn an_idle_watcher_outlives_compaction(store: &dyn Store) {
    let mut watcher = store.watch("quiet", 0).await.unwrap();
    for number in 1..=5 {
        store.txn(Txn::new().put("loud", number.to_string())).await.unwrap();
    }
    store.compact(5).await.unwrap();
    let batch = watcher.next().await.unwrap();
    assert_eq!((batch.events.len(), batch.revision), (0, 5), "it learns where to resume from");
    store.txn(Txn::new().put("quiet", "x")).await.unwrap();
    assert_eq!(until(&mut *watcher, 6).await.len(), 1);
}

async fn waiting_can_be_given_up(store: &dyn Store) {
    let mut watcher = store.watch("a", 0).await.unwrap();
    for number in 1..=5 {
        assert!(watcher.next().now_or_never().is_none());
        store.txn(Txn::new().put("a", "x")).await.unwrap();
        assert_eq!(until(&mut *watcher, number).await.len(), 1);
    }
}

async fn concurrent_writers_are_seen_in_order(store: &dyn Store) {
    let mut watcher = store.watch("w", 0).await.unwrap();
    let writes = (0..200).map(|number| store.txn(Txn::new().put(format!("w{number}"), number.to_string())));
    let reading = until(&mut *watcher, 200);
    let (revisions, events) = futures::join!(futures::future::join_all(writes), reading);
    let told: Vec<_> = events.iter().map(|event| event.revision).collect();
    assert_eq!(told, (1..=200).collect::<Vec<_>>());
    for (number, revision) in revisions.into_iter().enumerate() {
        let event = &events[usize::try_from(revision.unwrap()).unwrap() - 1];
        assert_eq!(&*event.key, format!("w{number}"));
    }
}

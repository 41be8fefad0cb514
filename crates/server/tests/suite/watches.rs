//! Watches: everything in order, from the version on that one names.

use std::time::Duration;

use client::{DeleteOptions, ListParams, TypedEvent, TypedWatch};
use model::Reason;
use model::compute::KeyPair;
use store::Store;

use crate::cloud::{Cloud, key_pair, refused};

async fn next(watch: &mut TypedWatch<KeyPair>) -> String {
    let text = |word: &str, k: &KeyPair| format!("{word} {}", k.metadata.name);
    match watch.next().await {
        Some(Ok(TypedEvent::Applied(k))) => text("applied", &k),
        Some(Ok(TypedEvent::Deleted(k))) => text("deleted", &k),
        Some(Ok(TypedEvent::Bookmark(_))) => "bookmark".into(),
        Some(Err(e)) => format!("{:?}", e.reason),
        None => "end".into(),
    }
}

fn label(mut object: KeyPair, value: &str) -> KeyPair {
    object.metadata.labels.insert("app".into(), value.into());
    object
}

#[tokio::test]
async fn a_watch_begins_with_what_is_and_goes_on_with_what_happens() {
    let cloud = Cloud::start().await;
    let keys = cloud.key_pairs();
    let made = keys.create(&key_pair("a")).await.expect("create");
    let mut watch = keys.watch(&ListParams::default()).await.expect("watch");
    assert_eq!(next(&mut watch).await, "applied a");
    keys.create(&key_pair("b")).await.expect("create");
    keys.update(&label(made, "web")).await.expect("update");
    keys.delete("a", &DeleteOptions::default()).await.expect("delete");
    assert_eq!(next(&mut watch).await, "applied b");
    assert_eq!(next(&mut watch).await, "applied a");
    assert_eq!(next(&mut watch).await, "deleted a");
}

#[tokio::test]
async fn a_watch_resumes_after_the_version_it_names() {
    let cloud = Cloud::start().await;
    let keys = cloud.key_pairs();
    keys.create(&key_pair("a")).await.expect("create");
    let seen = keys.create(&key_pair("b")).await.expect("create").metadata.resource_version;
    keys.create(&key_pair("c")).await.expect("create");
    let params = ListParams { resource_version: seen, ..ListParams::default() };
    let mut watch = keys.watch(&params).await.expect("watch");
    assert_eq!(next(&mut watch).await, "applied c");
}

#[tokio::test]
async fn what_leaves_a_selection_is_deleted_for_its_watcher() {
    let cloud = Cloud::start().await;
    let keys = cloud.key_pairs();
    let params = ListParams { label_selector: "app=web".into(), ..ListParams::default() };
    let mut watch = keys.watch(&params).await.expect("watch");
    let made = keys.create(&label(key_pair("a"), "db")).await.expect("create");
    let made = keys.update(&label(made, "web")).await.expect("moves in");
    let made = keys.update(&label(made, "db")).await.expect("moves out");
    keys.update(&label(made, "web")).await.expect("moves in again");
    keys.delete("a", &DeleteOptions::default()).await.expect("delete");
    for wanted in ["applied a", "deleted a", "applied a", "deleted a"] {
        assert_eq!(next(&mut watch).await, wanted);
    }
}

#[tokio::test]
async fn a_version_that_is_forgotten_is_expired() {
    let cloud = Cloud::start().await;
    let keys = cloud.key_pairs();
    let old = keys.create(&key_pair("a")).await.expect("create").metadata.resource_version;
    keys.create(&key_pair("b")).await.expect("create");
    cloud.store.compact(cloud.store.revision()).await.expect("compact");
    let params = ListParams { resource_version: old, ..ListParams::default() };
    refused(keys.watch(&params).await.map(drop), Reason::Expired);
    let nonsense = ListParams { resource_version: "nonsense".into(), ..ListParams::default() };
    refused(keys.watch(&nonsense).await.map(drop), Reason::BadRequest);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_says_how_far_it_is_and_ends_in_time() {
    let cloud = Cloud::start().await;
    let keys = cloud.key_pairs();
    let params = ListParams {
        allow_bookmarks: true,
        timeout_seconds: Some(100),
        send_initial_events: true,
        ..ListParams::default()
    };
    let begun = tokio::time::Instant::now();
    let mut watch = keys.watch(&params).await.expect("watch");
    assert_eq!(next(&mut watch).await, "bookmark", "the end of what was there at the start");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(next(&mut watch).await, "bookmark");
    assert!(begun.elapsed() > Duration::ZERO, "from time to time");
    let mut last = String::new();
    while last != "end" {
        last = next(&mut watch).await;
    }
    assert_eq!(begun.elapsed().as_secs(), 100);
}

#[tokio::test]
async fn a_project_watches_its_own() {
    let cloud = Cloud::start().await;
    let mut watch = cloud.key_pairs().watch(&ListParams::default()).await.expect("watch");
    let mut other = key_pair("elsewhere");
    other.metadata.namespace = "system".into();
    cloud.admin().project("system").create(&other).await.expect("create");
    cloud.key_pairs().create(&key_pair("here")).await.expect("create");
    assert_eq!(next(&mut watch).await, "applied here");
}

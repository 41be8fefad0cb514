//! Keys of encrypted volumes: sealed, the same for copies, and told to the host that has the volume alone.

use client::Verb;
use identity::MasterKey;
use model::Reason;
use model::storage::{Volume, VolumeSnapshot, key_owner};
use serde_json::json;

use crate::cloud::{self, Cloud, host, refused, request, volume};

#[tokio::test]
async fn a_key_is_made_sealed_and_handed_on() {
    let cloud = Cloud::start().await;
    let asked = json!({"size": "1Gi", "host": "h1", "encrypted": true, "sealedKey": "mine"});
    let made = volume(&cloud, "v", asked).await.expect("a volume");
    let sealed = &made.spec.sealed_key;
    assert!(!sealed.is_empty() && sealed != "mine", "the server makes the key: {sealed}");
    let snapshot = json!({"metadata": {"name": "s", "namespace": "default"}, "spec": {"volume": "v"}});
    let snapshot: VolumeSnapshot = serde_json::from_value(snapshot).expect("a snapshot");
    let snapshot = cloud.admin().project("default").create(&snapshot).await.expect("create");
    assert_eq!(&snapshot.spec.sealed_key, sealed);
    for source in [json!({"snapshot": "s"}), json!({"volume": "v"})] {
        let name = if source["volume"].is_string() { "of-volume" } else { "of-snapshot" };
        let copy = volume(&cloud, name, json!({"source": source, "host": "h1"})).await.expect("a copy");
        assert!(copy.spec.encrypted && copy.spec.sealed_key == *sealed, "{copy:?}");
    }
    let other =
        volume(&cloud, "w", json!({"size": "1Gi", "host": "h1", "encrypted": true})).await.expect("w");
    assert_ne!(&other.spec.sealed_key, sealed, "each has its own");

    let volumes = cloud.admin().project::<Volume>("default");
    let mut changed = volumes.get("v").await.expect("get");
    changed.spec.sealed_key = other.spec.sealed_key;
    let kept = volumes.update(&changed).await.expect("update");
    assert_eq!(&kept.spec.sealed_key, sealed, "nobody changes it");
    let mut plain = kept;
    plain.spec.encrypted = false;
    let error = refused(volumes.update(&plain).await, Reason::Invalid);
    assert!(error.message.contains("spec.encrypted"), "{error}");
}

#[tokio::test]
async fn no_copy_of_what_is_not_encrypted_is() {
    let cloud = Cloud::start().await;
    volume(&cloud, "v", json!({"size": "1Gi", "host": "h1"})).await.expect("a volume");
    let copy = volume(&cloud, "c", json!({"source": {"volume": "v"}, "encrypted": true})).await;
    let error = refused(copy, Reason::Invalid);
    assert!(error.message.contains("spec.encrypted") && error.message.contains("copy into it"), "{error}");
}

#[tokio::test]
async fn only_the_host_that_has_it_is_told() {
    let cloud = Cloud::start().await;
    let made = volume(&cloud, "v", json!({"size": "1Gi", "host": "h1", "encrypted": true})).await;
    let made = made.expect("a volume");
    let ask = |uid: &str| {
        let wish = request::<Volume>(Verb::Create, "v").subresource("key");
        wish.body(json!({ "uid": uid }).to_string())
    };
    let uid = made.metadata.uid.as_str();
    let told = cloud.call(&host("h1"), ask(uid)).await.expect("its key");
    let told = cloud::json(&told)["key"].as_str().expect("a key").to_owned();
    let master = MasterKey::new(cloud::MASTER);
    let opened = master.open(&key_owner("default"), &made.spec.sealed_key).expect("it opens");
    assert_eq!(opened.expose(), told);
    assert!(master.open(&key_owner("other"), &made.spec.sealed_key).is_none(), "worth nothing elsewhere");
    refused(cloud.call(&host("h2"), ask(uid)).await, Reason::Forbidden);
    refused(cloud.call(&cloud::admin(), ask(uid)).await, Reason::Forbidden);
    refused(cloud.call(&host("h1"), ask("00000000-0000-4000-8000-000000000000")).await, Reason::NotFound);
}

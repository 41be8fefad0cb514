//! Keys of encrypted volumes: sealed, the same for copies, and told to the host that has the volume alone.

use client::Verb;
use identity::MasterKey;
use model::storage::{Volume, VolumeSnapshot, key_owner};
use model::{ApiError, Reason};
use serde_json::{Value, json};

use crate::cloud::{self, Cloud, host, refused, request};

async fn cloud() -> Cloud {
    let cloud = Cloud::start().await;
    let pool = json!({"metadata": {"name": "default"}, "spec": {}});
    let pool: model::storage::Pool = serde_json::from_value(pool).expect("a pool");
    // A new cloud may have it already.
    let _ = cloud.admin().all::<model::storage::Pool>().create(&pool).await;
    cloud
}

async fn make(cloud: &Cloud, name: &str, spec: Value) -> Result<Volume, ApiError> {
    let volume = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    cloud.admin().project("default").create(&serde_json::from_value(volume).expect("a volume")).await
}

#[tokio::test]
async fn a_key_is_made_sealed_and_handed_on() {
    let cloud = cloud().await;
    let asked = json!({"size": "1Gi", "host": "h1", "encrypted": true, "sealedKey": "mine"});
    let volume = make(&cloud, "v", asked).await.expect("a volume");
    let sealed = &volume.spec.sealed_key;
    assert!(!sealed.is_empty() && sealed != "mine", "the server makes the key: {sealed}");
    let snapshot = json!({"metadata": {"name": "s", "namespace": "default"}, "spec": {"volume": "v"}});
    let snapshot: VolumeSnapshot = serde_json::from_value(snapshot).expect("a snapshot");
    let snapshot = cloud.admin().project("default").create(&snapshot).await.expect("create");
    assert_eq!(&snapshot.spec.sealed_key, sealed);
    for source in [json!({"snapshot": "s"}), json!({"volume": "v"})] {
        let name = if source["volume"].is_string() { "of-volume" } else { "of-snapshot" };
        let copy = make(&cloud, name, json!({"source": source, "host": "h1"})).await.expect("a copy");
        assert!(copy.spec.encrypted && copy.spec.sealed_key == *sealed, "{copy:?}");
    }
    let other = make(&cloud, "w", json!({"size": "1Gi", "host": "h1", "encrypted": true})).await.expect("w");
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
    let cloud = cloud().await;
    make(&cloud, "v", json!({"size": "1Gi", "host": "h1"})).await.expect("a volume");
    let copy = make(&cloud, "c", json!({"source": {"volume": "v"}, "encrypted": true})).await;
    let error = refused(copy, Reason::Invalid);
    assert!(error.message.contains("spec.encrypted") && error.message.contains("copy into it"), "{error}");
}

#[tokio::test]
async fn only_the_host_that_has_it_is_told() {
    let cloud = cloud().await;
    let volume = make(&cloud, "v", json!({"size": "1Gi", "host": "h1", "encrypted": true})).await;
    let volume = volume.expect("a volume");
    let ask = |uid: &str| {
        let wish = request::<Volume>(Verb::Create, "v").subresource("key");
        wish.body(json!({ "uid": uid }).to_string())
    };
    let uid = volume.metadata.uid.as_str();
    let told = cloud.call(&host("h1"), ask(uid)).await.expect("its key");
    let told = cloud::json(&told)["key"].as_str().expect("a key").to_owned();
    let master = MasterKey::new(cloud::MASTER);
    let opened = master.open(&key_owner("default"), &volume.spec.sealed_key).expect("it opens");
    assert_eq!(opened.expose(), told);
    assert!(master.open(&key_owner("other"), &volume.spec.sealed_key).is_none(), "worth nothing elsewhere");
    refused(cloud.call(&host("h2"), ask(uid)).await, Reason::Forbidden);
    refused(cloud.call(&cloud::admin(), ask(uid)).await, Reason::Forbidden);
    refused(cloud.call(&host("h1"), ask("00000000-0000-4000-8000-000000000000")).await, Reason::NotFound);
    make(&cloud, "plain", json!({"size": "1Gi", "host": "h1"})).await.expect("a volume");
}

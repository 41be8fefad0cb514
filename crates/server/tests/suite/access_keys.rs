//! Keys that sign requests: their secret comes in, and never out.

use client::Verb;
use identity::{MasterKey, Secret};
use model::identity::{AccessKey, AccessKeySpec, User, UserSpec};
use model::{Object, ObjectMeta, Reason, Resource};
use serde_json::json;

use crate::cloud::{Cloud, MASTER, admin, json, refused, request, user};

const SECRET: &str = "0123456789abcdefghij0123456789abcdefghij";

async fn cloud() -> Cloud {
    let cloud = Cloud::start().await;
    for name in ["ann", "bob"] {
        let user = User::new(ObjectMeta::named(name), UserSpec::default());
        cloud.admin().all::<User>().create(&user).await.expect("a user");
    }
    cloud
}

fn key(name: &str, user: &str) -> AccessKey {
    let spec = AccessKeySpec { user: user.into(), secret: SECRET.into(), ..AccessKeySpec::default() };
    Object::new(ObjectMeta::named(name), spec)
}

#[tokio::test]
async fn a_secret_is_sealed_as_it_comes_in() {
    let cloud = cloud().await;
    let keys = cloud.admin().all::<AccessKey>();
    let made = keys.create(&key("laptop", "ann")).await.expect("a key");
    assert!(made.spec.access_key_id.starts_with("AKIA") && made.spec.access_key_id.len() == 20);
    assert_eq!(made.spec.secret, "");
    let master = MasterKey::new(MASTER);
    let opened = master.open(&made.spec.seal_owner(), &made.spec.sealed_secret);
    assert_eq!(opened, Some(Secret::new(SECRET)));
    let stored = cloud.store_values(&AccessKey::KIND.prefix()).await;
    assert!(stored.iter().any(|value| value.contains(&made.spec.sealed_secret)));
    assert!(stored.iter().all(|value| !value.contains(SECRET)), "the store has no secret in clear");
    let read = cloud.call(&admin(), request::<AccessKey>(Verb::Get, "laptop")).await.expect("the key");
    assert!(!json(&read).to_string().contains(SECRET));
}

#[tokio::test]
async fn what_kubectl_notes_of_a_secret_goes_too() {
    let cloud = cloud().await;
    let mut noted = key("laptop", "ann");
    let note = "kubectl.kubernetes.io/last-applied-configuration";
    noted.metadata.annotations.insert(note.into(), format!("{{\"spec\":{{\"secret\":\"{SECRET}\"}}}}"));
    let made = cloud.admin().all::<AccessKey>().create(&noted).await.expect("a key");
    assert!(!made.metadata.annotations.contains_key(note));
}

#[tokio::test]
async fn nobody_brings_a_sealed_secret_or_anothers_id() {
    let cloud = cloud().await;
    let keys = cloud.admin().all::<AccessKey>();
    let made = keys.create(&key("laptop", "ann")).await.expect("a key");
    // What was sealed for ann, given out as bob's.
    let mut copied = key("copy", "bob");
    copied.spec.secret.clear();
    copied.spec.access_key_id = "AKIACOPYCOPYCOPYCOPY".into();
    copied.spec.sealed_secret.clone_from(&made.spec.sealed_secret);
    refused(keys.create(&copied).await, Reason::Invalid);
    let mut twice = key("twice", "bob");
    twice.spec.access_key_id.clone_from(&made.spec.access_key_id);
    refused(keys.create(&twice).await, Reason::Invalid);
    for spec in [
        json!({ "secret": "another secret of its own" }),
        json!({ "user": "bob" }),
        json!({ "project": "system" }),
        json!({ "accessKeyId": "AKIAOTHEROTHEROTHER0" }),
    ] {
        refused(keys.merge("laptop", &json!({ "spec": spec })).await, Reason::Invalid);
    }
    let same = keys.merge("laptop", &json!({ "spec": { "sealedSecret": "v1.x" } })).await.expect("no change");
    assert_eq!(same.spec.sealed_secret, made.spec.sealed_secret, "the server's word stays");
    let short = AccessKeySpec { secret: "short".into(), ..key("x", "ann").spec };
    refused(keys.create(&Object::new(ObjectMeta::named("x"), short)).await, Reason::Invalid);
}

#[tokio::test]
async fn keys_of_others_are_not_given_away() {
    let cloud = cloud().await;
    cloud.grant("ann", &["create"], &["accesskeys"], &["*"]).await;
    cloud.grant("bob", &["*"], &["*"], &["*"]).await;
    let keys = cloud.client(user("ann")).all::<AccessKey>();
    keys.create(&key("own", "ann")).await.expect("a key of her own");
    refused(keys.create(&key("bobs", "bob")).await, Reason::Forbidden);
}

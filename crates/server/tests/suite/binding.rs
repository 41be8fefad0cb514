//! Binding and release: one host at a time, and gone only when the host has let go.

use client::{DeleteOptions, Fence, WriteOptions};
use identity::Principal;
use model::compute::Instance;
use model::topology::{Lease, LeaseSpec};
use model::{ObjectMeta, Reason};
use serde_json::json;

use crate::cloud::{Cloud, host, instance, refused};

async fn bound() -> (Cloud, Instance) {
    let cloud = Cloud::start().await;
    cloud.instances().create(&instance("a")).await.expect("create");
    let binding = json!({"host": "h1", "message": "the only one"});
    let bound = scheduler(&cloud).create_below("a", "binding", &binding).await.expect("bind");
    (cloud, bound)
}

fn scheduler(cloud: &Cloud) -> client::Api<Instance> {
    cloud.client(Principal::component("scheduler")).project("default")
}

#[tokio::test]
async fn an_instance_is_bound_once() {
    let (cloud, bound) = bound().await;
    assert_eq!(bound.status.host, "h1");
    let why = bound.status.conditions.iter().find(|c| c.kind == "Scheduled").expect("it says why");
    assert_eq!(why.message, "the only one");
    refused(scheduler(&cloud).create_below("a", "binding", &json!({"host": "h2"})).await, Reason::Conflict);
    scheduler(&cloud)
        .create_below("a", "binding", &json!({"host": "h1"}))
        .await
        .expect("the same again is fine");
    refused(cloud.instances().create_below("a", "binding", &json!({"host": "h1"})).await, Reason::Forbidden);
}

#[tokio::test]
async fn what_is_being_deleted_is_not_bound() {
    let cloud = Cloud::start().await;
    let mut object = instance("a");
    object.metadata.finalizers.push("example.org/keep".into());
    cloud.instances().create(&object).await.expect("create");
    cloud.instances().delete("a", &DeleteOptions::default()).await.expect("delete");
    refused(scheduler(&cloud).create_below("a", "binding", &json!({"host": "h1"})).await, Reason::Conflict);
}

#[tokio::test]
async fn a_bound_instance_goes_when_its_host_lets_go() {
    let (cloud, bound) = bound().await;
    let release = json!({"uid": bound.metadata.uid});
    let h1 = cloud.client(host("h1")).project::<Instance>("default");
    let h2 = cloud.client(host("h2")).project::<Instance>("default");
    refused(h1.create_below("a", "release", &release).await, Reason::Conflict);
    cloud.instances().delete("a", &DeleteOptions::default()).await.expect("delete");
    assert!(cloud.instances().get("a").await.expect("it waits for its host").metadata.is_deleting());
    refused(h2.create_below("a", "release", &release).await, Reason::Forbidden);
    refused(h1.create_below("a", "release", &json!({"uid": "0a"})).await, Reason::NotFound);
    h1.create_below("a", "release", &release).await.expect("its own host lets go");
    refused(cloud.instances().get("a").await, Reason::NotFound);
    refused(h1.create_below("a", "release", &release).await, Reason::NotFound);
}

#[tokio::test]
async fn who_has_lost_the_lease_binds_nothing() {
    let cloud = Cloud::start().await;
    cloud.instances().create(&instance("a")).await.expect("create");
    let spec = LeaseSpec { holder: "one".into(), duration_seconds: 15, renewed_at: None, epoch: 1 };
    let leases = cloud.client(Principal::component("scheduler")).all::<Lease>();
    let mut lease = leases.create(&Lease::new(ObjectMeta::named("only-one"), spec)).await.expect("create");
    lease.spec.holder = "two".into();
    lease.spec.epoch = 2;
    leases.update(&lease).await.expect("two takes over");
    let with = |epoch| {
        let fence = Some(Fence { lease: "only-one".into(), epoch });
        scheduler(&cloud).with(WriteOptions { fence, ..WriteOptions::default() })
    };
    let binding = json!({"host": "h1"});
    refused(with(1).create_below("a", "binding", &binding).await, Reason::Conflict);
    assert_eq!(cloud.instances().get("a").await.expect("get").status.host, "");
    with(2).create_below("a", "binding", &binding).await.expect("two binds");
}

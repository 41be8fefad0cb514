//! Quota: never more than allowed, however many ask at once; and all that is allowed.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::DeleteOptions;
use model::compute::{Instance, Power};
use model::identity::{Quota, QuotaSpec};
use model::{Bytes, Object, ObjectMeta, Reason};
use tokio::task::JoinSet;

use crate::cloud::{Cloud, instance, refused};

async fn cloud_with(quota: QuotaSpec) -> Cloud {
    let cloud = Cloud::start().await;
    let quota = Quota::new(ObjectMeta::in_project("default", "limit"), quota);
    cloud.admin().project("default").create(&quota).await.expect("create the quota");
    cloud
}

fn instances(count: u64) -> QuotaSpec {
    QuotaSpec { counts: BTreeMap::from([("instances".into(), count)]), ..QuotaSpec::default() }
}

fn memory(mib: u64) -> QuotaSpec {
    QuotaSpec { memory: Some(Bytes::mib(mib)), ..QuotaSpec::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_at_once_exactly_ten_come_in() {
    for quota in [instances(10), memory(2560)] {
        let cloud = Arc::new(cloud_with(quota).await);
        let mut racers = JoinSet::new();
        for i in 0..100 {
            let cloud = Arc::clone(&cloud);
            racers.spawn(async move { cloud.instances().create(&instance(&format!("i{i}"))).await });
        }
        let results = racers.join_all().await;
        let admitted = results.iter().filter(|result| result.is_ok()).count();
        assert!(results.iter().filter_map(|r| r.as_ref().err()).all(|e| e.reason == Reason::Forbidden));
        let there = cloud.instances().list(&client::ListParams::default()).await.expect("list").items.len();
        assert_eq!((admitted, there), (10, 10));
    }
}

#[tokio::test]
async fn what_was_deleted_or_refused_takes_nothing() {
    let cloud = cloud_with(instances(1)).await;
    cloud.instances().create(&instance("a")).await.expect("create");
    for _ in 0..3 {
        let error = refused(cloud.instances().create(&instance("b")).await, Reason::Forbidden);
        assert!(error.message.contains("\"limit\"") && error.message.contains("instances"), "{error}");
    }
    refused(cloud.instances().create(&instance("a")).await, Reason::Forbidden);
    cloud.instances().delete("a", &DeleteOptions::default()).await.expect("delete");
    cloud.instances().create(&instance("b")).await.expect("there is room again");
}

#[tokio::test]
async fn growing_counts_and_shrinking_frees() {
    let cloud = cloud_with(memory(512)).await;
    let mut small = instance("a");
    small.spec.power = Power::Stopped;
    let mut made = cloud.instances().create(&small).await.expect("create");
    made.spec.resources.memory = Bytes::mib(1024);
    refused(cloud.instances().update(&made).await, Reason::Forbidden);
    made.spec.resources.memory = Bytes::mib(512);
    let mut made = cloud.instances().update(&made).await.expect("as much as there is");
    refused(cloud.instances().create(&instance("b")).await, Reason::Forbidden);
    made.spec.resources.memory = Bytes::mib(256);
    cloud.instances().update(&made).await.expect("less");
    cloud.instances().create(&instance("b")).await.expect("there is room again");
}

#[tokio::test]
async fn every_quota_counts_and_only_in_its_project() {
    let cloud = cloud_with(instances(2)).await;
    let second = Quota::new(ObjectMeta::in_project("default", "tighter"), instances(1));
    cloud.admin().project("default").create(&second).await.expect("create");
    cloud.instances().create(&instance("a")).await.expect("create");
    assert!(
        refused(cloud.instances().create(&instance("b")).await, Reason::Forbidden)
            .message
            .contains("tighter")
    );
    let elsewhere = Object { metadata: ObjectMeta::in_project("system", "b"), ..instance("b") };
    cloud.admin().project::<Instance>("system").create(&elsewhere).await.expect("another project");
}

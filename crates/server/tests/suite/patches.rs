//! Patches: JSON patch, merge patch and apply.

use client::{PatchKind, Request, Verb};
use model::Reason;
use model::compute::{Instance, Power};
use serde_json::{Value, json};

use crate::cloud::{Cloud, admin, instance, refused, request};

fn patch(kind: PatchKind, body: &Value) -> Request {
    request::<Instance>(Verb::Patch(kind), "a").body(body.to_string())
}

fn apply(manager: &str, body: &Value) -> Request {
    let mut request = patch(PatchKind::Apply, body);
    request.write.field_manager = manager.into();
    request
}

async fn cloud_with_a() -> Cloud {
    let cloud = Cloud::start().await;
    cloud.instances().create(&instance("a")).await.expect("create");
    cloud
}

#[tokio::test]
async fn a_merge_patch_changes_what_it_names() {
    let cloud = cloud_with_a().await;
    let set = json!({"spec": {"power": "stopped"}, "metadata": {"labels": {"a": "1", "b": "2"}}});
    cloud.call(&admin(), patch(PatchKind::Merge, &set)).await.expect("patch");
    let unset = json!({"metadata": {"labels": {"a": null}}});
    cloud.call(&admin(), patch(PatchKind::Merge, &unset)).await.expect("patch");
    let now = cloud.instances().get("a").await.expect("get");
    assert_eq!(now.spec.power, Power::Stopped);
    assert_eq!(now.metadata.labels.into_iter().collect::<Vec<_>>(), [("b".to_owned(), "2".to_owned())]);
    let wrong = json!({"spec": {"powr": "stopped"}});
    refused(cloud.call(&admin(), patch(PatchKind::Merge, &wrong)).await, Reason::Invalid);
    let old = json!({"metadata": {"resourceVersion": "1", "labels": {"c": "3"}}});
    refused(cloud.call(&admin(), patch(PatchKind::Merge, &old)).await, Reason::Conflict);
}

#[tokio::test]
async fn a_json_patch_happens_whole_or_not_at_all() {
    let cloud = cloud_with_a().await;
    let good = json!([
        {"op": "test", "path": "/spec/power", "value": "running"},
        {"op": "replace", "path": "/spec/power", "value": "paused"},
    ]);
    cloud.call(&admin(), patch(PatchKind::Json, &good)).await.expect("patch");
    let half = json!([
        {"op": "replace", "path": "/spec/power", "value": "stopped"},
        {"op": "test", "path": "/spec/reboots", "value": 7},
    ]);
    refused(cloud.call(&admin(), patch(PatchKind::Json, &half)).await, Reason::Invalid);
    assert_eq!(cloud.instances().get("a").await.expect("get").spec.power, Power::Paused);
    refused(cloud.call(&admin(), patch(PatchKind::Json, &json!({"no": "list"}))).await, Reason::BadRequest);
}

#[tokio::test]
async fn a_patch_cannot_reach_what_an_update_cannot() {
    let cloud = cloud_with_a().await;
    let before = cloud.instances().get("a").await.expect("get");
    let sly = json!({"status": {"phase": "Running", "host": "mine"}, "metadata": {"generation": 50}});
    cloud.call(&admin(), patch(PatchKind::Merge, &sly)).await.expect("patch");
    let after = cloud.instances().get("a").await.expect("get");
    assert_eq!((after.status, after.metadata.generation), (before.status, before.metadata.generation));
}

#[tokio::test]
async fn applying_creates_then_owns_what_it_states() {
    let cloud = Cloud::start().await;
    let stated = |power: &str| {
        json!({
            "apiVersion": "compute.corten.dev/v1", "kind": "Instance", "metadata": {"name": "a"},
            "spec": {"isolation": "process", "payload": {"command": {"argv": ["serve"]}},
                     "resources": {"cpu": "1", "memory": "256Mi"}, "power": power},
        })
    };
    refused(cloud.call(&admin(), patch(PatchKind::Apply, &stated("running"))).await, Reason::BadRequest);
    let made = cloud.call(&admin(), apply("ann", &stated("running"))).await.expect("apply");
    assert!(made.created);
    let again = cloud.call(&admin(), apply("ann", &stated("running"))).await.expect("apply again");
    assert!(!again.created);
    let other =
        json!({"apiVersion": "compute.corten.dev/v1", "kind": "Instance", "spec": {"power": "stopped"}});
    let conflict = refused(cloud.call(&admin(), apply("bob", &other)).await, Reason::Conflict);
    assert!(conflict.message.contains("ann"), "it says whose it is: {conflict}");
    let mut forced = apply("bob", &other);
    forced.write.force = true;
    cloud.call(&admin(), forced).await.expect("bob takes it over");
    assert_eq!(cloud.instances().get("a").await.expect("get").spec.power, Power::Stopped);
}

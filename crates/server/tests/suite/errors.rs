//! Refusals name the field and say what to do.

use client::Verb;
use model::Reason;
use model::compute::{Instance, KeyPair};
use serde_json::{Value, json};

use crate::cloud::{Cloud, admin, instance, refused, request};

async fn create(body: &Value) -> model::ApiError {
    let cloud = Cloud::start().await;
    let request = request::<Instance>(Verb::Create, "").body(body.to_string());
    let result = cloud.call(&admin(), request).await;
    result.expect_err("should have been refused")
}

fn valid() -> Value {
    serde_json::to_value(instance("a")).expect("JSON")
}

#[tokio::test]
async fn the_path_of_what_is_wrong_is_named() {
    let check = async |pointer: &str, wrong: Value, reason: Reason, field: &str| {
        let mut body = valid();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        body.pointer_mut(parent).expect("the parent")[key] = wrong;
        let error = create(&body).await;
        assert_eq!(error.reason, reason, "{pointer}: {error}");
        assert!(error.causes.iter().any(|cause| cause.field == field), "{pointer}: {:?}", error.causes);
        assert!(error.message.contains(field), "{error}");
    };
    check("/spec/colour", json!("red"), Reason::BadRequest, "spec.colour").await;
    check("/spec/placement", json!({"hosst": "h"}), Reason::BadRequest, "spec.placement.hosst").await;
    check("/spec/power", json!("sideways"), Reason::BadRequest, "spec.power").await;
    check("/spec/reboots", json!("three"), Reason::BadRequest, "spec.reboots").await;
    check("/spec/resources", json!({"cpu": "many"}), Reason::BadRequest, "spec.resources.cpu").await;
    check("/metadata/labels", json!({"a b": "c"}), Reason::Invalid, "metadata.labels[a b]").await;
    check("/metadata/name", json!("Not A Name"), Reason::Invalid, "metadata.name").await;
    check("/spec/stopGraceSeconds", json!(99_999), Reason::Invalid, "spec.stopGraceSeconds").await;
    check("/spec/isolation", json!("metal"), Reason::Invalid, "spec.isolation").await;
}

#[tokio::test]
async fn an_object_of_another_kind_or_version_is_refused() {
    for (field, wrong) in [("apiVersion", "compute.corten.dev/v9"), ("kind", "Teapot")] {
        let mut body = valid();
        body[field] = json!(wrong);
        let error = create(&body).await;
        assert_eq!(error.reason, Reason::BadRequest, "{error}");
        assert!(error.message.contains(wrong) && error.message.contains(field), "{error}");
    }
}

#[tokio::test]
async fn path_and_body_must_agree() {
    for (field, wrong) in [("namespace", "system"), ("name", "b")] {
        let cloud = Cloud::start().await;
        cloud.instances().create(&instance("a")).await.expect("create");
        let mut body = valid();
        body["metadata"][field] = json!(wrong);
        let update = request::<Instance>(Verb::Update, "a").body(body.to_string());
        let error = refused(cloud.call(&admin(), update).await, Reason::BadRequest);
        assert!(error.message.contains(&format!("metadata.{field}")), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_json_or_too_large_is_refused() {
    let cloud = Cloud::start().await;
    let broken = request::<KeyPair>(Verb::Create, "").body("{\"metadata\":");
    refused(cloud.call(&admin(), broken).await, Reason::BadRequest);
    let mut body = valid();
    body["spec"]["userData"] = json!("x".repeat(1 << 20));
    let large = request::<Instance>(Verb::Create, "").body(body.to_string());
    refused(cloud.call(&admin(), large).await, Reason::RequestEntityTooLarge);
}

#[tokio::test]
async fn what_an_object_refers_to_must_exist() {
    let mut body = valid();
    body["spec"]["type"] = json!("gigantic");
    body["spec"]["resources"] = json!({});
    let error = create(&body).await;
    assert!(error.reason == Reason::Invalid && error.message.contains("spec.type"), "{error}");
    let mut body = valid();
    body["spec"]["keyPair"] = json!("missing");
    let error = create(&body).await;
    assert_eq!((error.reason, error.message.contains("missing")), (Reason::Invalid, true), "{error}");
    let cloud = Cloud::start().await;
    let mut elsewhere = instance("a");
    elsewhere.metadata.namespace = "nowhere".into();
    let result = cloud.admin().project::<Instance>("nowhere").create(&elsewhere).await;
    assert!(refused(result, Reason::NotFound).message.contains("nowhere"));
}

#[tokio::test]
async fn a_verb_that_a_part_does_not_have_is_not_possible() {
    let cloud = Cloud::start().await;
    cloud.instances().create(&instance("a")).await.expect("create");
    for (verb, subresource) in [(Verb::Delete, "status"), (Verb::Get, "binding"), (Verb::Create, "teapot")] {
        let odd = request::<Instance>(verb, "a").subresource(subresource).body("{}");
        refused(cloud.call(&admin(), odd).await, Reason::MethodNotAllowed);
    }
}

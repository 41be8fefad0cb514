//! Instances and the volumes that are made with them: both or none, and gone together unless they are kept.

use client::ListParams;
use model::compute::{Instance, InstanceVolume, Isolation, Payload, VolumeTemplate};
use model::identity::{Quota, QuotaSpec};
use model::storage::{Volume, VolumeSource, VolumeSpec};
use model::{Bytes, ObjectMeta, Reason};
use serde_json::json;

use crate::cloud::{Cloud, instance, refused};

fn template(size: u64) -> Box<VolumeTemplate> {
    let spec = VolumeSpec { size: Bytes::gib(size), ..VolumeSpec::default() };
    Box::new(VolumeTemplate { spec, ..VolumeTemplate::default() })
}

/// One that boots from a volume of an image and has one beside it.
fn with_volumes(name: &str) -> Instance {
    let mut instance = instance(name);
    let mut root = template(2);
    root.spec.source = VolumeSource { image: "disk".into(), ..VolumeSource::default() };
    root.metadata.labels.insert("of".into(), "root".into());
    let payload = json!({"disk": {"template": root}});
    instance.spec.payload = serde_json::from_value(payload).expect("a payload");
    instance.spec.isolation = Isolation::Vm;
    instance.spec.resources = model::Resources::ZERO;
    instance.spec.instance_type = "small".into();
    let data = Box::new(VolumeTemplate { keep: true, ..*template(1) });
    instance.spec.volumes.push(InstanceVolume { template: Some(data), ..InstanceVolume::default() });
    instance
}

async fn cloud() -> Cloud {
    let cloud = Cloud::start().await;
    let image = json!({
        "metadata": {"name": "disk", "namespace": "default"}, "spec": {"format": "qcow2"},
    });
    let image: model::compute::Image = serde_json::from_value(image).expect("an image");
    cloud.admin().project("default").create(&image).await.expect("an image");
    let size = json!({
        "metadata": {"name": "small"}, "spec": {"resources": {"cpu": 1, "memory": "512Mi", "disk": "4Gi"}},
    });
    let size: model::compute::InstanceType = serde_json::from_value(size).expect("a type");
    let _ = cloud.admin().all::<model::compute::InstanceType>().create(&size).await;
    cloud
}

async fn volumes(cloud: &Cloud) -> Vec<Volume> {
    cloud.admin().project::<Volume>("default").list(&ListParams::default()).await.expect("list").items
}

#[tokio::test]
async fn volumes_are_made_with_their_instance() {
    let cloud = cloud().await;
    let made = cloud.instances().create(&with_volumes("i")).await.expect("create");
    let named: Vec<_> = made.spec.named_volumes().map(|(_, name)| name.to_owned()).collect();
    assert_eq!(named, ["i-root", "i-disk-0"]);
    assert_eq!(made.spec.resources.disk, Bytes(0), "its disk is the volume, which is counted by itself");
    assert_eq!(made.spec.payload.images(), ["disk"]);
    let volumes = volumes(&cloud).await;
    let told: Vec<_> = volumes
        .iter()
        .map(|v| (v.metadata.name.as_str(), v.spec.size, v.metadata.owner_references.len()))
        .collect();
    assert_eq!(told, [("i-disk-0", Bytes::gib(1), 0), ("i-root", Bytes::gib(2), 1)]);
    assert_eq!(volumes[1].metadata.owner_references[0].uid, made.metadata.uid);
    assert_eq!(volumes[1].metadata.labels.get("of").map(String::as_str), Some("root"));
    assert_eq!(volumes[1].spec.pool, "default");
    // What was written once may be written again; another template may not.
    let mut again = made.clone();
    if let Payload::Disk(disk) = &mut again.spec.payload {
        disk.volume.clear();
    }
    again.spec.volumes[0].volume.clear();
    let again = cloud.instances().update(&again).await.expect("the same manifest");
    let mut more = again.clone();
    more.spec.volumes.push(InstanceVolume {
        volume: "new".into(),
        template: Some(template(1)),
        ..InstanceVolume::default()
    });
    refused(cloud.instances().update(&more).await, Reason::Invalid);
}

#[tokio::test]
async fn nothing_stays_half_made() {
    let cloud = cloud().await;
    let limit = QuotaSpec { disk: Some(Bytes::gib(4)), ..QuotaSpec::default() };
    let quota = Quota::new(ObjectMeta::in_project("default", "limit"), limit);
    cloud.admin().project("default").create(&quota).await.expect("create the quota");
    cloud.instances().create(&with_volumes("i")).await.expect("three of four");
    refused(cloud.instances().create(&with_volumes("j")).await, Reason::Forbidden);
    let mut wrong = with_volumes("k");
    if let Some(template) = &mut wrong.spec.volumes[0].template {
        template.spec.source.snapshot = "none".into();
    }
    let error = refused(cloud.instances().create(&wrong).await, Reason::Invalid);
    let field = "spec.volumes[0].template.spec.source.snapshot";
    assert!(error.causes.iter().any(|cause| cause.field == field), "{:?}", error.causes);
    assert_eq!(volumes(&cloud).await.len(), 2);
}

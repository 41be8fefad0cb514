//! What a change may change: versions, generation, status apart from spec, finalizers, preconditions, dry runs.

use client::{DeleteOptions, Propagation, WriteOptions};
use model::compute::{Instance, InstancePhase, Power};
use model::topology::{DriverStatus, Host, HostSpec};
use model::{
    Bytes, Condition, ConditionStatus, CpuMillis, ObjectMeta, Reason, Resources, Timestamp, Uid,
    set_condition,
};

use crate::cloud::{Cloud, instance, key_pair, refused};

#[tokio::test]
async fn what_is_created_is_there_until_it_is_deleted() {
    let cloud = Cloud::start().await;
    let keys = cloud.key_pairs();
    let made = keys.create(&key_pair("a")).await.expect("create");
    assert_eq!(keys.get("a").await.expect("get"), made);
    assert_eq!((made.metadata.generation, made.metadata.uid.is_unset()), (1, false));
    refused(keys.create(&key_pair("a")).await, Reason::AlreadyExists);
    keys.delete("a", &DeleteOptions::default()).await.expect("delete");
    refused(keys.get("a").await, Reason::NotFound);
    refused(keys.delete("a", &DeleteOptions::default()).await, Reason::NotFound);
    let again = keys.create(&key_pair("a")).await.expect("create again");
    assert_ne!(again.metadata.uid, made.metadata.uid, "another object under the same name");
}

#[tokio::test]
async fn of_two_updates_of_one_version_the_second_is_refused() {
    let cloud = Cloud::start().await;
    let made = cloud.instances().create(&instance("a")).await.expect("create");
    let (mut first, mut second) = (made.clone(), made);
    first.spec.power = Power::Stopped;
    second.spec.power = Power::Paused;
    cloud.instances().update(&first).await.expect("the first update");
    refused(cloud.instances().update(&second).await, Reason::Conflict);
    assert_eq!(cloud.instances().get("a").await.expect("get").spec.power, Power::Stopped);
}

#[tokio::test]
async fn an_update_without_a_version_wins_unconditionally() {
    let cloud = Cloud::start().await;
    let mut made = cloud.instances().create(&instance("a")).await.expect("create");
    made.metadata.resource_version.clear();
    made.spec.power = Power::Stopped;
    assert_eq!(cloud.instances().update(&made).await.expect("update").spec.power, Power::Stopped);
}

#[tokio::test]
async fn the_generation_counts_changes_of_the_spec_alone() {
    let cloud = Cloud::start().await;
    let instances = cloud.instances();
    let mut object = instances.create(&instance("a")).await.expect("create");
    object.metadata.labels.insert("k".into(), "v".into());
    object = instances.update(&object).await.expect("label");
    assert_eq!(object.metadata.generation, 1);
    object.spec.power = Power::Stopped;
    object = instances.update(&object).await.expect("stop");
    assert_eq!(object.metadata.generation, 2);
    object.status.phase = InstancePhase::Stopped;
    object = instances.update_status(&object).await.expect("report");
    assert_eq!(object.metadata.generation, 2);
    let version = object.metadata.resource_version.clone();
    let same = instances.update(&object).await.expect("change nothing");
    assert_eq!(same.metadata.resource_version, version, "nothing changed, so nothing was written");
}

#[tokio::test]
async fn spec_and_status_are_changed_apart() {
    let cloud = Cloud::start().await;
    let instances = cloud.instances();
    let mut wish = instance("a");
    wish.status.phase = InstancePhase::Running;
    let mut object = instances.create(&wish).await.expect("create");
    assert_eq!(object.status.phase, InstancePhase::Pending, "a creation has no say in the status");
    object.status.phase = InstancePhase::Running;
    object = instances.update(&object).await.expect("update");
    assert_eq!(object.status.phase, InstancePhase::Pending, "nor has an update of the object");
    object.status.phase = InstancePhase::Running;
    object.spec.power = Power::Stopped;
    object.metadata.labels.insert("k".into(), "v".into());
    object = instances.update_status(&object).await.expect("report");
    assert_eq!((object.status.phase, object.spec.power), (InstancePhase::Running, Power::Running));
    assert!(object.metadata.labels.is_empty(), "a status says nothing about labels");
}

#[tokio::test]
async fn identity_cannot_be_changed() {
    let cloud = Cloud::start().await;
    let made = cloud.instances().create(&instance("a")).await.expect("create");
    let mut other = made.clone();
    other.metadata.uid = Uid::parse("0a").expect("a uid");
    refused(cloud.instances().update(&other).await, Reason::Conflict);
    let mut other = made.clone();
    other.metadata.creation_timestamp = None;
    other.metadata.generation = 99;
    let kept = cloud.instances().update(&other).await.expect("update");
    assert_eq!(kept.metadata.creation_timestamp, made.metadata.creation_timestamp);
    assert_eq!(kept.metadata.generation, 1);
}

#[tokio::test]
async fn an_object_with_finalizers_goes_when_the_last_is_gone() {
    let cloud = Cloud::start().await;
    let keys = cloud.key_pairs();
    let mut object = key_pair("a");
    object.metadata.finalizers = vec!["example.org/one".into(), "example.org/two".into()];
    keys.create(&object).await.expect("create");
    keys.delete("a", &DeleteOptions::default()).await.expect("delete");
    let mut waiting = keys.get("a").await.expect("it waits for its finalizers");
    assert!(waiting.metadata.is_deleting());
    let since = waiting.metadata.deletion_timestamp;
    keys.delete("a", &DeleteOptions::default()).await.expect("deleting again changes nothing");
    waiting.metadata.finalizers.push("example.org/three".into());
    refused(keys.update(&waiting).await, Reason::Forbidden);
    waiting.metadata.finalizers = vec!["example.org/two".into()];
    waiting.metadata.deletion_timestamp = None;
    waiting = keys.update(&waiting).await.expect("one lets go");
    assert_eq!(waiting.metadata.deletion_timestamp, since, "a deletion is not taken back");
    waiting.metadata.finalizers.clear();
    keys.update(&waiting).await.expect("the last lets go");
    refused(keys.get("a").await, Reason::NotFound);
}

#[tokio::test]
async fn foreground_deletion_waits_for_the_collector() {
    let cloud = Cloud::start().await;
    cloud.key_pairs().create(&key_pair("a")).await.expect("create");
    let options = DeleteOptions { propagation: Propagation::Foreground, ..DeleteOptions::default() };
    cloud.key_pairs().delete("a", &options).await.expect("delete");
    let waiting = cloud.key_pairs().get("a").await.expect("it waits");
    assert_eq!(waiting.metadata.finalizers, ["foregroundDeletion"]);
}

#[tokio::test]
async fn a_deletion_may_insist_on_uid_and_version() {
    let cloud = Cloud::start().await;
    let keys = cloud.key_pairs();
    let made = keys.create(&key_pair("a")).await.expect("create");
    let wrong_uid = DeleteOptions { uid: Uid::parse("0a"), ..DeleteOptions::default() };
    refused(keys.delete("a", &wrong_uid).await, Reason::Conflict);
    let wrong_version = DeleteOptions { resource_version: "1".into(), ..DeleteOptions::default() };
    refused(keys.delete("a", &wrong_version).await, Reason::Conflict);
    let right = DeleteOptions {
        uid: Some(made.metadata.uid),
        resource_version: made.metadata.resource_version,
        ..DeleteOptions::default()
    };
    keys.delete("a", &right).await.expect("delete");
}

#[tokio::test]
async fn a_protected_instance_stays() {
    let cloud = Cloud::start().await;
    let mut object = instance("a");
    object.spec.protected = true;
    cloud.instances().create(&object).await.expect("create");
    let error = refused(cloud.instances().delete("a", &DeleteOptions::default()).await, Reason::Forbidden);
    assert!(error.message.contains("spec.protected"), "it names the remedy: {error}");
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_changes_nothing() {
    let cloud = Cloud::start().await;
    let dry = || cloud.instances().with(WriteOptions { dry_run: true, ..WriteOptions::default() });
    let would_be = dry().create(&instance("a")).await.expect("would be created");
    assert_eq!(would_be.metadata.name, "a");
    refused(cloud.instances().get("a").await, Reason::NotFound);
    let mut wrong = instance("a");
    wrong.metadata.name = "Not A Name".into();
    refused(dry().create(&wrong).await, Reason::Invalid);

    let made = cloud.instances().create(&instance("a")).await.expect("create");
    let mut stopped = made.clone();
    stopped.spec.power = Power::Stopped;
    assert_eq!(dry().update(&stopped).await.expect("would be updated").spec.power, Power::Stopped);
    dry().delete("a", &DeleteOptions::default()).await.expect("would be deleted");
    assert_eq!(cloud.instances().get("a").await.expect("get"), made, "it is as it was");
}

#[tokio::test]
async fn a_dry_run_says_where_an_instance_would_run_or_why_nowhere() {
    let cloud = Cloud::start().await;
    let hosts = cloud.admin().all::<Host>();
    for (name, cores) in [("small", 1), ("large", 8)] {
        let mut host =
            hosts.create(&Host::new(ObjectMeta::named(name), HostSpec::default())).await.expect("create");
        host.status.capacity =
            Resources { cpu: CpuMillis::cores(cores), memory: Bytes::mib(1024), disk: Bytes(0) };
        let driver = DriverStatus {
            name: "d".into(),
            cells: vec![instance("a").spec.cell()],
            ..DriverStatus::default()
        };
        host.status.drivers = vec![driver];
        let ready = Condition::new("Ready", ConditionStatus::True, "Ready", "");
        set_condition(&mut host.status.conditions, ready, Timestamp(1));
        hosts.update_status(&host).await.expect("report");
    }
    let dry = || cloud.instances().with(WriteOptions { dry_run: true, ..WriteOptions::default() });
    let placed = |i: &Instance| {
        i.status.conditions.iter().find(|c| c.kind == "Scheduled").cloned().expect("a verdict")
    };

    let mut wide = instance("wide");
    wide.spec.resources.cpu = CpuMillis::cores(6);
    let would_be = dry().create(&wide).await.expect("would be created");
    assert_eq!(would_be.status.host, "large");
    assert!(placed(&would_be).message.starts_with("would be bound: "), "{:?}", placed(&would_be));

    wide.spec.resources.memory = Bytes::mib(4096);
    let nowhere = dry().create(&wide).await.expect("is valid all the same");
    assert_eq!((nowhere.status.host.as_str(), placed(&nowhere).status), ("", ConditionStatus::False));
    assert!(placed(&nowhere).message.starts_with("0 of 2 hosts"), "{:?}", placed(&nowhere));
}

#[tokio::test]
async fn generated_names_begin_as_asked_and_differ() {
    let cloud = Cloud::start().await;
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let mut object: Instance = instance("");
        object.metadata =
            ObjectMeta { generate_name: "web-".into(), ..ObjectMeta::in_project("default", "") };
        let made = cloud.instances().create(&object).await.expect("create");
        assert!(made.metadata.name.starts_with("web-") && made.metadata.name.len() > 4);
        names.insert(made.metadata.name);
    }
    assert_eq!(names.len(), 20);
    let error = refused(cloud.instances().create(&instance("")).await, Reason::BadRequest);
    assert!(error.message.contains("metadata.name"), "{error}");
}

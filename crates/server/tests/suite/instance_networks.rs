//! Instances and their ports: made together, and gone together.

use std::collections::BTreeMap;

use client::{DeleteOptions, ListParams, WriteOptions};
use identity::Principal;
use model::compute::{Instance, InstanceNetwork, Isolation, Payload, RootfsPayload};
use model::identity::{Project, ProjectSpec, Quota, QuotaSpec};
use model::network::{AddressPool, FloatingIpSpec, Port, PortSpec, SecurityGroup, Subnet, SubnetSpec, Vpc};
use model::{ApiError, ObjectMeta, Reason};
use serde_json::{Value, json};

use crate::cloud::{Cloud, host, instance, refused};
use crate::networks::{api, cloud, make};

pub(crate) fn with_networks(name: &str, networks: Value) -> Instance {
    let mut instance = instance(name);
    instance.spec.isolation = Isolation::Namespace;
    instance.spec.payload =
        Payload::Rootfs(RootfsPayload { image: "tree".into(), ..RootfsPayload::default() });
    instance.spec.networks = serde_json::from_value(networks).expect("networks");
    instance
}

pub(crate) async fn with_image(cloud: &Cloud) {
    let image = json!({
        "metadata": {"name": "tree", "namespace": "system"},
        "spec": {"format": "oci", "visibility": "public"},
    });
    let image: model::compute::Image = serde_json::from_value(image).expect("an image");
    cloud.admin().project("system").create(&image).await.expect("an image");
}

async fn ports(cloud: &Cloud) -> Vec<Port> {
    api::<PortSpec>(cloud).list(&ListParams::default()).await.expect("list").items
}

fn says(result: Result<Instance, ApiError>, field: &str, words: &str) {
    let error = refused(result, Reason::Invalid);
    let found = error.causes.iter().any(|c| c.field == field && c.message.contains(words));
    assert!(found, "{field}: {words}: {:?}", error.causes);
}

#[tokio::test]
async fn ports_are_made_with_their_instance() {
    let cloud = cloud().await;
    with_image(&cloud).await;
    let networks = json!([{"subnet": "web", "address": "10.0.1.9"}, {"subnet": "web"}]);
    let made = cloud.instances().create(&with_networks("i", networks)).await.expect("create");
    let ports = ports(&cloud).await;
    let names: Vec<&str> = ports.iter().map(|port| port.metadata.name.as_str()).collect();
    assert_eq!(names, ["i-0", "i-1"]);
    assert_eq!(ports[0].spec.addresses[0].to_string(), "10.0.1.9");
    for (i, port) in ports.iter().enumerate() {
        assert_eq!((port.spec.instance.as_str(), port.spec.interface as usize), ("i", i));
        assert_eq!(port.metadata.owner_references[0].uid, made.metadata.uid);
    }
    // As long as the instance is there, so are its ports; and without it nothing keeps them.
    let error =
        refused(api::<PortSpec>(&cloud).delete("i-0", &DeleteOptions::default()).await, Reason::Conflict);
    assert!(error.message.contains("port \"i-0\" is in use by instance \"i\""), "{error}");
    cloud.instances().delete("i", &DeleteOptions::default()).await.expect("delete");
    api::<PortSpec>(&cloud).delete("i-0", &DeleteOptions::default()).await.expect("as the collector does");
}

#[tokio::test]
async fn a_floating_address_is_made_with_the_instance_that_wants_one() {
    let cloud = cloud().await;
    with_image(&cloud).await;
    let wants = |name| with_networks(name, json!([{"subnet": "web", "publicAddress": true}]));
    says(
        cloud.instances().create(&wants("i")).await,
        "spec.networks[0].publicAddress",
        "needs exactly one AddressPool",
    );
    let pool: AddressPool = serde_json::from_value(json!({
        "metadata": {"name": "outside"}, "spec": {"ranges": ["192.0.2.8/32"]}
    }))
    .expect("a pool");
    cloud.admin().all::<AddressPool>().create(&pool).await.expect("pool");
    let made = cloud.instances().create(&wants("i")).await.expect("create");
    let floating = api::<FloatingIpSpec>(&cloud).get("i-0").await.expect("it is called as its port");
    assert_eq!(floating.spec.address.map(|a| a.to_string()).as_deref(), Some("192.0.2.8"));
    assert_eq!(floating.spec.port, "i-0");
    assert_eq!(floating.metadata.owner_references[0].uid, made.metadata.uid, "it goes with the instance");
    says(cloud.instances().create(&wants("j")).await, "spec.networks[0].publicAddress", "in use");
    let none = cloud.instances().find("j").await.expect("ask");
    assert!(none.is_none() && ports(&cloud).await.len() == 1, "nothing stays half made");
}

#[tokio::test]
async fn a_subnet_may_give_every_instance_a_floating_address() {
    let cloud = cloud().await;
    with_image(&cloud).await;
    let spec = json!({"vpc": "main", "cidr": "10.0.9.0/24", "assignPublicAddress": true});
    make::<SubnetSpec>(&cloud, "public", spec).await.expect("subnet");
    let pool: AddressPool = serde_json::from_value(json!({
        "metadata": {"name": "outside"}, "spec": {"ranges": ["192.0.2.8/29"]}
    }))
    .expect("a pool");
    cloud.admin().all::<AddressPool>().create(&pool).await.expect("pool");
    let networks = |own: Value| json!([{"subnet": "public", "publicAddress": own}]);
    cloud.instances().create(&with_networks("a", networks(Value::Null))).await.expect("create");
    cloud.instances().create(&with_networks("b", networks(json!(false)))).await.expect("create");
    let all = api::<FloatingIpSpec>(&cloud).list(&ListParams::default()).await.expect("list").items;
    let names: Vec<&str> = all.iter().map(|f| f.metadata.name.as_str()).collect();
    assert_eq!(names, ["a-0"]);
}

#[tokio::test]
async fn ports_of_an_instance_that_a_host_still_has_stay() {
    let cloud = cloud().await;
    with_image(&cloud).await;
    cloud.instances().create(&with_networks("i", json!([{"subnet": "web"}]))).await.expect("create");
    let scheduler = cloud.client(Principal::component("scheduler")).project::<Instance>("default");
    scheduler.create_below("i", "binding", &json!({"host": "h1"})).await.expect("bind");
    let foreground =
        DeleteOptions { propagation: client::Propagation::Foreground, ..DeleteOptions::default() };
    cloud.instances().delete("i", &foreground).await.expect("is marked");
    let port = || async { api::<PortSpec>(&cloud).delete("i-0", &DeleteOptions::default()).await };
    refused(port().await, Reason::Conflict);
    let uid = cloud.instances().get("i").await.expect("it waits").metadata.uid;
    let h1 = cloud.client(host("h1")).project::<Instance>("default");
    h1.create_below("i", "release", &json!({"uid": uid})).await.expect("release");
    port().await.expect("the host has let go");
}

#[tokio::test]
async fn an_instance_that_cannot_be_made_leaves_nothing() {
    let cloud = cloud().await;
    with_image(&cloud).await;
    let before = cloud.store_keys(&["/"]).await;
    let create = async |networks: Value| cloud.instances().create(&with_networks("i", networks)).await;
    says(create(json!([{"subnet": "none"}])).await, "spec.networks[0].subnet", "there is no subnet \"none\"");
    says(create(json!([{"port": "none"}])).await, "spec.networks[0].port", "there is no port \"none\"");
    let twice = json!([{"subnet": "web", "address": "10.0.1.9"}, {"subnet": "web", "address": "10.0.1.9"}]);
    says(create(twice).await, "spec.networks[1].address", "is asked for twice");
    let outside = json!([{"subnet": "web", "address": "10.0.9.9"}]);
    says(create(outside).await, "spec.networks[0].address", "is not in subnet \"web\"");
    says(
        create(json!(vec![json!({"subnet": "web"}); 12])).await,
        "spec.networks[11].address",
        "all 11 addresses",
    );
    let dry = cloud.instances().with(WriteOptions { dry_run: true, ..WriteOptions::default() });
    let would_be = dry.create(&with_networks("i", json!([{"subnet": "web"}]))).await.expect("is valid");
    assert_eq!(would_be.status.addresses.len(), 1, "a dry run says which address it found");
    assert_eq!(cloud.store_keys(&["/"]).await, before);
}

#[tokio::test]
async fn a_port_of_its_own_is_one_instances_alone() {
    let cloud = cloud().await;
    with_image(&cloud).await;
    let _: Port = make(&cloud, "spare", json!({"subnet": "web"})).await.expect("a port");
    let networks = || json!([{"port": "spare"}]);
    cloud.instances().create(&with_networks("a", networks())).await.expect("create");
    let second = cloud.instances().create(&with_networks("b", networks())).await;
    says(second, "spec.networks[0].port", "port \"spare\" is held by instance \"a\"");
    cloud.instances().delete("a", &DeleteOptions::default()).await.expect("delete");
    cloud.instances().create(&with_networks("b", networks())).await.expect("it is free again");
}

#[tokio::test]
async fn ports_of_instances_count_in_the_quota() {
    let cloud = cloud().await;
    with_image(&cloud).await;
    let spec = QuotaSpec { counts: BTreeMap::from([("ports".into(), 1)]), ..QuotaSpec::default() };
    let quota = Quota::new(ObjectMeta::in_project("default", "limit"), spec);
    cloud.admin().project("default").create(&quota).await.expect("a quota");
    let two = with_networks("i", json!([{"subnet": "web"}, {"subnet": "web"}]));
    let error = refused(cloud.instances().create(&two).await, Reason::Forbidden);
    assert!(error.message.contains("ports would be 2"), "{error}");
    cloud.instances().create(&with_networks("i", json!([{"subnet": "web"}]))).await.expect("one");
}

#[tokio::test]
async fn a_host_reports_on_the_ports_of_its_instances_only() {
    let cloud = cloud().await;
    with_image(&cloud).await;
    for (name, at) in [("i", "h1"), ("j", "h2")] {
        cloud.instances().create(&with_networks(name, json!([{"subnet": "web"}]))).await.expect("create");
        let scheduler = cloud.client(Principal::component("scheduler")).project::<Instance>("default");
        scheduler.create_below(name, "binding", &json!({"host": at})).await.expect("bind");
    }
    let h1 = cloud.client(host("h1")).project::<Port>("default");
    let (mut own, mut other) = (h1.get("i-0").await.expect("get"), h1.get("j-0").await.expect("get"));
    own.status.host = "h9".into();
    other.status.host = "h1".into();
    assert_eq!(h1.update_status(&own).await.expect("report").status.host, "h1");
    refused(h1.update_status(&other).await, Reason::Forbidden);
}

#[tokio::test]
async fn instances_that_name_no_network_come_into_the_default_one() {
    let cloud = Cloud::with_network_plane().await;
    with_image(&cloud).await;
    let made = cloud.instances().create(&with_networks("i", json!([]))).await.expect("create");
    let expected = InstanceNetwork { subnet: "default".into(), ..InstanceNetwork::default() };
    assert_eq!(made.spec.networks, [expected]);
    let ports = ports(&cloud).await;
    assert_eq!(ports[0].spec.security_groups, ["default"]);
    assert_eq!(ports[0].spec.addresses.len(), 2, "of both families");
    let group: SecurityGroup = api(&cloud).get("default").await.expect("the default group");
    assert_eq!(group.spec.rules.len(), 3);
    cloud.instances().create(&instance("p")).await.expect("a process has no network card");
    let vpcs = api::<model::network::VpcSpec>(&cloud).list(&ListParams::default()).await.expect("list").items;
    let v6 = vpcs[0].spec.ipv6_range.expect("a range").to_string();
    assert!(v6.starts_with("fd") && v6.ends_with("::/48"), "{v6}");

    // Every new project gets one too, with the same range and another overlay.
    cloud
        .admin()
        .all()
        .create(&Project::new(ObjectMeta::named("b"), ProjectSpec::default()))
        .await
        .expect("b");
    let other: Vpc = cloud.admin().project("b").get("default").await.expect("its own default vpc");
    assert_eq!(other.spec.ipv4_ranges, vpcs[0].spec.ipv4_ranges);
    assert_ne!(other.status.vni, vpcs[0].status.vni);
    let subnet: Subnet = cloud.admin().project("b").get("default").await.expect("its subnet");
    assert_eq!(subnet.spec.cidr.expect("a network").to_string(), "10.0.0.0/18");
}

#[tokio::test]
async fn without_a_network_plane_nothing_changes() {
    let cloud = Cloud::start().await;
    with_image(&cloud).await;
    let made = cloud.instances().create(&with_networks("i", json!([]))).await.expect("create");
    assert_eq!(made.spec.networks, []);
    assert!(ports(&cloud).await.is_empty());
    let vpcs = api::<model::network::VpcSpec>(&cloud).list(&ListParams::default()).await.expect("list");
    assert!(vpcs.items.is_empty());
}

#[tokio::test]
async fn a_second_default_is_refused() {
    let cloud = Cloud::with_network_plane().await;
    let second = json!({"ipv4Ranges": ["10.0.0.0/16"], "isDefault": true});
    let error = refused(make::<model::network::VpcSpec>(&cloud, "two", second).await, Reason::Invalid);
    assert!(error.message.contains("spec.isDefault: the place of the default vpc"), "{error}");
    assert!(error.message.contains("is held by vpc \"default\""), "{error}");
}

#[tokio::test]
async fn cards_come_and_go_with_their_ports() {
    let cloud = cloud().await;
    with_image(&cloud).await;
    let instances = cloud.instances();
    let both = with_networks("i", json!([{"subnet": "web"}, {"subnet": "web"}]));
    instances.create(&both).await.expect("create");
    instances.create(&with_networks("j", json!([{"subnet": "web"}]))).await.expect("create");
    let change = async |name: &str, networks: Value| {
        let mut instance = instances.get(name).await.expect("get");
        instance.spec.networks = serde_json::from_value(networks).expect("networks");
        instances.update(&instance).await
    };
    says(
        change("j", json!([{"subnet": "web"}, {"port": "i-1"}])).await,
        "spec.networks[1].port",
        "is held by",
    );
    says(
        change("i", json!([{"subnet": "web"}, {"subnet": "web"}, {"subnet": "web"}])).await,
        "spec.networks[2]",
        "make one",
    );
    // As its host reports it: what is named no more is the instance's until the guest has let go of it.
    let report = async |ports: &[&str]| {
        let mut instance = instances.get("i").await.expect("get");
        instance.status.ports = ports.iter().map(ToString::to_string).collect();
        instances.update_status(&instance).await.expect("a report")
    };
    report(&["i-0", "i-1"]).await;
    change("i", json!([{"subnet": "web"}])).await.expect("one card less");
    let taken = change("j", json!([{"subnet": "web"}, {"port": "i-1"}])).await;
    says(taken, "spec.networks[1].port", "is held by");
    report(&["i-0"]).await;
    change("j", json!([{"subnet": "web"}, {"port": "i-1"}])).await.expect("it is free");
    refused(api::<PortSpec>(&cloud).delete("i-1", &DeleteOptions::default()).await, Reason::Conflict);
}

//! Load balancers: their ports, their floating addresses, and what hosts may say and read of them.

use client::{DeleteOptions, ListParams};
use identity::Principal;
use model::network::{
    AddressPool, FloatingIp, FloatingIpSpec, LoadBalancer, LoadBalancerSpec, Port, PortSpec, SubnetSpec,
    TargetGroup, TargetGroupSpec, TargetStatus,
};
use model::secret::{Secret, TLS_KEY};
use model::{ApiError, ObjectMeta, Reason};
use serde_json::{Value, json};

use crate::cloud::{Cloud, host, refused, user};
use crate::networks::{api, cloud, make};

async fn create(cloud: &Cloud, name: &str, spec: Value) -> Result<LoadBalancer, ApiError> {
    make::<LoadBalancerSpec>(cloud, name, spec).await
}

async fn delete<S: model::Spec>(cloud: &Cloud, name: &str) -> Result<(), ApiError> {
    api::<S>(cloud).delete(name, &DeleteOptions::default()).await.map(drop)
}

/// As the controller does.
async fn place(cloud: &Cloud, name: &str, on: &str) {
    let balancers = cloud.client(Principal::component("controller")).project::<LoadBalancer>("default");
    let mut placed = balancers.get(name).await.expect("get");
    placed.status.host = on.into();
    balancers.update_status(&placed).await.expect("place");
}

async fn secret(cloud: &Cloud, name: &str) -> Secret {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["www.test".to_owned()]).expect("parameters");
    let chain = params.self_signed(&key).expect("a certificate").pem();
    let secret = Secret::tls(ObjectMeta::in_project("default", name), chain, key.serialize_pem());
    cloud.admin().project::<Secret>("default").create(&secret).await.expect("a secret")
}

fn with_site() -> Value {
    json!({
        "subnets": ["web"],
        "listeners": [{"port": 443, "protocol": "https", "targetGroup": "app", "tls": "site"}],
        "targetGroups": [{"name": "app", "port": 80}],
    })
}

#[tokio::test]
async fn a_port_is_made_with_its_balancer() {
    let cloud = cloud().await;
    let made = create(&cloud, "front", json!({"subnets": ["web"]})).await.expect("create");
    let ports = api::<PortSpec>(&cloud).list(&ListParams::default()).await.expect("list").items;
    let [port] = <[Port; 1]>::try_from(ports).expect("one port");
    assert_eq!((port.metadata.name.as_str(), port.spec.load_balancer.as_str()), ("front-lb", "front"));
    assert_eq!(port.metadata.owner_references[0].uid, made.metadata.uid);
    assert!(!made.status.addresses.is_empty());
    assert_eq!(made.status.addresses, port.spec.addresses, "its user is told at once");
    assert_eq!(made.spec.security_groups, port.spec.security_groups);
    let error = refused(delete::<PortSpec>(&cloud, "front-lb").await, Reason::Conflict);
    assert!(error.message.contains("loadbalancer \"front\""), "{error}");
    refused(delete::<SubnetSpec>(&cloud, "web").await, Reason::Conflict);
    delete::<LoadBalancerSpec>(&cloud, "front").await.expect("delete");
    delete::<PortSpec>(&cloud, "front-lb").await.expect("as the collector does");
    let keys = cloud.store_keys(&["/claims/", "/uses/"]).await;
    assert!(!keys.iter().any(|key| key.contains("front")), "{keys:?}");
}

#[tokio::test]
async fn a_balancer_without_a_place_leaves_nothing() {
    let cloud = cloud().await;
    let error = refused(create(&cloud, "front", json!({"subnets": ["nowhere"]})).await, Reason::Invalid);
    assert!(error.causes.iter().all(|cause| cause.field == "spec.subnets[0]"), "{error}");
    refused(create(&cloud, "front", with_site()).await, Reason::Invalid);
    let ports = api::<PortSpec>(&cloud).list(&ListParams::default()).await.expect("list").items;
    assert!(ports.is_empty(), "{ports:?}");
    let mine = json!({"subnet": "web", "loadBalancer": "front"});
    refused(make::<PortSpec>(&cloud, "mine", mine).await, Reason::Invalid);
}

#[tokio::test]
async fn a_target_group_stays_while_a_listener_names_it() {
    let cloud = cloud().await;
    let group = |vpc: &str, protocol: &str| json!({"vpc": vpc, "protocol": protocol, "port": 80});
    let vpc = api::<SubnetSpec>(&cloud).get("web").await.expect("a subnet").spec.vpc;
    let _: TargetGroup = make(&cloud, "app", group(&vpc, "http")).await.expect("a group");
    let _: TargetGroup = make(&cloud, "dns", group(&vpc, "udp")).await.expect("a group");
    let front = |to: &str| json!({"subnets": ["web"], "listeners": [{"port": 80, "protocol": "http", "targetGroup": to}]});
    for unfit in ["nobody", "dns"] {
        let error = refused(create(&cloud, "front", front(unfit)).await, Reason::Invalid);
        assert!(error.causes.iter().all(|c| c.field == "spec.listeners[0].targetGroup"), "{error}");
    }
    create(&cloud, "front", front("app")).await.expect("create");
    let error = refused(delete::<TargetGroupSpec>(&cloud, "app").await, Reason::Conflict);
    assert!(error.message.contains("loadbalancer \"front\""), "{error}");
    delete::<LoadBalancerSpec>(&cloud, "front").await.expect("delete");
    delete::<TargetGroupSpec>(&cloud, "app").await.expect("nobody names it any longer");
}

#[tokio::test]
async fn a_protected_balancer_stays() {
    let cloud = cloud().await;
    create(&cloud, "front", json!({"subnets": ["web"], "protected": true})).await.expect("create");
    let error = refused(delete::<LoadBalancerSpec>(&cloud, "front").await, Reason::Forbidden);
    assert!(error.message.contains("set spec.protected to false"), "{error}");
}

#[tokio::test]
async fn a_floating_address_in_use_is_not_taken_away() {
    let cloud = cloud().await;
    let _: AddressPool = make(&cloud, "pool", json!({"ranges": ["192.0.2.16/28"]})).await.expect("a pool");
    let _: Port = make(&cloud, "p", json!({"subnet": "web"})).await.expect("a port");
    let _: FloatingIp = make(&cloud, "used", json!({"port": "p"})).await.expect("an address");
    let _: FloatingIp = make(&cloud, "free", json!({})).await.expect("an address");
    let spec = |name: &str| json!({"subnets": ["web"], "scheme": "public", "floatingIp": name});
    let error = refused(create(&cloud, "a", spec("used")).await, Reason::Invalid);
    assert!(error.message.contains("stands for port \"p\""), "{error}");
    create(&cloud, "a", spec("free")).await.expect("one may have it");
    let error = refused(create(&cloud, "b", spec("free")).await, Reason::Invalid);
    assert!(error.message.contains("is held by loadbalancer \"a\""), "{error}");
    // As the controller does; the balancer's own claim is not in the way.
    let mut free = api::<FloatingIpSpec>(&cloud).get("free").await.expect("get");
    free.spec.port = "a-lb".into();
    api::<FloatingIpSpec>(&cloud).update(&free).await.expect("associate");
}

#[tokio::test]
async fn a_host_speaks_for_its_own_balancers() {
    let cloud = cloud().await;
    create(&cloud, "front", json!({"subnets": ["web"]})).await.expect("create");
    place(&cloud, "front", "h1").await;
    let report = async |name: &str| {
        let balancers = cloud.client(host(name)).project::<LoadBalancer>("default");
        let mut told = balancers.get("front").await.expect("get");
        told.status.host = "h9".into();
        told.status.addresses.clear();
        told.status.targets = vec![TargetStatus { group: "g".into(), ..TargetStatus::default() }];
        balancers.update_status(&told).await
    };
    let told = report("h1").await.expect("its own");
    assert_eq!((told.status.host.as_str(), told.status.targets.len()), ("h1", 1));
    assert!(!told.status.addresses.is_empty(), "where it is reached is not the host's to say");
    refused(report("h2").await, Reason::Forbidden);
    let up = async |name: &str| {
        let ports = cloud.client(host(name)).project::<Port>("default");
        let mut port = ports.get("front-lb").await.expect("get");
        port.status.host = name.into();
        ports.update_status(&port).await
    };
    assert_eq!(up("h1").await.expect("its own").status.host, "h1");
    let error = refused(up("h2").await, Reason::Forbidden);
    assert!(error.message.contains("is of a load balancer on host \"h1\""), "{error}");
}

#[tokio::test]
async fn secrets_are_for_those_who_need_them() {
    let cloud = cloud().await;
    let kept = secret(&cloud, "site").await;
    secret(&cloud, "other").await;
    create(&cloud, "front", with_site()).await.expect("create");
    place(&cloud, "front", "h1").await;
    let read = async |caller: Principal, name: &str| {
        cloud.client(caller).project::<Secret>("default").get(name).await
    };
    let found = read(host("h1"), "site").await.expect("its balancer uses it");
    assert_eq!(found.value(TLS_KEY), kept.value(TLS_KEY));
    refused(read(host("h1"), "other").await, Reason::Forbidden);
    refused(read(host("h2"), "site").await, Reason::Forbidden);
    let list = cloud.client(host("h1")).project::<Secret>("default");
    refused(list.list(&ListParams::default()).await, Reason::Forbidden);
    refused(read(user("ann"), "site").await, Reason::Forbidden);
    let api = cloud.admin().project::<Secret>("default");
    refused(api.delete("site", &DeleteOptions::default()).await, Reason::Conflict);
    let mut wrong = kept.clone();
    wrong.data.clone_from(&api.get("other").await.expect("get").data);
    wrong.data.insert(TLS_KEY.into(), kept.data[TLS_KEY].clone());
    let error = refused(api.update(&wrong).await, Reason::Invalid);
    assert!(error.causes.iter().any(|cause| cause.field == "data.tls.key"), "{error}");
    delete::<LoadBalancerSpec>(&cloud, "front").await.expect("delete");
    refused(read(host("h1"), "site").await, Reason::Forbidden);
    api.delete("site", &DeleteOptions::default()).await.expect("nobody needs it any more");
}

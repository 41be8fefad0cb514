//! Networks as their users see them: what is given, and what every refusal says.

use client::{Api, DeleteOptions};
use model::identity::{Project, ProjectSpec};
use model::network::{
    AddressPool, AddressPoolSpec, FloatingIp, FloatingIpSpec, Gateway, GatewaySpec, Peering, Port, PortSpec,
    RouteTable, RouteTableSpec, SecurityGroup, SecurityGroupSpec, Subnet, SubnetSpec, Vpc, VpcSpec,
};
use model::{ApiError, Object, ObjectMeta, Reason, Spec};
use serde_json::{Value, json};

use crate::cloud::{Cloud, refused};

pub(crate) fn object<S: Spec>(name: &str, spec: Value) -> Object<S> {
    let project = if S::KIND.is_project_scoped() { "default" } else { "" };
    Object::new(ObjectMeta::in_project(project, name), serde_json::from_value(spec).expect("a spec"))
}

pub(crate) async fn make<S: Spec>(cloud: &Cloud, name: &str, spec: Value) -> Result<Object<S>, ApiError> {
    api::<S>(cloud).create(&object(name, spec)).await
}

pub(crate) fn api<S: Spec>(cloud: &Cloud) -> Api<Object<S>> {
    if S::KIND.is_project_scoped() { cloud.admin().project("default") } else { cloud.admin().all() }
}

/// A Vpc `main` of 10.0.0.0/16 with a subnet `web` of eleven addresses.
pub(crate) async fn cloud() -> Cloud {
    let cloud = Cloud::start().await;
    build(&cloud).await;
    cloud
}

async fn build(cloud: &Cloud) {
    let vpc = json!({"ipv4Ranges": ["10.0.0.0/16"], "ipv6Range": "fd00:1::/48"});
    let _: Vpc = make(cloud, "main", vpc).await.expect("a vpc");
    let _: Subnet =
        make(cloud, "web", json!({"vpc": "main", "cidr": "10.0.1.0/28"})).await.expect("a subnet");
}

async fn delete<S: Spec>(cloud: &Cloud, name: &str) -> Result<(), ApiError> {
    api::<S>(cloud).delete(name, &DeleteOptions::default()).await.map(drop)
}

/// The refusal names the field, and says this.
pub(crate) fn says<T: std::fmt::Debug>(result: Result<T, ApiError>, field: &str, words: &str) {
    let error = refused(result, Reason::Invalid);
    let cause = error.causes.iter().find(|cause| cause.field == field);
    let cause = cause.unwrap_or_else(|| panic!("{field} is not named: {error}"));
    assert!(cause.message.contains(words), "{field}: {:?} does not say {words:?}", cause.message);
}

#[tokio::test]
async fn what_is_left_out_of_a_port_is_given() {
    let cloud = cloud().await;
    let subnet = json!({"vpc": "main", "cidr": "10.0.2.0/24", "ipv6Cidr": "fd00:1:0:2::/64"});
    let _: Subnet = make(&cloud, "dual", subnet).await.expect("a subnet");
    let port: Port = make(&cloud, "a", json!({"subnet": "dual"})).await.expect("a port");
    let families: Vec<bool> = port.spec.addresses.iter().map(|address| address.0.is_ipv4()).collect();
    assert_eq!(families, [true, false]);
    assert!(port.spec.mac.is_some() && port.spec.source_destination_check);

    // What is sent back without them keeps them.
    let mut again = port.clone();
    again.spec.addresses.clear();
    again.spec.mac = None;
    let kept = api::<PortSpec>(&cloud).update(&again).await.expect("update");
    assert_eq!((kept.spec.addresses, kept.spec.mac), (port.spec.addresses, port.spec.mac));
}

#[tokio::test]
async fn a_port_with_a_wrong_address_is_told_why() {
    let cloud = cloud().await;
    let port = async |name: &str, address: &str| {
        let spec = json!({"subnet": "web", "addresses": [address]});
        make::<PortSpec>(&cloud, name, spec).await
    };
    says(
        port("a", "10.0.2.7").await,
        "spec.addresses[0]",
        "10.0.2.7 is not in subnet \"web\", which has 10.0.1.0/28",
    );
    for own in ["10.0.1.0", "10.0.1.1", "10.0.1.3", "10.0.1.15"] {
        says(port("a", own).await, "spec.addresses[0]", "ports have 10.0.1.4-10.0.1.14");
    }
    port("a", "10.0.1.7").await.expect("a free one");
    says(
        port("b", "10.0.1.7").await,
        "spec.addresses[0]",
        "address 10.0.1.7 of subnet \"web\" is held by port \"a\"; choose another",
    );
    refused(port("a", "10.0.1.8").await, Reason::AlreadyExists);
    delete::<PortSpec>(&cloud, "a").await.expect("delete");
    port("b", "10.0.1.7").await.expect("it is free again");
    let missing = make::<PortSpec>(&cloud, "c", json!({"subnet": "none"})).await;
    says(
        missing,
        "spec.subnet",
        "there is no subnet \"none\" in project \"default\"; `corten get subnets` lists them",
    );
    let foreign = json!({"subnet": "web", "instance": "i"});
    says(make::<PortSpec>(&cloud, "c", foreign).await, "spec.instance", "is set by the server");
}

#[tokio::test]
async fn a_full_subnet_says_so_and_what_to_do() {
    let cloud = cloud().await;
    for i in 0..11 {
        let _: Port = make(&cloud, &format!("p{i}"), json!({"subnet": "web"})).await.expect("there is room");
    }
    let full = make::<PortSpec>(&cloud, "more", json!({"subnet": "web"})).await;
    says(
        full,
        "spec.addresses",
        "all 11 addresses for ports of subnet \"web\" (10.0.1.0/28) are in use; delete ports",
    );
    delete::<PortSpec>(&cloud, "p5").await.expect("delete");
    let _: Port = make(&cloud, "more", json!({"subnet": "web"})).await.expect("there is room again");
}

#[tokio::test]
async fn subnets_lie_inside_of_their_vpc_and_apart() {
    let cloud = cloud().await;
    let subnet = |spec: Value| make::<SubnetSpec>(&cloud, "new", spec);
    says(
        subnet(json!({"vpc": "main", "cidr": "10.1.0.0/24"})).await,
        "spec.cidr",
        "10.1.0.0/24 is outside of vpc \"main\", which has 10.0.0.0/16",
    );
    says(subnet(json!({"vpc": "main", "cidr": "10.0.0.0/15"})).await, "spec.cidr", "is outside of vpc");
    says(
        subnet(json!({"vpc": "main", "cidr": "10.0.1.0/24"})).await,
        "spec.cidr",
        "10.0.1.0/24 overlaps 10.0.1.0/28 of subnet \"web\"; choose another",
    );
    says(subnet(json!({"vpc": "none", "cidr": "10.0.9.0/24"})).await, "spec.vpc", "there is no vpc \"none\"");
    let _: Vpc = make(&cloud, "twin", json!({"ipv4Ranges": ["10.0.0.0/16"]})).await.expect("the same range");
    subnet(json!({"vpc": "twin", "cidr": "10.0.1.0/24"})).await.expect("another vpc");
    let v6 = json!({"vpc": "twin", "ipv6Cidr": "fd00:1:0:9::/64"});
    says(subnet(v6).await, "spec.ipv6Cidr", "has no range of that family");
    let mut vpc = api::<VpcSpec>(&cloud).get("main").await.expect("get");
    vpc.spec.ipv4_ranges = vec!["10.5.0.0/16".parse().expect("a network")];
    says(
        api::<VpcSpec>(&cloud).update(&vpc).await,
        "spec.ipv4Ranges",
        "10.0.1.0/28 of subnet \"web\" would be in none; delete that first",
    );
}

#[tokio::test]
async fn what_is_in_use_stays_and_says_by_whom() {
    let cloud = cloud().await;
    let _: SecurityGroup = make(&cloud, "g", json!({"vpc": "main"})).await.expect("a group");
    let _: Port = make(&cloud, "p", json!({"subnet": "web", "securityGroups": ["g"]})).await.expect("a port");
    let check = |result: Result<(), ApiError>, words: &str| {
        let error = refused(result, Reason::Conflict);
        assert!(error.message.contains(words), "{error}");
    };
    check(delete::<SubnetSpec>(&cloud, "web").await, "subnet \"web\" is in use by port \"p\"");
    check(delete::<SecurityGroupSpec>(&cloud, "g").await, "is in use by port \"p\"");
    check(delete::<VpcSpec>(&cloud, "main").await, "securitygroup \"g\", subnet \"web\"");
    delete::<PortSpec>(&cloud, "p").await.expect("nobody needs the port");
    delete::<SubnetSpec>(&cloud, "web").await.expect("now it is free");
    delete::<SecurityGroupSpec>(&cloud, "g").await.expect("now it is free");
    delete::<VpcSpec>(&cloud, "main").await.expect("now it is free");
    let left = cloud.store_keys(&["/claims/", "/uses/", "/guards/", "/turns/"]).await;
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn a_group_that_another_names_stays_until_it_no_longer_does() {
    let cloud = cloud().await;
    let rule = |group: &str| json!([{"peer": {"group": group}}]);
    let _: SecurityGroup =
        make(&cloud, "a", json!({"vpc": "main", "rules": rule("a")})).await.expect("itself");
    let missing = make::<SecurityGroupSpec>(&cloud, "b", json!({"vpc": "main", "rules": rule("c")}));
    says(missing.await, "spec.rules[0].peer.group", "there is no securitygroup \"c\"");
    let _: SecurityGroup =
        make(&cloud, "b", json!({"vpc": "main", "rules": rule("a")})).await.expect("a group");
    refused(delete::<SecurityGroupSpec>(&cloud, "a").await, Reason::Conflict);
    let mut group = api::<SecurityGroupSpec>(&cloud).get("b").await.expect("get");
    group.spec.rules.clear();
    api::<SecurityGroupSpec>(&cloud).update(&group).await.expect("update");
    delete::<SecurityGroupSpec>(&cloud, "a").await.expect("nobody names it");
}

#[tokio::test]
async fn everything_that_belongs_together_is_of_one_vpc() {
    let cloud = cloud().await;
    let _: Vpc = make(&cloud, "other", json!({"ipv4Ranges": ["10.0.0.0/16"]})).await.expect("a vpc");
    let _: SecurityGroup = make(&cloud, "foreign", json!({"vpc": "other"})).await.expect("a group");
    let _: Gateway = make(&cloud, "out", json!({"vpc": "other"})).await.expect("a gateway");
    let _: RouteTable = make(&cloud, "table", json!({"vpc": "other"})).await.expect("a table");
    let words = "is of vpc \"other\", not of \"main\"";
    let port = json!({"subnet": "web", "securityGroups": ["foreign"]});
    says(make::<PortSpec>(&cloud, "p", port).await, "spec.securityGroups[0]", words);
    let group = json!({"vpc": "main", "rules": [{"peer": {"group": "foreign"}}]});
    says(make::<SecurityGroupSpec>(&cloud, "g", group).await, "spec.rules[0].peer.group", words);
    let routes =
        json!({"vpc": "main", "routes": [{"destination": "0.0.0.0/0", "target": {"gateway": "out"}}]});
    says(make::<RouteTableSpec>(&cloud, "t", routes).await, "spec.routes[0].target.gateway", words);
    let subnet = json!({"vpc": "main", "cidr": "10.0.9.0/24", "routeTable": "table"});
    says(make::<SubnetSpec>(&cloud, "s", subnet).await, "spec.routeTable", words);
    let nat = json!({"vpc": "other", "type": "nat", "subnet": "web"});
    let result = make::<GatewaySpec>(&cloud, "nat", nat).await;
    says(result, "spec.subnet", "is of vpc \"main\", not of \"other\"");
    let second = make::<GatewaySpec>(&cloud, "again", json!({"vpc": "other"})).await;
    says(second, "spec.vpc", "is held by gateway \"out\"");
}

#[tokio::test]
async fn peers_have_ranges_apart_and_may_name_each_others_groups() {
    let cloud = cloud().await;
    let _: Vpc = make(&cloud, "far", json!({"ipv4Ranges": ["10.9.0.0/16"]})).await.expect("a vpc");
    let _: Vpc = make(&cloud, "same", json!({"ipv4Ranges": ["10.0.128.0/20"]})).await.expect("a vpc");
    let overlap: Result<Peering, _> = make(&cloud, "p", json!({"vpc": "main", "peerVpc": "same"})).await;
    says(overlap, "spec.peerVpc", "its range 10.0.128.0/20 overlaps 10.0.0.0/16 of vpc \"main\"");
    let _: SecurityGroup = make(&cloud, "there", json!({"vpc": "far"})).await.expect("a group");
    let rules = json!([{"direction": "ingress", "protocol": "tcp", "peer": {"group": "there"}}]);
    let here = json!({"vpc": "main", "rules": rules});
    let stranger: Result<SecurityGroup, _> = make(&cloud, "here", here.clone()).await;
    says(stranger, "spec.rules[0].peer.group", "is of vpc \"far\", not of \"main\"");
    let _: Peering = make(&cloud, "p", json!({"vpc": "main", "peerVpc": "far"})).await.expect("a peering");
    let _: SecurityGroup = make(&cloud, "here", here).await.expect("a group that names a peer's");
}

#[tokio::test]
async fn floating_addresses_come_from_pools_and_each_once() {
    let cloud = cloud().await;
    let none = make::<FloatingIpSpec>(&cloud, "f", json!({})).await;
    says(none, "spec.pool", "must name an address pool");
    let _: AddressPool =
        make(&cloud, "public", json!({"ranges": ["192.0.2.10-192.0.2.11"]})).await.expect("a pool");
    let first: FloatingIp = make(&cloud, "f", json!({})).await.expect("the only pool");
    assert_eq!(first.spec.pool, "public");
    let second: FloatingIp = make(&cloud, "g", json!({"pool": "public"})).await.expect("the second");
    assert_ne!(first.spec.address, second.spec.address);
    let third = make::<FloatingIpSpec>(&cloud, "h", json!({"pool": "public"})).await;
    says(third, "spec.address", "all 2 addresses of pool \"public\" are in use");
    let elsewhere = make::<FloatingIpSpec>(&cloud, "h", json!({"address": "192.0.2.99"})).await;
    says(elsewhere, "spec.address", "192.0.2.99 is not in pool \"public\"");
    let error = refused(delete::<AddressPoolSpec>(&cloud, "public").await, Reason::Conflict);
    assert!(error.message.contains("floatingip \"f\" of project \"default\""), "{error}");
    // A foreign holder is not named.
    let address = first.spec.address.expect("an address");
    let mut theirs: FloatingIp = object("x", json!({"pool": "public", "address": address}));
    theirs.metadata.namespace = "system".into();
    let result = cloud.admin().project::<FloatingIp>("system").create(&theirs).await;
    says(result, "spec.address", "is held by a floatingip of another project");
}

#[tokio::test]
async fn a_report_cannot_change_what_the_server_has_given() {
    let cloud = cloud().await;
    let vpcs = api::<VpcSpec>(&cloud);
    let mut vpc = vpcs.get("main").await.expect("get");
    let given = vpc.status.vni;
    assert!(given >= 4096, "{given}");
    vpc.status.vni = 7;
    assert_eq!(vpcs.update_status(&vpc).await.expect("report").status.vni, given);
}

#[tokio::test]
async fn a_project_that_goes_takes_objects_that_keep_each_other_with_it() {
    let cloud = Cloud::with_network_plane().await;
    cloud
        .admin()
        .all()
        .create(&Project::new(ObjectMeta::named("b"), ProjectSpec::default()))
        .await
        .expect("b");
    let groups = cloud.admin().project::<SecurityGroup>("b");
    let group = |name: &str, rules: Value| -> SecurityGroup {
        let mut group: SecurityGroup = object(name, json!({"vpc": "default", "rules": rules}));
        group.metadata.namespace = "b".into();
        group
    };
    groups.create(&group("one", json!([]))).await.expect("a group");
    groups.create(&group("two", json!([{"peer": {"group": "one"}}]))).await.expect("a group");
    let rules =
        json!({"spec": {"rules": [{"direction": "ingress", "protocol": "any", "peer": {"group": "two"}}]}});
    groups.merge("one", &rules).await.expect("now each names the other");
    refused(groups.delete("one", &DeleteOptions::default()).await, Reason::Conflict);
    cloud.admin().all::<Project>().delete("b", &DeleteOptions::default()).await.expect("is marked");
    for kind in model::kinds().iter().filter(|kind| kind.info.is_project_scoped()) {
        let all = client::Request::new(client::Verb::DeleteCollection, kind, Some("b"), "");
        cloud.call(&crate::cloud::admin(), all).await.expect("in any order");
    }
    let left = cloud.store_keys(&["/claims/", "/uses/", "/guards/", "/turns/"]).await;
    assert!(left.iter().all(|key| !key.contains("/b/")), "{left:?}");
}

#[tokio::test]
async fn deleting_many_deletes_all_that_nobody_needs() {
    let cloud = cloud().await;
    let _: Subnet =
        make(&cloud, "free", json!({"vpc": "main", "cidr": "10.0.8.0/24"})).await.expect("a subnet");
    let _: Port = make(&cloud, "p", json!({"subnet": "web"})).await.expect("a port");
    let kind = model::kind_of("subnet").expect("a kind");
    let all = client::Request::new(client::Verb::DeleteCollection, kind, Some("default"), "");
    refused(cloud.call(&crate::cloud::admin(), all).await, Reason::Conflict);
    assert!(api::<SubnetSpec>(&cloud).get("free").await.is_err_and(|e| e.is_not_found()));
    api::<SubnetSpec>(&cloud).get("web").await.expect("a port is in it");
}

#[tokio::test]
async fn a_port_on_a_wire_has_no_more_than_the_wire_gives() {
    let cloud = cloud().await;
    let _: SecurityGroup = make(&cloud, "g", json!({"vpc": "main"})).await.expect("a group");
    let _: SecurityGroup =
        make(&cloud, "default", json!({"vpc": "main", "isDefault": true})).await.expect("a default group");
    let wire = json!({"vpc": "main", "cidr": "10.0.7.0/24", "mode": "bridge", "link": "eth1"});
    let _: Subnet = make(&cloud, "wire", wire).await.expect("a subnet");
    let port = |more: Value| {
        let mut spec = json!({"subnet": "wire"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        make::<PortSpec>(&cloud, "refused", spec)
    };
    let remedy = "leave it out, or use a subnet of spec.mode routed";
    says(port(json!({"securityGroups": ["g"]})).await, "spec.securityGroups", "nobody filters");
    says(port(json!({"securityGroups": ["g"]})).await, "spec.securityGroups", remedy);
    says(port(json!({"rateBits": 1_000_000})).await, "spec.rateBits", "nobody limits");
    says(port(json!({"flowLogs": true})).await, "spec.flowLogs", "nobody watches");
    let plain: Port = make(&cloud, "plain", json!({"subnet": "wire"})).await.expect("a port");
    assert!(plain.spec.security_groups.is_empty(), "nor is it in the default group");
    assert!(plain.spec.mac.is_some() && plain.spec.addresses.len() == 1);
    api::<PortSpec>(&cloud).update(&plain).await.expect("what is there may stay");
}

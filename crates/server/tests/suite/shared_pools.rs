//! Pools that hosts share: who says whose turn it is, and what may be started elsewhere when its host is lost.

use identity::Principal;
use model::compute::Instance;
use model::storage::{Pool, Volume};
use model::{ApiError, Reason};
use serde_json::{Value, json};

use crate::cloud::{Cloud, host, instance, pool, refused, user, volume};

/// With a pool that hosts share, one that each has for itself, and a volume in each.
async fn cloud() -> Cloud {
    let cloud = Cloud::start().await;
    pool(&cloud, "common", json!({"driver": "files", "path": "/mnt/pool"})).await;
    pool(&cloud, "own", json!({})).await;
    volume(&cloud, "shared", json!({"pool": "common", "size": "1Gi"})).await.expect("a volume");
    volume(&cloud, "local", json!({"pool": "own", "size": "1Gi"})).await.expect("a volume");
    cloud
}

fn cloud_itself(cloud: &Cloud) -> client::Client {
    cloud.client(Principal::component("controllers"))
}

/// What a caller makes of the volume's status.
async fn tell(client: client::Client, change: impl Fn(&mut Volume)) -> Result<Volume, ApiError> {
    let volumes = client.project::<Volume>("default");
    let mut volume = volumes.get("shared").await.expect("get");
    change(&mut volume);
    volumes.update_status(&volume).await
}

#[tokio::test]
async fn only_the_cloud_gives_a_volume_to_another_host_and_counts_it() {
    let cloud = cloud().await;
    let given = |host: &'static str, moves| {
        move |volume: &mut Volume| {
            volume.status.host = host.into();
            volume.status.moves = moves;
        }
    };
    tell(cloud_itself(&cloud), given("h1", 1)).await.expect("the first host");
    let uncounted = refused(tell(cloud_itself(&cloud), given("h2", 1)).await, Reason::Conflict);
    assert!(uncounted.to_string().contains("status.moves"), "{uncounted}");
    refused(tell(cloud_itself(&cloud), given("h1", 0)).await, Reason::Conflict);
    refused(tell(cloud.client(host("h2")), given("h2", 2)).await, Reason::Forbidden);
    let kept = tell(cloud.client(host("h1")), given("h2", 7)).await.expect("a report");
    assert_eq!((&*kept.status.host, kept.status.moves), ("h1", 1), "a report has no say in it");
    let lost = |volume: &mut Volume| {
        given("h2", 2)(volume);
        volume.status.lost = vec!["h1".into()];
    };
    tell(cloud_itself(&cloud), lost).await.expect("from a host that is lost");
    refused(tell(cloud.client(host("h1")), |volume| volume.status.lost.clear()).await, Reason::Forbidden);
    let more = |volume: &mut Volume| volume.status.lost.push("h3".into());
    assert_eq!(tell(cloud.client(host("h2")), more).await.expect("a report").status.lost, ["h1"]);
    let none = tell(cloud.client(host("h2")), |volume| volume.status.lost.clear()).await;
    assert_eq!(none.expect("a report").status.lost, [""; 0], "the host that has it says what is over");
}

#[tokio::test]
async fn one_host_makes_a_pool_once() {
    let cloud = cloud().await;
    let told = async |client: client::Client, maker: &str, made: bool| {
        let pools = client.all::<Pool>();
        let mut pool = pools.get("common").await.expect("get");
        pool.status.maker = maker.into();
        pool.status.made = made;
        let status = pools.update_status(&pool).await.expect("a report").status;
        (status.maker, status.made)
    };
    let (h1, h2) = (cloud.client(host("h1")), cloud.client(host("h2")));
    assert_eq!(told(h1.clone(), "h2", true).await, (String::new(), false), "a host speaks for itself");
    assert_eq!(told(h1.clone(), "h1", true).await, ("h1".into(), false), "it says so before it makes it");
    assert_eq!(told(h2.clone(), "h2", false).await, ("h1".into(), false), "one at a time");
    assert_eq!(told(h2.clone(), "", false).await, ("h1".into(), false));
    assert_eq!(told(h1.clone(), "", false).await, (String::new(), false), "it could not");
    assert_eq!(told(h2.clone(), "h2", false).await, ("h2".into(), false));
    assert_eq!(told(h2.clone(), "h2", true).await, ("h2".into(), true));
    assert_eq!(told(h2, "", false).await, ("h2".into(), true), "it stays made");
    assert_eq!(told(h1, "h1", false).await, ("h2".into(), true));
    let pools = cloud.client(user("ann")).all::<Pool>();
    refused(pools.get("common").await, Reason::Forbidden);
}

#[tokio::test]
async fn a_volume_that_hosts_share_is_on_none_more_than_on_another() {
    let cloud = cloud().await;
    let pinned = json!({"pool": "common", "size": "1Gi", "host": "h1"});
    let error = refused(volume(&cloud, "pinned", pinned).await, Reason::Invalid).to_string();
    assert!(error.contains("spec.host") && error.contains("leave it out"), "{error}");
}

#[tokio::test]
async fn what_is_started_elsewhere_has_its_volumes_where_hosts_share_them() {
    let cloud = cloud().await;
    let with = |volumes: Value| {
        let mut instance = instance("db");
        instance.spec.isolation = model::compute::Isolation::Namespace;
        let payload = json!({"containers": {"containers": [{"name": "a", "image": "none"}]}});
        instance.spec.payload = serde_json::from_value(payload).expect("a payload");
        instance.spec.volumes = serde_json::from_value(volumes).expect("volumes");
        instance.spec.placement.on_host_loss = model::compute::OnHostLoss::Restart;
        instance
    };
    let said = async |volumes: Value| {
        let result = cloud.instances().create(&with(volumes)).await;
        refused(result, Reason::Invalid).to_string()
    };
    let at = |name: &str| json!({"volume": name, "mount": format!("/{name}")});
    let without = said(json!([])).await;
    assert!(without.contains("spec.placement.onHostLoss"), "{without}");
    assert!(without.contains("spec.driver files"), "{without}");
    let local = said(json!([at("shared"), at("local")])).await;
    assert!(local.contains("spec.volumes[1].volume"), "{local}");
    assert!(!local.contains("onHostLoss: restart is for"), "{local}");
    let made = said(json!([{"mount": "/new", "template": {"spec": {"pool": "own", "size": "1Gi"}}}])).await;
    assert!(made.contains("\"own\""), "{made}");
    let fine = said(json!([at("shared")])).await;
    assert!(!fine.contains("volumes") && !fine.contains("onHostLoss"), "only its image is missing: {fine}");
}

#[tokio::test]
async fn a_binding_to_a_lost_host_is_undone_by_the_cloud_alone() {
    let cloud = Cloud::start().await;
    cloud.instances().create(&instance("a")).await.expect("create");
    let ask = async |caller: client::Client, binding: Value| {
        caller.project::<Instance>("default").create_below("a", "binding", &binding).await
    };
    ask(cloud_itself(&cloud), json!({"host": "h1"})).await.expect("bind");
    let undo = json!({"host": "", "from": "h1", "message": "host \"h1\" is lost"});
    refused(ask(cloud.admin(), undo.clone()).await, Reason::Forbidden);
    refused(ask(cloud.client(host("h1")), undo.clone()).await, Reason::Forbidden);
    refused(ask(cloud_itself(&cloud), json!({"host": "", "from": "h2"})).await, Reason::Conflict);
    refused(ask(cloud_itself(&cloud), json!({"host": ""})).await, Reason::Conflict);
    let free: Instance = ask(cloud_itself(&cloud), undo.clone()).await.expect("undo");
    assert_eq!((&*free.status.host, free.metadata.finalizers.len()), ("", 0));
    let why = free.status.conditions.iter().find(|c| c.kind == "Scheduled").expect("it says why");
    assert_eq!(why.message, "host \"h1\" is lost");
    let h1 = cloud.client(host("h1")).project::<Instance>("default");
    refused(h1.update_status(&free).await, Reason::Forbidden);
    let elsewhere: Instance = ask(cloud_itself(&cloud), json!({"host": "h2"})).await.expect("bind");
    assert_eq!(elsewhere.status.host, "h2");
    refused(ask(cloud_itself(&cloud), undo).await, Reason::Conflict);
}

//! Who may do what: a stranger nothing, a host only what is its own, nobody more than he has.

use client::{PatchKind, Verb};
use identity::Principal;
use model::compute::Instance;
use model::identity::{AccessKey, Project, ProjectSpec, Role, RoleBinding, RoleSpec, Rule, User, UserSpec};
use model::network::{FlowLog, FlowLogSpec, Vpc};
use model::storage::{Bucket, BucketSpec};
use model::topology::{Host, HostSpec, Lease, LeaseSpec};
use model::{ApiError, ObjectMeta, Reason};
use serde_json::json;

use crate::cloud::{Cloud, host, instance, refused, request, user};

const VERBS: [Verb; 11] = [
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Create,
    Verb::Update,
    Verb::Patch(PatchKind::Json),
    Verb::Patch(PatchKind::Merge),
    Verb::Patch(PatchKind::Apply),
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
];
const SUBRESOURCES: [&str; 6] = ["", "status", "binding", "release", "exec", "anything"];

/// What everyone who is known may do: read sizes and zones.
fn is_open(verb: Verb, plural: &str, subresource: &str) -> bool {
    subresource.is_empty()
        && matches!(verb, Verb::Get | Verb::List | Verb::Watch)
        && matches!(plural, "instancetypes" | "zones")
}

#[tokio::test]
async fn a_foreign_tenant_is_refused_every_verb_on_every_kind() {
    let cloud = Cloud::start().await;
    let project = Project::new(ObjectMeta::named("mine"), ProjectSpec::default());
    cloud.admin().all().create(&project).await.expect("create");
    cloud.grant("mallory", &["*"], &["*"], &["mine"]).await;
    cloud.instances().create(&instance("a")).await.expect("create");
    let strangers = [user("mallory"), user("nobody"), Principal { groups: Vec::new(), ..user("") }];
    let mut asked = 0;
    for kind in model::kinds() {
        for verb in VERBS {
            for subresource in SUBRESOURCES {
                for project in [Some("default"), None] {
                    let project = project.filter(|_| kind.info.is_project_scoped());
                    let name = if matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
                        ""
                    } else {
                        "a"
                    };
                    let request =
                        client::Request::new(verb, kind, project, name).subresource(subresource).body("{}");
                    for stranger in &strangers {
                        let result: Result<(), ApiError> = match verb {
                            Verb::Watch => cloud.server.watch(stranger, request.clone()).await.map(drop),
                            _ => cloud.call(stranger, request.clone()).await.map(drop),
                        };
                        asked += 1;
                        if is_open(verb, kind.info.plural, subresource) {
                            assert!(result.is_ok() || result.is_err_and(|e| e.is_not_found()));
                            continue;
                        }
                        let what =
                            format!("{stranger} {verb:?} {}/{subresource} in {project:?}", kind.info.plural);
                        let error = result.expect_err(&what);
                        assert!(
                            matches!(error.reason, Reason::Forbidden | Reason::NotFound),
                            "{what}: {error}"
                        );
                    }
                }
            }
        }
    }
    assert!(asked > 5000, "only {asked} questions were asked");
}

#[tokio::test]
async fn the_answer_to_a_stranger_does_not_tell_what_exists() {
    let cloud = Cloud::start().await;
    cloud.instances().create(&instance("there")).await.expect("create");
    let ask = async |name: &str| {
        let result = cloud.call(&user("mallory"), request::<Instance>(Verb::Get, name)).await;
        refused(result, Reason::Forbidden).message.replace(name, "NAME")
    };
    assert_eq!(ask("there").await, ask("absent").await);
}

#[tokio::test]
async fn a_host_speaks_for_itself_and_its_own_instances() {
    let cloud = Cloud::start().await;
    for name in ["h1", "h2"] {
        let made = Host::new(ObjectMeta::named(name), HostSpec::default());
        cloud.client(host(name)).all().create(&made).await.expect("a host may register itself");
    }
    for (name, at) in [("one", "h1"), ("two", "h2")] {
        cloud.instances().create(&instance(name)).await.expect("create");
        let scheduler = cloud.client(Principal::component("scheduler")).project::<Instance>("default");
        scheduler.create_below(name, "binding", &json!({"host": at})).await.expect("bind");
    }
    let h1 = cloud.client(host("h1"));
    let instances = h1.project::<Instance>("default");
    let (own, other) = (instances.get("one").await.expect("get"), instances.get("two").await.expect("get"));
    instances.update_status(&own).await.expect("it reports on its own");
    refused(instances.update_status(&other).await, Reason::Forbidden);
    refused(instances.update(&own).await, Reason::Forbidden);
    refused(instances.delete("one", &client::DeleteOptions::default()).await, Reason::Forbidden);
    refused(instances.create_below("one", "binding", &json!({"host": "h1"})).await, Reason::Forbidden);
    refused(instances.create(&instance("three")).await, Reason::Forbidden);

    let hosts = h1.all::<Host>();
    let (mine, theirs) =
        (hosts.get("h1").await.expect("get"), cloud.admin().all::<Host>().get("h2").await.expect("get"));
    hosts.update_status(&mine).await.expect("it reports on itself");
    refused(hosts.get("h2").await, Reason::Forbidden);
    refused(hosts.update_status(&theirs).await, Reason::Forbidden);
    refused(hosts.update(&mine).await, Reason::Forbidden);
    let lease = |name: &str| {
        let spec = LeaseSpec { holder: "me".into(), duration_seconds: 20, ..LeaseSpec::default() };
        Lease::new(ObjectMeta::named(name), spec)
    };
    h1.all().create(&lease("h1")).await.expect("its own lease");
    refused(h1.all().create(&lease("h2")).await, Reason::Forbidden);
    for secret in ["users", "accesskeys", "roles", "rolebindings"] {
        let kind = model::kind_of(secret).expect("a kind");
        let list = client::Request::new(Verb::List, kind, None, "");
        refused(cloud.call(&host("h1"), list).await, Reason::Forbidden);
    }
}

#[tokio::test]
async fn a_report_cannot_move_an_instance_to_another_host() {
    let cloud = Cloud::start().await;
    cloud.instances().create(&instance("a")).await.expect("create");
    let scheduler = cloud.client(Principal::component("scheduler")).project::<Instance>("default");
    scheduler.create_below("a", "binding", &json!({"host": "h1"})).await.expect("bind");
    let h1 = cloud.client(host("h1")).project::<Instance>("default");
    let mut moved = h1.get("a").await.expect("get");
    moved.status.host = "h2".into();
    let after = match h1.update_status(&moved).await {
        Ok(after) => after,
        Err(e) => {
            assert_eq!(e.reason, Reason::Forbidden, "{e}");
            cloud.instances().get("a").await.expect("get")
        }
    };
    assert_eq!(after.status.host, "h1", "only the scheduler says where an instance is");
}

#[tokio::test]
async fn nobody_gives_away_what_he_does_not_have() {
    let cloud = Cloud::start().await;
    // Ann may do everything with identities, but nothing with hosts.
    cloud.grant("ann", &["*"], &["users", "roles", "rolebindings", "accesskeys", "instances"], &["*"]).await;
    let ann = cloud.client(user("ann"));
    let rule = |resource: &str| Rule {
        verbs: vec!["get".into()],
        resources: vec![resource.into()],
        ..Rule::default()
    };
    let role = |name: &str, resource: &str| {
        Role::new(ObjectMeta::named(name), RoleSpec { rules: vec![rule(resource)] })
    };
    ann.all().create(&role("modest", "instances")).await.expect("what she has herself");
    refused(ann.all().create(&role("greedy", "hosts")).await, Reason::Forbidden);
    refused(ann.all().create(&role("greedy", "*")).await, Reason::Forbidden);
    let mut grown = ann.all::<Role>().get("modest").await.expect("get");
    grown.spec.rules = vec![rule("hosts")];
    refused(ann.all().update(&grown).await, Reason::Forbidden);

    let binding = |role: &str| {
        let spec = json!({"role": role, "subjects": [{"kind": "User", "name": "ann"}], "projects": ["*"]});
        RoleBinding::new(ObjectMeta::named("hers"), serde_json::from_value(spec).expect("a binding"))
    };
    refused(ann.all().create(&binding("admin")).await, Reason::Forbidden);
    refused(ann.all().create(&binding("missing")).await, Reason::Invalid);

    cloud.grant("boss", &["*"], &["*"], &["*"]).await;
    cloud
        .admin()
        .all()
        .create(&User::new(ObjectMeta::named("boss"), UserSpec::default()))
        .await
        .expect("create");
    let spec = json!({"user": "boss", "tokenSha256": "0".repeat(64)});
    let key = AccessKey::new(ObjectMeta::named("stolen"), serde_json::from_value(spec).expect("a key"));
    refused(ann.all().create(&key).await, Reason::Forbidden);
}

#[tokio::test]
async fn who_has_flows_written_into_a_bucket_may_write_there() {
    let cloud = Cloud::start().await;
    let project = cloud.admin().project::<Vpc>("default");
    let spec = serde_json::from_value(json!({"ipv4Ranges": ["10.0.0.0/16"]})).expect("a vpc");
    project.create(&Vpc::new(ObjectMeta::in_project("default", "v"), spec)).await.expect("create");
    let bucket = Bucket::new(ObjectMeta::in_project("default", "logs"), BucketSpec::default());
    cloud.admin().project("default").create(&bucket).await.expect("create");
    cloud.grant("ann", &["*"], &["flowlogs"], &["default"]).await;
    cloud.grant("bob", &["*"], &["flowlogs", "buckets/objects"], &["default"]).await;
    let log = |name: &str, bucket: &str| {
        let spec = FlowLogSpec { vpc: "v".into(), bucket: bucket.into(), ..FlowLogSpec::default() };
        FlowLog::new(ObjectMeta::in_project("default", name), spec)
    };
    let of = |name: &str| cloud.client(user(name)).project::<FlowLog>("default");
    refused(of("ann").create(&log("hers", "logs")).await, Reason::Forbidden);
    of("bob").create(&log("his", "logs")).await.expect("he may write there");
    refused(of("bob").create(&log("other", "none")).await, Reason::Invalid);
    let mut his = of("ann").get("his").await.expect("get");
    his.spec.interval_seconds = 60;
    let mut his = of("ann").update(&his).await.expect("where it is written stays");
    his.spec.prefix = "elsewhere".into();
    refused(of("ann").update(&his).await, Reason::Forbidden);
}

//! IAM: only who may do everything in a project decides over it there, and its secrets never come out.

use model::compute::Instance;
use model::identity::{
    IamKey, IamPolicy, IamPolicySpec, IamRole, IamRoleSpec, IamUser, IamUserSpec, PolicyVersion,
};
use model::{Object, ObjectMeta, Reason};
use serde_json::json;

use crate::cloud::{Cloud, instance, refused, user};

const SECRET: &str = "0123456789abcdefghij0123456789abcdefghij";

fn eve() -> IamUser {
    let key = IamKey { id: "AKIAEVEEVEEVEEVEEVE0".into(), secret: SECRET.into(), ..IamKey::default() };
    let spec = IamUserSpec { name: "Eve".into(), access_keys: vec![key], ..IamUserSpec::default() };
    Object::new(ObjectMeta::in_project("default", "eve"), spec)
}

#[tokio::test]
async fn who_may_not_do_everything_decides_over_nothing() {
    let cloud = Cloud::start().await;
    cloud.grant("ann", &["*"], &["iamusers", "iampolicies", "instances"], &["default"]).await;
    cloud.grant("bob", &["*"], &["*"], &["default"]).await;
    let (ann, bob) = (cloud.client(user("ann")), cloud.client(user("bob")));
    refused(ann.project::<IamUser>("default").create(&eve()).await, Reason::Forbidden);
    let made = bob.project::<IamUser>("default").create(&eve()).await.expect("a user");
    // To take away what denies is to grant.
    let gone = ann.project::<IamUser>("default").delete("eve", &client::DeleteOptions::default()).await;
    refused(gone, Reason::Forbidden);
    assert_eq!(made.spec.access_keys[0].secret, "");
    assert!(!made.spec.access_keys[0].sealed_secret.is_empty());
    // A key that is kept stays as it was sealed, whatever is sent.
    let mut changed = made.clone();
    changed.spec.access_keys[0].sealed_secret = "v1.other".into();
    let changed = bob.project::<IamUser>("default").update(&changed).await.expect("nothing was changed");
    assert_eq!(changed.spec.access_keys, made.spec.access_keys);
}

#[tokio::test]
async fn an_instance_gets_a_profile_only_from_who_decides_over_it() {
    let cloud = Cloud::start().await;
    cloud.grant("ann", &["*"], &["instances"], &["default"]).await;
    let mut instance = instance("web");
    instance.spec.instance_profile = "admin".into();
    let ann = cloud.client(user("ann"));
    refused(ann.project::<Instance>("default").create(&instance).await, Reason::Forbidden);
    let mut plain = instance.clone();
    plain.spec.instance_profile.clear();
    let made = ann.project::<Instance>("default").create(&plain).await.expect("without one");
    let mut later = made.clone();
    later.spec.instance_profile = "admin".into();
    refused(ann.project::<Instance>("default").update(&later).await, Reason::Forbidden);
    // And the credentials are the host's to fetch, not the user's.
    let wish = json!({ "uid": made.metadata.uid });
    let asked =
        ann.project::<Instance>("default").ask_below::<serde_json::Value>("web", "credentials", &wish).await;
    refused(asked, Reason::Forbidden);
}

#[tokio::test]
async fn documents_are_read_before_they_are_kept() {
    let cloud = Cloud::start().await;
    let version = PolicyVersion { id: "v1".into(), document: "{}".into(), created: None };
    let spec = IamPolicySpec {
        name: "p".into(),
        versions: vec![version],
        default_version: "v1".into(),
        ..IamPolicySpec::default()
    };
    let policy: IamPolicy = Object::new(ObjectMeta::in_project("default", "p"), spec);
    refused(cloud.admin().project::<IamPolicy>("default").create(&policy).await, Reason::Invalid);
    let spec = IamRoleSpec { name: "r".into(), trust: "{}".into(), ..IamRoleSpec::default() };
    let role: IamRole = Object::new(ObjectMeta::in_project("default", "r"), spec);
    refused(cloud.admin().project::<IamRole>("default").create(&role).await, Reason::Invalid);
}

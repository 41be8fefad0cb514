//! Drives a cloud with kube-rs as its users write it, with nothing of Corten's own: discovery, dynamic objects,
//! server-side apply, a watcher, waiting, deleting. Prints one `ok` line per thing that works.
//!
//! KUBECONFIG names the cloud; the image `tiny` has to be there.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::discovery::{ApiResource, Discovery, Scope};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use serde_json::json;

type Failure = Box<dyn Error>;

/// For one step of a guest on a slow machine.
const STEP_MAX: Duration = Duration::from_secs(120);
const GROUP: &str = "compute.corten.dev";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let client = Client::try_default().await?;
    let (instances, keys) = discover(&client).await?;
    write_keys(&Api::default_namespaced_with(client.clone(), &keys)).await?;
    live_and_die(Api::default_namespaced_with(client, &instances), &instances).await
}

fn ok(what: &str) {
    println!("ok {what}");
}

/// Fails with what was found when it is not what was expected.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, found: T) -> Result<(), Failure> {
    if expected != found {
        return Err(format!("{what}: expected {expected:?}, found {found:?}").into());
    }
    ok(what);
    Ok(())
}

/// The kinds as the cloud describes them; nothing about them is compiled in.
async fn discover(client: &Client) -> Result<(ApiResource, ApiResource), Failure> {
    let version = client.apiserver_version().await?;
    expect("the server has a version", "1", version.major.as_str())?;
    let discovery = Discovery::new(client.clone()).run().await?;
    let group = discovery.get(GROUP).ok_or("discovery does not find the compute group")?;
    ok("discovery finds the groups");
    let (instances, capabilities) =
        group.recommended_kind("Instance").ok_or("discovery does not find Instance")?;
    expect("an instance belongs to a project", Scope::Namespaced, capabilities.scope)?;
    expect("its plural is known", "instances", instances.plural.as_str())?;
    let (keys, _) = group.recommended_kind("KeyPair").ok_or("discovery does not find KeyPair")?;
    let hosts = discovery.get("topology.corten.dev").and_then(|g| g.recommended_kind("Host"));
    let (hosts, capabilities) = hosts.ok_or("discovery does not find Host")?;
    expect("a host belongs to no project", Scope::Cluster, capabilities.scope)?;
    let hosts: Api<DynamicObject> = Api::all_with(client.clone(), &hosts);
    expect("a kind without project is listed", 1, hosts.list(&ListParams::default()).await?.items.len())?;
    Ok((instances, keys))
}

fn key(comment: &str) -> serde_json::Value {
    json!({
        "apiVersion": "compute.corten.dev/v1", "kind": "KeyPair", "metadata": { "name": "mine" },
        "spec": { "publicKey": format!(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFr0zk9cPYAdn2k2rFmZbHRk3mCkRkB0Vv0r7m1h2u5P {comment}"
        ) },
    })
}

async fn write_keys(keys: &Api<DynamicObject>) -> Result<(), Failure> {
    let first = PatchParams::apply("first");
    let made = keys.patch("mine", &first, &Patch::Apply(key("one"))).await?;
    ok("server-side apply creates");
    let again = keys.patch("mine", &first, &Patch::Apply(key("one"))).await?;
    expect("applying the same changes nothing", made.resource_version(), again.resource_version())?;
    let second = PatchParams::apply("second");
    match keys.patch("mine", &second, &Patch::Apply(key("two"))).await {
        Err(kube::Error::Api(status)) => expect("another's field is a conflict", 409, status.code)?,
        other => return Err(format!("another's field was taken without force: {other:?}").into()),
    }
    keys.patch("mine", &second.force(), &Patch::Apply(key("two"))).await?;
    ok("with force it is taken over");

    let mut stale = made;
    stale.data["spec"]["publicKey"] = key("three")["spec"]["publicKey"].clone();
    match keys.replace("mine", &PostParams::default(), &stale).await {
        Err(kube::Error::Api(status)) => expect("replacing an old version is a conflict", 409, status.code)?,
        other => return Err(format!("an old version was accepted: {other:?}").into()),
    }
    let labels = Patch::Merge(json!({ "metadata": { "labels": { "team": "blue" } } }));
    keys.patch("mine", &PatchParams::default(), &labels).await?;
    let blue = keys.list(&ListParams::default().labels("team=blue")).await?;
    expect("a label selects", vec!["mine".to_owned()], blue.iter().map(ResourceExt::name_any).collect())?;
    keys.delete("mine", &DeleteParams::default()).await?;
    expect("a deleted object is not found", None, keys.get_opt("mine").await?.map(|k| k.name_any()))
}

/// A guest from its creation to its end, with a watcher beside it.
async fn live_and_die(instances: Api<DynamicObject>, kind: &ApiResource) -> Result<(), Failure> {
    let mut events = pin!(watcher::watcher(instances.clone(), watcher::Config::default()));
    see(&mut events, |event| matches!(event, Event::InitDone)).await?;
    ok("a watcher has the state from which it begins");

    let mut guest = DynamicObject::new("web", kind).data(json!({
        "spec": { "type": "tiny", "payload": { "kernel": { "image": "tiny" } } },
    }));
    guest.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
    let made = instances.create(&PostParams::default(), &guest).await?;
    expect("create answers the object", Some("web"), made.metadata.name.as_deref())?;
    see(&mut events, |event| matches!(event, Event::Apply(o) if o.name_any() == "web")).await?;
    ok("the watcher sees it come");

    tokio::time::timeout(STEP_MAX, await_condition(instances.clone(), "web", is("Running"))).await??;
    ok("waiting for a condition ends when the guest runs");
    see(&mut events, |event| matches!(event, Event::Apply(o) if phase(o) == Some("Running"))).await?;
    ok("the watcher sees it run");

    let stop = Patch::Merge(json!({ "spec": { "power": "stopped" } }));
    instances.patch("web", &PatchParams::default(), &stop).await?;
    tokio::time::timeout(STEP_MAX, await_condition(instances.clone(), "web", is("Stopped"))).await??;
    ok("a patch stops it");

    let uid = made.uid().ok_or("the guest has no uid")?;
    instances.delete("web", &DeleteParams::default()).await?;
    let gone = await_condition(instances.clone(), "web", conditions::is_deleted(&uid));
    tokio::time::timeout(STEP_MAX, gone).await??;
    ok("waiting for its deletion ends");
    see(&mut events, |event| matches!(event, Event::Delete(o) if o.name_any() == "web")).await?;
    ok("the watcher sees it go");
    Ok(())
}

fn phase(object: &DynamicObject) -> Option<&str> {
    object.data["status"]["phase"].as_str()
}

fn is(wanted: &'static str) -> impl Condition<DynamicObject> {
    move |object: Option<&DynamicObject>| object.and_then(phase) == Some(wanted)
}

/// Follows the watcher until such an event comes.
async fn see(
    events: &mut (impl Stream<Item = watcher::Result<Event<DynamicObject>>> + Unpin),
    is_it: impl Fn(&Event<DynamicObject>) -> bool,
) -> Result<(), Failure> {
    let looking = async {
        while let Some(event) = events.try_next().await? {
            if is_it(&event) {
                return Ok(());
            }
        }
        Err("the watch ended".into())
    };
    tokio::time::timeout(STEP_MAX, looking).await?
}

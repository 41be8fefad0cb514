//! Simulated hosts below a real daemon: objects as hosts write them, and one task that says of every instance what its
//! host's agent would say: that it runs, that it is gone, and the event of it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use client::{Client, ListParams, Recorder, Severity, TypedEvent};
use futures::{StreamExt, TryStreamExt, stream};
use model::compute::{Instance, InstancePhase};
use model::topology::Host;
use model::{Condition, ConditionStatus, Timestamp, set_condition};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::Result;
use crate::plane;

/// Calls under way at once while hosts are made.
const MAKERS: usize = 32;

/// They say nothing more once dropped.
pub(super) struct Hosts {
    agents: JoinHandle<()>,
}

impl Hosts {
    /// The daemon's own host is cordoned.
    pub(super) async fn start(client: &Client, count: usize) -> Result<Self> {
        for own in client.all::<Host>().list(&ListParams::default()).await?.items {
            let cordon = json!({ "spec": { "cordoned": true } });
            client.all::<Host>().merge(&own.metadata.name, &cordon).await?;
        }
        stream::iter(0..count)
            .map(|number| plane::add_host(client.clone(), number, now()))
            .buffer_unordered(MAKERS)
            .try_collect::<()>()
            .await?;
        let list = client.all::<Instance>().list(&ListParams::default()).await?;
        let params = ListParams { resource_version: list.resource_version, ..ListParams::default() };
        let mut changes = client.all::<Instance>().watch(&params).await?;
        let recorder = Recorder::new(client.clone(), "agent", "", Arc::new(now));
        let client = client.clone();
        let agents = tokio::spawn(async move {
            while let Some(Ok(event)) = changes.next().await {
                if let TypedEvent::Applied(instance) = event
                    && !instance.status.host.is_empty()
                {
                    tokio::spawn(tell(client.clone(), recorder.clone(), Arc::unwrap_or_clone(instance)));
                }
            }
        });
        Ok(Self { agents })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.agents.abort();
    }
}

async fn tell(client: Client, recorder: Recorder, mut instance: Instance) {
    let instances = client.project::<Instance>(&instance.metadata.namespace);
    let name = instance.metadata.name.clone();
    if instance.metadata.is_deleting() {
        recorder.record(&instance, Severity::Normal, "Removed", "nothing of it is left on its host").await;
        let release = json!({ "uid": instance.metadata.uid });
        let released = instances.create_below(&name, "release", &release).await;
        report(released.map(drop));
    } else if instance.status.phase == InstancePhase::Pending {
        instance.status.phase = InstancePhase::Running;
        instance.status.observed_generation = instance.metadata.generation;
        instance.status.driver = "oci".into();
        let ready = Condition::new("Ready", ConditionStatus::True, "Running", "all containers run");
        set_condition(&mut instance.status.conditions, ready, now());
        report(instances.update_status(&instance).await.map(drop));
    }
}

/// Another change came between, and its event follows; or it is gone.
fn report(told: std::result::Result<(), model::ApiError>) {
    match told {
        Err(e) if !e.is_conflict() && !e.is_not_found() => eprintln!("a simulated host was not heard: {e}"),
        _ => {}
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or_default())
}

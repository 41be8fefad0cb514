//! Scheduling as a user meets it: from the first create to the moment a watch has seen every instance bound.
//! Server, store, controllers and scheduler are real and run in this process; the hosts are simulated.

use std::time::{Duration, Instant};

use client::{ChangeKind, Client, Verb, WatchStream};
use controllers::Controllers;
use futures::StreamExt;
use model::compute::Instance;
use serde::Deserialize;

use crate::Result;
use crate::plane::{self, Plane};
use crate::report::{Row, Verdict, number};
use crate::store::spread;

const HOSTS: usize = 5_000;
const INSTANCES: usize = 50_000;
const RUNS: usize = 3;
/// What kube-scheduler's continuous integration demands of itself, in pods per second (published).
const KUBE_SCHEDULER: f64 = 810.0;
const GOAL: f64 = 12_000.0;
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        rates.push(INSTANCES as f64 / run().await?.as_secs_f64());
    }
    let rate = spread(rates);
    let ratio = |rate: f64| rate / KUBE_SCHEDULER;
    Ok(vec![Row {
        what: format!(
            "{INSTANCES} instances onto {HOSTS} simulated hosts, first create to last binding seen"
        ),
        corten: format!("{}/s ({} to {})", number(rate.median), number(rate.min), number(rate.max)),
        peer: format!("kube-scheduler's CI floor: {KUBE_SCHEDULER}/s (published)"),
        ratio: format!("{:.1}x ({:.1}x to {:.1}x)", ratio(rate.median), ratio(rate.min), ratio(rate.max)),
        goal: ">= 12 k/s".into(),
        verdict: Verdict::of(rate.median >= GOAL),
        note: format!(
            "{RUNS} runs, each on a new store. Creates are authorized, validated and audited like any, from within \
             the process; creating, placing, binding (each binding a transaction with its fdatasync) and all \
             controllers share the cores. The published floor is of other hardware, has creation done before, and \
             its pods come one API call each over the network."
        ),
    }])
}

async fn run() -> Result<Duration> {
    let plane = Plane::start().await?;
    plane.add_hosts(HOSTS).await?;
    let _controllers = Controllers::start(&plane.context());
    // The scheduler leads and knows all hosts once it has bound one.
    let mut changes = watch(&plane.administrator()).await?;
    create(plane.administrator(), "first".into()).await?;
    bindings(&mut changes, 1).await?;

    let started = Instant::now();
    let watching = tokio::spawn(async move { bindings(&mut changes, INSTANCES).await });
    plane.each(INSTANCES, |client, number| create(client, format!("instance-{number:06}"))).await?;
    tokio::time::timeout(PATIENCE, watching).await???;
    Ok(started.elapsed())
}

async fn create(client: Client, name: String) -> Result<()> {
    client.project::<Instance>("default").create(&plane::instance(name)).await?;
    Ok(())
}

async fn watch(client: &Client) -> Result<WatchStream> {
    Ok(client.transport().watch(client.all::<Instance>().request(Verb::Watch, "")).await?)
}

/// Returns when so many instances have been seen to get a host. Without preemption each gets one once.
async fn bindings(changes: &mut WatchStream, count: usize) -> Result<()> {
    let mut bound = 0;
    while bound < count {
        let event = changes.next().await.ok_or("the watch ended early")??;
        if event.kind == ChangeKind::Modified && has_host(&event.object)? {
            bound += 1;
        }
    }
    Ok(())
}

fn has_host(object: &[u8]) -> Result<bool> {
    #[derive(Deserialize)]
    struct Object {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        host: String,
    }
    Ok(!serde_json::from_slice::<Object>(object)?.status.host.is_empty())
}

//! Durable writes through the whole API: HTTPS, authentication, authorization, admission, audit, store; beside
//! etcd's own API, under the load of its own tool and under that of a client as light as ours. Not equal, in etcd's
//! favour: it speaks without TLS and without authentication, and stores bytes it does not look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{Api, Client};
use model::event::{Event, EventSource, ObjectReference};
use model::{ObjectMeta, Uid};

use crate::Result;
use crate::cloud::{self, Cloud};
use crate::load::{self, Measured};
use crate::report::{Row, Verdict, number, times};
use crate::store::etcd::Etcd;
use crate::store::{self, Spread, spread};

const PAIRS: usize = 7;
/// Concurrent callers, and the HTTP/2 connections they share.
const CALLERS: usize = 256;
const CONNECTIONS: usize = 8;
const EACH: Duration = Duration::from_secs(3);
/// Part of the closed loop's throughput at which latency is measured, in an open loop.
const OPEN_LOAD: f64 = 0.5;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let cloud = Cloud::up()?;
    let corten = Corten::connect(&cloud)?;
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push(Pair { corten: corten.measure(cloud.pid()?).await?, etcd: etcd().await? });
    }
    let ratio =
        spread(pairs.iter().map(|pair| pair.corten.closed.per_second() / pair.etcd.closed.per_second()));
    let theirs = store::etcd_check_perf().await?;
    let own_tool = spread(pairs.iter().map(|pair| pair.corten.closed.per_second() / theirs.per_second()));
    let p99 = of(&pairs, |pair| pair.corten.open.permille_ms(990));
    Ok(vec![
        Row {
            what: format!("durable creates of 1 KiB objects over HTTPS, {CALLERS} callers"),
            corten: side(&pairs, |pair| &pair.corten),
            peer: format!(
                "etcd 3.4 over gRPC, its own `etcdctl check perf --load=l`: {}/s",
                number(theirs.per_second())
            ),
            ratio: times(own_tool),
            goal: ">= 2x".into(),
            verdict: Verdict::of(own_tool.median >= 2.0),
            note: "the load of the first row of `store` through the whole API of each; etcd's tool runs right after the \
                   pairs of the row below, and takes most of the processors for itself."
                .into(),
        },
        Row {
            what: "the same beside etcd under a client as light as ours".into(),
            corten: side(&pairs, |pair| &pair.corten),
            peer: format!("etcd 3.4 over gRPC without TLS: {}", side(&pairs, |pair| &pair.etcd)),
            ratio: times(ratio),
            note: format!(
                "Events of 1 KiB by the typed client over {CONNECTIONS} HTTP/2 connections with client certificates, \
                 each authorized, validated and audited; etcd gets puts of 1 KiB over 100 connections and has the \
                 advantage of neither TLS nor authentication. Both clients run on the same cores. Closed loop."
            ),
            ..Row::default()
        },
        Row {
            what: "the same at half that rate: 99 of 100 answered within".into(),
            corten: format!("{:.1} ms ({:.1} to {:.1})", p99.median, p99.min, p99.max),
            peer: format!(
                "etcd at half its own: {:.1} ms",
                of(&pairs, |pair| pair.etcd.open.permille_ms(990)).median
            ),
            goal: "<= 20 ms".into(),
            verdict: Verdict::of(p99.median <= 20.0),
            note: "open loop: a call's time counts from when it was due.".into(),
            ..Row::default()
        },
    ])
}

struct Pair {
    corten: Side,
    etcd: Side,
}

struct Side {
    closed: Measured,
    /// What the server's process spent per write of the closed loop, in microseconds of processor time.
    cpu_us: f64,
    open: Measured,
}

fn side(pairs: &[Pair], side: fn(&Pair) -> &Side) -> String {
    let rate = of(pairs, |pair| side(pair).closed.per_second());
    let p99 = of(pairs, |pair| side(pair).closed.permille_ms(990));
    let cpu = of(pairs, |pair| side(pair).cpu_us);
    format!(
        "{}/s, p99 {:.0} ms, {:.0} us of the server's cpu each",
        number(rate.median),
        p99.median,
        cpu.median
    )
}

fn per_call_us(pid: u32, before: Duration, measured: &Measured) -> Result<f64> {
    let spent = cloud::processor_time(pid)?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / measured.count() as f64)
}

fn of(pairs: &[Pair], value: impl Fn(&Pair) -> f64) -> Spread {
    spread(pairs.iter().map(value))
}

/// Callers of one cloud. Names never repeat.
#[derive(Clone)]
struct Corten {
    connections: Arc<[Client]>,
    next: Arc<AtomicU64>,
}

impl Corten {
    fn connect(cloud: &Cloud) -> Result<Self> {
        let connections: Result<Arc<[Client]>> = (0..CONNECTIONS).map(|_| cloud.connect()).collect();
        Ok(Self { connections: connections?, next: Arc::default() })
    }

    async fn measure(&self, server: u32) -> Result<Side> {
        let create = {
            let corten = self.clone();
            move |caller: usize, _: u64| {
                let corten = corten.clone();
                async move { corten.create(caller).await }
            }
        };
        let before = cloud::processor_time(server)?;
        let closed = load::closed(CALLERS, EACH, create.clone()).await?;
        let cpu_us = per_call_us(server, before, &closed)?;
        let open = load::open(closed.per_second() * OPEN_LOAD, EACH, create).await?;
        Ok(Side { closed, cpu_us, open })
    }

    async fn create(&self, caller: usize) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let events: Api<Event> = self.connections[caller % CONNECTIONS].project("default");
        events.create(&event(number)).await?;
        Ok(())
    }
}

async fn etcd() -> Result<Side> {
    let etcd = Arc::new(Etcd::start().await?);
    let writers = Arc::new(etcd.writers(CALLERS).await?);
    let next = Arc::new(AtomicU64::new(0));
    let put = move |caller: usize, _: u64| {
        let (writers, next) = (Arc::clone(&writers), Arc::clone(&next));
        async move { Ok(writers.put(caller, next.fetch_add(1, Ordering::Relaxed)).await?) }
    };
    let before = cloud::processor_time(etcd.pid())?;
    let closed = load::closed(CALLERS, EACH, put.clone()).await?;
    let cpu_us = per_call_us(etcd.pid(), before, &closed)?;
    let open = load::open(closed.per_second() * OPEN_LOAD, EACH, put).await?;
    drop(etcd);
    Ok(Side { closed, cpu_us, open })
}

/// About 1 KiB as stored.
pub(crate) fn event(number: u64) -> Event {
    Event {
        metadata: ObjectMeta::in_project("default", format!("measured-{number:012}")),
        involved_object: ObjectReference {
            api_version: "compute.corten.dev/v1".into(),
            kind: "Instance".into(),
            namespace: "default".into(),
            name: "measured".into(),
            uid: Uid::from_random([7; 16]),
            ..ObjectReference::default()
        },
        reason: "Measured".into(),
        message: "m".repeat(500),
        source: EventSource { component: "bench".into(), host: String::new() },
        count: 1,
        severity: "Normal".into(),
        ..Event::default()
    }
}

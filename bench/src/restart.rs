//! The death of the server: `kill -9` while it holds 100,000 objects and many callers write, a new process at once,
//! and the time until a write succeeds again. Afterwards every write that was ever acknowledged must be there.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::Verb;
use model::event::Event;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::Result;
use crate::api::event;
use crate::cloud::{self, Cloud};
use crate::load;
use crate::report::{Row, Verdict};
use crate::store::etcd::Etcd;
use crate::store::{Spread, spread};

const OBJECTS: u64 = 100_000;
const FILLERS: usize = 256;
const KILLS: usize = 5;
const WRITERS: usize = 32;
const CONNECTIONS: usize = 4;
/// How long writers write before the next kill: every write is one object more, and their number is to stay near
/// [`OBJECTS`].
const LOAD: Duration = Duration::from_millis(250);
/// Between two attempts of a writer that cannot reach the server.
const RETRY: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);
const GOAL_MS: f64 = 150.0;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let (corten, acknowledged) = corten().await?;
    let etcd = etcd().await?;
    Ok(vec![Row {
        what: format!("`kill -9` of the server with {OBJECTS} objects, under writes, to the next good write"),
        corten: format!("{:.0} ms ({:.0} to {:.0})", corten.median, corten.min, corten.max),
        peer: format!("etcd 3.4: {:.0} ms ({:.0} to {:.0})", etcd.median, etcd.min, etcd.max),
        ratio: format!("{:.1}x", etcd.median / corten.median),
        goal: "<= 150 ms, none lost".into(),
        verdict: Verdict::of(corten.median <= GOAL_MS),
        note: format!(
            "{KILLS} kills under {WRITERS} writers who call again every millisecond until they succeed; the new \
             process starts the moment the old one is dead. The whole daemon starts, with its controllers and agent, \
             and the write comes over a new TLS connection; etcd's over plain gRPC. After the kills all of the \
             {acknowledged} writes that had been acknowledged were looked for and found: the row fails if one is \
             missing."
        ),
    }])
}

/// Writers over one store, and what they were told.
#[derive(Default)]
struct Writers {
    attempts: AtomicU64,
    done: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    acknowledged: Vec<u64>,
    /// When the last killed process was known to be dead.
    dead: Option<Instant>,
    /// The first acknowledgement since then of a write that was begun since then.
    first: Option<Instant>,
}

impl Writers {
    /// Writes until told to stop. What fails is given up: nobody knows whether it was written.
    async fn run<Fut: Future<Output = Result<()>>>(&self, write: impl Fn(u64) -> Fut) {
        while !self.done.load(Ordering::Relaxed) {
            let number = OBJECTS + self.attempts.fetch_add(1, Ordering::Relaxed);
            let begun = Instant::now();
            if write(number).await.is_ok() {
                let now = Instant::now();
                let mut told = self.told.lock();
                told.acknowledged.push(number);
                if told.dead.is_some_and(|dead| begun > dead) {
                    told.first.get_or_insert(now);
                }
            } else {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Kills so often, and measures the silence after each.
    async fn kills(&self, mut kill_and_start: impl FnMut() -> Result<()>) -> Result<Spread> {
        let silences = self.silences(&mut kill_and_start).await;
        self.done.store(true, Ordering::Relaxed);
        silences.map(spread)
    }

    async fn silences(&self, kill_and_start: &mut impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
        let mut silences = Vec::new();
        for _ in 0..KILLS {
            tokio::time::sleep(LOAD).await;
            let killed = Instant::now();
            kill_and_start()?;
            {
                let mut told = self.told.lock();
                (told.dead, told.first) = (Some(Instant::now()), None);
            }
            let first = loop {
                match self.told.lock().first {
                    Some(first) => break first,
                    None if killed.elapsed() > PATIENCE => {
                        return Err("no write succeeded within 60 s".into());
                    }
                    None => {}
                }
                tokio::time::sleep(RETRY).await;
            };
            silences.push((first - killed).as_secs_f64() * 1e3);
        }
        Ok(silences)
    }
}

async fn corten() -> Result<(Spread, usize)> {
    let cloud = Cloud::up()?;
    let clients: Result<Vec<_>> = (0..CONNECTIONS).map(|_| cloud.connect()).collect();
    let clients = Arc::new(clients?);
    let create = {
        let clients = Arc::clone(&clients);
        move |number: u64| {
            let events =
                clients[usize::try_from(number).unwrap_or(0) % CONNECTIONS].project::<Event>("default");
            async move {
                events.create(&event(number)).await?;
                Result::Ok(())
            }
        }
    };
    load::times(FILLERS, OBJECTS, create.clone()).await?;
    let writers = Arc::new(Writers::default());
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (writers, create) = (Arc::clone(&writers), create.clone());
            tokio::spawn(async move { writers.run(create).await })
        })
        .collect();
    let mut daemon = None;
    let silence = writers
        .kills(|| {
            let next = cloud.kill_and_spawn(daemon.take())?;
            daemon = Some(next);
            Ok(())
        })
        .await;
    for task in tasks {
        task.await?;
    }
    let lost = lost(&cloud, &writers).await;
    if let Some(daemon) = daemon {
        cloud::end(daemon)?;
    }
    let (silence, (lost, acknowledged)) = (silence?, lost?);
    if lost > 0 {
        return Err(format!("{lost} of {acknowledged} acknowledged writes were lost").into());
    }
    Ok((silence, acknowledged))
}

async fn etcd() -> Result<Spread> {
    let mut etcd = Etcd::start().await?;
    let connection = Arc::new(etcd.writers(WRITERS).await?);
    let put = move |number| {
        let connection = Arc::clone(&connection);
        async move { Ok(connection.put(usize::try_from(number)?, number).await?) }
    };
    load::times(FILLERS, OBJECTS, put).await?;
    let writers = Arc::new(Writers::default());
    let address = etcd.address();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let writers = Arc::clone(&writers);
            tokio::spawn(async move {
                // A broken connection is made anew, as the typed client does.
                let connection = tokio::sync::Mutex::new(None);
                let connection = &connection;
                writers
                    .run(|number| async move {
                        let mut slot = connection.lock().await;
                        let open = match slot.take() {
                            Some(open) => open,
                            None => Etcd::connect_to(address).await?,
                        };
                        open.put(writer, number).await?;
                        *slot = Some(open);
                        Ok(())
                    })
                    .await;
            })
        })
        .collect();
    let silence = writers.kills(|| Ok(etcd.kill_and_start()?)).await;
    for task in tasks {
        task.await?;
    }
    silence
}

/// How many acknowledged writes are missing, and how many there were.
async fn lost(cloud: &Cloud, writers: &Writers) -> Result<(usize, usize)> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
    }
    let client = cloud.connect()?;
    let request = client.project::<Event>("default").request(Verb::List, "");
    let reply = client.transport().call(request).await?;
    let page: Page = serde_json::from_slice(&reply.body)?;
    let found: HashSet<String> = page.items.into_iter().map(|item| item.metadata.name).collect();
    let acknowledged = writers.told.lock().acknowledged.clone();
    let all = (0..OBJECTS).chain(acknowledged.iter().copied());
    let lost = all.filter(|number| !found.contains(&event(*number).metadata.name)).count();
    Ok((lost, acknowledged.len() + usize::try_from(OBJECTS)?))
}

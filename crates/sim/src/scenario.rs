//! One run: a cloud is started, lives through rough weather, and is judged in calm weather.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cloud::Cloud;
use crate::dice::Dice;
use crate::mischief::Mischief;
use crate::networks;
use crate::outside::Outside;
use crate::users::Users;
use crate::verdict::complaints;

/// How often all machines are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the cloud may take to become as wanted: longer than every backoff in it.
const SETTLE_MAX: Duration = Duration::from_secs(40 * 60);
/// How long it must stay so.
const STAY: Duration = Duration::from_secs(6 * 60);
const JUDGE_EVERY: Duration = Duration::from_secs(20);

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub seed: u64,
    /// How long users and mischief act.
    pub rough: Duration,
    /// Guests have network cards, and users make networks.
    pub networked: bool,
    /// Print every commit, to find where two histories part.
    pub traced: bool,
}

/// What a run was like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Of every commit with its time: the same seed gives the same.
    pub hash: u64,
    pub commits: u64,
    pub virtual_time: Duration,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

/// A promise that was broken.
#[derive(Debug, Clone, thiserror::Error)]
#[error("seed {seed}, after {at:?}: {what}")]
pub struct Violation {
    pub seed: u64,
    pub at: Duration,
    pub what: String,
}

/// Runs one simulation to its end.
pub fn run(options: Options) -> Result<Report, Violation> {
    let failed = |what: String| Violation { seed: options.seed, at: Duration::ZERO, what };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| failed(e.to_string()))?;
    let dir = tempfile::tempdir().map_err(|e| failed(e.to_string()))?;
    count_panics();
    PANICS.set(0);
    runtime.block_on(async {
        let start = Instant::now();
        let dice = Dice::new(options.seed);
        let cloud = Cloud::new(&dice, dir.path().to_owned(), options).map_err(|e| failed(e.to_string()))?;
        let outcome = live(&cloud, &dice, options).await;
        let at = start.elapsed();
        outcome.map_err(|what| Violation { seed: options.seed, at, what })?;
        Ok(Report {
            hash: cloud.ledger.hash(),
            commits: cloud.ledger.commits(),
            virtual_time: at,
            counts: cloud.weather.counts(),
        })
    })
}

async fn live(cloud: &Arc<Cloud>, dice: &Dice, options: Options) -> Result<(), String> {
    let _watch = JoinSet::from_iter([watch(Arc::clone(cloud))]);
    cloud.control.start().await;
    for _ in 0..dice.within(3..6) {
        cloud.add_host();
    }
    let users = Users::new(Arc::clone(cloud), dice.fork());
    let mischief = Mischief::new(Arc::clone(cloud), dice.fork());
    let outside = Outside::new(Arc::clone(cloud), &users, options.networked.then(|| dice.fork()));
    outside.begin().await.map_err(|e| e.to_string())?;
    for _ in 0..dice.within(1..3) {
        users.create_project().await.map_err(|e| e.to_string())?;
    }
    rough(cloud, dice, options.rough, (&users, &outside), &mischief).await?;
    calm(cloud, &users, &mischief).await?;
    if options.networked {
        users.delete_everything().await.map_err(|e| e.to_string())?;
        calm(cloud, &users, &mischief).await?;
        let left = networks::left(cloud).await.map_err(|e| e.to_string())?;
        if !left.is_empty() {
            return Err(format!("when everything was deleted:\n  {}", left.join("\n  ")));
        }
    }
    Ok(())
}

async fn watch(cloud: Arc<Cloud>) {
    loop {
        cloud.watch_machines();
        sleep(LOOK_EVERY).await;
    }
}

/// Users and mischief act until the time is over, and finish what they began.
async fn rough(
    cloud: &Cloud,
    dice: &Dice,
    lasts: Duration,
    (users, outside): (&Users, &Outside),
    mischief: &Mischief,
) -> Result<(), String> {
    let end = Instant::now() + lasts;
    cloud.weather.set_rough(true);
    let mut under_way = JoinSet::new();
    while Instant::now() < end {
        if dice.per_mille(150) {
            under_way.spawn(mischief.clone().act());
        } else if outside.wants_to_act() {
            under_way.spawn(outside.clone().act());
        } else {
            under_way.spawn(users.clone().act());
        }
        sleep(dice.millis(1..2500)).await;
        while under_way.try_join_next().is_some() {}
        unbroken(cloud)?;
    }
    cloud.weather.set_rough(false);
    cloud.weather.set_store_full(false);
    under_way.join_all().await;
    unbroken(cloud)
}

/// Nothing goes wrong any more: the cloud becomes as wanted, and stays so.
async fn calm(cloud: &Cloud, users: &Users, mischief: &Mischief) -> Result<(), String> {
    mischief.make_good().await;
    for name in cloud.scrapped() {
        users.forget_host(&name).await.map_err(|e| e.to_string())?;
    }
    let deadline = Instant::now() + SETTLE_MAX;
    let mut content_since = None;
    loop {
        unbroken(cloud)?;
        let complaints = complaints(cloud).await.map_err(|e| e.to_string())?;
        if complaints.is_empty() {
            let since = *content_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= STAY {
                return Ok(());
            }
        } else {
            content_since = None;
            if Instant::now() > deadline {
                return Err(format!("when all was calm again:\n  {}", complaints.join("\n  ")));
            }
        }
        sleep(JUDGE_EVERY).await;
    }
}

fn unbroken(cloud: &Cloud) -> Result<(), String> {
    if PANICS.get() > 0 {
        return Err("a part of the cloud panicked; its message is above".into());
    }
    cloud.ledger.broken().map_or(Ok(()), Err)
}

thread_local! {
    /// Panics of tasks on this thread: the runtime would swallow them.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            usual(info);
        }));
    });
}

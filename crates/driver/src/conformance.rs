//! What every compute driver must do, as one suite: a driver's tests bring a [`Bench`] and call [`run`]. It
//! panics with a sentence at the first promise that is broken.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::Uid;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::{ComputeDriver, DriverError, Observed, Plan, SandboxState, StopMode};

/// A promise that takes longer than this is broken; emulated guests on a busy machine are slow.
const PATIENCE: Duration = Duration::from_mins(1);
/// Time a payload that listens has to end.
const GRACE_SECONDS: u32 = 45;
/// Time a payload that does not listen is given.
const SHORT_GRACE_SECONDS: u32 = 1;

/// What the suite needs of a driver under test.
#[async_trait]
pub trait Bench: Send + Sync {
    /// A new driver object on the same host, as after a restart of its process.
    fn driver(&self) -> Arc<dyn ComputeDriver>;

    /// The plan of a new sandbox, whose payload runs until it is asked to end.
    fn plan(&self) -> Plan;

    /// The plan of a new sandbox, whose payload does not end when asked to.
    fn stubborn_plan(&self) -> Plan;

    /// Makes the payload of a sandbox made from [`Self::stubborn_plan`] end by itself, successfully.
    async fn finish(&self, driver: &dyn ComputeDriver, uid: &Uid);

    /// What is left on the host of a deleted sandbox: processes, groups, files, in words. Must be empty.
    fn leftovers(&self, plan: &Plan) -> Vec<String>;
}

/// Holds the driver to all its promises, one after another.
pub async fn run(bench: &dyn Bench) {
    unknown_sandboxes(bench).await;
    life(bench).await;
    stubborn_payload(bench).await;
    adoption(bench).await;
}

/// What does not exist is not found, and may be deleted.
async fn unknown_sandboxes(bench: &dyn Bench) {
    let driver = bench.driver();
    let uid = bench.plan().uid;
    assert!(matches!(driver.observe(&uid).await, Err(DriverError::NotFound(_))), "observing the unknown");
    let stopped = driver.stop(&uid, StopMode::Kill).await;
    assert!(matches!(stopped, Err(DriverError::NotFound(_))), "stopping the unknown: {stopped:?}");
    driver.delete(&uid).await.expect("deleting the unknown succeeds");
    let info = driver.probe().await.expect("probe");
    assert!(!info.cells.is_empty(), "a driver that works serves a cell");
    assert!(info.cells.contains(&bench.plan().cell), "the bench's plan is of a cell that the driver serves");
}

/// Start, start again, pause, resume, reset, graceful stop, start after the end, delete, delete again.
async fn life(bench: &dyn Bench) {
    let driver = bench.driver();
    let plan = bench.plan();
    let first = driver.ensure(&plan).await.expect("ensure");
    assert_runs(&first, &plan.uid);
    let again = driver.ensure(&plan).await.expect("ensure again");
    assert_eq!(identity(&first), identity(&again), "ensuring what runs starts nothing");
    let (left, right) = tokio::join!(driver.ensure(&plan), driver.ensure(&plan));
    assert_eq!(identity(&left.expect("ensure")), identity(&right.expect("ensure")), "at the same time");
    assert_listed(&*driver, &plan.uid).await;

    if supported(driver.pause(&plan.uid).await, "pause") {
        assert_eq!(state(&*driver, &plan.uid).await, SandboxState::Paused);
        driver.pause(&plan.uid).await.expect("pausing what is paused succeeds");
        let paused = driver.ensure(&plan).await.expect("ensure");
        assert_eq!(identity(&first), identity(&paused), "ensuring what is paused starts nothing");
        driver.resume(&plan.uid).await.expect("resume");
        assert_eq!(state(&*driver, &plan.uid).await, SandboxState::Running);
    }
    if supported(driver.reset(&plan.uid).await, "reset") {
        assert_eq!(state(&*driver, &plan.uid).await, SandboxState::Running, "a reset payload runs");
    }

    let graceful = StopMode::Graceful { seconds: GRACE_SECONDS };
    driver.stop(&plan.uid, graceful).await.expect("graceful stop");
    let ended = driver.observe(&plan.uid).await.expect("observe");
    assert_eq!(ended.state, SandboxState::Exited(Some(0)), "asked to end, it ended well: {}", ended.message);
    assert_eq!((ended.pid, ended.message.as_str()), (None, ""), "it did not fail");
    driver.stop(&plan.uid, StopMode::Kill).await.expect("stopping what has ended succeeds");
    let wrong = driver.pause(&plan.uid).await;
    let refused = matches!(wrong, Err(DriverError::WrongState(_) | DriverError::Unsupported { .. }));
    assert!(refused, "pausing what has ended: {wrong:?}");

    let second = driver.ensure(&plan).await.expect("ensure after the end");
    assert_runs(&second, &plan.uid);
    assert_ne!(identity(&first), identity(&second), "a new process");
    delete(bench, &*driver, &plan).await;
    driver.delete(&plan.uid).await.expect("deleting again succeeds");
}

/// A payload that does not listen is killed when its time is over; one that ends by itself is noticed.
async fn stubborn_payload(bench: &dyn Bench) {
    let driver = bench.driver();
    let plan = bench.stubborn_plan();
    driver.ensure(&plan).await.expect("ensure");
    let stop = driver.stop(&plan.uid, StopMode::Graceful { seconds: SHORT_GRACE_SECONDS });
    timeout(PATIENCE, stop).await.expect("stop returns though the payload does not listen").expect("stop");
    let ended = state(&*driver, &plan.uid).await;
    assert!(matches!(ended, SandboxState::Exited(code) if code != Some(0)), "it was killed: {ended:?}");

    driver.ensure(&plan).await.expect("ensure after the kill");
    let mut changes = driver.changes();
    bench.finish(&*driver, &plan.uid).await;
    let ended = changed_to_end(&*driver, &mut changes, &plan.uid).await;
    assert_eq!(ended.state, SandboxState::Exited(Some(0)), "it ended by itself, well: {}", ended.message);
    delete(bench, &*driver, &plan).await;
}

/// Whoever comes after the driver object takes over what runs, and is told what becomes of it.
async fn adoption(bench: &dyn Bench) {
    let (one, two) = (bench.plan(), bench.stubborn_plan());
    let before = bench.driver();
    let first = before.ensure(&one).await.expect("ensure");
    before.ensure(&two).await.expect("ensure");
    drop(before);

    let after = bench.driver();
    let mut changes = after.changes();
    assert_listed(&*after, &one.uid).await;
    assert_listed(&*after, &two.uid).await;
    let adopted = after.ensure(&one).await.expect("ensure by another driver object");
    assert_eq!(identity(&first), identity(&adopted), "adopted, not started again");
    after.stop(&two.uid, StopMode::Kill).await.expect("kill what was adopted");
    let killed = changed_to_end(&*after, &mut changes, &two.uid).await;
    assert_eq!(killed.message, "", "it was killed on request, which is no failure");
    delete(bench, &*after, &one).await;
    delete(bench, &*after, &two).await;
}

async fn delete(bench: &dyn Bench, driver: &dyn ComputeDriver, plan: &Plan) {
    driver.delete(&plan.uid).await.expect("delete");
    let gone = driver.observe(&plan.uid).await;
    assert!(matches!(gone, Err(DriverError::NotFound(_))), "deleted means not found: {gone:?}");
    let list = driver.list().await.expect("list");
    assert!(list.iter().all(|observed| observed.uid != plan.uid), "deleted means not listed");
    assert_eq!(bench.leftovers(plan), Vec::<String>::new(), "delete leaves nothing");
}

/// Waits for the news that the payload has ended.
async fn changed_to_end(
    driver: &dyn ComputeDriver,
    changes: &mut broadcast::Receiver<Uid>,
    uid: &Uid,
) -> Observed {
    let news = async {
        loop {
            let changed = changes.recv().await.expect("changes are announced");
            let observed = driver.observe(uid).await.expect("observe");
            if changed == *uid && matches!(observed.state, SandboxState::Exited(_)) {
                return observed;
            }
        }
    };
    timeout(PATIENCE, news).await.expect("the end of a payload is announced")
}

async fn assert_listed(driver: &dyn ComputeDriver, uid: &Uid) {
    let list = driver.list().await.expect("list");
    let found = list.iter().find(|observed| observed.uid == *uid).expect("what runs is listed");
    assert_runs(found, uid);
}

fn assert_runs(observed: &Observed, uid: &Uid) {
    assert_eq!(observed.uid, *uid);
    assert_eq!(observed.state, SandboxState::Running, "{}", observed.message);
    assert!(observed.started_at.is_some(), "what runs was started some time");
}

/// What is the same as long as it is the same run of the same sandbox.
fn identity(observed: &Observed) -> (Option<u32>, Option<model::Timestamp>) {
    (observed.pid, observed.started_at)
}

async fn state(driver: &dyn ComputeDriver, uid: &Uid) -> SandboxState {
    driver.observe(uid).await.expect("observe").state
}

/// False when the driver says that it does not do this.
fn supported(result: Result<(), DriverError>, what: &str) -> bool {
    match result {
        Ok(()) => true,
        Err(DriverError::Unsupported { .. }) => false,
        Err(e) => panic!("{what}: {e}"),
    }
}

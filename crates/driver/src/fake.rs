//! A driver without a hypervisor: sandboxes are entries of a table that outlives driver objects, as real ones
//! outlive the process that started them. For simulations and tests: it obeys scripts and virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::compute::Cell;
use model::{Timestamp, Uid};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, sleep, timeout};

use crate::{ComputeDriver, DriverError, DriverInfo, Observed, Plan, SandboxState, StopMode};

/// Changes a slow receiver may lag behind before it must list.
const BACKLOG: usize = 1024;
/// How long an operation on a sandbox that hangs takes to give up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The host that fake sandboxes run on. Clones are the same host; it survives every [`FakeDriver`].
#[derive(Debug, Clone)]
pub struct FakeMachine(Arc<Mutex<Table>>);

/// How a fake sandbox behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// How long the payload takes to start.
    pub start: Duration,
    /// How long it takes to stop when asked; `None` when it does not listen.
    pub shutdown: Option<Duration>,
}

impl Default for Manners {
    fn default() -> Self {
        Self { start: Duration::ZERO, shutdown: Some(Duration::ZERO) }
    }
}

#[derive(Debug)]
struct Table {
    name: &'static str,
    cells: Vec<Cell>,
    born: Instant,
    next_pid: u32,
    manners: Manners,
    failures: VecDeque<DriverError>,
    sandboxes: BTreeMap<Uid, Sandbox>,
    changes: broadcast::Sender<Uid>,
    /// For those who wait for a change; it wakes them in their order, so that a run can be repeated.
    ticks: Arc<Notify>,
}

#[derive(Debug)]
struct Sandbox {
    plan: Plan,
    state: SandboxState,
    pid: Option<u32>,
    started_at: Option<Timestamp>,
    message: String,
    starts: u32,
    hangs: bool,
    manners: Manners,
}

impl FakeMachine {
    /// A host whose driver has this name and serves these cells.
    pub fn new(name: &'static str, cells: Vec<Cell>) -> Self {
        Self(Arc::new(Mutex::new(Table {
            name,
            cells,
            born: Instant::now(),
            next_pid: 1000,
            manners: Manners::default(),
            failures: VecDeque::new(),
            sandboxes: BTreeMap::new(),
            changes: broadcast::Sender::new(BACKLOG),
            ticks: Arc::default(),
        })))
    }

    /// How sandboxes made from now on behave.
    pub fn set_manners(&self, manners: Manners) {
        self.0.lock().manners = manners;
    }

    /// How an existing sandbox behaves from now on.
    pub fn set_manners_of(&self, uid: &Uid, manners: Manners) {
        self.change(uid, |sandbox| sandbox.manners = manners);
    }

    /// The next start that is asked for fails with this; several queue up.
    pub fn fail_next_start(&self, error: DriverError) {
        self.0.lock().failures.push_back(error);
    }

    /// The payload ends by itself.
    pub fn exit(&self, uid: &Uid, code: Option<i32>, message: &str) {
        self.change(uid, |sandbox| sandbox.end(code, message));
    }

    /// The sandbox stops answering, or answers again.
    pub fn hang(&self, uid: &Uid, hangs: bool) {
        self.change(uid, |sandbox| sandbox.hangs = hangs);
    }

    /// The power fails: everything that runs has ended, nobody is told.
    pub fn crash(&self) {
        for sandbox in self.0.lock().sandboxes.values_mut().filter(|sandbox| sandbox.is_up()) {
            sandbox.end(None, "the host was restarted");
        }
    }

    /// How often a sandbox's payload was started.
    pub fn starts(&self, uid: &Uid) -> u32 {
        self.0.lock().sandboxes.get(uid).map_or(0, |sandbox| sandbox.starts)
    }

    /// The plans of all sandboxes whose payload is up.
    pub fn running(&self) -> Vec<Plan> {
        let table = self.0.lock();
        table
            .sandboxes
            .values()
            .filter(|sandbox| sandbox.is_up())
            .map(|sandbox| sandbox.plan.clone())
            .collect()
    }

    fn change(&self, uid: &Uid, change: impl FnOnce(&mut Sandbox)) {
        let mut table = self.0.lock();
        if let Some(sandbox) = table.sandboxes.get_mut(uid) {
            change(sandbox);
        }
        table.announce(uid);
    }
}

impl Table {
    fn announce(&self, uid: &Uid) {
        // That nobody listens is fine.
        let _ = self.changes.send(uid.clone());
        self.ticks.notify_waiters();
    }

    fn find(&mut self, uid: &Uid) -> Result<&mut Sandbox, DriverError> {
        self.sandboxes.get_mut(uid).ok_or_else(|| DriverError::NotFound(uid.to_string()))
    }

    fn now(&self) -> Timestamp {
        Timestamp(i64::try_from(self.born.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// Starts what does not run.
    fn start(&mut self, plan: &Plan) -> Result<(), DriverError> {
        if self.sandboxes.get(&plan.uid).is_some_and(Sandbox::is_up) {
            return Ok(());
        }
        if let Some(failure) = self.failures.pop_front() {
            return Err(failure);
        }
        let (pid, now, manners) = (self.next_pid, self.now(), self.manners);
        self.next_pid += 1;
        let sandbox = self.sandboxes.entry(plan.uid.clone()).or_insert_with(|| Sandbox::new(plan, manners));
        sandbox.plan = plan.clone();
        sandbox.state = SandboxState::Running;
        sandbox.pid = Some(pid);
        sandbox.started_at = Some(now);
        sandbox.message.clear();
        sandbox.starts += 1;
        self.announce(&plan.uid);
        Ok(())
    }
}

impl Sandbox {
    fn new(plan: &Plan, manners: Manners) -> Self {
        Self {
            plan: plan.clone(),
            state: SandboxState::Created,
            pid: None,
            started_at: None,
            message: String::new(),
            starts: 0,
            hangs: false,
            manners,
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.state, SandboxState::Running | SandboxState::Paused)
    }

    fn end(&mut self, code: Option<i32>, message: &str) {
        self.state = SandboxState::Exited(code);
        self.pid = None;
        self.hangs = false;
        message.clone_into(&mut self.message);
    }

    fn observed(&self) -> Observed {
        Observed {
            uid: self.plan.uid.clone(),
            state: if self.hangs { SandboxState::Unknown } else { self.state },
            pid: self.pid,
            started_at: self.started_at,
            message: self.message.clone(),
            containers: Vec::new(),
        }
    }
}

/// A driver object on a [`FakeMachine`].
#[derive(Debug)]
pub struct FakeDriver {
    machine: FakeMachine,
}

impl FakeDriver {
    pub fn new(machine: FakeMachine) -> Self {
        Self { machine }
    }

    /// What all operations on something that runs have in common.
    async fn act(
        &self,
        uid: &Uid,
        what: &str,
        act: impl FnOnce(&mut Sandbox) + Send,
    ) -> Result<(), DriverError> {
        let hangs = self.machine.0.lock().find(uid)?.hangs;
        if hangs {
            sleep(PATIENCE).await;
            return Err(DriverError::TimedOut { what: what.to_owned(), seconds: PATIENCE.as_secs() });
        }
        let mut table = self.machine.0.lock();
        let sandbox = table.find(uid)?;
        if !sandbox.is_up() {
            return Err(DriverError::WrongState(format!("{uid} does not run")));
        }
        act(sandbox);
        table.announce(uid);
        Ok(())
    }

    /// Returns when the payload has ended, by whatever cause.
    async fn ended(&self, uid: &Uid) {
        let ticks = Arc::clone(&self.machine.0.lock().ticks);
        loop {
            let mut tick = std::pin::pin!(ticks.notified());
            tick.as_mut().enable();
            if !self.machine.0.lock().sandboxes.get(uid).is_some_and(Sandbox::is_up) {
                return;
            }
            tick.await;
        }
    }

    fn end(&self, uid: &Uid, code: Option<i32>) -> Result<(), DriverError> {
        let mut table = self.machine.0.lock();
        let sandbox = table.find(uid)?;
        if sandbox.is_up() {
            sandbox.end(code, "");
            table.announce(uid);
        }
        Ok(())
    }
}

#[async_trait]
impl ComputeDriver for FakeDriver {
    fn name(&self) -> &'static str {
        self.machine.0.lock().name
    }

    fn network_namespace(&self, uid: &Uid) -> Option<PathBuf> {
        Some(PathBuf::from(format!("/fake/sandboxes/{uid}")))
    }

    async fn probe(&self) -> Result<DriverInfo, DriverError> {
        let cells = self.machine.0.lock().cells.clone();
        Ok(DriverInfo { version: "fake".into(), cells, accelerator: String::new() })
    }

    async fn ensure(&self, plan: &Plan) -> Result<Observed, DriverError> {
        let (is_up, delay) = {
            let table = self.machine.0.lock();
            (table.sandboxes.get(&plan.uid).is_some_and(Sandbox::is_up), table.manners.start)
        };
        if !is_up {
            sleep(delay).await;
        }
        let mut table = self.machine.0.lock();
        table.start(plan)?;
        table.find(&plan.uid).map(|sandbox| sandbox.observed())
    }

    async fn list(&self) -> Result<Vec<Observed>, DriverError> {
        Ok(self.machine.0.lock().sandboxes.values().map(Sandbox::observed).collect())
    }

    async fn observe(&self, uid: &Uid) -> Result<Observed, DriverError> {
        self.machine.0.lock().find(uid).map(|sandbox| sandbox.observed())
    }

    async fn stop(&self, uid: &Uid, mode: StopMode) -> Result<(), DriverError> {
        let (is_up, listens) = {
            let mut table = self.machine.0.lock();
            let sandbox = table.find(uid)?;
            (sandbox.is_up(), sandbox.manners.shutdown.filter(|_| !sandbox.hangs))
        };
        if !is_up {
            return Ok(());
        }
        if let StopMode::Graceful { seconds } = mode {
            let grace = Duration::from_secs(seconds.into());
            let shutdown = async {
                match listens {
                    Some(needed) => sleep(needed).await,
                    None => std::future::pending().await,
                }
            };
            let over = timeout(grace, async {
                tokio::select! {
                    biased;
                    () = shutdown => Some(0),
                    () = self.ended(uid) => None,
                }
            });
            return self.end(uid, over.await.ok().flatten());
        }
        self.end(uid, None)
    }

    async fn delete(&self, uid: &Uid) -> Result<(), DriverError> {
        let mut table = self.machine.0.lock();
        if table.sandboxes.remove(uid).is_some() {
            table.announce(uid);
        }
        Ok(())
    }

    async fn pause(&self, uid: &Uid) -> Result<(), DriverError> {
        self.act(uid, "pausing", |sandbox| sandbox.state = SandboxState::Paused).await
    }

    async fn resume(&self, uid: &Uid) -> Result<(), DriverError> {
        self.act(uid, "resuming", |sandbox| sandbox.state = SandboxState::Running).await
    }

    async fn reset(&self, uid: &Uid) -> Result<(), DriverError> {
        self.act(uid, "resetting", |sandbox| sandbox.starts += 1).await
    }

    fn changes(&self) -> broadcast::Receiver<Uid> {
        self.machine.0.lock().changes.subscribe()
    }
}

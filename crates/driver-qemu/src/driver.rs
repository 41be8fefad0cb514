//! The compute contract, kept by QEMU processes. Decides what to do from facts; the doing is in `launch`,
//! `qmp`, `state` and `watch`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::driver::{
    CardAccess, ComputeDriver, ConsoleAccess, DisplayAccess, DriverError, DriverInfo, ExecAccess, Observed,
    Plan, SandboxState, StopMode, VolumeAccess,
};
use async_trait::async_trait;
use model::Uid;
use model::compute::{Cell, Isolation, PayloadKind};
use serde_json::json;
use sys::process::Process;
use tokio::sync::{Mutex, OnceCell, broadcast};
use tokio::time::{Instant, timeout, timeout_at};

use crate::host::Host;
use crate::launch;
use crate::outcome::{KILLED, Outcome};
use crate::qmp::{Qmp, QmpError, RunState};
use crate::state::{Index, State, socket};
use crate::watch::Watches;
use crate::{NAME, QemuOptions};

/// What works here: each of these boots in this crate's tests.
const CELLS: [Cell; 3] = [
    Cell::new(Isolation::Vm, PayloadKind::Disk),
    Cell::new(Isolation::Vm, PayloadKind::Kernel),
    Cell::new(Isolation::MicroVm, PayloadKind::Kernel),
];
/// How long a starting QEMU may take until it answers.
const START_MAX: Duration = Duration::from_mins(1);
/// How long QEMU may take to close its disks before it is killed.
const QUIT_MAX: Duration = Duration::from_secs(2);
/// How long QEMU may take to end after it has closed its monitor.
const ENDING_MAX: Duration = Duration::from_secs(2);
/// How long the kernel may take to end a killed process.
const KILL_MAX: Duration = Duration::from_secs(10);
/// Why a guest stands still that nobody paused.
const OUT_OF_ROOM: &str =
    "the guest stands still because the pool of one of its disks is full; it goes on when there is room";
/// The power button is pressed again this often: a guest that is still starting does not notice the first.
const PRESS_AGAIN: Duration = Duration::from_secs(2);

/// Virtual machines by QEMU.
#[derive(Debug)]
pub struct QemuDriver {
    pub(crate) options: QemuOptions,
    index: Index,
    host: OnceCell<Host>,
    watches: Watches,
    /// One sandbox is changed by one caller at a time.
    locks: Locks,
    /// A guest's agent is spoken to by one caller at a time.
    agent_turns: Locks,
}

type Locks = parking_lot::Mutex<HashMap<Uid, Arc<Mutex<()>>>>;

impl QemuDriver {
    pub fn new(options: QemuOptions) -> Self {
        let index = Index::new(options.run_dir.clone());
        Self {
            options,
            index,
            host: OnceCell::new(),
            watches: Watches::default(),
            locks: Locks::default(),
            agent_turns: Locks::default(),
        }
    }

    async fn host(&self) -> Result<&Host, DriverError> {
        self.host.get_or_try_init(|| Host::probe(&self.options)).await
    }

    pub(crate) fn lock(&self, uid: &Uid) -> Arc<Mutex<()>> {
        Arc::clone(self.locks.lock().entry(uid.clone()).or_default())
    }

    pub(crate) fn agent_turn(&self, uid: &Uid) -> Arc<Mutex<()>> {
        Arc::clone(self.agent_turns.lock().entry(uid.clone()).or_default())
    }

    /// What is kept of a sandbox; `NotFound` when it was never made.
    pub(crate) fn state(&self, uid: &Uid) -> Result<State, DriverError> {
        let state = self.index.find(uid).map_err(|e| DriverError::failed("reading the index", e))?;
        state.ok_or_else(|| DriverError::NotFound(uid.to_string()))
    }

    /// The sandbox's process while there is one, watched from now on.
    fn process(&self, uid: &Uid, state: &State) -> Result<Option<Process>, DriverError> {
        let failed = |e| DriverError::failed("reading the process table", e);
        let Some(started) = state.started().map_err(failed)? else { return Ok(None) };
        let process = Process::open(&started.identity).map_err(failed)?;
        if process.is_some() {
            self.watches.watch(uid, &started.identity, state);
        }
        Ok(process)
    }

    /// A sandbox that runs, with its process.
    pub(crate) fn running(&self, uid: &Uid) -> Result<(State, Process), DriverError> {
        let state = self.state(uid)?;
        match self.process(uid, &state)? {
            Some(process) => Ok((state, process)),
            None => Err(DriverError::WrongState(format!("{uid} does not run"))),
        }
    }

    async fn look(&self, uid: &Uid, state: &State) -> Result<Observed, DriverError> {
        let failed = |e| DriverError::failed("reading the sandbox's state", e);
        let started = state.started().map_err(failed)?;
        let mut observed = Observed {
            uid: uid.clone(),
            state: SandboxState::Created,
            pid: None,
            started_at: started.as_ref().map(|started| started.at),
            message: String::new(),
            containers: Vec::new(),
        };
        let Some(started) = started else { return Ok(observed) };
        if let Some(process) = self.process(uid, state)? {
            match ask_until_ended(state, &process).await {
                Ok(RunState::Running) => observed.state = SandboxState::Running,
                Ok(RunState::Stopped) => observed.state = SandboxState::Paused,
                Ok(RunState::OutOfRoom) => {
                    observed.state = SandboxState::Paused;
                    OUT_OF_ROOM.clone_into(&mut observed.message);
                }
                Err(e) => {
                    observed.state = SandboxState::Unknown;
                    observed.message = e.to_string();
                }
            }
            if process.is_alive().map_err(failed)? {
                observed.pid = Some(started.identity.pid);
                return Ok(observed);
            }
        }
        let outcome = if started.identity.boot_id == sys::process::boot_id().map_err(failed)? {
            Outcome::from_log(&state.log().map_err(failed)?)
        } else {
            Outcome::host_restarted()
        };
        Ok(Observed { state: outcome.state, message: outcome.message, ..observed })
    }

    /// Starts a machine that does not run and returns when its guest does.
    async fn launch(&self, plan: &Plan) -> Result<Observed, DriverError> {
        let host = self.host().await?.clone();
        launch::check(plan, &host)?;
        // Whoever died between starting a process and keeping its identity left it in the cgroup.
        let group = launch::cgroup(&self.options.cgroup, &plan.uid)?;
        if !group.processes().map_err(|e| DriverError::failed("reading the cgroup", e))?.is_empty() {
            group.remove().await.map_err(|e| DriverError::failed("clearing the cgroup", e))?;
        }
        let (options, index, owned) = (self.options.clone(), self.index.clone(), plan.clone());
        let start = move || launch::start(&options, &host, &index, &owned);
        let state = tokio::task::spawn_blocking(start)
            .await
            .unwrap_or_else(|e| Err(DriverError::failed("starting qemu", e)))?;
        let observed = timeout(START_MAX, self.look(&plan.uid, &state)).await.map_err(|_| {
            DriverError::TimedOut { what: "qemu's start".into(), seconds: START_MAX.as_secs() }
        })??;
        match observed.state {
            SandboxState::Exited(None) if !observed.message.is_empty() => {
                Err(DriverError::failed("qemu did not start", &observed.message))
            }
            _ => Ok(observed),
        }
    }

    /// Runs one command of the monitor.
    async fn command(&self, uid: &Uid, command: &str) -> Result<(), DriverError> {
        let (state, process) = self.running(uid)?;
        let done = tokio::select! {
            done = tell(&state, command) => done,
            _ = process.ended() => Err(QmpError::Closed),
        };
        done.map_err(|e| DriverError::failed(format!("telling qemu to {command}"), e))?;
        self.watches.announce(uid);
        Ok(())
    }
}

#[async_trait]
impl ComputeDriver for QemuDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn probe(&self) -> Result<DriverInfo, DriverError> {
        let host = self.host().await?;
        Ok(DriverInfo {
            version: host.version.clone(),
            cells: CELLS.to_vec(),
            accelerator: host.accelerator.as_str().to_owned(),
        })
    }

    async fn ensure(&self, plan: &Plan) -> Result<Observed, DriverError> {
        let lock = self.lock(&plan.uid);
        let _changing = lock.lock().await;
        match self.state(&plan.uid) {
            Ok(state) if self.process(&plan.uid, &state)?.is_some() => {
                let observed = self.look(&plan.uid, &state).await?;
                if observed.pid.is_some() {
                    return Ok(observed);
                }
            }
            Ok(_) | Err(DriverError::NotFound(_)) => {}
            Err(e) => return Err(e),
        }
        let observed = self.launch(plan).await;
        self.watches.announce(&plan.uid);
        observed
    }

    async fn list(&self) -> Result<Vec<Observed>, DriverError> {
        let uids = self.index.uids().map_err(|e| DriverError::failed("reading the index", e))?;
        let looks = uids.iter().map(|uid| self.observe(uid));
        let mut all = Vec::with_capacity(uids.len());
        for look in futures::future::join_all(looks).await {
            match look {
                Ok(observed) => all.push(observed),
                // Deleted meanwhile.
                Err(DriverError::NotFound(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(all)
    }

    async fn observe(&self, uid: &Uid) -> Result<Observed, DriverError> {
        let state = self.state(uid)?;
        self.look(uid, &state).await
    }

    async fn stop(&self, uid: &Uid, mode: StopMode) -> Result<(), DriverError> {
        let lock = self.lock(uid);
        let _changing = lock.lock().await;
        let state = self.state(uid)?;
        let Some(process) = self.process(uid, &state)? else { return Ok(()) };
        if let StopMode::Graceful { seconds } = mode
            && power_button(&state, &process, Duration::from_secs(seconds.into())).await
        {
            return Ok(());
        }
        end(&state, &process).await
    }

    async fn delete(&self, uid: &Uid) -> Result<(), DriverError> {
        {
            let lock = self.lock(uid);
            let _changing = lock.lock().await;
            match self.state(uid) {
                Ok(state) => {
                    if let Some(process) = self.process(uid, &state)? {
                        end(&state, &process).await?;
                    }
                }
                Err(DriverError::NotFound(_)) => {}
                Err(e) => return Err(e),
            }
            let group = launch::cgroup(&self.options.cgroup, uid)?;
            group.remove().await.map_err(|e| DriverError::failed("removing the cgroup", e))?;
            self.index.remove(uid).map_err(|e| DriverError::failed("removing the state", e))?;
        }
        for locks in [&self.locks, &self.agent_turns] {
            locks.lock().retain(|held, lock| held != uid || Arc::strong_count(lock) > 1);
        }
        self.watches.announce(uid);
        Ok(())
    }

    async fn pause(&self, uid: &Uid) -> Result<(), DriverError> {
        self.command(uid, "stop").await
    }

    async fn resume(&self, uid: &Uid) -> Result<(), DriverError> {
        self.command(uid, "cont").await
    }

    async fn reset(&self, uid: &Uid) -> Result<(), DriverError> {
        self.command(uid, "system_reset").await
    }

    /// Also takes the machines under watch that an earlier process started.
    fn changes(&self) -> broadcast::Receiver<Uid> {
        let receiver = self.watches.subscribe();
        for uid in self.index.uids().unwrap_or_default() {
            // What cannot be read now is reported by whoever lists it.
            let _ = self.state(&uid).and_then(|state| self.process(&uid, &state));
        }
        receiver
    }

    fn console(&self) -> Option<&dyn ConsoleAccess> {
        Some(self)
    }

    fn exec(&self) -> Option<&dyn ExecAccess> {
        Some(self)
    }

    fn volumes(&self) -> Option<&dyn VolumeAccess> {
        Some(self)
    }

    fn cards(&self) -> Option<&dyn CardAccess> {
        Some(self)
    }

    fn display(&self) -> Option<&dyn DisplayAccess> {
        Some(self)
    }
}

async fn ask_state(state: &State) -> Result<RunState, QmpError> {
    Qmp::connect(state.folder(), socket::MONITOR).await?.run_state().await
}

/// Asks as long as the process is there to answer. A monitor that hangs up mostly means that it is about to end.
async fn ask_until_ended(state: &State, process: &Process) -> Result<RunState, QmpError> {
    let answer = tokio::select! {
        answer = ask_state(state) => answer,
        _ = process.ended() => Err(QmpError::Closed),
    };
    if matches!(answer, Err(QmpError::Io(_) | QmpError::Closed)) {
        let _ = timeout(ENDING_MAX, process.ended()).await;
    }
    answer
}

async fn tell(state: &State, command: &str) -> Result<(), QmpError> {
    let mut qmp = Qmp::connect(state.folder(), socket::MONITOR).await?;
    qmp.execute(command, json!({})).await.map(|_| ())
}

/// Presses the power button until the guest is off; false when it is not within `grace`.
async fn power_button(state: &State, process: &Process, grace: Duration) -> bool {
    let give_up = Instant::now() + grace;
    // A paused guest cannot react.
    if let Ok(Ok(RunState::Stopped | RunState::OutOfRoom)) = timeout_at(give_up, ask_state(state)).await {
        let _ = timeout_at(give_up, tell(state, "cont")).await;
    }
    while Instant::now() < give_up {
        // A monitor that does not answer is dealt with when the grace is over.
        let _ = timeout_at(give_up, tell(state, "system_powerdown")).await;
        let until = give_up.min(Instant::now() + PRESS_AGAIN);
        if timeout_at(until, process.ended()).await.is_ok() {
            return true;
        }
    }
    false
}

/// Ends a process: asks QEMU to close its disks and go, and kills it if it does not.
async fn end(state: &State, process: &Process) -> Result<(), DriverError> {
    let quit = async {
        // The reply is often lost, because the process is gone by then.
        let _ = tell(state, "quit").await;
        process.ended().await
    };
    if timeout(QUIT_MAX, quit).await.is_ok() {
        return Ok(());
    }
    let failed = |e| DriverError::failed("killing qemu", e);
    state.note(KILLED).map_err(failed)?;
    process.kill().map_err(failed)?;
    match timeout(KILL_MAX, process.ended()).await {
        Ok(ended) => ended.map_err(failed),
        Err(_) => Err(DriverError::TimedOut { what: "killing qemu".into(), seconds: KILL_MAX.as_secs() }),
    }
}

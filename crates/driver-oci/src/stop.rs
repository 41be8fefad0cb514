//! Ending containers and taking sandboxes away.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use driver::{DriverError, StopMode};
use model::Uid;
use nix::sys::signal::Signal;
use sys::pidfd::PidFd;

use crate::facts::ContainerState;
use crate::paths::{DataDir, container_id};
use crate::sandbox::{Host, remove};

/// How long killed processes and their monitors may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks whether a program has made its handler.
const LOOK_FOR_HANDLER: Duration = Duration::from_millis(10);
/// Between two looks at what cannot be waited for: a monitor's last file.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl Host {
    /// Ends every container; returns when each has its exit written down.
    pub(crate) fn stop(&self, uid: &Uid, mode: StopMode) -> Result<(), DriverError> {
        let fail = |e: io::Error| DriverError::failed(format!("stop sandbox {uid}"), e);
        let names: Vec<String> = self.observe(uid)?.containers.into_iter().map(|c| c.name).collect();
        fs::write(self.run.stop_request(uid), "").map_err(fail)?;
        if let StopMode::Graceful { seconds } = mode {
            self.thaw(uid).map_err(fail)?;
            self.ask_to_end(uid, &names, Duration::from_secs(seconds.into())).map_err(fail)?;
        }
        self.cgroups.kill(uid, None).map_err(fail)?;
        self.thaw(uid).map_err(fail)?;
        self.wait_ended(uid, &names)
    }

    /// Removes all but the plan's folder. Goes on from wherever an earlier try came to.
    pub(crate) fn delete(&self, uid: &Uid) -> Result<(), DriverError> {
        if !self.run.sandbox(uid).exists() {
            return Ok(());
        }
        let fail = |what: &str| {
            let what = format!("{what} of sandbox {uid}");
            move |e: io::Error| DriverError::failed(what, e)
        };
        let plan = self.plan(uid).ok();
        match self.stop(uid, StopMode::Kill) {
            // A plan that cannot be read must not keep a sandbox from being deleted.
            Err(_) if plan.is_none() => self.cgroups.kill(uid, None).map_err(fail("kill the processes"))?,
            stopped => stopped?,
        }
        for name in self.made_containers(uid) {
            self.forget(uid, &name)?;
            if let Some(plan) = &plan {
                sys::mount::detach(&DataDir(&plan.dir).rootfs(&name)).map_err(fail("unmount the root"))?;
            }
        }
        self.unmount_volumes(uid)?;
        sys::namespace::release(&self.run.namespaces(uid)).map_err(fail("release the namespaces"))?;
        self.cgroups.remove(uid).map_err(fail("remove the control group"))?;
        // The plan goes last: until then a further try finds everything.
        remove(|| fs::remove_dir_all(self.run.namespaces(uid))).map_err(fail("remove the files"))?;
        remove(|| fs::remove_dir_all(self.run.sandbox(uid))).map_err(fail("remove the files"))
    }

    /// Removes the runtime's and the monitor's traces of an ended container, so that it can be made again.
    pub(crate) fn forget(&self, uid: &Uid, container: &str) -> Result<(), DriverError> {
        let fail = |e: io::Error| DriverError::failed(format!("clean up container {container} of {uid}"), e);
        if self.run.runtime_state(uid, container).exists() {
            let id = container_id(uid, container);
            self.runtime_command(uid, container).args(["delete", "--force", &id]).output().map_err(fail)?;
            // Should the runtime not know its own state any more.
            remove(|| fs::remove_dir_all(self.run.runtime_state(uid, container))).map_err(fail)?;
        }
        remove(|| fs::remove_file(self.run.exit(uid, container))).map_err(fail)?;
        remove(|| fs::remove_dir_all(self.run.bundle(uid, container))).map_err(fail)
    }

    /// Sends each container's first process one SIGTERM and waits until all have ended or the time is over.
    ///
    /// The kernel drops a signal for which the first process of a pid namespace has no handler, so one that was
    /// just started, and has none yet, is asked as soon as it has.
    fn ask_to_end(&self, uid: &Uid, names: &[String], limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        let mut unasked = Vec::new();
        for name in names {
            unasked.extend(self.first_process(uid, name)?);
        }
        let mut asked = Vec::new();
        loop {
            for (pid, process) in std::mem::take(&mut unasked) {
                if takes_sigterm(pid) {
                    process.signal(Signal::SIGTERM)?;
                    asked.push(process);
                } else if !process.wait(Duration::ZERO)? {
                    unasked.push((pid, process));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || (unasked.is_empty() && asked.is_empty()) {
                return Ok(());
            }
            let turn = if unasked.is_empty() { left } else { left.min(LOOK_FOR_HANDLER) };
            match asked.first() {
                Some(process) if process.wait(turn)? => drop(asked.swap_remove(0)),
                Some(_) => {}
                None => std::thread::sleep(turn),
            }
        }
    }

    /// A container's first process, held so that its number cannot become another's.
    fn first_process(&self, uid: &Uid, container: &str) -> io::Result<Option<(u32, PidFd)>> {
        let Some(pid) = self.container(uid, container).state.pid() else { return Ok(None) };
        let Some(process) = PidFd::open(pid)? else { return Ok(None) };
        // Only now is it sure whose number this is.
        Ok(self.cgroups.contains(uid, container, pid).then_some((pid, process)))
    }

    /// A frozen process takes no signal.
    fn thaw(&self, uid: &Uid) -> io::Result<()> {
        if self.cgroups.is_frozen(uid) { self.cgroups.freeze(uid, false) } else { Ok(()) }
    }

    fn wait_ended(&self, uid: &Uid, names: &[String]) -> Result<(), DriverError> {
        let deadline = Instant::now() + KILL_LIMIT;
        let ended = |name: &String| {
            matches!(self.container(uid, name).state, ContainerState::Exited(_) | ContainerState::Absent)
        };
        while !names.iter().all(ended) {
            if Instant::now() > deadline {
                let what = format!("kill sandbox {uid}");
                return Err(DriverError::TimedOut { what, seconds: KILL_LIMIT.as_secs() });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn made_containers(&self, uid: &Uid) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.run.sandbox(uid).join("containers")) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

/// Whether a SIGTERM would reach the program: it has a handler, or holds the signal back to read it later.
fn takes_sigterm(pid: u32) -> bool {
    const BIT: u64 = 1 << (Signal::SIGTERM as u64 - 1);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut masks = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigCgt:").or_else(|| line.strip_prefix("SigBlk:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    masks.any(|mask| mask & BIT != 0)
}

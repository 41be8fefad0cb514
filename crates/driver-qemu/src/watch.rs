//! Watching virtual machines: one task for each that runs, which tells of its end and of what its monitor
//! reports, and keeps its console log short. The machines do not depend on it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::Uid;
use parking_lot::Mutex;
use sys::process::{Identity, Process};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::qmp::Qmp;
use crate::state::{State, socket};

/// Changes a slow receiver may lag behind before it must list.
const BACKLOG: usize = 1024;
/// Longest console log; what is older than the last part of it goes.
const LOG_MAX: u64 = 4 << 20;
const LOG_KEPT: u64 = 1 << 20;
const LOG_CHECK: Duration = Duration::from_secs(20);
/// How long to wait before another try to hear events: another driver object may be listening.
const EVENTS_RETRY: Duration = Duration::from_secs(5);

/// The watches of one driver object; they end with it.
#[derive(Debug)]
pub(crate) struct Watches {
    changes: broadcast::Sender<Uid>,
    tasks: Arc<Mutex<HashMap<Uid, (Identity, AbortHandle)>>>,
}

impl Default for Watches {
    fn default() -> Self {
        Self { changes: broadcast::Sender::new(BACKLOG), tasks: Arc::default() }
    }
}

impl Watches {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Uid> {
        self.changes.subscribe()
    }

    /// Tells of a change; that nobody listens is fine.
    pub(crate) fn announce(&self, uid: &Uid) {
        let _ = self.changes.send(uid.clone());
    }

    /// Watches this process, unless it is watched already.
    pub(crate) fn watch(&self, uid: &Uid, identity: &Identity, state: &State) {
        let mut tasks = self.tasks.lock();
        if tasks.get(uid).is_some_and(|(watched, _)| watched == identity) {
            return;
        }
        let watch = Watch {
            uid: uid.clone(),
            identity: identity.clone(),
            state: state.clone(),
            changes: self.changes.clone(),
        };
        let others = Arc::clone(&self.tasks);
        let task = tokio::spawn(async move {
            watch.run().await;
            let mut others = others.lock();
            if others.get(&watch.uid).is_some_and(|(identity, _)| *identity == watch.identity) {
                others.remove(&watch.uid);
            }
            drop(others);
            let _ = watch.changes.send(watch.uid);
        });
        if let Some((_, old)) = tasks.insert(uid.clone(), (identity.clone(), task.abort_handle())) {
            old.abort();
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.tasks.lock().values().for_each(|(_, task)| task.abort());
    }
}

struct Watch {
    uid: Uid,
    identity: Identity,
    state: State,
    changes: broadcast::Sender<Uid>,
}

impl Watch {
    /// Returns when the process has ended.
    async fn run(&self) {
        let process = match Process::open(&self.identity) {
            Ok(Some(process)) => process,
            Ok(None) => return,
            Err(e) => return tracing::warn!(uid = %self.uid, error = %e, "cannot watch a virtual machine"),
        };
        tokio::select! {
            ended = process.ended() => if let Err(e) = ended {
                tracing::warn!(uid = %self.uid, error = %e, "cannot watch a virtual machine");
            },
            () = self.hear() => {}
            () = self.shorten() => {}
        }
    }

    /// Tells of everything the monitor reports, for ever.
    async fn hear(&self) {
        loop {
            if let Ok(mut events) = Qmp::connect(self.state.folder(), socket::EVENTS).await {
                while let Ok(event) = events.event().await {
                    if is_change(&event) {
                        let _ = self.changes.send(self.uid.clone());
                    }
                }
            }
            sleep(EVENTS_RETRY).await;
        }
    }

    /// Keeps the console log short, for ever.
    async fn shorten(&self) {
        let mut ticks = interval(LOG_CHECK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(e) = shorten(&self.state.console_log(), LOG_MAX, LOG_KEPT) {
                tracing::warn!(uid = %self.uid, error = %e, "cannot shorten a console log");
            }
        }
    }
}

/// Whether an event means that the sandbox's state may be another.
fn is_change(event: &str) -> bool {
    matches!(event, "STOP" | "RESUME" | "RESET" | "SHUTDOWN" | "GUEST_PANICKED" | "BLOCK_IO_ERROR")
}

/// Cuts a log that is longer than `max` down to its last `kept` bytes, in place: QEMU goes on appending to the
/// same file. What it writes within these microseconds may be lost, as the oldest lines are.
fn shorten(path: &Path, max: u64, kept: u64) -> io::Result<()> {
    use std::io::Write;
    let mut file = match File::options().read(true).append(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let length = file.metadata()?.len();
    if length <= max {
        return Ok(());
    }
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length - kept))?;
    (&file).take(kept).read_to_end(&mut tail)?;
    let whole_lines = tail.iter().position(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    file.set_len(0)?;
    file.write_all(&tail[whole_lines..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_last_lines_and_its_writer() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut writer = File::options().append(true).create(true).open(&path).unwrap();
        (0..100).for_each(|i| writeln!(writer, "line {i}").unwrap());
        shorten(&path, 100, 24).unwrap();
        writeln!(writer, "and on").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 98\nline 99\nand on\n");
        shorten(&path, 100, 24).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3, "short enough: left alone");
    }
}

//! `down`: ends the daemon, and with `--purge` every guest and the data.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Layout, drivers, runtime};
use crate::failure::Failure;

const STOP_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether this cloud's daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Running {
    Yes(Pid),
    No,
}

pub(crate) fn down(layout: &Layout, purge: bool) -> Result<(), Failure> {
    if !layout.root().exists() {
        return Err(Failure::not_found(format!("there is no cloud in {}", layout.root().display())));
    }
    if let Running::Yes(pid) = running(layout) {
        end(pid)?;
    }
    for file in [layout.endpoint(), layout.pid()] {
        // Gone already is as good.
        let _ = std::fs::remove_file(file);
    }
    if purge {
        remove_guests(layout)?;
        for dir in [layout.run_dir(), layout.root().to_owned()] {
            match std::fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Failure::failed(format!("{} cannot be removed: {e}", dir.display())));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Finds the daemon by what it is: this program, run as `up` or `join` with this data directory. A pid alone
/// may belong to anyone by now.
pub(crate) fn running(layout: &Layout) -> Running {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Running::No };
    let own = std::process::id().to_string();
    let pids = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).filter(|name| *name != own);
    for pid in pids {
        let Ok(number) = pid.parse() else { continue };
        if is_daemon_of(&pid, layout.root()) {
            return Running::Yes(Pid::from_raw(number));
        }
    }
    Running::No
}

fn is_daemon_of(pid: &str, data: &Path) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let args: Vec<&[u8]> = line.split(|b| *b == 0).collect();
    let program = args.first().and_then(|a| a.rsplit(|b| *b == b'/').next());
    let verb = args.get(1).copied();
    program == Some(b"corten")
        && matches!(verb, Some(b"up" | b"join" | b"agent"))
        && args.windows(2).any(|w| w[0] == b"--data" && w[1] == data.as_os_str().as_encoded_bytes())
}

fn end(pid: Pid) -> Result<(), Failure> {
    let deadline = Instant::now() + STOP_WITHIN;
    let mut signal = Signal::SIGTERM;
    loop {
        // ESRCH: it is gone.
        if kill(pid, signal).is_err() || is_zombie(pid) {
            return Ok(());
        }
        if Instant::now() > deadline {
            if signal == Signal::SIGKILL {
                return Err(Failure::timed_out(format!("the daemon (pid {pid}) does not end")));
            }
            signal = Signal::SIGKILL;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A process that ended but whose parent has not asked for it yet (proc(5): state Z).
fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// Asks the drivers what there is and removes it, whoever started it.
fn remove_guests(layout: &Layout) -> Result<(), Failure> {
    runtime()?.block_on(async {
        for driver in drivers::all(layout) {
            let failed = |e: driver::DriverError| Failure::failed(format!("{}: {e}", driver.name()));
            for sandbox in driver.list().await.map_err(failed)? {
                driver.delete(&sandbox.uid).await.map_err(failed)?;
            }
        }
        Ok(())
    })
}

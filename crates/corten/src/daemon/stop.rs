//! `down`: ends the daemon, and with `--purge` every guest and the data.

use std::path::Path;
use std::time::{Duration, Instant};

use driver::{BalancerDriver, NetworkDriver};
use nix::sys::signal::Signal;
use sys::process::{Identity, Process};

use super::{Layout, drivers, runtime};
use crate::failure::Failure;

const STOP_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) fn down(layout: &Layout, purge: bool) -> Result<(), Failure> {
    if !layout.root().exists() {
        return Err(Failure::not_found(format!("there is no cloud in {}", layout.root().display())));
    }
    if let Some(daemon) = running(layout)? {
        end(&daemon)?;
    }
    for file in [layout.endpoint(), layout.pid(), layout.daemon()] {
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
        remove_groups(layout);
    }
    Ok(())
}

/// Whether the process that said it was the daemon is still that process, and alive.
pub(crate) fn running(layout: &Layout) -> Result<Option<Process>, Failure> {
    let unknown = |e: std::io::Error| Failure::failed(format!("{}: {e}", layout.daemon().display()));
    let identity: Identity = match std::fs::read(layout.daemon()) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| unknown(e.into()))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unknown(e)),
    };
    Process::open(&identity).map_err(unknown)
}

fn end(daemon: &Process) -> Result<(), Failure> {
    let pid = daemon.identity().pid;
    let failed = |e: std::io::Error| Failure::failed(format!("the daemon (pid {pid}) cannot be ended: {e}"));
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        daemon.signal(signal).map_err(failed)?;
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline {
            if !daemon.is_alive().map_err(failed)? {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Err(Failure::timed_out(format!("the daemon (pid {pid}) does not end")))
}

/// Takes away what the last guest left empty: this cloud's control groups, and what clouds of one machine share.
fn remove_groups(layout: &Layout) {
    let root = Path::new("/sys/fs/cgroup");
    let below = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in below.chain([root.to_owned()]) {
        // Not there, or not empty: only an empty group can be removed.
        let _ = std::fs::remove_dir(hierarchy.join(layout.cgroup()));
    }
    if let Some(shared) = layout.run_dir().parent() {
        let _ = std::fs::remove_dir(shared);
    }
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
        let balancers = drivers::balancers(layout);
        let failed = |e: driver::DriverError| Failure::failed(format!("load balancers: {e}"));
        for balancer in balancers.list().await.map_err(failed)? {
            balancers.delete(&balancer).await.map_err(failed)?;
        }
        let network = drivers::vpc(layout);
        let failed = |e: driver::DriverError| Failure::failed(format!("networks: {e}"));
        for vpc in network.list().await.map_err(failed)? {
            network.delete(&vpc).await.map_err(failed)?;
        }
        network.drain_pool().await.map_err(failed)?;
        Ok(())
    })
}

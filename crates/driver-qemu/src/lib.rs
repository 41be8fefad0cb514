//! Virtual machines and microVMs by QEMU. One unprivileged process per machine, nobody's child, in a cgroup of
//! its own; it inherits its sockets, logs and taps as open descriptors and cannot start programs or gain
//! rights. Everything known of it is found out from its monitor, its log and the process table.

mod args;
mod cards;
mod clock;
mod console;
mod devices;
mod driver;
mod exec;
mod guest_agent;
mod host;
mod jobs;
mod launch;
mod outcome;
mod qmp;
mod state;
mod volumes;
mod watch;

use std::path::PathBuf;

pub use crate::driver::QemuDriver;

/// The driver's name in statuses and messages.
const NAME: &str = "qemu";

/// Where the driver keeps its index, and what it runs.
#[derive(Debug, Clone)]
pub struct QemuOptions {
    /// Holds one link per virtual machine; made when missing.
    pub run_dir: PathBuf,
    /// QEMU itself.
    pub program: PathBuf,
    /// The control group, below every hierarchy's root, that holds a group per virtual machine.
    pub cgroup: String,
}

impl QemuOptions {
    pub fn new(run_dir: impl Into<PathBuf>) -> Self {
        Self {
            run_dir: run_dir.into(),
            program: "/usr/bin/qemu-system-x86_64".into(),
            cgroup: sys::cgroup::ROOT.into(),
        }
    }
}

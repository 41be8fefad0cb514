//! How often processes wait for the disk, as the kernel counts it: the same for all sides, whatever they say themselves.

use std::process::{Child, Command, Stdio};

use crate::Result;

const EVENTS: [&str; 4] = [
    "syscalls:sys_enter_fsync",
    "syscalls:sys_enter_fdatasync",
    "syscalls:sys_enter_msync",
    "syscalls:sys_enter_sync_file_range",
];

/// `perf stat` beside the processes.
pub(super) struct Counter {
    perf: Child,
}

impl Counter {
    pub(super) fn start(pids: &[u32]) -> Result<Self> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let perf = Command::new("perf")
            .args(["stat", "-x", ",", "-e", &EVENTS.join(","), "-p", &pids.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("perf cannot be started: {e}"))?;
        Ok(Self { perf })
    }

    pub(super) fn stop(self) -> Result<u64> {
        // It prints what it has counted when it is interrupted.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.perf.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
        let output = self.perf.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let counts = text.lines().filter_map(|line| line.split(',').next()?.parse::<u64>().ok());
        let counts: Vec<u64> = counts.collect();
        if counts.is_empty() {
            Err(format!("perf counted nothing: {text}").into())
        } else {
            Ok(counts.iter().sum())
        }
    }
}

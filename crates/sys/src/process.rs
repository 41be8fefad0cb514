//! Processes that outlive us: who a process is for all time, whether it still runs, its end. Knows nothing of
//! how it was started (that is `daemon`).

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::pidfd::PidFd;

/// Who a process is. Pids are reused within minutes, so a pid alone names nobody: the time it started (in
/// clock ticks since boot) and the boot it happened in do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub pid: u32,
    pub start_ticks: u64,
    pub boot_id: String,
}

impl Identity {
    /// Who we are.
    pub fn own() -> io::Result<Self> {
        let pid = std::process::id();
        let stat = Stat::read(pid)?.ok_or_else(|| io::Error::other("/proc does not know this process"))?;
        Ok(Self { pid, start_ticks: stat.start_ticks, boot_id: boot_id()? })
    }
}

/// A process that runs, or ran a moment ago.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    pidfd: PidFd,
}

impl Process {
    /// Takes hold of the very process of this identity; `None` when it has ended.
    pub fn open(identity: &Identity) -> io::Result<Option<Self>> {
        if identity.boot_id != boot_id()? {
            return Ok(None);
        }
        // The descriptor first: should the pid change hands now, the check below sees the newcomer.
        let Some(pidfd) = PidFd::open(identity.pid)? else { return Ok(None) };
        let is_it = Stat::read(identity.pid)?
            .is_some_and(|stat| !stat.is_dead() && stat.start_ticks == identity.start_ticks);
        Ok(is_it.then(|| Self { identity: identity.clone(), pidfd }))
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn is_alive(&self) -> io::Result<bool> {
        self.pidfd.wait(Duration::ZERO).map(|ended| !ended)
    }

    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.pidfd.signal(signal)
    }

    /// SIGKILL; a process that has ended already is a success.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// Returns when the process has ended; it need not be our child.
    pub async fn ended(&self) -> io::Result<()> {
        // SAFETY: the borrow keeps the descriptor open for as long as it is registered.
        #[allow(unsafe_code)]
        let fd = unsafe { AsyncFd::register_with_interest(self.pidfd.as_fd(), Interest::READABLE) }?;
        fd.readable().await.map(|_| ())
    }
}

/// Names the boot this host is in.
pub fn boot_id() -> io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

/// What `/proc/PID/stat` says, as far as it matters here (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) state: u8,
    pub(crate) start_ticks: u64,
}

impl Stat {
    /// `None` when there is no such process.
    fn read(pid: u32) -> io::Result<Option<Self>> {
        match std::fs::read(format!("/proc/{pid}/stat")) {
            Ok(text) => Ok(Self::parse(&text)),
            // ESRCH: it ended between open and read.
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// The second field is the program's name in parentheses and may itself hold spaces and parentheses:
    /// count from the last one.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let (head, tail) = text.rsplit_once(')')?;
        let pid = head.split_once(' ')?.0.parse().ok()?;
        let mut fields = tail.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        // Field 22, and `fields` stands at field 4.
        let start_ticks = fields.nth(22 - 4)?.parse().ok()?;
        Some(Self { pid, state, start_ticks })
    }

    fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = b"42 (a) R (b c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 100\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat, Stat { pid: 42, state: b'S', start_ticks: 987_654 });
    }

    #[test]
    fn another_start_time_is_another_process() {
        let me = Stat::read(std::process::id()).unwrap().unwrap();
        let identity =
            Identity { pid: std::process::id(), start_ticks: me.start_ticks, boot_id: boot_id().unwrap() };
        assert!(Process::open(&identity).unwrap().unwrap().is_alive().unwrap());
        let later = Identity { start_ticks: me.start_ticks + 1, ..identity.clone() };
        assert!(Process::open(&later).unwrap().is_none());
        let before_the_reboot = Identity { boot_id: "another".into(), ..identity };
        assert!(Process::open(&before_the_reboot).unwrap().is_none());
    }
}

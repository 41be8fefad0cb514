//! How a virtual machine ended, read from what QEMU wrote into its log. The process is nobody's child, so its
//! exit status is lost; the log is not, whoever was there to watch.

use driver::SandboxState;

use crate::args::SHUTDOWN_EVENT;

/// What the driver itself writes into the log before it kills a process.
pub(crate) const KILLED: &str = "corten: killed on request";

/// A machine's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) state: SandboxState,
    /// Empty unless it failed.
    pub(crate) message: String,
}

impl Outcome {
    pub(crate) fn from_log(log: &[u8]) -> Self {
        let text = sys::command::last_words(log);
        let ours = |line: &&str| line.starts_with(SHUTDOWN_EVENT) || *line == KILLED;
        let words = text.lines().filter(|line| !ours(line)).collect::<Vec<_>>().join("\n");
        match text.lines().rfind(ours).map(Cause::parse) {
            Some(Cause::Guest) => Self { state: SandboxState::Exited(Some(0)), message: String::new() },
            Some(Cause::Host) => Self { state: SandboxState::Exited(None), message: String::new() },
            Some(Cause::Panic) => Self::failed("the guest's kernel panicked".into()),
            Some(Cause::Other) | None if words.is_empty() => {
                Self::failed("qemu ended without a word: it crashed or was killed".into())
            }
            Some(Cause::Other) | None => Self::failed(words),
        }
    }

    /// For a machine whose process belongs to an earlier boot of the host.
    pub(crate) fn host_restarted() -> Self {
        Self::failed("the host was restarted".into())
    }

    fn failed(message: String) -> Self {
        Self { state: SandboxState::Exited(None), message }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The guest switched itself off.
    Guest,
    /// We, or the host, ended it.
    Host,
    Panic,
    Other,
}

impl Cause {
    /// The numbers are QEMU's `ShutdownCause` (qapi/run-state.json), counted from zero.
    fn parse(line: &str) -> Self {
        let reason = line.rsplit_once("reason=").map(|(_, number)| number.trim());
        match reason {
            _ if line == KILLED => Self::Host,
            Some("2" | "4" | "5") => Self::Host,
            Some("6") => Self::Guest,
            Some("8") => Self::Panic,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(log: &str, state: SandboxState, message: &str) {
        assert_eq!(Outcome::from_log(log.as_bytes()), Outcome { state, message: message.into() }, "{log:?}");
    }

    #[test]
    fn a_guest_that_powered_off_is_told_from_one_that_was_ended_and_one_that_crashed() {
        check("qemu_system_shutdown_request reason=6\n", SandboxState::Exited(Some(0)), "");
        check("qemu_system_shutdown_request reason=2\n", SandboxState::Exited(None), "");
        check("corten: killed on request\n", SandboxState::Exited(None), "");
        check(
            "warning: x\nqemu_system_shutdown_request reason=8\n",
            SandboxState::Exited(None),
            "the guest's kernel panicked",
        );
        check("", SandboxState::Exited(None), "qemu ended without a word: it crashed or was killed");
    }

    #[test]
    fn qemu_s_own_words_are_the_reason() {
        let words = "qemu-system-x86_64: Could not open 'disk': Permission denied";
        check(&format!("{words}\n"), SandboxState::Exited(None), words);
    }
}

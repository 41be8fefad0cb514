//! Runs one external program to its end: bounded time, bounded output, its whole process group stopped on the
//! way out. Knows no program by name.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::task::Cancel;

/// Most bytes of standard output that [`Tool::output`] keeps.
const OUTPUT_MAX: u64 = 4 << 20;
/// Most bytes of standard error that an error quotes.
const ERRORS_MAX: usize = 2 << 10;
/// How often a running program is checked for a cancelled task.
const CANCEL_STEP: Duration = Duration::from_millis(50);

/// A program about to run.
#[derive(Debug)]
pub(crate) struct Tool {
    command: Command,
    name: String,
    limit: Duration,
    cancel: Cancel,
}

#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("cannot start {name}: is it installed?")]
    Start { name: String, source: io::Error },
    #[error("cannot read what {name} prints")]
    Read { name: String, source: io::Error },
    #[error("{name} failed ({status}): {errors}")]
    Failed { name: String, status: ExitStatus, errors: String },
    #[error("{name} ran longer than {limit:?} and was stopped")]
    TimedOut { name: String, limit: Duration },
    #[error("{name} was cancelled")]
    Cancelled { name: String },
}

impl Tool {
    pub(crate) fn new(program: &str, limit: Duration) -> Self {
        let mut command = Command::new(program);
        // Messages are quoted in errors and some are parsed: always the same language.
        command.env("LC_ALL", "C");
        Self::from_command(command, program, limit)
    }

    pub(crate) fn from_command(command: Command, name: &str, limit: Duration) -> Self {
        Self { command, name: name.to_owned(), limit, cancel: Cancel::default() }
    }

    #[must_use]
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    #[must_use]
    pub(crate) fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    #[must_use]
    pub(crate) fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Runs it and drops what it prints.
    pub(crate) fn run(self) -> Result<(), ToolError> {
        self.output().map(drop)
    }

    /// Runs it and returns what it printed.
    pub(crate) fn output(self) -> Result<Vec<u8>, ToolError> {
        self.stream(|stdout| {
            let mut output = Vec::new();
            stdout.take(OUTPUT_MAX).read_to_end(&mut output)?;
            Ok(output)
        })
    }

    /// Runs it while `read` consumes what it prints.
    pub(crate) fn stream<T>(
        mut self,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<T, ToolError> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let name = self.name.clone();
        let mut child = self.command.spawn().map_err(|source| ToolError::Start { name, source })?;
        let mut stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");

        let (finished, watchdog) = self.watch(&child);
        let errors = thread::spawn(move || tail(stderr));
        let value = read(&mut stdout);
        if value.is_ok() {
            // What nobody wants must still be taken, or the program waits for ever.
            let _ = io::copy(&mut stdout, &mut io::sink());
        }
        drop(stdout);
        let status = child.wait();
        drop(finished);
        let end = watchdog.join().unwrap_or(End::Itself);
        let errors = errors.join().unwrap_or_default();

        let name = self.name;
        match end {
            End::TimedOut => return Err(ToolError::TimedOut { name, limit: self.limit }),
            End::Cancelled => return Err(ToolError::Cancelled { name }),
            End::Itself => {}
        }
        let status = match status {
            Ok(status) => status,
            Err(source) => return Err(ToolError::Read { name, source }),
        };
        match value {
            // A program that fails often cuts its output short: its own words say more than ours.
            _ if !status.success() && !errors.is_empty() => Err(ToolError::Failed { name, status, errors }),
            Err(source) => Err(ToolError::Read { name, source }),
            Ok(_) if !status.success() => Err(ToolError::Failed { name, status, errors }),
            Ok(value) => Ok(value),
        }
    }

    /// Stops the whole group when time is up or the task is cancelled. Dropping the sender ends the watch.
    fn watch(&self, child: &Child) -> (mpsc::Sender<()>, thread::JoinHandle<End>) {
        let (finished, watched) = mpsc::channel::<()>();
        let group = i32::try_from(child.id()).ok().map(Pid::from_raw);
        let (limit, cancel) = (self.limit, self.cancel.clone());
        let watchdog = thread::spawn(move || {
            let start = Instant::now();
            loop {
                if watched.recv_timeout(CANCEL_STEP) != Err(RecvTimeoutError::Timeout) {
                    return End::Itself;
                }
                let end = match (cancel.is_cancelled(), start.elapsed() >= limit) {
                    (true, _) => End::Cancelled,
                    (_, true) => End::TimedOut,
                    _ => continue,
                };
                if let Some(group) = group {
                    // The only failure is that the group is gone already.
                    let _ = killpg(group, Signal::SIGKILL);
                }
                return end;
            }
        });
        (finished, watchdog)
    }
}

/// Who ended the program.
enum End {
    Itself,
    TimedOut,
    Cancelled,
}

/// The last [`ERRORS_MAX`] bytes of `from`, as text.
fn tail(mut from: impl Read) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..n]);
        kept.drain(..kept.len().saturating_sub(ERRORS_MAX));
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn returns_what_the_program_prints() {
        let output = Tool::new("printf", LONG).args(["%s", "word"]).output().unwrap();
        assert_eq!(output, b"word");
    }

    #[test]
    fn quotes_the_program_that_failed() {
        let error = Tool::new("sh", LONG).args(["-c", "echo because >&2; exit 3"]).run().unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3): because");
    }

    #[test]
    fn stops_the_group_when_time_is_up() {
        // The grandchild holds the pipe: only stopping the group lets this test end.
        let limit = Duration::from_millis(1);
        let error = Tool::new("sh", limit).args(["-c", "sleep 1000 & sleep 1000"]).run().unwrap_err();
        assert!(matches!(error, ToolError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn stops_when_cancelled() {
        let cancel = Cancel::default();
        let tool = Tool::new("sh", LONG).args(["-c", "echo up; sleep 1000"]).cancelled_by(&cancel);
        let error = tool
            .stream(|stdout| {
                let mut up = [0; 3];
                stdout.read_exact(&mut up)?;
                cancel.cancel();
                Ok(())
            })
            .unwrap_err();
        assert!(matches!(error, ToolError::Cancelled { .. }), "{error}");
    }
}

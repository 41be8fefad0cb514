//! Helper programs: run to their end, by argument vector and never through a shell, with a time limit, and
//! with their own words in the error.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::daemon::PATH;

/// Most bytes kept of a helper's output; the rest is read and dropped.
const OUTPUT_MAX: u64 = 16 << 20;
/// Most bytes of standard error that go into an error; its end, because that is where the reason stands.
const ERROR_TEXT_MAX: usize = 2048;

/// Why a helper did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{program} is not installed")]
    Missing { program: String },
    #[error("{program} could not be started")]
    Start { program: String, source: io::Error },
    #[error("{program} failed ({status}): {stderr}")]
    Failed { program: String, status: ExitStatus, stderr: String },
    #[error("{program} did not finish within {seconds} s: {stderr}", seconds = .limit.as_secs_f32())]
    TimedOut { program: String, limit: Duration, stderr: String },
    #[error("{program} was stopped")]
    Stopped { program: String },
}

/// Runs a program with these arguments and returns its standard output. It is killed when it takes longer
/// than `limit`, and when the caller stops waiting.
pub async fn run<A: AsRef<OsStr>>(
    program: impl AsRef<Path>,
    args: impl IntoIterator<Item = A>,
    limit: Duration,
) -> Result<Vec<u8>, CommandError> {
    let name = program.as_ref().display().to_string();
    finish(helper(program, args), &name, limit).await
}

/// A program with these arguments and nothing of this process's environment, about to run.
pub fn helper<A: AsRef<OsStr>>(
    program: impl AsRef<Path>,
    args: impl IntoIterator<Item = A>,
) -> std::process::Command {
    let mut command = std::process::Command::new(program.as_ref());
    command.args(args).env_clear().env("PATH", PATH).env("LC_ALL", "C");
    command
}

/// Like [`run`], for a command that was put together elsewhere; `name` is what errors call it.
pub async fn finish(
    command: std::process::Command,
    name: &str,
    limit: Duration,
) -> Result<Vec<u8>, CommandError> {
    until(command, name, limit, std::future::pending()).await
}

/// Like [`finish`], and killed when `stopped` comes first: nothing of it is left when this returns.
pub async fn until(
    command: std::process::Command,
    name: &str,
    limit: Duration,
    stopped: impl Future<Output = ()>,
) -> Result<Vec<u8>, CommandError> {
    let name = || name.to_owned();
    let mut child = Command::from(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CommandError::Missing { program: name() },
            _ => CommandError::Start { program: name(), source },
        })?;
    let (mut output, mut words) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let ((), (), status) =
            tokio::join!(collect(stdout, &mut output), collect(stderr, &mut words), child.wait());
        status
    };
    let ended = tokio::select! {
        ended = tokio::time::timeout(limit, work) => Some(ended),
        () = stopped => None,
    };
    let Some(ended) = ended else {
        let gone = child.kill().await;
        return Err(gone.map_or_else(
            |source| CommandError::Start { program: name(), source },
            |()| CommandError::Stopped { program: name() },
        ));
    };
    match ended {
        Ok(Ok(status)) if status.success() => Ok(output),
        Ok(Ok(status)) => Err(CommandError::Failed { program: name(), status, stderr: last_words(&words) }),
        Ok(Err(source)) => Err(CommandError::Start { program: name(), source }),
        Err(_) => Err(CommandError::TimedOut { program: name(), limit, stderr: last_words(&words) }),
    }
}

/// The end of a program's output as one bounded, printable text.
pub fn last_words(output: &[u8]) -> String {
    let tail = &output[output.len().saturating_sub(ERROR_TEXT_MAX)..];
    let text = String::from_utf8_lossy(tail);
    text.trim().chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

async fn collect(stream: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    // A stream that breaks ends; the exit status tells the rest.
    let _ = (&mut stream).take(OUTPUT_MAX).read_to_end(into).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

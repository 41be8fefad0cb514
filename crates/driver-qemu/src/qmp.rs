//! A client of QEMU's machine protocol, as far as this driver speaks it. Written by hand because it is a
//! hundred lines, while the generated `qapi` crates compile thousands of types for the dozen that are used here.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Longest message accepted. QEMU is not trusted: a guest may have taken it over.
const MESSAGE_MAX: u64 = 1 << 20;
/// Most events skipped while a reply is awaited.
const EVENTS_MAX: usize = 1000;
/// How long QEMU may take for one answer before it counts as hung.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long whoever is not let in waits before asking again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// A conversation with one QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    #[error("qemu's monitor cannot be reached: {0}")]
    Io(#[from] std::io::Error),
    #[error("qemu closed its monitor")]
    Closed,
    #[error("qemu's monitor did not answer within {} s", ANSWER_MAX.as_secs())]
    Silent,
    #[error("qemu's monitor said something that is not its protocol: {0}")]
    Protocol(String),
    /// QEMU's own words.
    #[error("{0}")]
    Refused(String),
}

/// What a guest is doing, of the many states QEMU knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunState {
    Running,
    Stopped,
    /// Stopped by a write for which there was no room.
    OutOfRoom,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "return")]
    returned: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Connects to the monitor `socket` in `folder` and gets ready for commands.
    pub(crate) async fn connect(folder: &Path, socket: &str) -> Result<Self, QmpError> {
        let stream = connect_in_time(folder, socket).await?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        in_time(async {
            // The greeting holds nothing we depend on; the empty line of a closed socket is an error.
            qmp.line().await?;
            qmp.exchange("qmp_capabilities", json!({})).await
        })
        .await?;
        Ok(qmp)
    }

    /// Runs one command.
    pub(crate) async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        in_time(self.exchange(command, arguments)).await
    }

    pub(crate) async fn run_state(&mut self) -> Result<RunState, QmpError> {
        let status = self.execute("query-status", json!({})).await?;
        let running = status.get("running").and_then(Value::as_bool);
        match running {
            Some(true) => Ok(RunState::Running),
            Some(false) if status["status"] == "io-error" => Ok(RunState::OutOfRoom),
            Some(false) => Ok(RunState::Stopped),
            None => Err(QmpError::Protocol(status.to_string())),
        }
    }

    /// Hands a descriptor over, to be named in a later command of this conversation.
    pub(crate) async fn give(&mut self, name: &str, descriptor: BorrowedFd<'_>) -> Result<(), QmpError> {
        let text = request("getfd", json!({ "fdname": name }));
        self.stream.get_ref().writable().await?;
        sys::unix::send_descriptor(self.stream.get_ref().as_fd(), text.as_bytes(), descriptor)?;
        in_time(self.reply()).await.map(|_| ())
    }

    /// The name of the next event, whenever it comes.
    pub(crate) async fn event(&mut self) -> Result<String, QmpError> {
        loop {
            if let Some(event) = self.message().await?.event {
                return Ok(event);
            }
        }
    }

    async fn exchange(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.stream.write_all(request(command, arguments).as_bytes()).await?;
        self.reply().await
    }

    async fn reply(&mut self) -> Result<Value, QmpError> {
        for _ in 0..EVENTS_MAX {
            let message = self.message().await?;
            if let Some(refusal) = message.error {
                return Err(QmpError::Refused(refusal.desc));
            }
            if let Some(value) = message.returned {
                return Ok(value);
            }
        }
        Err(QmpError::Protocol("events without end and no reply".into()))
    }

    async fn message(&mut self) -> Result<Message, QmpError> {
        let line = self.line().await?;
        serde_json::from_slice(&line).map_err(|e| QmpError::Protocol(e.to_string()))
    }

    async fn line(&mut self) -> Result<Vec<u8>, QmpError> {
        let mut line = Vec::new();
        let length = (&mut self.stream).take(MESSAGE_MAX).read_until(b'\n', &mut line).await?;
        match line.last() {
            Some(b'\n') => Ok(line),
            _ if length as u64 == MESSAGE_MAX => Err(QmpError::Protocol("a message without end".into())),
            _ => Err(QmpError::Closed),
        }
    }
}

fn request(command: &str, arguments: Value) -> String {
    format!("{}\n", json!({ "execute": command, "arguments": arguments }))
}

/// Connects to a socket of QEMU, which lets in one at a time and few wait. A thread that stood still until it is let in
/// could be the one that whoever is in needs to go on.
pub(crate) async fn connect(folder: &Path, socket: &str) -> std::io::Result<UnixStream> {
    loop {
        match sys::unix::connect_at_once(folder, socket) {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            result => return UnixStream::from_std(result?),
        }
    }
}

pub(crate) async fn connect_in_time(folder: &Path, socket: &str) -> Result<UnixStream, QmpError> {
    in_time(async { Ok(connect(folder, socket).await?) }).await
}

async fn in_time<T>(work: impl Future<Output = Result<T, QmpError>>) -> Result<T, QmpError> {
    tokio::time::timeout(ANSWER_MAX, work).await.unwrap_or(Err(QmpError::Silent))
}

//! A client of the QEMU guest agent: a program inside the guest that answers over a virtio serial port
//! (<https://www.qemu.org/docs/master/interop/qemu-ga-ref.html>). Nothing it says is trusted.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::qmp;
use crate::state::{State, socket};

/// The port's name, by which the agent finds it.
pub(crate) const PORT: &str = "org.qemu.guest_agent.0";

/// How long the agent may take to show that it is there.
const SYNC_MAX: Duration = Duration::from_secs(3);
/// How long it may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest answer accepted: the agent keeps at most 16 MiB of each output, and writes them in base64.
const MESSAGE_MAX: u64 = 48 << 20;
/// Ends whatever stands in the port's buffer: the byte is in no valid UTF-8.
const DELIMITER: u8 = 0xff;

/// A conversation with the agent in one guest. There is one port, so there is one conversation at a time.
#[derive(Debug)]
pub(crate) struct GuestAgent {
    stream: BufReader<UnixStream>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("the guest agent's port cannot be used: {0}")]
    Io(#[from] std::io::Error),
    #[error(
        "no guest agent answers in the guest: install and start qemu-guest-agent there, or use `corten ssh`"
    )]
    Absent,
    #[error("the guest agent did not answer within {} s", ANSWER_MAX.as_secs())]
    Silent,
    #[error("the guest agent said something that is not its protocol: {0}")]
    Protocol(String),
    /// The agent's own words.
    #[error("{0}")]
    Refused(String),
}

/// How a program in the guest is doing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ProgramState {
    Running,
    Ended { code: i32, stdout: Vec<u8>, stderr: Vec<u8> },
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "return")]
    returned: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

impl GuestAgent {
    /// Opens the port and makes sure that somebody answers, not to an earlier caller's question.
    pub(crate) async fn connect(state: &State) -> Result<Self, AgentError> {
        let connected = tokio::time::timeout(SYNC_MAX, qmp::connect(state.folder(), socket::GUEST_AGENT));
        let stream = connected.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
        let mut agent = Self { stream: BufReader::new(stream) };
        tokio::time::timeout(SYNC_MAX, agent.sync()).await.unwrap_or(Err(AgentError::Absent))?;
        Ok(agent)
    }

    /// Starts a program; answers its process id in the guest.
    pub(crate) async fn start(&mut self, argv: &[String]) -> Result<u64, AgentError> {
        let (program, arguments) = argv.split_first().ok_or_else(|| protocol("no program was given"))?;
        let arguments = json!({ "path": program, "arg": arguments, "capture-output": true });
        let answer = self.execute("guest-exec", arguments).await?;
        answer["pid"].as_u64().ok_or_else(|| protocol(answer))
    }

    pub(crate) async fn look(&mut self, pid: u64) -> Result<ProgramState, AgentError> {
        let answer = self.execute("guest-exec-status", json!({ "pid": pid })).await?;
        program_state(&answer)
    }

    async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, AgentError> {
        let exchange = async {
            self.send(&json!({ "execute": command, "arguments": arguments })).await?;
            let line = self.message(b'\n').await?;
            reply(&line)
        };
        tokio::time::timeout(ANSWER_MAX, exchange).await.unwrap_or(Err(AgentError::Silent))
    }

    async fn sync(&mut self) -> Result<(), AgentError> {
        let id = u64::from(std::process::id());
        self.stream.write_all(&[DELIMITER]).await?;
        self.send(&json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } })).await?;
        loop {
            // Up to the delimiter stands what somebody before us did not read.
            self.message(DELIMITER).await?;
            let line = self.message(b'\n').await?;
            if reply(&line).is_ok_and(|answer| answer.as_u64() == Some(id)) {
                return Ok(());
            }
        }
    }

    async fn send(&mut self, request: &Value) -> Result<(), AgentError> {
        Ok(self.stream.write_all(format!("{request}\n").as_bytes()).await?)
    }

    async fn message(&mut self, end: u8) -> Result<Vec<u8>, AgentError> {
        let mut message = Vec::new();
        (&mut self.stream).take(MESSAGE_MAX).read_until(end, &mut message).await?;
        match message.last() {
            Some(last) if *last == end => Ok(message),
            Some(_) => Err(protocol("a message without end")),
            None => Err(AgentError::Io(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn reply(line: &[u8]) -> Result<Value, AgentError> {
    let message: Message = serde_json::from_slice(line).map_err(protocol)?;
    match message {
        Message { error: Some(refusal), .. } => Err(AgentError::Refused(refusal.desc)),
        Message { returned: Some(value), .. } => Ok(value),
        Message { .. } => Err(protocol("neither an answer nor an error")),
    }
}

fn program_state(answer: &Value) -> Result<ProgramState, AgentError> {
    if answer["exited"] != json!(true) {
        return Ok(ProgramState::Running);
    }
    let output = |field: &str| match answer[field].as_str() {
        Some(text) => STANDARD.decode(text).map_err(protocol),
        None => Ok(Vec::new()),
    };
    let number = |field: &str| answer[field].as_i64().and_then(|n| i32::try_from(n).ok());
    // A shell's way of telling that a signal ended it.
    let code = number("exitcode").or_else(|| number("signal").map(|signal| 128 + signal)).unwrap_or(-1);
    Ok(ProgramState::Ended { code, stdout: output("out-data")?, stderr: output("err-data")? })
}

fn protocol(what: impl std::fmt::Display) -> AgentError {
    AgentError::Protocol(what.to_string().chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_lies_are_not_believed() {
        let state = |text: &str| program_state(&serde_json::from_str(text).unwrap());
        assert_eq!(state(r#"{"exited": false}"#).unwrap(), ProgramState::Running);
        let ended =
            |code, stdout: &[u8]| ProgramState::Ended { code, stdout: stdout.into(), stderr: Vec::new() };
        let done = state(r#"{"exited": true, "exitcode": 3, "out-data": "aGk="}"#).unwrap();
        assert_eq!(done, ended(3, b"hi"));
        assert_eq!(state(r#"{"exited": true, "signal": 9}"#).unwrap(), ended(137, b""));
        assert!(state(r#"{"exited": true, "out-data": "%"}"#).is_err());
        assert!(
            matches!(reply(br#"{"error": {"desc": "no"}}"#), Err(AgentError::Refused(why)) if why == "no")
        );
        for junk in ["", "{", "[]", "{}", "\u{0}"] {
            assert!(matches!(reply(junk.as_bytes()), Err(AgentError::Protocol(_))), "{junk:?}");
        }
    }
}

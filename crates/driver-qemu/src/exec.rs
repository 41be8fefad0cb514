//! Programs inside a virtual machine, by its guest agent. The agent takes no input and tells the output when the
//! program has ended; who needs more than that uses ssh or the console.

use std::sync::Arc;
use std::time::Duration;

use ::driver::{DriverError, Exec, ExecAccess, ExecRequest};
use async_trait::async_trait;
use model::Uid;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::Mutex;

use crate::guest_agent::{AgentError, GuestAgent, ProgramState};
use crate::state::State;
use crate::{NAME, QemuDriver};

/// Between two looks at a program, at first and at most.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_millis(500);
/// Bytes of output on their way to the reader.
const PIPE: usize = 64 * 1024;

#[async_trait]
impl ExecAccess for QemuDriver {
    async fn exec(&self, uid: &Uid, request: ExecRequest) -> Result<Exec, DriverError> {
        if request.argv.is_empty() {
            return Err(DriverError::Invalid("argv: must name a program".to_owned()));
        }
        if request.tty {
            let what = "open a terminal through the guest agent; use `corten ssh` or `corten console`".into();
            return Err(DriverError::Unsupported { driver: NAME, what });
        }
        if !request.container.is_empty() {
            return Err(DriverError::Invalid("container: a virtual machine has none".to_owned()));
        }
        let (state, _) = self.running(uid)?;
        let port = Port { state, turn: self.agent_turn(uid) };
        let pid = port.talk(async |agent| agent.start(&request.argv).await).await.map_err(failed)?;
        let program = Program { port, pid, ended: false };
        let ((stdout, to_stdout), (stderr, to_stderr)) = (tokio::io::duplex(PIPE), tokio::io::duplex(PIPE));
        Ok(Exec {
            stdin: Box::pin(tokio::io::sink()),
            stdout: Box::pin(stdout),
            stderr: Box::pin(stderr),
            exit: Box::pin(program.finish(to_stdout, to_stderr)),
        })
    }
}

fn failed(e: AgentError) -> DriverError {
    match e {
        AgentError::Absent => DriverError::WrongState(e.to_string()),
        e => DriverError::failed("running a program in the guest", e),
    }
}

/// A guest's port, where callers take turns.
#[derive(Debug, Clone)]
struct Port {
    state: State,
    turn: Arc<Mutex<()>>,
}

impl Port {
    async fn talk<T>(
        &self,
        about: impl AsyncFnOnce(&mut GuestAgent) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        let _turn = self.turn.lock().await;
        about(&mut GuestAgent::connect(&self.state).await?).await
    }
}

/// A program in the guest. Dropped before it has ended, it is killed.
#[derive(Debug)]
struct Program {
    port: Port,
    pid: u64,
    ended: bool,
}

impl Program {
    async fn finish(
        mut self,
        mut stdout: DuplexStream,
        mut stderr: DuplexStream,
    ) -> Result<i32, DriverError> {
        let mut wait = LOOK_FIRST;
        let (code, out, err) = loop {
            let pid = self.pid;
            match self.port.talk(async |agent| agent.look(pid).await).await.map_err(failed)? {
                ProgramState::Ended { code, stdout, stderr } => break (code, stdout, stderr),
                ProgramState::Running => tokio::time::sleep(wait).await,
            }
            wait = (wait * 2).min(LOOK_MAX);
        };
        self.ended = true;
        // A reader that went away needs no output.
        let _ = tokio::join!(stdout.write_all(&out), stderr.write_all(&err));
        Ok(code)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.ended {
            return;
        }
        let (port, pid) = (self.port.clone(), self.pid.to_string());
        runtime.spawn(async move {
            let kill = ["kill".to_owned(), "-9".to_owned(), pid];
            // There is nobody left to tell; a guest that ended took the program along.
            let _ = port.talk(async |agent| agent.start(&kill).await).await;
        });
    }
}

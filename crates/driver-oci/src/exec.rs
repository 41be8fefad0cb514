//! Programs inside a running container, by `runtime exec`.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use driver::{DriverError, Exec, ExecAccess, ExecRequest, SandboxState};
use model::Uid;
use nix::sys::signal::Signal;
use sys::pidfd::PidFd;
use tokio::process::{Child, Command};

use crate::compute::OciDriver;
use crate::console::pick;
use crate::facts::{ContainerState, read_number};
use crate::paths::container_id;
use crate::pty::Pty;
use crate::sandbox::Host;

/// The runtime's own exit code when it could not start the program.
const RUNTIME_FAILED: i32 = 255;

/// Between two looks at the pid file of a program that is being started.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Tells the pid files of this process's programs apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

#[async_trait]
impl ExecAccess for OciDriver {
    async fn exec(&self, uid: &Uid, request: ExecRequest) -> Result<Exec, DriverError> {
        if request.argv.is_empty() {
            return Err(DriverError::Invalid("argv: must name a program".to_owned()));
        }
        let (owned, wanted) = (uid.clone(), request.container.clone());
        let container = self.off_thread(move |host| host.running(&owned, &wanted)).await?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let program = Program {
            pid_file: self
                .host
                .run
                .bundle(uid, &container)
                .join(format!("exec-{}-{number}", std::process::id())),
            host: Arc::clone(&self.host),
            uid: uid.clone(),
            container,
        };
        program.start(&request)
    }
}

impl Host {
    /// The picked container, if a program can be run in it.
    fn running(&self, uid: &Uid, container: &str) -> Result<String, DriverError> {
        let name = pick(&self.plan(uid)?, container)?;
        let refuse = |why: &str| Err(DriverError::WrongState(format!("container {name} of {uid} {why}")));
        match self.container(uid, &name).state {
            _ if self.observe(uid)?.state == SandboxState::Paused => refuse("is paused; resume it first"),
            ContainerState::Running { .. } => Ok(name),
            _ => refuse("does not run; start it first"),
        }
    }
}

/// One program inside a container.
#[derive(Debug, Clone)]
struct Program {
    host: Arc<Host>,
    uid: Uid,
    container: String,
    /// Where the runtime writes which process it is.
    pid_file: PathBuf,
}

impl Program {
    fn start(self, request: &ExecRequest) -> Result<Exec, DriverError> {
        let fail =
            |e: std::io::Error| DriverError::failed(format!("exec in container {}", self.container), e);
        let mut command = Command::from(self.host.runtime_command(&self.uid, &self.container));
        self.describe(request).map_err(fail)?;
        command.arg("exec").arg("--pid-file").arg(&self.pid_file);
        command.arg("--process").arg(self.description());
        command.arg(container_id(&self.uid, &self.container));
        if request.tty {
            let pty = Pty::open().map_err(fail)?;
            let end = || pty.program.try_clone().map(Stdio::from);
            command.stdin(end().map_err(fail)?).stdout(end().map_err(fail)?).stderr(end().map_err(fail)?);
            let child = command.spawn().map_err(fail)?;
            // It keeps the program's end open too.
            drop(command);
            return Ok(Exec {
                stdin: Box::pin(pty.input),
                stdout: Box::pin(pty.output),
                stderr: Box::pin(tokio::io::empty()),
                exit: Box::pin(Running { program: self, child }.wait()),
            });
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(fail)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(fail(std::io::Error::other("a pipe is missing")));
        };
        Ok(Exec {
            stdin: Box::pin(stdin),
            stdout: Box::pin(stdout),
            stderr: Box::pin(stderr),
            exit: Box::pin(Running { program: self, child }.wait()),
        })
    }

    /// Writes down what is to run: as the container's own program does, or crun would run it as root.
    fn describe(&self, request: &ExecRequest) -> std::io::Result<()> {
        let config = std::fs::read(self.host.run.bundle(&self.uid, &self.container).join("config.json"))?;
        let spec: oci_spec::runtime::Spec = serde_json::from_slice(&config)?;
        let mut process = spec.process().clone().unwrap_or_default();
        process.set_args(Some(request.argv.clone())).set_terminal(Some(request.tty));
        std::fs::write(self.description(), serde_json::to_vec(&process)?)
    }

    fn description(&self) -> PathBuf {
        self.pid_file.with_extension("json")
    }

    fn forget(&self) {
        let _ = std::fs::remove_file(&self.pid_file);
        let _ = std::fs::remove_file(self.description());
    }

    /// Kills the process that the runtime wrote down; false when it has not yet.
    fn kill(&self) -> bool {
        let Some(pid) = read_number::<u32>(&self.pid_file) else { return false };
        if let Ok(Some(process)) = PidFd::open(pid)
            && self.host.cgroups.contains(&self.uid, &self.container, pid)
        {
            // There is nobody left to tell.
            let _ = process.signal(Signal::SIGKILL);
        }
        true
    }
}

/// A program and the runtime that waits for it. The runtime cannot pass a SIGKILL on, so dropping this kills
/// the program; the runtime then ends by itself.
#[derive(Debug)]
struct Running {
    program: Program,
    child: Child,
}

impl Running {
    async fn wait(mut self) -> Result<i32, DriverError> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().await.map_err(|e| {
            DriverError::failed(format!("wait for a program in container {}", self.program.container), e)
        })?;
        Ok(status.code().or_else(|| status.signal().map(|n| 128 + n)).unwrap_or(RUNTIME_FAILED))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let program = self.program.clone();
        let runtime = self.child.id().filter(|_| !matches!(self.child.try_wait(), Ok(Some(_))));
        let Some(runtime) = runtime else { return program.forget() };
        if program.kill() {
            return program.forget();
        }
        // It is being started: kill it as soon as it has a pid.
        std::thread::spawn(move || {
            let Ok(Some(runtime)) = PidFd::open(runtime) else { return program.forget() };
            while !program.kill() {
                if runtime.wait(LOOK_AGAIN).unwrap_or(true) {
                    // It may have written the pid and gone between the two looks.
                    program.kill();
                    break;
                }
            }
            program.forget();
        });
    }
}

//! Consoles and screens: streams into a virtual machine, and the log of what its console said.

use std::path::PathBuf;
use std::pin::Pin;

use ::driver::{ByteStream, ConsoleAccess, DisplayAccess, DriverError};
use async_trait::async_trait;
use model::Uid;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::QemuDriver;
use crate::args::has_display;
use crate::qmp::{Qmp, QmpError, connect_in_time};
use crate::state::{State, socket};

#[async_trait]
impl ConsoleAccess for QemuDriver {
    /// One at a time: a second one would be put off silently, so it is refused.
    async fn attach(&self, uid: &Uid) -> Result<Pin<Box<dyn ByteStream>>, DriverError> {
        let (state, _) = self.running(uid)?;
        let failed = |e: QmpError| DriverError::failed("attaching to the console", e);
        if is_attached(&state).await.map_err(failed)? {
            return Err(DriverError::WrongState(format!("the console of {uid} is in use; detach it first")));
        }
        let stream = connect_in_time(state.folder(), socket::CONSOLE).await.map_err(failed)?;
        Ok(Box::pin(stream))
    }

    /// The file belongs to root and only its console writes to it.
    async fn log_path(&self, uid: &Uid, _container: &str) -> Result<PathBuf, DriverError> {
        self.state(uid).map(|state| state.console_log())
    }
}

#[async_trait]
impl DisplayAccess for QemuDriver {
    /// The machine has no socket for its screen: QEMU is handed one end of a pair.
    async fn vnc(&self, uid: &Uid) -> Result<Pin<Box<dyn ByteStream>>, DriverError> {
        let (state, _) = self.running(uid)?;
        let plan = state.plan().map_err(|e| DriverError::failed("reading the plan", e))?;
        if !plan.and_then(|plan| plan.vm).is_some_and(|vm| has_display(&vm)) {
            let what = "show a machine that starts a kernel directly: it has no screen".into();
            return Err(DriverError::Unsupported { driver: crate::NAME, what });
        }
        let stream = screen(&state).await.map_err(|e| DriverError::failed("opening the screen", e))?;
        Ok(Box::pin(stream))
    }
}

/// QEMU names a socket that waits for its peer `disconnected:...`.
async fn is_attached(state: &State) -> Result<bool, QmpError> {
    let mut qmp = Qmp::connect(state.folder(), socket::MONITOR).await?;
    let all = qmp.execute("query-chardev", json!({})).await?;
    let field = |chardev: &Value, name: &str| chardev[name].as_str().unwrap_or_default().to_owned();
    let mut all = all.as_array().into_iter().flatten();
    let console = all.find(|chardev| field(chardev, "label") == "console");
    Ok(console.is_some_and(|console| !field(console, "filename").starts_with("disconnected:")))
}

async fn screen(state: &State) -> Result<UnixStream, QmpError> {
    use std::os::fd::AsFd;
    let mut qmp = Qmp::connect(state.folder(), socket::MONITOR).await?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    qmp.give("screen", theirs.as_fd()).await?;
    let arguments = json!({ "protocol": "vnc", "fdname": "screen", "skipauth": true });
    qmp.execute("add_client", arguments).await?;
    ours.set_nonblocking(true)?;
    Ok(UnixStream::from_std(ours)?)
}

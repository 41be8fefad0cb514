//! Consoles and logs. The monitor owns a container's output: it writes the log and serves those who attach.

use std::path::PathBuf;
use std::pin::Pin;

use async_trait::async_trait;
use driver::{ByteStream, ConsoleAccess, DriverError, LogFormat, Plan};
use model::Uid;

use crate::attach::Attached;
use crate::compute::OciDriver;
use crate::facts::ContainerState;
use crate::paths::DataDir;
use crate::sandbox::Host;

#[async_trait]
impl ConsoleAccess for OciDriver {
    /// The terminal of the first container that has one.
    async fn attach(&self, uid: &Uid) -> Result<Pin<Box<dyn ByteStream>>, DriverError> {
        let owned = uid.clone();
        let bundle = self.off_thread(move |host| host.terminal(&owned)).await?;
        let attached =
            Attached::open(&bundle).map_err(|e| DriverError::failed(format!("attach to {uid}"), e))?;
        Ok(Box::pin(attached))
    }

    async fn log_path(&self, uid: &Uid, container: &str) -> Result<PathBuf, DriverError> {
        let (uid, container) = (uid.clone(), container.to_owned());
        self.off_thread(move |host| {
            let plan = host.plan(&uid)?;
            let name = pick(&plan, &container)?;
            Ok(DataDir(&plan.dir).log(&name))
        })
        .await
    }

    fn log_format(&self) -> LogFormat {
        LogFormat::Cri
    }
}

impl Host {
    /// The bundle of the first container with a terminal.
    fn terminal(&self, uid: &Uid) -> Result<PathBuf, DriverError> {
        let plan = self.plan(uid)?;
        let Some(container) = plan.containers.iter().find(|c| c.tty) else {
            let what =
                "attach to a container that has no terminal; set tty, or exec a shell in it".to_owned();
            return Err(DriverError::Unsupported { driver: "oci", what });
        };
        match self.container(uid, &container.name).state {
            ContainerState::Running { .. } => Ok(self.run.bundle(uid, &container.name)),
            _ => Err(DriverError::WrongState(format!(
                "container {} does not run; start it first",
                container.name
            ))),
        }
    }
}

/// The container meant by `name`, which may be empty when there is only one.
pub(crate) fn pick(plan: &Plan, name: &str) -> Result<String, DriverError> {
    let names = || plan.containers.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
    match plan.containers.as_slice() {
        [only] if name.is_empty() => Ok(only.name.clone()),
        _ if name.is_empty() => Err(DriverError::Invalid(format!("container: must be one of {}", names()))),
        all if all.iter().any(|c| c.name == name) => Ok(name.to_owned()),
        _ => Err(DriverError::Invalid(format!("container: {name:?} is not one of {}", names()))),
    }
}

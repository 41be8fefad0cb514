//! Consoles and logs. The monitor owns a container's output: it writes the log and serves those who attach.

use std::path::PathBuf;
use std::pin::Pin;

use async_trait::async_trait;
use driver::{ByteStream, ConsoleAccess, DriverError, Plan};
use model::Uid;

use crate::compute::OciDriver;
use crate::paths::DataDir;
use crate::sandbox::Host;

#[async_trait]
impl ConsoleAccess for OciDriver {
    async fn attach(&self, _uid: &Uid) -> Result<Pin<Box<dyn ByteStream>>, DriverError> {
        Err(DriverError::Unsupported {
            driver: "oci",
            what: "attach to a container; exec a shell in it".to_owned(),
        })
    }

    async fn log_path(&self, uid: &Uid, container: &str) -> Result<PathBuf, DriverError> {
        let (uid, container) = (uid.clone(), container.to_owned());
        self.off_thread(move |host| {
            let plan = host.plan(&uid)?;
            let name = host.pick(&plan, &container)?;
            Ok(DataDir(&plan.dir).log(&name))
        })
        .await
    }
}

impl Host {
    /// The container meant by `name`, which may be empty when there is only one.
    pub(crate) fn pick(&self, plan: &Plan, name: &str) -> Result<String, DriverError> {
        let names = || plan.containers.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
        match plan.containers.as_slice() {
            [only] if name.is_empty() => Ok(only.name.clone()),
            _ if name.is_empty() => {
                Err(DriverError::Invalid(format!("container: must be one of {}", names())))
            }
            all if all.iter().any(|c| c.name == name) => Ok(name.to_owned()),
            _ => Err(DriverError::Invalid(format!("container: {name:?} is not one of {}", names()))),
        }
    }
}

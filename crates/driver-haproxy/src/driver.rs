//! The contract, kept with HAProxy and a folder per balancer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use driver::{BalancerDriver, BalancerPlan, DriverError, ServerHealth};
use model::Uid;
use nix::sys::resource::{Resource, getrlimit};
use sys::command::CommandError;

use crate::config::Room;
use crate::folder::{Folder, Folders};
use crate::launch::Reloads;
use crate::{config, datagrams, launch, socket, stats};

/// Threads of one balancer on a machine with more processors than this.
const THREADS_MAX: usize = 4;
/// Open files of one balancer, where the machine allows as many: some 20,000 connections.
const OPEN_FILES_MAX: u64 = 45_000;
const VERSION_WITHIN: Duration = Duration::from_secs(10);

/// What the one who starts the driver decides.
#[derive(Debug, Clone)]
pub struct HaproxyOptions {
    /// Holds a folder per balancer; on a tmpfs, for they mean nothing after a reboot.
    pub run_dir: PathBuf,
    /// HAProxy 2.6 or newer, with OpenSSL.
    pub program: PathBuf,
    /// The control group, below every hierarchy's root, that holds a group per balancer.
    pub cgroup: String,
}

impl HaproxyOptions {
    pub fn new(run_dir: impl Into<PathBuf>) -> Self {
        Self {
            run_dir: run_dir.into(),
            program: "/usr/sbin/haproxy".into(),
            cgroup: sys::cgroup::ROOT.into(),
        }
    }
}

/// Load balancers by HAProxy. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HaproxyDriver {
    host: Arc<Host>,
}

#[derive(Debug)]
struct Host {
    options: HaproxyOptions,
    folders: Folders,
    reloads: Reloads,
}

impl HaproxyDriver {
    pub fn new(options: HaproxyOptions) -> Self {
        let folders = Folders::new(options.run_dir.clone());
        Self { host: Arc::new(Host { options, folders, reloads: Reloads::default() }) }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Host) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let host = Arc::clone(&self.host);
        let done = tokio::task::spawn_blocking(move || work(&host)).await;
        done.unwrap_or_else(|e| Err(DriverError::failed("balancing", e)))
    }
}

#[async_trait]
impl BalancerDriver for HaproxyDriver {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    async fn probe(&self) -> Result<String, DriverError> {
        let program = &self.host.options.program;
        match sys::command::run(program, ["-v"], VERSION_WITHIN).await {
            Ok(words) => {
                let words = String::from_utf8_lossy(&words);
                let version = words.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit()));
                Ok(version.unwrap_or_default().to_owned())
            }
            Err(CommandError::Missing { program }) => {
                let what = format!("balance loads: {program} is missing; install the package haproxy");
                Err(DriverError::Unsupported { driver: "haproxy", what })
            }
            Err(e) => Err(DriverError::failed("asking haproxy for its version", e)),
        }
    }

    async fn prepare(&self, uid: &Uid) -> Result<PathBuf, DriverError> {
        let uid = uid.clone();
        self.blocking(move |host| host.prepare(&uid)).await
    }

    fn network_namespace(&self, uid: &Uid) -> Option<PathBuf> {
        let path = self.host.folders.of(uid).namespace();
        sys::namespace::is_held(&path).then_some(path)
    }

    async fn ensure(&self, plan: &BalancerPlan) -> Result<Vec<ServerHealth>, DriverError> {
        let plan = plan.clone();
        self.blocking(move |host| host.ensure(&plan)).await
    }

    async fn list(&self) -> Result<Vec<Uid>, DriverError> {
        self.blocking(|host| host.folders.list().map_err(|e| DriverError::failed("list load balancers", e)))
            .await
    }

    async fn delete(&self, uid: &Uid) -> Result<(), DriverError> {
        let group = launch::cgroup(&self.host.options.cgroup, uid)
            .map_err(|e| DriverError::failed("finding the cgroup", e))?;
        // Whatever is in it: the program, its workers, and those that end their last connections.
        group.remove().await.map_err(|e| DriverError::failed("ending haproxy", e))?;
        let uid = uid.clone();
        self.blocking(move |host| {
            host.reloads.forget(&uid);
            host.folders
                .remove(&uid)
                .map_err(|e| DriverError::failed("removing the load balancer's folder", e))
        })
        .await
    }
}

impl Host {
    fn prepare(&self, uid: &Uid) -> Result<PathBuf, DriverError> {
        let at = |e: io::Error| DriverError::failed("making the load balancer's folder and namespace", e);
        let folder = self.folders.ensure(uid).map_err(at)?;
        launch::prepare_namespace(&folder).map_err(at)?;
        Ok(folder.namespace())
    }

    fn ensure(&self, plan: &BalancerPlan) -> Result<Vec<ServerHealth>, DriverError> {
        let folder: Folder = self.folders.of(&plan.uid);
        let room = room()?;
        let wanted = config::render(plan, &folder, room)?;
        launch::ensure(&self.options, &plan.uid, &folder, &wanted, room, &self.reloads)?;
        folder.trim_log().map_err(|e| DriverError::failed("shortening the log", e))?;
        let table = socket::ask(&folder, stats::COMMAND)
            .map_err(|e| DriverError::failed("asking haproxy how its servers do", e))?;
        let servers = stats::servers(&table);
        datagrams::ensure(plan, &folder, &servers)?;
        Ok(servers)
    }
}

/// What a balancer may have of this machine.
fn room() -> Result<Room, DriverError> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|e| DriverError::failed("asking how many files may be open", io::Error::from(e)))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    Ok(Room { threads, open_files: most.min(OPEN_FILES_MAX) })
}

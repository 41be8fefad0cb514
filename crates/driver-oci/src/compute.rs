//! The driver's face: [`driver::ComputeDriver`] over the blocking half, one sandbox at a time.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use driver::{
    ComputeDriver, ConsoleAccess, DriverError, DriverInfo, ExecAccess, Observed, Plan, StopMode, VolumeAccess,
};
use model::Uid;
use tokio::sync::{Mutex, broadcast};

use crate::OciOptions;
use crate::sandbox::{CELL, Host};
use crate::watch::Watch;

/// Changes that a listener may fall behind by.
const CHANGES_MAX: usize = 256;

/// Runs sandboxes of containers. Several may exist over one `run_dir` one after the other, not at once.
#[derive(Debug)]
pub struct OciDriver {
    pub(crate) host: Arc<Host>,
    /// Making and taking away a sandbox exclude each other; asking and signalling do not wait.
    turns: parking_lot::Mutex<HashMap<Uid, Arc<Mutex<()>>>>,
    changes: broadcast::Sender<Uid>,
    _watch: Watch,
}

impl OciDriver {
    /// Adopts whatever `options.run_dir` tells of.
    pub fn new(options: OciOptions) -> Result<Self, DriverError> {
        let host = Host::new(options)?;
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        let watch = Watch::start(&host.run.exits(), changes.clone())
            .map_err(|e| DriverError::failed("watch for exits", e))?;
        Ok(Self { host: Arc::new(host), turns: parking_lot::Mutex::default(), changes, _watch: watch })
    }

    /// Runs `work` where it may block.
    pub(crate) async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Host) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let host = Arc::clone(&self.host);
        match tokio::task::spawn_blocking(move || work(&host)).await {
            Ok(done) => done,
            Err(e) => Err(DriverError::failed("work on a sandbox", e)),
        }
    }

    /// As [`Self::off_thread`], but nobody else makes, resets or deletes the sandbox meanwhile, and listeners
    /// hear of it.
    async fn in_turn<T: Send + 'static>(
        &self,
        uid: &Uid,
        work: impl FnOnce(&Host) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let done = self.alone(uid, work).await;
        self.announce(uid);
        done
    }

    /// As [`Self::in_turn`], of which nobody need hear.
    pub(crate) async fn alone<T: Send + 'static>(
        &self,
        uid: &Uid,
        work: impl FnOnce(&Host) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let turn = Arc::clone(self.turns.lock().entry(uid.clone()).or_default());
        // Owned by the work, not by this future: a caller who gives up must not let another one in.
        let guard = Arc::clone(&turn).lock_owned().await;
        let done = self
            .off_thread(move |host| {
                let _guard = guard;
                work(host)
            })
            .await;
        let mut turns = self.turns.lock();
        // Ours and the table's: nobody waits.
        if Arc::strong_count(&turn) == 2 {
            turns.remove(uid);
        }
        done
    }

    fn announce(&self, uid: &Uid) {
        // Nobody listening is no failure.
        let _ = self.changes.send(uid.clone());
    }
}

#[async_trait]
impl ComputeDriver for OciDriver {
    fn name(&self) -> &'static str {
        "oci"
    }

    async fn probe(&self) -> Result<DriverInfo, DriverError> {
        self.off_thread(|host| {
            let version = version_of(&host.options.runtime, "apt-get install crun")?;
            version_of(&host.options.monitor, "apt-get install conmon")?;
            if !sys::mount::has_overlay() {
                return Err(DriverError::failed(
                    "probe overlayfs",
                    "this kernel has none, nor a module of it",
                ));
            }
            Ok(DriverInfo { version, cells: vec![CELL], accelerator: String::new() })
        })
        .await
    }

    async fn prepare(&self, plan: &Plan) -> Result<(), DriverError> {
        let owned = plan.clone();
        self.in_turn(&plan.uid, move |host| host.prepare(&owned)).await
    }

    async fn ensure(&self, plan: &Plan) -> Result<Observed, DriverError> {
        let owned = plan.clone();
        self.in_turn(&plan.uid, move |host| host.ensure(&owned)).await
    }

    async fn list(&self) -> Result<Vec<Observed>, DriverError> {
        self.off_thread(Host::list).await
    }

    async fn observe(&self, uid: &Uid) -> Result<Observed, DriverError> {
        let uid = uid.clone();
        self.off_thread(move |host| host.observe(&uid)).await
    }

    async fn stop(&self, uid: &Uid, mode: StopMode) -> Result<(), DriverError> {
        // Not in turn: a kill must not wait behind a graceful stop.
        let owned = uid.clone();
        let done = self.off_thread(move |host| host.stop(&owned, mode)).await;
        self.announce(uid);
        done
    }

    async fn delete(&self, uid: &Uid) -> Result<(), DriverError> {
        let owned = uid.clone();
        self.in_turn(uid, move |host| host.delete(&owned)).await
    }

    async fn pause(&self, uid: &Uid) -> Result<(), DriverError> {
        let owned = uid.clone();
        self.in_turn(uid, move |host| host.set_paused(&owned, true)).await
    }

    async fn resume(&self, uid: &Uid) -> Result<(), DriverError> {
        let owned = uid.clone();
        self.in_turn(uid, move |host| host.set_paused(&owned, false)).await
    }

    async fn reset(&self, uid: &Uid) -> Result<(), DriverError> {
        let owned = uid.clone();
        self.in_turn(uid, move |host| host.reset(&owned)).await
    }

    fn changes(&self) -> broadcast::Receiver<Uid> {
        self.changes.subscribe()
    }

    fn network_namespace(&self, uid: &Uid) -> Option<std::path::PathBuf> {
        Some(self.host.run.namespaces(uid).join("net"))
    }

    fn console(&self) -> Option<&dyn ConsoleAccess> {
        Some(self)
    }

    fn exec(&self) -> Option<&dyn ExecAccess> {
        Some(self)
    }

    fn volumes(&self) -> Option<&dyn VolumeAccess> {
        Some(self)
    }
}

/// The first line that `program --version` prints.
fn version_of(program: &Path, remedy: &str) -> Result<String, DriverError> {
    let what = || format!("run {} --version", program.display());
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|e| DriverError::failed(what(), format!("{e}; {remedy}")))?;
    if !output.status.success() {
        return Err(DriverError::failed(what(), output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

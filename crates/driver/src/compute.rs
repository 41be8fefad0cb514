//! The compute contract.

use std::pin::Pin;

use async_trait::async_trait;
use model::compute::Cell;
use model::{Timestamp, Uid};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast;

use crate::{DriverError, LogFormat, Plan};

/// What a driver can do on this host, found out by trying.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverInfo {
    /// Version of the program behind the driver.
    pub version: String,
    pub cells: Vec<Cell>,
    /// `kvm` or `tcg` for virtual machines; empty otherwise.
    pub accelerator: String,
}

/// The state of a sandbox, from facts (the hypervisor, the runtime, the process table), never from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// Made, but its payload was never started or is being started.
    Created,
    Running,
    Paused,
    /// Ended by itself or stopped; `Some` exit code when known (0 for a guest that powered off).
    Exited(Option<i32>),
    /// The hypervisor or runtime does not answer.
    Unknown,
}

/// One sandbox as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub uid: Uid,
    pub state: SandboxState,
    /// The main process, while there is one. For display; identity is checked by the driver.
    pub pid: Option<u32>,
    pub started_at: Option<Timestamp>,
    /// Why it ended, in the program's own words, when it failed.
    pub message: String,
    /// For payloads of containers.
    pub containers: Vec<ObservedContainer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedContainer {
    pub name: String,
    pub running: bool,
    pub exit_code: Option<i32>,
}

/// How to end a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ask the guest (ACPI power button, SIGTERM), and kill it after so many seconds.
    Graceful {
        seconds: u32,
    },
    Kill,
}

/// Makes sandboxes run on this host. Every method is idempotent and safe to repeat after a crash at any line;
/// sandboxes survive the death of the process that holds the driver.
#[async_trait]
pub trait ComputeDriver: Send + Sync + 'static {
    /// The driver's name in statuses and messages, e.g. `qemu`.
    fn name(&self) -> &'static str;

    /// Finds out what works here; an error says what is missing and how to get it.
    async fn probe(&self) -> Result<DriverInfo, DriverError>;

    /// Does as much of [`Self::ensure`] as needs no network, which can be made meanwhile; `ensure` goes on from there.
    /// By default nothing.
    async fn prepare(&self, plan: &Plan) -> Result<(), DriverError> {
        let _ = plan;
        Ok(())
    }

    /// Makes the sandbox exist and its payload run. If it runs already nothing happens; if its payload has
    /// ended it is started again.
    async fn ensure(&self, plan: &Plan) -> Result<Observed, DriverError>;

    /// All sandboxes of this driver on this host, also those this process did not start.
    async fn list(&self) -> Result<Vec<Observed>, DriverError>;

    /// One sandbox; `NotFound` when there is none.
    async fn observe(&self, uid: &Uid) -> Result<Observed, DriverError>;

    /// Ends the payload; returns when it has ended. The sandbox's data stays.
    async fn stop(&self, uid: &Uid, mode: StopMode) -> Result<(), DriverError>;

    /// Ends the payload if need be and removes every trace outside of the plan's directory. Deleting what
    /// does not exist succeeds.
    async fn delete(&self, uid: &Uid) -> Result<(), DriverError>;

    async fn pause(&self, uid: &Uid) -> Result<(), DriverError>;
    async fn resume(&self, uid: &Uid) -> Result<(), DriverError>;

    /// Restarts the payload at once, as a machine's reset button does.
    async fn reset(&self, uid: &Uid) -> Result<(), DriverError>;

    /// Uids whose state has changed, as soon as the driver notices. A receiver that lags behind must list.
    fn changes(&self) -> broadcast::Receiver<Uid>;

    /// Where the network namespace of a sandbox is kept, for drivers whose payloads live in one. Links are put into
    /// it before the sandbox is ensured; it may not be there yet.
    fn network_namespace(&self, _uid: &Uid) -> Option<std::path::PathBuf> {
        None
    }

    /// Capability: consoles and logs.
    fn console(&self) -> Option<&dyn ConsoleAccess> {
        None
    }

    /// Capability: programs inside the sandbox.
    fn exec(&self) -> Option<&dyn ExecAccess> {
        None
    }

    /// Capability: volumes that come and go while it runs.
    fn volumes(&self) -> Option<&dyn VolumeAccess> {
        None
    }

    /// Capability: network cards that come and go while it runs. A sandbox with a network namespace needs none: links
    /// are put into it and taken out.
    fn cards(&self) -> Option<&dyn CardAccess> {
        None
    }

    /// Capability: a graphical display.
    fn display(&self) -> Option<&dyn DisplayAccess> {
        None
    }
}

/// A two-way stream of bytes.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

#[async_trait]
pub trait ConsoleAccess: Send + Sync {
    /// Attaches to the serial console or terminal.
    async fn attach(&self, uid: &Uid) -> Result<Pin<Box<dyn ByteStream>>, DriverError>;

    /// The file that keeps the console's output, or one container's output; it outlives the payload.
    /// `container` may be empty when there is only one.
    async fn log_path(&self, uid: &Uid, container: &str) -> Result<std::path::PathBuf, DriverError>;

    /// How the files of [`Self::log_path`] are written.
    fn log_format(&self) -> LogFormat {
        LogFormat::Raw
    }
}

/// A program to run inside a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Which container; may be empty when there is only one.
    pub container: String,
    pub argv: Vec<String>,
    pub tty: bool,
}

/// A running program: its streams, and its exit code when it has ended. Dropping it kills the program.
pub struct Exec {
    /// Closed by dropping.
    pub stdin: Pin<Box<dyn AsyncWrite + Send>>,
    pub stdout: Pin<Box<dyn AsyncRead + Send>>,
    /// Empty with a terminal.
    pub stderr: Pin<Box<dyn AsyncRead + Send>>,
    pub exit: Pin<Box<dyn Future<Output = Result<i32, DriverError>> + Send>>,
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec").finish_non_exhaustive()
    }
}

#[async_trait]
pub trait ExecAccess: Send + Sync {
    async fn exec(&self, uid: &Uid, request: ExecRequest) -> Result<Exec, DriverError>;
}

#[async_trait]
pub trait DisplayAccess: Send + Sync {
    /// A stream of the RFB protocol (VNC).
    async fn vnc(&self, uid: &Uid) -> Result<Pin<Box<dyn ByteStream>>, DriverError>;
}

/// Network cards that come and go while the machine runs; known by their addresses.
#[async_trait]
pub trait CardAccess: Send + Sync {
    /// Returns when the guest is shown the card; one that is there already stays as it is.
    async fn plug(&self, uid: &Uid, card: &crate::NicPlan) -> Result<(), DriverError>;

    /// Returns when nothing of the sandbox has the card any more.
    async fn unplug(&self, uid: &Uid, mac: &str) -> Result<(), DriverError>;
}

/// A volume's disk in a machine that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluggedDisk {
    pub serial: String,
    pub size: model::Bytes,
}

/// How far a merge of layers is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merging {
    Running,
    /// It stands on what it should.
    Done,
}

/// Disks that come and go while the machine runs.
#[async_trait]
pub trait VolumeAccess: Send + Sync {
    /// Whether disks can be changed while the sandbox runs: plugged and taken out, enlarged, frozen, merged and
    /// copied.
    fn changes_disks(&self) -> bool {
        true
    }

    /// The volumes it has now; none when it does not run, and nothing of it has one open then.
    async fn plugged(&self, uid: &Uid) -> Result<Vec<PluggedDisk>, DriverError>;

    /// Returns when the guest can use the disk; one that is there already gets the plan's limits.
    async fn plug(&self, uid: &Uid, disk: &crate::DiskPlan) -> Result<(), DriverError>;

    /// Returns when nothing of the sandbox has the disk open any more.
    async fn unplug(&self, uid: &Uid, serial: &str) -> Result<(), DriverError>;

    /// Makes the disk larger, and tells the guest.
    async fn resize(&self, uid: &Uid, serial: &str, size: model::Bytes) -> Result<(), DriverError>;

    /// From now on writes go to `overlay`, an empty qcow2 file that shows what the disk was.
    async fn switch(&self, uid: &Uid, serial: &str, overlay: &std::path::Path) -> Result<(), DriverError>;

    /// Makes the file that takes the disk's writes stand on `base` directly, or on nothing, by writing into it what
    /// is between; begins it, or tells how far it is. Whatever else is done to the disk ends it early, and nothing
    /// is lost by that.
    async fn merge(
        &self,
        uid: &Uid,
        serial: &str,
        base: Option<&std::path::Path>,
    ) -> Result<Merging, DriverError>;

    /// Writes what the disk of the plan with this serial number holds at this moment to `target`, an empty qcow2 file
    /// of the disk's size, while the guest runs; returns when it is done.
    async fn copy(&self, uid: &Uid, serial: &str, target: &std::path::Path) -> Result<(), DriverError>;

    /// Writes what changed in the disk to the plan's target, as it is at this moment, while the guest runs; returns
    /// when it is done. The note that was gone by; none when the whole disk was written. Whatever else is done to the
    /// disk ends it early, with an error.
    async fn changes(
        &self,
        uid: &Uid,
        serial: &str,
        plan: &crate::ChangesPlan,
    ) -> Result<Option<Uid>, DriverError>;
}

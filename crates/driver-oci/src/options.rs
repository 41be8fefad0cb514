//! What the one who starts the driver decides.

use std::path::PathBuf;

/// Where the driver keeps its running state and which programs it uses.
#[derive(Debug, Clone)]
pub struct OciOptions {
    /// Facts about what runs; best on a tmpfs, for they mean nothing after a reboot. At most 40 bytes long is
    /// comfortable: sockets live below it.
    pub run_dir: PathBuf,
    /// An OCI runtime with runc's command line.
    pub runtime: PathBuf,
    /// The monitor that outlives the agent: <https://github.com/containers/conmon>.
    pub monitor: PathBuf,
    /// The control group, below every hierarchy's root, that holds a group per sandbox.
    pub cgroup: String,
    /// Most processes and threads in one sandbox.
    pub pids_max: u32,
    /// A container's log starts anew when it would grow beyond this many bytes.
    pub log_bytes_max: u64,
}

impl Default for OciOptions {
    fn default() -> Self {
        Self {
            run_dir: "/run/corten/oci".into(),
            runtime: "runc".into(),
            monitor: "conmon".into(),
            cgroup: sys::cgroup::ROOT.into(),
            pids_max: 4096,
            log_bytes_max: 16 << 20,
        }
    }
}

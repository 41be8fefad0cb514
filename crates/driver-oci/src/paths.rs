//! Where everything of a sandbox lies. Nothing else joins path names.

use std::path::{Path, PathBuf};

use model::Uid;

/// Below [`crate::OciOptions::run_dir`].
#[derive(Debug, Clone)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    /// The runtime's own state.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.0.join("runtime")
    }

    /// One file per ended container, named by [`container_id`], with its exit code as text.
    pub(crate) fn exits(&self) -> PathBuf {
        self.0.join("exits")
    }

    pub(crate) fn exit(&self, uid: &Uid, container: &str) -> PathBuf {
        self.exits().join(container_id(uid, container))
    }

    /// Exists from a container's making until its start.
    pub(crate) fn start_gate(&self, uid: &Uid, container: &str) -> PathBuf {
        self.runtime_state(uid, container).join("exec.fifo")
    }

    pub(crate) fn runtime_state(&self, uid: &Uid, container: &str) -> PathBuf {
        self.runtime().join(container_id(uid, container))
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.0.join("sandboxes")
    }

    pub(crate) fn sandbox(&self, uid: &Uid) -> PathBuf {
        self.sandboxes().join(uid.as_str())
    }

    /// A folder for each volume that is mounted for the sandbox.
    pub(crate) fn volumes(&self, uid: &Uid) -> PathBuf {
        self.0.join("volumes").join(uid.as_str())
    }

    pub(crate) fn plan(&self, uid: &Uid) -> PathBuf {
        self.sandbox(uid).join("plan.json")
    }

    /// Exists from a request to stop until the next start: an end was wanted.
    pub(crate) fn stop_request(&self, uid: &Uid) -> PathBuf {
        self.sandbox(uid).join("stop-requested")
    }

    pub(crate) fn namespaces(&self, uid: &Uid) -> PathBuf {
        self.sandbox(uid).join("ns")
    }

    pub(crate) fn hosts(&self, uid: &Uid) -> PathBuf {
        self.sandbox(uid).join("hosts")
    }

    pub(crate) fn hostname(&self, uid: &Uid) -> PathBuf {
        self.sandbox(uid).join("hostname")
    }

    /// The runtime's bundle, and the monitor's sockets.
    pub(crate) fn bundle(&self, uid: &Uid, container: &str) -> PathBuf {
        self.sandbox(uid).join("containers").join(container)
    }

    pub(crate) fn pid(&self, uid: &Uid, container: &str) -> PathBuf {
        self.bundle(uid, container).join("pid")
    }

    pub(crate) fn monitor_pid(&self, uid: &Uid, container: &str) -> PathBuf {
        self.bundle(uid, container).join("monitor.pid")
    }
}

/// What the runtime calls a container. A uid has no dot and a container's name none either.
pub(crate) fn container_id(uid: &Uid, container: &str) -> String {
    format!("{uid}.{container}")
}

/// The sandbox of a [`container_id`]; `None` for other names, such as those of files still being written.
pub(crate) fn uid_of(container_id: &str) -> Option<Uid> {
    let (uid, container) = container_id.split_once('.')?;
    if container.contains('.') { None } else { Uid::parse(uid) }
}

/// Below [`driver::Plan::dir`]: what outlives a run.
#[derive(Debug, Clone)]
pub(crate) struct DataDir<'a>(pub(crate) &'a Path);

impl DataDir<'_> {
    pub(crate) fn upper(&self, container: &str) -> PathBuf {
        self.0.join(container).join("upper")
    }

    pub(crate) fn work(&self, container: &str) -> PathBuf {
        self.0.join(container).join("work")
    }

    pub(crate) fn rootfs(&self, container: &str) -> PathBuf {
        self.0.join(container).join("rootfs")
    }

    pub(crate) fn log(&self, container: &str) -> PathBuf {
        self.0.join(format!("{container}.log"))
    }

    /// The agent's word on name servers; mounted into every container when it is there.
    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.0.join("resolv.conf")
    }
}

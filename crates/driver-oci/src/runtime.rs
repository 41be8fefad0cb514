//! Which OCI runtime makes containers, and which one made a container that is there.
//!
//! runc and crun have the same command line and files of their own. crun is written in C and takes a third of the time;
//! what it cannot do is serve a host whose control groups are of both versions, with controllers in the second.

use std::fs;
use std::path::{Path, PathBuf};

use model::Uid;

use crate::sandbox::Host;

const RUNC: &str = "runc";
const CRUN: &str = "crun";
/// The second version's hierarchy on a host that has both.
const HYBRID_CONTROLLERS: &str = "/sys/fs/cgroup/unified/cgroup.controllers";
/// The name of crun's record of a container; runc's is `state.json`.
const CRUN_RECORD: &str = "status";

/// How the first process of a made container is let go on to its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It writes to the pipe, and waits until somebody reads.
    Reads,
    /// It reads from the pipe.
    Writes,
}

/// The quickest runtime that this host has and that can serve it: crun, else runc.
#[must_use]
pub fn quickest_runtime() -> PathBuf {
    let controllers = fs::read_to_string(HYBRID_CONTROLLERS).unwrap_or_default();
    match find(Path::new(CRUN)) {
        Some(crun) if controllers.trim().is_empty() => crun,
        _ => RUNC.into(),
    }
}

/// Where a program is that is named without a folder.
pub(crate) fn find(program: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

impl Host {
    /// The runtime that made a container: the one that makes them now, unless its record says otherwise.
    pub(crate) fn maker(&self, uid: &Uid, container: &str) -> PathBuf {
        let own = &self.options.runtime;
        let own_is_crun = own.file_name().is_some_and(|name| name == CRUN);
        match (self.gate(uid, container), own_is_crun) {
            (Gate::Reads, true) if self.run.runtime_state(uid, container).exists() => RUNC.into(),
            (Gate::Writes, false) => CRUN.into(),
            _ => own.clone(),
        }
    }

    pub(crate) fn gate(&self, uid: &Uid, container: &str) -> Gate {
        if self.run.runtime_state(uid, container).join(CRUN_RECORD).exists() {
            Gate::Writes
        } else {
            Gate::Reads
        }
    }
}

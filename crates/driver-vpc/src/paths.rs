//! Where everything lies below the run directory. Nothing else joins path names.

use std::path::PathBuf;

use model::Uid;

#[derive(Debug, Clone)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    pub(crate) fn vpcs(&self) -> PathBuf {
        self.0.join("vpcs")
    }

    pub(crate) fn vpc(&self, uid: &Uid) -> PathBuf {
        self.vpcs().join(uid.as_str())
    }

    /// The mount that keeps the namespace.
    pub(crate) fn namespace(&self, uid: &Uid) -> PathBuf {
        self.vpc(uid).join("net")
    }

    /// Namespaces that belong to nobody yet.
    pub(crate) fn pool(&self) -> PathBuf {
        self.0.join("pool")
    }
}

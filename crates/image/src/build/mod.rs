//! Builds guest images out of Debian packages: `tiny` (seconds, for tests and small machines) and `debian` (a
//! full cloud image with cloud-init). Nothing is installed on the host.

mod cpio;
mod debian;
mod packages;
mod partition;
mod tiny;
mod tiny_disk;

use std::io;
use std::path::{Path, PathBuf};

use crate::tool::ToolError;

pub use debian::debian;
pub use packages::Packages;
pub use tiny::{TINY_CMDLINE, Tiny, tiny};
pub use tiny_disk::tiny_disk;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("cannot read or write {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("apt offers no package {name}; run `apt-get update`, and check that this is Debian 12 or later")]
    UnknownPackage { name: String },
    #[error("package {name} does not have the digest its index states; run `apt-get update` and try again")]
    WrongDigest { name: String },
    #[error("the packages have no file {name}; this Debian release is not supported as a source")]
    MissingFile { name: String },
    #[error("there is no {path}; install the package {package}")]
    MissingTool { path: PathBuf, package: &'static str },
}

impl BuildError {
    /// For `map_err`: an input/output error at `path`.
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

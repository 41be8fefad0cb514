//! Moving processes between control groups without waiting.
//!
//! The kernel lets nobody fork while a process is moved. Taking that lock waits for a grace period of RCU, about ten
//! milliseconds, in every start of a container or guest, unless one hierarchy of the host was mounted with
//! `favordynmods` (Linux 6.0, Documentation/admin-guide/cgroup-v2.rst). Forks and exits get a little dearer by it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::mount::MsFlags;

use crate::mount::detach;

/// The hierarchy that carries the wish; it has no controllers.
const WISH: &str = "none,name=corten-moves,favordynmods";

/// The wish that moves be quick, for as long as it lives. It is held by an open file, not by a mount that anyone sees:
/// nothing is left of it when its process ends, however that ends.
#[derive(Debug)]
pub struct QuickMoves {
    _hierarchy: Hidden,
}

impl QuickMoves {
    /// `scratch` is a folder to be that nobody else uses. A kernel that does not know the wish answers EINVAL.
    pub fn ask(scratch: &Path) -> io::Result<Self> {
        Hidden::hold(scratch, WISH).map(|hierarchy| Self { _hierarchy: hierarchy })
    }
}

/// A hierarchy of the first version that is in the kernel and in no folder, for as long as this lives.
#[derive(Debug)]
pub struct Hidden {
    _root: File,
}

impl Hidden {
    /// `options` as of mount(8); `scratch` is a folder to be that nobody else uses.
    pub fn hold(scratch: &Path, options: &str) -> io::Result<Self> {
        fs::create_dir_all(scratch)?;
        let root = mount_and_open(scratch, options);
        detach(scratch)?;
        fs::remove_dir(scratch)?;
        root.map(|root| Self { _root: root })
    }
}

fn mount_and_open(at: &Path, options: &str) -> io::Result<File> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("corten"), at, Some("cgroup"), flags, Some(options))?;
    File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC).open(at)
}

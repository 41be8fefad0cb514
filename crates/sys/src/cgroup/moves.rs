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
const OPTIONS: &str = "none,name=corten-moves,favordynmods";

/// The wish that moves be quick, for as long as it lives. It is held by an open file, not by a mount that anyone sees:
/// nothing is left of it when its process ends, however that ends.
#[derive(Debug)]
pub struct QuickMoves {
    _hierarchy: File,
}

impl QuickMoves {
    /// `scratch` is a folder to be that nobody else uses. A kernel that does not know the wish answers EINVAL.
    pub fn ask(scratch: &Path) -> io::Result<Self> {
        fs::create_dir_all(scratch)?;
        let asked = mount_and_open(scratch);
        detach(scratch)?;
        fs::remove_dir(scratch)?;
        asked.map(|hierarchy| Self { _hierarchy: hierarchy })
    }
}

fn mount_and_open(at: &Path) -> io::Result<File> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("corten"), at, Some("cgroup"), flags, Some(OPTIONS))?;
    File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC).open(at)
}

//! Mounts that sandboxes need: overlays, binds, and taking them away again. Knows no sandbox.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags};

/// An overlay filesystem to be: read-only layers with a writable one on top.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// Lowest first.
    pub lower: &'a [PathBuf],
    pub upper: &'a Path,
    /// Scratch space of the kernel, on the same filesystem as `upper`.
    pub work: &'a Path,
}

/// Mounts an overlay at `target`. Every folder is opened first and named by its descriptor: mount(2) takes at
/// most one page of options, and a path may hold the `:` and `,` that separate them.
pub fn overlay(overlay: Overlay<'_>, target: &Path) -> io::Result<()> {
    let lower = overlay.lower.iter().map(|path| open_folder(path)).collect::<io::Result<Vec<_>>>()?;
    let (upper, work) = (open_folder(overlay.upper)?, open_folder(overlay.work)?);
    // The kernel wants the topmost layer first.
    let lower: Vec<String> = lower.iter().rev().map(by_descriptor).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        by_descriptor(&upper),
        by_descriptor(&work)
    );
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    nix::mount::mount(Some("overlay"), target, Some("overlay"), flags, Some(options.as_str()))
        .map_err(io::Error::from)
}

/// Whether the kernel has overlayfs. One that has it as a module loads it for whoever wants to mount one: here, without
/// any layers, that never comes about.
pub fn has_overlay() -> bool {
    let is_known = || {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        known.lines().any(|line| line.trim_end().ends_with("\toverlay"))
    };
    if !is_known() {
        let _ = nix::mount::mount(Some("overlay"), "/", Some("overlay"), MsFlags::empty(), None::<&str>);
    }
    is_known()
}

/// Makes what is at `source` also appear at `target`, which exists.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    nix::mount::mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(io::Error::from)
}

/// Mounts a filesystem of a block device at `target`, where its files give nobody rights or devices.
pub fn filesystem(device: &Path, target: &Path, kind: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    nix::mount::mount(Some(device), target, Some(kind), flags, None::<&str>).map_err(io::Error::from)
}

/// Takes the topmost mount at `target` away, with everything written down; refused while somebody uses it. Nothing
/// mounted there is a success.
pub fn unmount(target: &Path) -> io::Result<()> {
    match nix::mount::umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Takes the topmost mount at `target` away at once; whoever uses it keeps it until they close it. Nothing
/// mounted there is a success.
pub fn detach(target: &Path) -> io::Result<()> {
    match nix::mount::umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn open_folder(path: &Path) -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

fn by_descriptor(folder: &File) -> String {
    format!("/proc/self/fd/{}", folder.as_raw_fd())
}

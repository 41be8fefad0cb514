//! Filesystems: how much room there is.

use std::io;
use std::path::Path;

/// Bytes that unprivileged users may still write on the filesystem of `path` (statvfs(3), `f_bavail`).
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

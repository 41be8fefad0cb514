//! Filesystems: how much room there is, and what is on its way to the disk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Bytes that unprivileged users may still write on the filesystem of `path` (statvfs(3), `f_bavail`).
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Has the kernel begin to write a range of a file to the disk, without waiting for it (sync_file_range(2)). Nothing is
/// durable by that: who wants to be sure syncs the file, and waits less.
pub fn begin_writing(file: &File, range: Range<u64>) -> io::Result<()> {
    let offset = i64::try_from(range.start).map_err(io::Error::other)?;
    let length = i64::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and no memory of ours is passed.
    #[allow(unsafe_code)]
    let done = unsafe {
        nix::libc::sync_file_range(file.as_raw_fd(), offset, length, nix::libc::SYNC_FILE_RANGE_WRITE)
    };
    match nix::errno::Errno::result(done) {
        // A filesystem that cannot begins later.
        Ok(_)
        | Err(nix::errno::Errno::ENOSYS | nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ESPIPE) => {
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

//! Nodes of devices.

use std::io;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, mknod};

/// Makes a node of a block device, which root alone may open; `device` is its number as in stat(2)'s `st_rdev`.
pub fn make_block_node(path: &Path, device: u64) -> io::Result<()> {
    Ok(mknod(path, SFlag::S_IFBLK, Mode::S_IRUSR | Mode::S_IWUSR, device)?)
}

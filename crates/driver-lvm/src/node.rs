//! Device nodes of volumes that are open: each its instance's own, beside the ones that the host's own programs make and
//! change as they like.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use driver::{DriverError, VolumePlace};
use sys::device::make_block_node;

/// A folder of nodes, on a filesystem that has any.
#[derive(Debug)]
pub(crate) struct Nodes {
    folder: PathBuf,
}

impl Nodes {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn path(&self, place: &VolumePlace) -> PathBuf {
        self.folder.join(format!("{}.{}", place.pool, place.uid))
    }

    /// For the device that the kernel shows at `of`; one that leads there already stays whose it is.
    pub(crate) fn make(&self, place: &VolumePlace, of: &Path) -> Result<PathBuf, DriverError> {
        let path = self.path(place);
        let made = || {
            let device = fs::metadata(of)?.rdev();
            fs::create_dir_all(&self.folder)?;
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.file_type().is_block_device() && meta.rdev() == device => return Ok(()),
                Ok(_) => fs::remove_file(&path)?,
                Err(_) => {}
            }
            make_block_node(&path, device)
        };
        made().map_err(|e: io::Error| DriverError::failed("making a volume's device node", e))?;
        Ok(path)
    }

    pub(crate) fn remove(&self, place: &VolumePlace) -> Result<(), DriverError> {
        match fs::remove_file(self.path(place)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(DriverError::failed("removing a volume's device node", e))
            }
            _ => Ok(()),
        }
    }
}

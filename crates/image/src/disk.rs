//! The disks of instances: copy-on-write clones of images, and empty disks. Formats are always stated.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Bytes;
use model::compute::ImageFormat;

use crate::inspect::{InspectError, inspect};
use crate::tool::{Tool, ToolError};

const CREATE_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("cannot read the image {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the image {path} is not fit to be cloned")]
    Image { path: PathBuf, source: InspectError },
    #[error("a disk of {wanted} is smaller than its image, which needs {least}; ask for {least} or more")]
    TooSmall { wanted: Bytes, least: Bytes },
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// Makes `target` a disk that shows the image at `base` (a qcow2 of the cache) and keeps its own writes. `size`
/// is what the guest sees; the image's own when absent.
pub fn clone_disk(base: &Path, target: &Path, size: Option<Bytes>) -> Result<(), DiskError> {
    let mut file = File::open(base).map_err(|source| DiskError::Read { path: base.to_owned(), source })?;
    let least = inspect(ImageFormat::Qcow2, &mut file)
        .map(Bytes)
        .map_err(|source| DiskError::Image { path: base.to_owned(), source })?;
    let wanted = size.unwrap_or(least);
    if wanted < least {
        return Err(DiskError::TooSmall { wanted, least });
    }
    // The backing file's format is stated in the clone: nobody ever probes it.
    Tool::new("qemu-img", CREATE_LIMIT)
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .args([base, target])
        .args([wanted.0.to_string()])
        .run()?;
    Ok(())
}

/// Makes `target` an empty qcow2 disk of `size`.
pub fn create_disk(target: &Path, size: Bytes) -> Result<(), DiskError> {
    Tool::new("qemu-img", CREATE_LIMIT)
        .args(["create", "-q", "-f", "qcow2"])
        .args([target])
        .args([size.0.to_string()])
        .run()?;
    Ok(())
}

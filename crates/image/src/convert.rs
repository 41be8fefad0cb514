//! Turns an inspected image of any disk format into the qcow2 that Corten keeps, with qemu-img in a jail. Owns
//! the limits of that jail; decides nothing about what is acceptable.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use model::compute::ImageFormat;
use sys::jail::{Access, Jail, Limits};

use crate::task::Task;
use crate::tool::{Tool, ToolError};

pub(crate) const QEMU_IMG: &str = "/usr/bin/qemu-img";
/// Longest conversion.
pub(crate) const TIME_MAX: Duration = Duration::from_hours(1);
const ADDRESS_SPACE_MAX: u64 = 2 << 30;
const OPEN_FILES_MAX: u64 = 64;
/// Conversions run as users of this range that nothing else uses, so that two at a time cannot touch each
/// other.
const USERS: std::ops::Range<u32> = 2_000_100_000..2_000_101_000;

#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error("cannot prepare the conversion of {path}")]
    Prepare { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// Writes the disk in `from`, which is of the declared `format` and shows `virtual_size` bytes, to `to`.
pub(crate) fn convert(
    format: ImageFormat,
    from: &Path,
    to: &Path,
    virtual_size: u64,
    task: &Task,
) -> Result<(), ConvertError> {
    let user = next_user();
    // The folder both lie in is closed to the jail's user; in the jail it sees the two files only.
    fs::set_permissions(from, Permissions::from_mode(0o444)).map_err(prepare(from))?;
    File::create(to).map_err(prepare(to))?;
    fs::set_permissions(to, Permissions::from_mode(0o600)).map_err(prepare(to))?;
    chown(to, Some(user), Some(user)).map_err(prepare(to))?;

    let command = Jail::new(QEMU_IMG, user, limits(virtual_size))
        .expose(from, "from", Access::Read)
        .expose(to, "to", Access::Write)
        .command()
        .map_err(prepare(Path::new(QEMU_IMG)))?;
    Tool::from_command(command, "qemu-img convert", TIME_MAX)
        .args(["convert", "--image-opts", &source(format), "-O", "qcow2", "/to"])
        .cancelled_by(&task.cancel)
        .run()?;
    chown(to, Some(0), Some(0)).map_err(prepare(to))
}

pub(crate) fn limits(virtual_size: u64) -> Limits {
    Limits {
        address_space: ADDRESS_SPACE_MAX,
        // All clusters in use, their tables, and some room.
        file_size: virtual_size.saturating_add(virtual_size / 1024).saturating_add(64 << 20),
        cpu_seconds: TIME_MAX.as_secs(),
        open_files: OPEN_FILES_MAX,
    }
}

/// What is read, in qemu-img's words.
fn source(format: ImageFormat) -> String {
    let driver = match format {
        ImageFormat::Qcow2 => "qcow2",
        ImageFormat::Vmdk | ImageFormat::Ova => "vmdk",
        // As large as it says; a disk of Virtual PC is what its geometry comes to, unless this is said.
        ImageFormat::Vhd => "vpc,force_size_calc=current_size",
        ImageFormat::Vhdx => "vhdx",
        ImageFormat::Raw | ImageFormat::Iso | ImageFormat::Kernel | ImageFormat::Oci => "raw",
    };
    format!("driver={driver},file.driver=file,file.filename=/from")
}

pub(crate) fn next_user() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    USERS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (USERS.end - USERS.start)
}

pub(crate) fn prepare(path: &Path) -> impl FnOnce(io::Error) -> ConvertError {
    let path = path.to_owned();
    move |source| ConvertError::Prepare { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no inspector would let through still finds no file of the host.
    #[test]
    fn a_backing_file_does_not_exist_in_the_jail() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        Tool::new("qemu-img", TIME_MAX)
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd"])
            .args([&from])
            .run()
            .unwrap();
        let error = convert(ImageFormat::Qcow2, &from, &to, 1 << 20, &Task::default()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("'/etc/passwd': No such file or directory"), "{error}");
    }

    #[test]
    fn an_output_beyond_its_limit_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, vec![7; 80 << 20]).unwrap();
        // The disk claims one MiB and then turns out to have eighty.
        assert!(convert(ImageFormat::Raw, &from, &to, 1 << 20, &Task::default()).is_err());
        assert!(fs::metadata(&to).unwrap().len() <= limits(1 << 20).file_size);
    }
}

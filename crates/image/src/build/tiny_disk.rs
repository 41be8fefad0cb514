//! The tiny guest as a disk that a PC's firmware boots: one FAT partition with syslinux, for tests of disks.

use std::fs::{self, File};
use std::io::{self, Cursor, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use super::partition::{FIRST, SECTOR, mbr};
use super::{BuildError, Tiny};
use crate::tool::Tool;

/// Boot code that starts the active partition; of Debian's syslinux package.
const MBR_CODE: &str = "/usr/lib/SYSLINUX/mbr.bin";
const TOOL_LIMIT: Duration = Duration::from_mins(2);
/// Room for syslinux and the file system itself.
const OVERHEAD: usize = 2 << 20;

/// Makes a bootable qcow2 disk of a built tiny guest: `disk.qcow2` in `out`.
pub fn tiny_disk(tiny: &Tiny, out: &Path) -> Result<PathBuf, BuildError> {
    let code = fs::read(MBR_CODE)
        .map_err(|_| BuildError::MissingTool { path: MBR_CODE.into(), package: "syslinux" })?;
    fs::create_dir_all(out).map_err(BuildError::at(out))?;
    let (raw, disk) = (out.join("disk.raw"), out.join("disk.qcow2"));
    let volume = volume(tiny)?;
    let sectors = volume.len() as u64 / SECTOR;
    let write = || {
        let file = File::create(&raw)?;
        file.write_all_at(&mbr(&code, FIRST, sectors), 0)?;
        file.write_all_at(&volume, FIRST * SECTOR)
    };
    write().map_err(BuildError::at(&raw))?;

    let offset = (FIRST * SECTOR).to_string();
    Tool::new("syslinux", TOOL_LIMIT).args(["--offset", &offset, "--install"]).args([&raw]).run()?;
    Tool::new("qemu-img", TOOL_LIMIT)
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args([&raw, &disk])
        .run()?;
    fs::remove_file(&raw).map_err(BuildError::at(&raw))?;
    Ok(disk)
}

/// The FAT volume with kernel, initrd and what syslinux is to do with them.
fn volume(tiny: &Tiny) -> Result<Vec<u8>, BuildError> {
    let read = |path: &Path| fs::read(path).map_err(BuildError::at(path));
    let (kernel, initrd) = (read(&tiny.kernel)?, read(&tiny.initrd)?);
    let config = format!(
        "DEFAULT tiny\nPROMPT 0\nLABEL tiny\n  KERNEL /kernel\n  INITRD /initrd\n  APPEND {}\n",
        tiny.cmdline
    );
    let size = (kernel.len() + initrd.len() + OVERHEAD).next_multiple_of(1 << 20);
    let fill = || -> io::Result<Vec<u8>> {
        let mut volume = Cursor::new(vec![0; size]);
        let options = FormatVolumeOptions::new().fat_type(FatType::Fat16).volume_label(*b"TINY       ");
        format_volume(&mut volume, options)?;
        {
            let file_system = FileSystem::new(&mut volume, FsOptions::new())?;
            let root = file_system.root_dir();
            root.create_file("kernel")?.write_all(&kernel)?;
            root.create_file("initrd")?.write_all(&initrd)?;
            root.create_file("syslinux.cfg")?.write_all(config.as_bytes())?;
        }
        Ok(volume.into_inner())
    };
    fill().map_err(BuildError::at(Path::new("the boot volume")))
}

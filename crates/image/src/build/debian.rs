//! A full Debian cloud image with cloud-init: bootstrapped, formatted and made bootable without loop devices.
//! Takes minutes and, to make device nodes and owners, root.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::BuildError;
use super::partition::{FIRST, GPT_TAIL, Partition, PartitionKind, SECTOR, gpt, link_grub};
use crate::task::Task;
use crate::tool::Tool;

/// The distribution built; the release this was tested with.
const SUITE: &str = "bookworm";
const PACKAGES: [&str; 23] = [
    "linux-image-cloud-amd64",
    "grub-pc",
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "dbus",
    "cloud-init",
    "cloud-guest-utils",
    "cloud-initramfs-growroot",
    "openssh-server",
    "netplan.io",
    "iproute2",
    "isc-dhcp-client",
    "netbase",
    "ca-certificates",
    "sudo",
    "qemu-guest-agent",
    "e2fsprogs",
    "dosfstools",
    "locales",
    "less",
    "procps",
    "python3-yaml",
];

const BOOTSTRAP_LIMIT: Duration = Duration::from_mins(30);
const DISK_LIMIT: Duration = Duration::from_mins(10);
/// What the image shows; cloud-init grows the root to whatever disk the instance has.
const DISK_SIZE: u64 = 2 << 30;
/// GRUB's core has the MiB before the root.
const ROOT_FIRST: u64 = 2 * FIRST;

/// Builds the image in `out` as `debian.qcow2`.
pub fn debian(out: &Path, task: &Task) -> Result<PathBuf, BuildError> {
    let work = out.join("work");
    // What an interrupted build left.
    remove(&work)?;
    fs::create_dir_all(&work).map_err(BuildError::at(&work))?;
    let result = build(out, &work, task);
    remove(&work)?;
    result
}

fn build(out: &Path, work: &Path, task: &Task) -> Result<PathBuf, BuildError> {
    let (root, raw, disk) = (work.join("root"), work.join("disk.raw"), out.join("debian.qcow2"));
    bootstrap(work, &root, task)?;
    make_disk(&root, &raw, task)?;
    Tool::new("qemu-img", DISK_LIMIT)
        .args(["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd"])
        .args([&raw, &disk])
        .cancelled_by(&task.cancel)
        .run()?;
    Ok(disk)
}

fn bootstrap(work: &Path, root: &Path, task: &Task) -> Result<(), BuildError> {
    let hook = work.join("customize");
    fs::write(&hook, include_str!("../../guest/debian/customize")).map_err(BuildError::at(&hook))?;
    fs::set_permissions(&hook, Permissions::from_mode(0o755)).map_err(BuildError::at(&hook))?;
    Tool::new("mmdebstrap", BOOTSTRAP_LIMIT)
        .args(["--quiet", "--mode=root", "--format=directory", "--variant=minbase"])
        .args([format!("--include={}", PACKAGES.join(","))])
        .args([format!("--customize-hook={} \"$1\"", shell_quote(&hook))])
        .args([SUITE.as_ref(), root.as_os_str()])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .cancelled_by(&task.cancel)
        .run()?;
    Ok(())
}

/// A GPT with GRUB's core and the root file system, written straight into the file.
fn make_disk(root: &Path, raw: &Path, task: &Task) -> Result<(), BuildError> {
    let read = |path: PathBuf| fs::read(&path).map_err(BuildError::at(&path));
    let mut boot = read(root.join("usr/lib/grub/i386-pc/boot.img"))?;
    let mut core = read(root.join("boot/grub/core.img"))?;
    link_grub(&mut boot, &mut core, FIRST);

    let sectors = DISK_SIZE / SECTOR;
    let root_last = sectors - GPT_TAIL - FIRST;
    let partitions = [
        Partition { kind: PartitionKind::BiosBoot, first: FIRST, last: ROOT_FIRST - 1 },
        Partition { kind: PartitionKind::Root, first: ROOT_FIRST, last: root_last },
    ];
    let table = gpt(&boot, sectors, &partitions);
    let write = || -> io::Result<()> {
        let file = File::create(raw)?;
        file.set_len(DISK_SIZE)?;
        file.write_all_at(&table.head, 0)?;
        file.write_all_at(&core, FIRST * SECTOR)?;
        file.write_all_at(&table.tail, (sectors - GPT_TAIL) * SECTOR)
    };
    write().map_err(BuildError::at(raw))?;

    let kib = (root_last + 1 - ROOT_FIRST) * SECTOR / 1024;
    Tool::new("mkfs.ext4", DISK_LIMIT)
        .args(["-q", "-F", "-L", "root", "-d"])
        .args([root])
        .args(["-E".to_owned(), format!("offset={}", ROOT_FIRST * SECTOR)])
        .args([raw.as_os_str(), format!("{kib}k").as_ref()])
        .cancelled_by(&task.cancel)
        .run()?;
    Ok(())
}

fn remove(work: &Path) -> Result<(), BuildError> {
    match fs::remove_dir_all(work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BuildError::at(work)(error)),
        _ => Ok(()),
    }
}

/// mmdebstrap hands a hook to a shell.
fn shell_quote(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

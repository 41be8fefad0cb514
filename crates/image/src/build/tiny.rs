//! The tiny guest: Debian's cloud kernel and an initramfs of busybox and dropbear, made from packages. It is up
//! in seconds even without hardware virtualization, so almost every test uses it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::BuildError;
use super::cpio::Cpio;
use super::packages::{Files, PackagedFile, Packages, dependency};

/// What the tiny kernel is started with. `quiet`: every line on an emulated serial port costs time.
pub const TINY_CMDLINE: &str = "console=ttyS0 quiet panic=10";

/// A built tiny guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiny {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub cmdline: String,
    /// What `uname -r` prints inside.
    pub kernel_version: String,
}

/// Stands for whatever kernel version the distribution has today.
const KERNEL_META: &str = "linux-image-cloud-amd64";

/// Userland: a shell with everything, an ssh server, and the libraries it is linked to.
const USERLAND: [&str; 8] = [
    "busybox-static",
    "dropbear-bin",
    "libc6",
    "libcrypt1",
    "libgmp10",
    "libtomcrypt1",
    "libtommath1",
    "zlib1g",
];

/// The userland's programs, and where they go.
const PROGRAMS: [(&str, &str); 3] = [
    ("/bin/busybox", "bin/busybox"),
    ("/usr/sbin/dropbear", "bin/dropbear"),
    ("/usr/bin/dropbearkey", "bin/dropbearkey"),
];

/// Shared libraries by the name the loader looks for.
const LIBRARIES: [&str; 7] = [
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libcrypt.so.1",
    "libgmp.so.10",
    "libtomcrypt.so.1",
    "libtommath.so.1",
    "libz.so.1",
];

/// Modules every boot loads, each after those it needs. PCI and MMIO transports both: one image serves `q35`
/// and `microvm`. evdev and button let acpid see the power button.
const BOOT_MODULES: [&str; 15] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_mmio",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "virtio-rng",
    "virtio_balloon",
    "virtio_console",
    "evdev",
    "button",
];

/// Modules that a boot with a seed disk loads: a seed is vfat or iso9660.
const SEED_MODULES: [&str; 6] = ["nls_cp437", "nls_ascii", "fat", "vfat", "cdrom", "isofs"];

/// Builds the tiny guest into `out` as the files `kernel` and `initrd`.
pub fn tiny(out: &Path, packages: &Packages) -> Result<Tiny, BuildError> {
    let kernel_package = dependency(KERNEL_META)?;
    let kernel = packages.files(&[&kernel_package], |path| {
        path.starts_with("/boot/vmlinuz-") || module_name(path).is_some_and(is_needed)
    })?;
    let userland = packages.files(&USERLAND, |path| {
        PROGRAMS.iter().any(|(from, _)| *from == path)
            || path.contains("/lib/")
            || path.starts_with("/lib64/")
    })?;

    let (vmlinuz, image) = kernel
        .iter()
        .find_map(|(path, file)| match file {
            PackagedFile::Regular(data) => Some((path.strip_prefix("/boot/vmlinuz-")?, data)),
            PackagedFile::Link(_) => None,
        })
        .ok_or_else(|| BuildError::MissingFile { name: "/boot/vmlinuz-*".into() })?;
    let initrd = initramfs(&kernel, &userland)?;

    fs::create_dir_all(out).map_err(BuildError::at(out))?;
    let write = |name: &str, data: &[u8]| {
        let path = out.join(name);
        fs::write(&path, data).map_err(BuildError::at(&path)).map(|()| path)
    };
    Ok(Tiny {
        kernel: write("kernel", image)?,
        initrd: write("initrd", &initrd)?,
        cmdline: TINY_CMDLINE.into(),
        kernel_version: vmlinuz.into(),
    })
}

fn module_name(path: &str) -> Option<&str> {
    path.rsplit('/').next()?.strip_suffix(".ko")
}

fn is_needed(module: &str) -> bool {
    BOOT_MODULES.contains(&module) || SEED_MODULES.contains(&module)
}

fn initramfs(kernel: &Files, userland: &Files) -> Result<Vec<u8>, BuildError> {
    let mut root = Cpio::default();
    for dir in ["bin", "dev", "etc", "etc/acpi", "etc/acpi/PWRF", "lib", "lib/modules", "lib64"] {
        root.dir(dir, 0o755);
    }
    for dir in ["proc", "root", "root/.ssh", "run", "sys", "tmp"] {
        root.dir(dir, 0o700);
    }
    root.file("init", 0o755, include_bytes!("../../guest/tiny/init"));
    root.file("etc/udhcpc.script", 0o755, include_bytes!("../../guest/tiny/udhcpc.script"));
    root.file("etc/passwd", 0o644, b"root:*:0:0:root:/root:/bin/sh\n");
    root.file("etc/group", 0o644, b"root:x:0:\n");
    root.file("etc/shells", 0o644, b"/bin/sh\n");
    // acpid runs this when the power button is pressed.
    root.file("etc/acpi/PWRF/00000080", 0o755, b"#!/bin/sh\nexec /bin/poweroff\n");

    for (from, to) in PROGRAMS {
        root.file(to, 0o755, regular(userland, |path| path == from, from)?);
    }
    for library in LIBRARIES {
        let data = regular(userland, |path| path.rsplit('/').next() == Some(library), library)?;
        root.file(&format!("lib/{library}"), 0o755, data);
    }
    // The one library path that programs carry inside.
    root.symlink("lib64/ld-linux-x86-64.so.2", "../lib/ld-linux-x86-64.so.2");

    for (list, modules) in [("boot.list", BOOT_MODULES.as_slice()), ("seed.list", SEED_MODULES.as_slice())] {
        root.file(&format!("lib/modules/{list}"), 0o644, format!("{}\n", modules.join("\n")).as_bytes());
        for module in modules {
            let data = regular(kernel, |path| module_name(path) == Some(module), module)?;
            root.file(&format!("lib/modules/{module}.ko"), 0o644, data);
        }
    }
    Ok(compress(&root.finish()))
}

/// The bytes of the file that `is_it` picks, through a symbolic link to a neighbour if it is one.
fn regular<'a>(files: &'a Files, is_it: impl Fn(&str) -> bool, name: &str) -> Result<&'a [u8], BuildError> {
    let resolve = |path: &str, file: &'a PackagedFile| match file {
        PackagedFile::Regular(data) => Some(data),
        PackagedFile::Link(target) => {
            let (folder, _) = path.rsplit_once('/')?;
            match files.get(&format!("{folder}/{target}"))? {
                PackagedFile::Regular(data) => Some(data),
                PackagedFile::Link(_) => None,
            }
        }
    };
    files
        .iter()
        .filter(|(path, _)| is_it(path))
        .find_map(|(path, file)| resolve(path, file))
        .map(Vec::as_slice)
        .ok_or_else(|| BuildError::MissingFile { name: name.into() })
}

/// Level 6 of gzip: every kernel reads it, and the time a guest takes to unpack it is below what can be seen.
fn compress(archive: &[u8]) -> Vec<u8> {
    let mut to = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::new(6));
    to.write_all(archive).and_then(|()| to.finish()).expect("writing to memory cannot fail")
}

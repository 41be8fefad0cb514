//! Empty qcow2 files, written without a tool: a clone is one of them on a layer, and takes as long as two fsyncs.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// What one entry of the first level stands for: a cluster full of entries for clusters.
const FIRST_LEVEL_SPAN: u64 = CLUSTER * (CLUSTER / 8);
/// Of version 3, with the kind of compression, which is the usual one.
const HEADER_LENGTH: u32 = 112;
/// 16 bits for each reference count.
const REFCOUNT_ORDER: u32 = 4;
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// QEMU's own limit.
const BACKING_NAME_MAX: usize = 1023;

/// Writes an empty file for a disk of `size` bytes, which shows what the qcow2 `backing` has. Not synced.
pub(crate) fn create(path: &Path, size: u64, backing: Option<&Path>) -> io::Result<File> {
    let backing = backing.map(Path::as_os_str).map_or(&[][..], OsStr::as_bytes);
    if backing.len() > BACKING_NAME_MAX {
        return Err(io::Error::other("the path of the pool is too long"));
    }
    let entries = size.div_ceil(FIRST_LEVEL_SPAN);
    let first_level = (entries * 8).div_ceil(CLUSTER).max(1);
    // The header, the table of reference counts, one block of them, and the first level.
    let clusters = 3 + first_level;
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(clusters * CLUSTER)?;
    let ones: Vec<u8> = [0, 1].repeat(usize::try_from(clusters).map_err(io::Error::other)?);
    file.write_all_at(&ones, 2 * CLUSTER)?;
    file.write_all_at(&(2 * CLUSTER).to_be_bytes(), CLUSTER)?;
    file.write_all_at(&header(size, entries, backing)?, 0)?;
    Ok(file)
}

fn header(size: u64, entries: u64, backing: &[u8]) -> io::Result<Vec<u8>> {
    let number = |n: usize| u32::try_from(n).map_err(io::Error::other);
    let mut extensions = Vec::new();
    if !backing.is_empty() {
        extensions.extend(BACKING_FORMAT.to_be_bytes());
        extensions.extend(5_u32.to_be_bytes());
        // Extensions are filled up to eight bytes.
        extensions.extend(b"qcow2\0\0\0");
    }
    // The end of the extensions.
    extensions.extend([0; 8]);
    let name_at = u64::from(HEADER_LENGTH) + extensions.len() as u64;
    let mut bytes = b"QFI\xfb".to_vec();
    let mut put = |field: &[u8]| bytes.extend(field);
    put(&3_u32.to_be_bytes());
    put(&if backing.is_empty() { 0 } else { name_at }.to_be_bytes());
    put(&number(backing.len())?.to_be_bytes());
    put(&CLUSTER_BITS.to_be_bytes());
    put(&size.to_be_bytes());
    // Not encrypted.
    put(&0_u32.to_be_bytes());
    put(&u32::try_from(entries).map_err(io::Error::other)?.to_be_bytes());
    put(&(3 * CLUSTER).to_be_bytes());
    put(&CLUSTER.to_be_bytes());
    put(&1_u32.to_be_bytes());
    // No snapshots inside, no features.
    put(&[0; 4 + 8 + 8 + 8 + 8]);
    put(&REFCOUNT_ORDER.to_be_bytes());
    put(&HEADER_LENGTH.to_be_bytes());
    put(&[0; 8]);
    debug_assert_eq!(bytes.len(), HEADER_LENGTH as usize);
    bytes.extend(extensions);
    bytes.extend(backing);
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    fn said(args: &[&str]) -> String {
        let done = Command::new("qemu-img").args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    #[test]
    fn qemu_finds_nothing_wrong_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        create(&base, 1 << 20, None).unwrap();
        for size in [512, 1 << 20, (1 << 29) + 512, 10 << 30, 16 << 40] {
            for backing in [None, Some(base.as_path())] {
                let path = dir.path().join("disk");
                create(&path, size, backing).unwrap();
                let name = path.to_str().unwrap();
                assert!(said(&["check", "-f", "qcow2", name]).contains("No errors"));
                let info: serde_json::Value =
                    serde_json::from_str(&said(&["info", "--output=json", "-f", "qcow2", name])).unwrap();
                assert_eq!(info["virtual-size"], size);
                assert_eq!(info["backing-filename"].as_str(), backing.map(|b| b.to_str().unwrap()));
                assert_eq!(info["backing-filename-format"].as_str(), backing.map(|_| "qcow2"));
                crate::header::check(&path, &[backing]).unwrap();
                let last = size - 512;
                let writes = format!("write -P 7 {last} 512");
                let reads = format!("read -P 7 {last} 512");
                let done = Command::new("qemu-io")
                    .args(["-f", "qcow2", "-c", &writes, "-c", &reads, name])
                    .output()
                    .unwrap();
                let text = String::from_utf8_lossy(&done.stdout).into_owned();
                assert!(done.status.success() && !text.contains("failed"), "{text}");
                assert!(said(&["check", "-f", "qcow2", name]).contains("No errors"));
            }
        }
    }
}

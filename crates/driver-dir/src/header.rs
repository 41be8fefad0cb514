//! The header of a qcow2 file, as far as it can name other files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Longest name of a backing file (QEMU's own limit).
const NAME_MAX: u32 = 1023;
/// The incompatible feature bit of a file whose data lies in another file.
const EXTERNAL_DATA: u64 = 1 << 2;

/// Says what is wrong with the file at `path`, whose backing file has to be one of `backings`.
pub(crate) fn check(path: &Path, backings: &[Option<&Path>]) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut head = [0; 80];
    file.read_exact(&mut head)?;
    let be32 = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let be64 = |at: usize| u64::from(be32(at)) << 32 | u64::from(be32(at + 4));
    let wrong = |what: &str| io::Error::other(format!("{}: the header {what}", path.display()));
    if &head[..4] != b"QFI\xfb" || be32(4) != 3 {
        return Err(wrong("is not that of a qcow2 file of version 3"));
    }
    if be32(32) != 0 || be64(72) & EXTERNAL_DATA != 0 {
        return Err(wrong("asks for encryption or another data file, which was not made here"));
    }
    let (offset, length) = (be64(8), be32(16));
    let mut named = Vec::new();
    if offset != 0 {
        if length > NAME_MAX {
            return Err(wrong("names a backing file that is too long"));
        }
        file.seek(SeekFrom::Start(offset))?;
        file.take(length.into()).read_to_end(&mut named)?;
    }
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    if !backings.iter().any(|backing| named == backing.map(bytes).unwrap_or_default()) {
        return Err(wrong("names another backing file than it was made with; it was tampered with"));
    }
    Ok(())
}

/// How large the disk inside is.
pub(crate) fn virtual_size(path: &Path) -> io::Result<u64> {
    let mut size = [0; 8];
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(24))?;
    file.read_exact(&mut size)?;
    Ok(u64::from_be_bytes(size))
}

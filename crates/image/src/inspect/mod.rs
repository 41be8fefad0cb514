//! Reads the header of a disk image from a stranger and says how large the disk is, or why it is refused.
//!
//! Every byte is hostile. Nothing here follows a name, allocates what a header asks for, or guesses a format:
//! the declared format decides which rules apply, and `raw` and `iso` have none. No tool touches a file before
//! it passed (OpenStack's CVE-2022-47951, -2024-32498 and -2024-40767 are what happens otherwise).

mod qcow2;
mod vhd;
mod vhdx;
mod vmdk;

use std::io::{self, Read, Seek, SeekFrom};

use model::compute::ImageFormat;

/// The largest disk an image may claim to be.
pub const VIRTUAL_SIZE_MAX: u64 = 16 << 40;

/// Why an image is refused.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("the file is not {format}: {what}; declare the format it really has")]
    NotThis { format: &'static str, what: &'static str },
    #[error("the {format} image refers to another file ({what}); flatten it with `qemu-img convert` first")]
    Refers { format: &'static str, what: &'static str },
    #[error("the {format} image is encrypted; import it decrypted")]
    Encrypted { format: &'static str },
    #[error("the {format} image needs {what}, which is not supported; rewrite it with `qemu-img convert`")]
    Unsupported { format: &'static str, what: &'static str },
    #[error("the {format} image's {field} is out of bounds; the file is damaged or hostile")]
    Bounds { format: &'static str, field: &'static str },
    #[error("cannot read the image")]
    Io(#[from] io::Error),
}

/// Checks a disk image of the declared `format`; returns the size of the disk inside.
pub fn inspect(format: ImageFormat, file: &mut (impl Read + Seek)) -> Result<u64, InspectError> {
    let length = file.seek(SeekFrom::End(0))?;
    let size = match format {
        ImageFormat::Qcow2 => qcow2::inspect(file, length)?,
        ImageFormat::Vmdk => vmdk::inspect(file)?,
        ImageFormat::Vhd => vhd::inspect(file, length)?,
        ImageFormat::Vhdx => vhdx::inspect(file)?,
        // Whatever the bytes look like, they are the disk's content.
        ImageFormat::Raw | ImageFormat::Iso => length,
        ImageFormat::Ova | ImageFormat::Kernel | ImageFormat::Oci => {
            return Err(InspectError::NotThis { format: "a disk", what: "its format is not a disk's" });
        }
    };
    if size == 0 || size > VIRTUAL_SIZE_MAX {
        return Err(InspectError::Bounds { format: format.as_str(), field: "virtual size" });
    }
    Ok(size)
}

/// At most `length` bytes from `offset`; fewer when the file ends before.
fn read_at(file: &mut (impl Read + Seek), offset: u64, length: u64) -> Result<Window, InspectError> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(Window(bytes))
}

/// Bytes of a file; reading beyond the end gives nothing instead of a panic.
struct Window(Vec<u8>);

impl Window {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn be32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn be64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_be_bytes)
    }

    fn le32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn le64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn starts_with(&self, magic: &[u8]) -> bool {
        self.0.starts_with(magic)
    }
}

#[cfg(test)]
mod tests;

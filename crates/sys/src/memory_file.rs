//! Files that are nowhere on a disk, for what a program has to read from a file and nobody is to find in one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// A file in memory (memfd_create(2)) with this content; it goes when nobody has it open any more.
pub fn holding(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"corten", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    Ok(file)
}

/// Where a program that this process starts, as the same user, can open such a file, as long as this process has it.
pub fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
}

/// Where a program that inherits such a file finds it, whichever user it runs as.
pub fn inherited_path(fd: RawFd) -> String {
    format!("/proc/self/fd/{fd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_reads_it_and_finds_it_nowhere() {
        let file = holding(b"a secret").unwrap();
        let read = std::process::Command::new("cat").arg(path_of(&file)).output().unwrap();
        assert_eq!(read.stdout, b"a secret");
        let path = path_of(&file);
        drop(file);
        assert!(!path.exists());
    }
}

//! Writes a cpio archive in the "newc" form the kernel unpacks as initramfs (Documentation/driver-api/early-
//! userspace/buffer-format.rst). Owner root and time zero throughout: equal contents give equal bytes.

/// An archive that grows in memory.
#[derive(Debug, Default)]
pub(super) struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

impl Cpio {
    pub(super) fn dir(&mut self, path: &str, permissions: u32) {
        self.entry(path, DIRECTORY | permissions, &[]);
    }

    pub(super) fn file(&mut self, path: &str, permissions: u32, data: &[u8]) {
        self.entry(path, REGULAR | permissions, data);
    }

    pub(super) fn symlink(&mut self, path: &str, target: &str) {
        self.entry(path, SYMLINK | 0o777, target.as_bytes());
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8]) {
        self.inode += 1;
        let size = u32::try_from(data.len()).expect("a file of an initramfs is far below 4 GiB");
        let name = u32::try_from(path.len() + 1).expect("a path is short");
        self.bytes.extend_from_slice(b"070701");
        // ino mode uid gid nlink mtime size devmajor devminor rdevmajor rdevminor namesize check
        for field in [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(data);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

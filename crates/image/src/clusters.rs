//! What of a disk is in one qcow2 file alone: the clusters that it has, with their bytes, and those that it says are
//! zero. The file was written by a guest's own QEMU, so nothing in it is believed: it is only ever read within its
//! bounds, and no other file is opened.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::inspect::VIRTUAL_SIZE_MAX;

/// Bytes of a cluster, which is what such files are made with.
pub const CLUSTER: usize = 64 << 10;
const CLUSTER_BITS: u32 = 16;
/// Entries of a table of the second level.
const ENTRIES: u64 = CLUSTER as u64 / 8;
/// Feature bits that do not change where clusters are: dirty and corrupt are not among them.
const COMPRESSION_TYPE: u64 = 1 << 3;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// A cluster that the file says something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster {
    Zeros,
    /// Where its bytes are in the file.
    Data(u64),
}

/// Reads the clusters of one file in order.
#[derive(Debug)]
pub struct Clusters {
    file: File,
    size: u64,
    length: u64,
    first_level: Vec<u64>,
    /// The table that is being read, and its entries.
    table: Vec<u64>,
    next: u64,
}

impl Clusters {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut head = [0; 104];
        file.read_exact_at(&mut head, 0)?;
        let be32 = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let be64 = |at: usize| u64::from(be32(at)) << 32 | u64::from(be32(at + 4));
        let wrong = |what: &str| io::Error::other(format!("{}: {what}", path.display()));
        if &head[..4] != b"QFI\xfb" || be32(4) != 3 || be32(20) != CLUSTER_BITS {
            return Err(wrong("it is not a qcow2 file of version 3 with clusters of 64 KiB"));
        }
        if be64(8) != 0 || be32(32) != 0 || be64(72) & !COMPRESSION_TYPE != 0 {
            return Err(wrong("it names another file, or has features that it was not made with"));
        }
        let (size, entries) = (be64(24), u64::from(be32(36)));
        if size == 0 || size > VIRTUAL_SIZE_MAX || entries != size.div_ceil(CLUSTER as u64 * ENTRIES) {
            return Err(wrong("its sizes do not fit together"));
        }
        let first_level = read_table(&file, length, be64(40), entries)?;
        Ok(Self { file, size, length, first_level, table: Vec::new(), next: 0 })
    }

    /// The disk's.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next cluster that the file says something of.
    pub fn next_cluster(&mut self) -> io::Result<Option<(u64, Cluster)>> {
        let count = self.size.div_ceil(CLUSTER as u64);
        while self.next < count {
            let (table, at) = (self.next / ENTRIES, self.next % ENTRIES);
            if at == 0 {
                let entry = self.first_level.get(index(table)).copied().unwrap_or_default() & OFFSET;
                if entry == 0 {
                    self.next += ENTRIES;
                    continue;
                }
                self.table = read_table(&self.file, self.length, entry, ENTRIES)?;
            }
            let cluster = self.next;
            self.next += 1;
            let entry = self.table.get(index(at)).copied().unwrap_or_default();
            if entry & COMPRESSED != 0 {
                return Err(io::Error::other("it has compressed clusters, which it was not made with"));
            }
            if entry & ZERO != 0 {
                return Ok(Some((cluster, Cluster::Zeros)));
            }
            match entry & OFFSET {
                0 => {}
                offset if offset.is_multiple_of(CLUSTER as u64) && offset < self.length => {
                    return Ok(Some((cluster, Cluster::Data(offset))));
                }
                _ => return Err(io::Error::other("a cluster lies outside of the file")),
            }
        }
        Ok(None)
    }

    /// A cluster's bytes into a buffer of [`CLUSTER`] bytes. What the file ends before is zero, and so is what lies beyond the end of the disk.
    pub fn read(&self, cluster: u64, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64)? {
                0 => break,
                n => done += n,
            }
        }
        let within = self.size.saturating_sub(cluster * CLUSTER as u64);
        let end = done.min(usize::try_from(within).unwrap_or(CLUSTER));
        buffer[end..].fill(0);
        Ok(())
    }
}

fn read_table(file: &File, length: u64, offset: u64, entries: u64) -> io::Result<Vec<u64>> {
    let bytes = entries * 8;
    if !offset.is_multiple_of(CLUSTER as u64) || offset.saturating_add(bytes) > length {
        return Err(io::Error::other("a table lies outside of the file"));
    }
    let mut table = vec![0; index(bytes)];
    file.read_exact_at(&mut table, offset)?;
    let number = |b: &[u8]| b.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok(table.chunks_exact(8).map(number).collect())
}

/// Numbers of tables are small.
fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tool::Tool;

    fn tool(program: &str, args: &[&str]) {
        Tool::new(program, Duration::from_mins(1)).args(args).run().unwrap();
    }

    fn all(path: &Path) -> io::Result<Vec<(u64, Option<u8>)>> {
        let mut clusters = Clusters::open(path)?;
        let mut found = Vec::new();
        let mut buffer = vec![0; CLUSTER];
        while let Some((number, cluster)) = clusters.next_cluster()? {
            found.push(match cluster {
                Cluster::Zeros => (number, None),
                Cluster::Data(offset) => {
                    clusters.read(number, offset, &mut buffer)?;
                    (number, Some(buffer[0]))
                }
            });
        }
        Ok(found)
    }

    #[test]
    fn what_is_there_is_told_from_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let name = path.to_str().unwrap();
        tool("qemu-img", &["create", "-q", "-f", "qcow2", name, "2G"]);
        let writes = ["write -P 1 64k 4k", "write -z 128k 64k", "write -P 0 256k 64k", "write -P 9 1G 64k"];
        let args: Vec<&str> = writes.iter().flat_map(|write| ["-c", write]).collect();
        tool("qemu-io", &[&["-f", "qcow2"], &args[..], &[name]].concat());
        let wanted = [(1, Some(1)), (2, None), (4, Some(0)), (16384, Some(9))];
        assert_eq!(all(&path).unwrap(), wanted);
    }

    #[test]
    fn a_file_that_was_tampered_with_is_refused_or_read_within_its_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let name = path.to_str().unwrap();
        tool("qemu-img", &["create", "-q", "-f", "qcow2", name, "1M"]);
        tool("qemu-io", &["-f", "qcow2", "-c", "write -P 1 0 1M", name]);
        let whole = std::fs::read(&path).unwrap();
        let first = usize::try_from(u64::from_be_bytes(whole[40..48].try_into().unwrap())).unwrap();
        for at in (0..104).chain(first..first + 8) {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                std::fs::write(&path, &bytes).unwrap();
                // An answer, whatever it is.
                let _ = all(&path);
            }
        }
        std::fs::write(&path, &whole).unwrap();
        tool("qemu-img", &["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", name]);
        assert!(all(&path).unwrap_err().to_string().contains("names another file"));
    }
}

//! qcow2, versions 2 and 3 (QEMU's docs/interop/qcow2.txt).

use std::io::{Read, Seek};

use super::{InspectError, Window, read_at};

const FORMAT: &str = "qcow2";
/// The largest cluster the format knows: the whole header lies in the first one.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// QEMU's own limits.
const L1_BYTES_MAX: u64 = 32 << 20;
const REFCOUNT_TABLE_BYTES_MAX: u64 = 8 << 20;
const SNAPSHOTS_MAX: u32 = 65_536;

// Incompatible features.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

// Header extensions.
const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;

pub(super) fn inspect(file: &mut (impl Read + Seek), length: u64) -> Result<u64, InspectError> {
    let head = read_at(file, 0, 1 << CLUSTER_BITS.end())?;
    if !head.starts_with(b"QFI\xfb") {
        return Err(InspectError::NotThis {
            format: FORMAT,
            what: "it does not begin with the magic number",
        });
    }
    let header =
        Header::parse(&head).ok_or(InspectError::Bounds { format: FORMAT, field: "header length" })?;
    header.check_references()?;
    header.check_features()?;
    header.check_tables(length)?;
    header.check_extensions(&head)?;
    Ok(header.size)
}

struct Header {
    version: u32,
    backing: (u64, u32),
    cluster_bits: u32,
    size: u64,
    encryption: u32,
    l1_entries: u32,
    l1_offset: u64,
    refcount_offset: u64,
    refcount_clusters: u32,
    snapshots: u32,
    incompatible: u64,
    refcount_order: u32,
    length: u32,
}

impl Header {
    fn parse(head: &Window) -> Option<Self> {
        let version = head.be32(4)?;
        let (incompatible, refcount_order, length) =
            if version == 2 { (0, 4, 72) } else { (head.be64(72)?, head.be32(96)?, head.be32(100)?) };
        Some(Self {
            version,
            backing: (head.be64(8)?, head.be32(16)?),
            cluster_bits: head.be32(20)?,
            size: head.be64(24)?,
            encryption: head.be32(32)?,
            l1_entries: head.be32(36)?,
            l1_offset: head.be64(40)?,
            refcount_offset: head.be64(48)?,
            refcount_clusters: head.be32(56)?,
            snapshots: head.be32(60)?,
            incompatible,
            refcount_order,
            length,
        })
    }

    fn check_references(&self) -> Result<(), InspectError> {
        if self.backing != (0, 0) {
            return Err(InspectError::Refers { format: FORMAT, what: "a backing file" });
        }
        if self.incompatible & DATA_FILE != 0 {
            return Err(InspectError::Refers { format: FORMAT, what: "an external data file" });
        }
        if self.encryption != 0 {
            return Err(InspectError::Encrypted { format: FORMAT });
        }
        Ok(())
    }

    fn check_features(&self) -> Result<(), InspectError> {
        let unsupported = |what| Err(InspectError::Unsupported { format: FORMAT, what });
        if !(2..=3).contains(&self.version) {
            return unsupported("a version other than 2 and 3");
        }
        if self.incompatible & CORRUPT != 0 {
            return unsupported("a repair (it is marked as corrupt)");
        }
        if self.incompatible & !(DIRTY | COMPRESSION | EXTENDED_L2) != 0 {
            return unsupported("an unknown feature");
        }
        Ok(())
    }

    fn check_tables(&self, length: u64) -> Result<(), InspectError> {
        let require = |is_fine: bool, field| {
            if is_fine { Ok(()) } else { Err(InspectError::Bounds { format: FORMAT, field }) }
        };
        require(CLUSTER_BITS.contains(&self.cluster_bits), "cluster size")?;
        let cluster = 1_u64 << self.cluster_bits;
        let inside = |offset: u64, bytes: u64| {
            offset.is_multiple_of(cluster) && offset.checked_add(bytes).is_some_and(|end| end <= length)
        };

        let l1_bytes = u64::from(self.l1_entries) * 8;
        require(l1_bytes <= L1_BYTES_MAX, "L1 table size")?;
        require(inside(self.l1_offset, l1_bytes), "L1 table offset")?;
        // One L1 entry maps a table of 8-byte entries (16 with subclusters), each of one cluster.
        let entry = if self.incompatible & EXTENDED_L2 == 0 { 8 } else { 16 };
        let reach = (cluster / entry) * cluster;
        require(u64::from(self.l1_entries) >= self.size.div_ceil(reach), "virtual size")?;

        let refcount_bytes = u64::from(self.refcount_clusters) * cluster;
        require(refcount_bytes <= REFCOUNT_TABLE_BYTES_MAX, "refcount table size")?;
        require(inside(self.refcount_offset, refcount_bytes), "refcount table offset")?;
        require(self.refcount_order <= 6, "refcount width")?;
        require(self.snapshots <= SNAPSHOTS_MAX, "number of snapshots")?;
        let shortest = if self.version == 2 { 72 } else { 104 };
        require(self.length >= shortest && u64::from(self.length) <= cluster, "header length")
    }

    /// Walks the extensions up to the end marker; all must lie in the first cluster.
    fn check_extensions(&self, head: &Window) -> Result<(), InspectError> {
        let bounds = || InspectError::Bounds { format: FORMAT, field: "header extension" };
        let cluster = 1_usize << self.cluster_bits;
        let mut at = self.length as usize;
        while at + 8 <= cluster {
            let kind = head.be32(at).ok_or_else(bounds)?;
            let length = head.be32(at + 4).ok_or_else(bounds)? as usize;
            match kind {
                EXTENSION_END => return Ok(()),
                EXTENSION_DATA_FILE => {
                    return Err(InspectError::Refers { format: FORMAT, what: "an external data file" });
                }
                // Without a backing file this names nothing; refused all the same, for it has no use.
                EXTENSION_BACKING_FORMAT => {
                    return Err(InspectError::Refers { format: FORMAT, what: "a backing format" });
                }
                EXTENSION_ENCRYPTION => return Err(InspectError::Encrypted { format: FORMAT }),
                _ => {}
            }
            let room = cluster - at - 8;
            if length > room {
                return Err(bounds());
            }
            at += 8 + length.next_multiple_of(8);
        }
        Ok(())
    }
}

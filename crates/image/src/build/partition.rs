//! Partition tables and boot sectors, as bytes: what `sfdisk` and `grub-install` do to block devices, done to a
//! file without loop devices or mounts.

/// Everything here counts in these.
pub(super) const SECTOR: u64 = SECTOR_BYTES as u64;
const SECTOR_BYTES: usize = 512;
/// Where a first partition starts: one MiB, as every partitioning tool has it.
pub(super) const FIRST: u64 = 2048;

/// Boot code of a master boot record; the rest of the sector is the table.
const CODE: usize = 440;
const MBR_FAT16_LBA: u8 = 0x0e;
const MBR_PROTECTIVE: u8 = 0xee;

/// A master boot record with one bootable FAT partition.
pub(super) fn mbr(code: &[u8], first: u64, sectors: u64) -> [u8; 512] {
    boot_record(code, 0x80, MBR_FAT16_LBA, first, sectors)
}

/// A partition of a GPT.
pub(super) struct Partition {
    pub(super) kind: PartitionKind,
    /// Counted in sectors, both included.
    pub(super) first: u64,
    pub(super) last: u64,
}

#[derive(Clone, Copy)]
pub(super) enum PartitionKind {
    /// Where GRUB keeps its core.
    BiosBoot,
    /// The root of x86-64 (the Discoverable Partitions Specification).
    Root,
}

/// The two ends of a disk with a GPT (UEFI 2.10, chapter 5).
pub(super) struct Gpt {
    /// Sectors 0 to 33: protective record with boot code, header, entries.
    pub(super) head: Vec<u8>,
    /// The last 33 sectors: entries, header.
    pub(super) tail: Vec<u8>,
}

/// Sectors of the entries, and with the header those of the tail.
const ENTRY_SECTORS: usize = 32;
pub(super) const GPT_TAIL: u64 = ENTRY_SECTORS as u64 + 1;

pub(super) fn gpt(code: &[u8], sectors: u64, partitions: &[Partition]) -> Gpt {
    let mut entries = vec![0; ENTRY_SECTORS * SECTOR_BYTES];
    for (n, partition) in partitions.iter().enumerate() {
        let entry = &mut entries[n * 128..(n + 1) * 128];
        entry[..16].copy_from_slice(&partition.kind.guid());
        // Ids only have to differ within one disk; cloned disks share them anyway.
        entry[16..32].copy_from_slice(&[b'c'; 16]);
        entry[31] = u8::try_from(n).expect("partitions are few");
        entry[32..40].copy_from_slice(&partition.first.to_le_bytes());
        entry[40..48].copy_from_slice(&partition.last.to_le_bytes());
    }
    let header = |at: u64, other: u64, entries_at: u64| {
        let mut header = vec![0; SECTOR_BYTES];
        header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
        for (offset, value) in
            [(24, at), (32, other), (40, 34), (48, sectors - GPT_TAIL - 1), (72, entries_at)]
        {
            header[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[56..72].copy_from_slice(&[b'C'; 16]);
        for (offset, value) in [(80, 128), (84, 128), (88, crc32(&entries))] {
            header[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        let sum = crc32(&header[..92]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header
    };
    let last = sectors - 1;
    let protective = boot_record(code, 0, MBR_PROTECTIVE, 1, last.min(u64::from(u32::MAX)));
    Gpt {
        head: [&protective[..], &header(1, last, 2), &entries].concat(),
        tail: [&entries[..], &header(last, 1, sectors - GPT_TAIL)].concat(),
    }
}

/// GRUB's first two stages, told where the second lies: its core, whole sectors from sector `at` on.
pub(super) fn link_grub(boot: &mut [u8], core: &mut Vec<u8>, at: u64) {
    const CORE_SECTOR: usize = 0x5c;
    const DRIVE_CHECK: usize = 0x66;
    const BLOCK_LIST: usize = 500;
    const LOAD_SEGMENT: u16 = 0x820;
    core.resize(core.len().next_multiple_of(SECTOR_BYTES), 0);
    let rest = u16::try_from(core.len() as u64 / SECTOR - 1).expect("GRUB's core is far below 32 MiB");

    boot[CORE_SECTOR..CORE_SECTOR + 8].copy_from_slice(&at.to_le_bytes());
    // As grub-install does for disks: some firmware passes a wrong drive number, take it as it is.
    boot[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&[0x90, 0x90]);
    core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(at + 1).to_le_bytes());
    core[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&rest.to_le_bytes());
    core[BLOCK_LIST + 10..BLOCK_LIST + 12].copy_from_slice(&LOAD_SEGMENT.to_le_bytes());
}

fn boot_record(code: &[u8], active: u8, kind: u8, first: u64, sectors: u64) -> [u8; 512] {
    let mut record = [0; 512];
    let length = code.len().min(CODE);
    record[..length].copy_from_slice(&code[..length]);
    let entry = &mut record[446..462];
    // Cylinders, heads and sectors are long out of use: the largest value says so.
    entry[..8].copy_from_slice(&[active, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff]);
    let word = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    entry[8..12].copy_from_slice(&word(first));
    entry[12..16].copy_from_slice(&word(sectors));
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    record
}

impl PartitionKind {
    /// As it lies on the disk: the first three fields little endian.
    fn guid(self) -> [u8; 16] {
        match self {
            // 21686148-6449-6E6F-744E-656564454649
            Self::BiosBoot => *b"Hah!IdontNeedEFI",
            // 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
            Self::Root => [
                0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7,
                0x09,
            ],
        }
    }
}

/// CRC-32 of IEEE 802.3, bit by bit: the tables here are small.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_match_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn both_ends_of_a_gpt_point_at_each_other() {
        let gpt = gpt(&[], 8192, &[Partition { kind: PartitionKind::BiosBoot, first: 2048, last: 4095 }]);
        assert_eq!((gpt.head.len(), gpt.tail.len()), (34 * 512, 33 * 512));
        let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(word(&gpt.head, 512 + 32), 8191, "the other header");
        assert_eq!(word(&gpt.tail, 32 * 512 + 32), 1, "the other header");
        assert_eq!(word(&gpt.tail, 32 * 512 + 72), 8192 - 33, "the entries");
        assert_eq!(&gpt.head[1024..1040], b"Hah!IdontNeedEFI");
    }
}

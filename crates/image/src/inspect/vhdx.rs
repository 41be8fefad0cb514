//! VHDX, without a parent and with an empty log (MS-VHDX 2).

use std::io::{Read, Seek};

use super::{InspectError, Window, read_at};

const FORMAT: &str = "vhdx";
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const TABLE_SIZE: u64 = 64 << 10;
const ENTRIES_MAX: u32 = 2047;
const METADATA_MAX: u64 = 64 << 20;

/// GUIDs as they lie in the file: the first three fields little endian.
const METADATA_REGION: [u8; 16] = guid(0x8b7c_a206, 0x4790, 0x4b9a, 0xb8fe_575f_050f_886e);
const FILE_PARAMETERS: [u8; 16] = guid(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6_33f0_aa44_e76b);
const VIRTUAL_DISK_SIZE: [u8; 16] = guid(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211_5dbe_d83b_f4b8);
const PARENT_LOCATOR: [u8; 16] = guid(0xa8d3_5f2d, 0xb30b, 0x454d, 0xabf7_d3d8_4834_ab0c);
/// Bit of the file parameters.
const HAS_PARENT: u32 = 1 << 1;

pub(super) fn inspect(file: &mut (impl Read + Seek)) -> Result<u64, InspectError> {
    if !read_at(file, 0, 8)?.starts_with(b"vhdxfile") {
        return Err(InspectError::NotThis { format: FORMAT, what: "it does not begin with the signature" });
    }
    check_log(file)?;
    // Two copies of the region table: a tool may use either, so both must be harmless.
    let mut size = None;
    for at in REGION_TABLES {
        let table = read_at(file, at, TABLE_SIZE)?;
        if table.starts_with(b"regi") {
            size = Some(check_regions(file, &table)?);
        }
    }
    size.ok_or(InspectError::Bounds { format: FORMAT, field: "region table" })
}

/// A log is replayed at open and may rewrite everything that was checked here.
fn check_log(file: &mut (impl Read + Seek)) -> Result<(), InspectError> {
    for at in HEADERS {
        let header = read_at(file, at, 4096)?;
        let log_guid: Option<[u8; 16]> = header.array(48);
        if header.starts_with(b"head") && log_guid != Some([0; 16]) {
            let what = "its log to be replayed";
            return Err(InspectError::Unsupported { format: FORMAT, what });
        }
    }
    Ok(())
}

fn check_regions(file: &mut (impl Read + Seek), table: &Window) -> Result<u64, InspectError> {
    let bounds = |field| InspectError::Bounds { format: FORMAT, field };
    let count = table.le32(8).filter(|count| *count <= ENTRIES_MAX).ok_or_else(|| bounds("region count"))?;
    let mut size = None;
    for entry in (0..count as usize).map(|n| 16 + n * 32) {
        if table.array(entry) == Some(METADATA_REGION) {
            let at =
                table.le64(entry + 16).filter(|at| *at < 1 << 50).ok_or_else(|| bounds("region offset"))?;
            size = Some(check_metadata(file, at)?);
        }
    }
    size.ok_or_else(|| bounds("metadata region"))
}

fn check_metadata(file: &mut (impl Read + Seek), region: u64) -> Result<u64, InspectError> {
    let bounds = |field| InspectError::Bounds { format: FORMAT, field };
    let table = read_at(file, region, TABLE_SIZE)?;
    if !table.starts_with(b"metadata") {
        return Err(bounds("metadata signature"));
    }
    // Bytes 8 and 9 are reserved, 10 and 11 the count.
    let count = table.le32(8).map(|word| word >> 16).filter(|count| *count <= ENTRIES_MAX);
    let mut size = None;
    for entry in (0..count.ok_or_else(|| bounds("metadata count"))? as usize).map(|n| 32 + n * 32) {
        let item: [u8; 16] = table.array(entry).ok_or_else(|| bounds("metadata count"))?;
        let offset = table.le32(entry + 16).map(u64::from).filter(|offset| *offset < METADATA_MAX);
        let at = region + offset.ok_or_else(|| bounds("metadata offset"))?;
        match item {
            PARENT_LOCATOR => return Err(InspectError::Refers { format: FORMAT, what: "a parent" }),
            FILE_PARAMETERS => {
                let flags = read_at(file, at, 8)?.le32(4).ok_or_else(|| bounds("file parameters"))?;
                if flags & HAS_PARENT != 0 {
                    return Err(InspectError::Refers { format: FORMAT, what: "a parent" });
                }
            }
            VIRTUAL_DISK_SIZE => size = read_at(file, at, 8)?.le64(0),
            _ => {}
        }
    }
    size.ok_or_else(|| bounds("virtual size"))
}

const fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

//! VHD, fixed or dynamic, without a parent (Microsoft, Virtual Hard Disk Image Format Specification 1.0).

use std::io::{Read, Seek};

use super::{InspectError, Window, read_at};

const FORMAT: &str = "vhd";
const FOOTER_SIZE: u64 = 512;
/// In the footer.
const CHECKSUM: usize = 64;
const SECTOR: u64 = 512;
/// A disk of 2040 GiB, the most that the format has, in blocks of 512 KiB.
const BLOCKS_MAX: u32 = 4 << 20;

pub(super) fn inspect(file: &mut (impl Read + Seek), length: u64) -> Result<u64, InspectError> {
    let bounds = |field| InspectError::Bounds { format: FORMAT, field };
    // A dynamic disk begins with a copy of its footer. A tool that finds one there believes it, also where it is
    // what a guest wrote into its first sector.
    let first = read_at(file, 0, FOOTER_SIZE)?;
    if first.starts_with(b"conectix") {
        let size = check_footer(&first)?;
        return match first.be32(60) {
            Some(3) => check_dynamic(file, &first, size).map(|()| size),
            Some(4) => Err(InspectError::Refers { format: FORMAT, what: "a parent" }),
            _ => Err(bounds("disk type")),
        };
    }
    let content = length.saturating_sub(FOOTER_SIZE);
    let last = read_at(file, content, FOOTER_SIZE)?;
    if !last.starts_with(b"conectix") {
        return Err(InspectError::NotThis {
            format: FORMAT,
            what: "it neither begins nor ends with the signature",
        });
    }
    let size = check_footer(&last)?;
    match last.be32(60) {
        Some(2) if size == content => Ok(size),
        Some(2) => Err(bounds("virtual size")),
        _ => Err(bounds("disk type")),
    }
}

/// The size of the disk. What geometry the footer tells is of no account: disks are as large as they say.
fn check_footer(footer: &Window) -> Result<u64, InspectError> {
    let bounds = |field| InspectError::Bounds { format: FORMAT, field };
    if footer.be32(CHECKSUM) != Some(checksum(footer)) {
        return Err(bounds("checksum"));
    }
    footer.be64(48).filter(|size| size.is_multiple_of(SECTOR)).ok_or_else(|| bounds("virtual size"))
}

fn check_dynamic(file: &mut (impl Read + Seek), footer: &Window, size: u64) -> Result<(), InspectError> {
    let bounds = |field| InspectError::Bounds { format: FORMAT, field };
    let at = footer.be64(16).filter(|at| *at < 1 << 50).ok_or_else(|| bounds("header offset"))?;
    let header = read_at(file, at, 1024)?;
    if !header.starts_with(b"cxsparse") {
        return Err(bounds("header signature"));
    }
    let blocks =
        header.be32(28).filter(|blocks| *blocks <= BLOCKS_MAX).ok_or_else(|| bounds("block count"))?;
    let block = header.be32(32).filter(|block| block.is_power_of_two() && u64::from(*block) >= SECTOR);
    let block = block.ok_or_else(|| bounds("block size"))?;
    if u64::from(blocks) * u64::from(block) < size {
        return Err(bounds("block count"));
    }
    Ok(())
}

/// The complement of the sum of all bytes but its own.
fn checksum(footer: &Window) -> u32 {
    let others = footer.0.iter().enumerate().filter(|(at, _)| !(CHECKSUM..CHECKSUM + 4).contains(at));
    !others.map(|(_, byte)| u32::from(*byte)).sum::<u32>()
}

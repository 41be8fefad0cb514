//! VMDK, only as one self-contained sparse file: "monolithicSparse" and "streamOptimized" (VMware's Virtual
//! Disk Format 5.0). A descriptor that is a text file of its own names extents, which may be any file.

use std::io::{Read, Seek};

use super::{InspectError, read_at};

const FORMAT: &str = "vmdk";
const SECTOR: u64 = 512;
/// The embedded descriptor always starts here: tools that ignore the header's offset read it there.
const DESCRIPTOR_SECTOR: u64 = 1;
const DESCRIPTOR_SECTORS: std::ops::RangeInclusive<u64> = 1..=128;
/// QEMU reads this many, whatever the header says.
const DESCRIPTOR_SECTORS_READ: u64 = 20;

pub(super) fn inspect(file: &mut (impl Read + Seek)) -> Result<u64, InspectError> {
    let head = read_at(file, 0, 512)?;
    if head.starts_with(b"# Disk Descript") || head.starts_with(b"COWD") {
        return Err(InspectError::Refers { format: FORMAT, what: "a descriptor with extents" });
    }
    if !head.starts_with(b"KDMV") {
        return Err(InspectError::NotThis {
            format: FORMAT,
            what: "it does not begin with the magic number",
        });
    }
    let bounds = |field| InspectError::Bounds { format: FORMAT, field };
    let capacity = head.le64(12).ok_or_else(|| bounds("header length"))?;
    let descriptor_at = head.le64(28).ok_or_else(|| bounds("header length"))?;
    let descriptor_size = head.le64(36).ok_or_else(|| bounds("header length"))?;

    // Without a capacity, tools take the whole file as a list of extents.
    if capacity == 0 {
        return Err(InspectError::Refers { format: FORMAT, what: "a descriptor with extents" });
    }
    if descriptor_at != DESCRIPTOR_SECTOR || !DESCRIPTOR_SECTORS.contains(&descriptor_size) {
        return Err(bounds("descriptor offset"));
    }
    // All that any tool could take for the descriptor, whatever size the header states for it.
    let sectors = descriptor_size.max(DESCRIPTOR_SECTORS_READ);
    let region = read_at(file, DESCRIPTOR_SECTOR * SECTOR, sectors * SECTOR)?.0;
    check_no_parent(&region)?;
    check_descriptor(&String::from_utf8_lossy(&region))?;
    capacity.checked_mul(SECTOR).ok_or_else(|| bounds("virtual size"))
}

/// Looks at the whole region, also behind a zero byte or in a comment: tools search, they do not parse.
fn check_no_parent(region: &[u8]) -> Result<(), InspectError> {
    let hint = b"parentfilenamehint";
    let has_hint = region.windows(hint.len()).any(|window| window.eq_ignore_ascii_case(hint));
    if has_hint {
        return Err(InspectError::Refers { format: FORMAT, what: "a parent" });
    }
    Ok(())
}

fn check_descriptor(text: &str) -> Result<(), InspectError> {
    let mut is_whole = false;
    let mut extents = 0;
    for line in text.split(['\n', '\r', '\0']).map(str::trim) {
        if let Some((key, value)) = line.split_once('=').filter(|(key, _)| !key.contains('"')) {
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "createtype" => {
                    if !["monolithicSparse", "streamOptimized"].contains(&value) {
                        return Err(InspectError::Refers { format: FORMAT, what: "a type with extents" });
                    }
                    is_whole = true;
                }
                "parentcid" if !value.eq_ignore_ascii_case("ffffffff") => {
                    return Err(InspectError::Refers { format: FORMAT, what: "a parent" });
                }
                _ => {}
            }
            continue;
        }
        let mut words = line.split_whitespace();
        if words.next().is_some_and(|word| ["RW", "RDONLY", "NOACCESS"].contains(&word)) {
            extents += 1;
            // ACCESS SECTORS TYPE "NAME": the one extent is this very file, so its name is a bare one.
            let kind = words.nth(1);
            let name = line.split('"').nth(1).unwrap_or_default();
            if extents > 1 || kind != Some("SPARSE") || name.contains('/') {
                return Err(InspectError::Refers { format: FORMAT, what: "extents" });
            }
        }
    }
    if !is_whole {
        return Err(InspectError::Unsupported { format: FORMAT, what: "a descriptor without createType" });
    }
    Ok(())
}

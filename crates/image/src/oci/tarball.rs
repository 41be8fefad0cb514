//! Reading a stranger's tar, member by member, with bounds on what the format lets it ask for.
//!
//! The `tar` crate splits the headers; long names (GNU) and extended headers (PAX) are read here, because the
//! crate would read as much of them as the archive claims to have.

use std::io::Read;

use tar::{Entries, Entry, EntryType, PaxExtensions};

use super::error::{OciError, io};
use super::limits::Limits;

/// Longest extended header.
const PAX_BYTES_MAX: u64 = 1 << 20;

/// One member, its long names and extended attributes applied.
pub(crate) struct Member<'a, R: Read> {
    /// As it stands in the archive: any bytes but NUL.
    pub(crate) path: Vec<u8>,
    /// The target of a link; empty otherwise.
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) size: u64,
    /// Where its content begins.
    pub(crate) position: u64,
    /// Reads its content.
    pub(crate) content: Entry<'a, R>,
}

/// What extended headers say about the next member.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
}

/// Visits every member in order, until the archive's end or the first error.
pub(crate) fn walk<R: Read>(
    entries: Entries<'_, R>,
    limits: &Limits,
    mut visit: impl FnMut(Member<'_, R>) -> Result<(), OciError>,
) -> Result<(), OciError> {
    let mut extended = Extended::default();
    let mut count = 0;
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(io("read a tar"))?;
        count += 1;
        if count > limits.entries {
            return Err(OciError::too_large("the number of entries of a tar", limits.entries));
        }
        match entry.header().entry_type() {
            EntryType::GNULongName => extended.path = Some(long_name(&mut entry, limits)?),
            EntryType::GNULongLink => extended.link = Some(long_name(&mut entry, limits)?),
            EntryType::XHeader => pax(&mut entry, &mut extended)?,
            // Says nothing about files that anyone needs here.
            EntryType::XGlobalHeader => {}
            _ => visit(member(entry, std::mem::take(&mut extended), limits)?)?,
        }
    }
    Ok(())
}

fn member<'a, R: Read>(
    entry: Entry<'a, R>,
    extended: Extended,
    limits: &Limits,
) -> Result<Member<'a, R>, OciError> {
    let header = entry.header();
    let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = extended
        .link
        .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
        .unwrap_or_default();
    for text in [&path, &link] {
        if text.len() > limits.path_bytes {
            return Err(OciError::too_large("the length of a path in a tar", limits.path_bytes as u64));
        }
        if text.contains(&0) {
            return Err(OciError::hostile(&path, "a name holds a NUL byte"));
        }
    }
    let wrong = |e| OciError::corrupt(format!("tar entry {:?}", String::from_utf8_lossy(&path)), e);
    let size = header.entry_size().map_err(wrong)?;
    if extended.size.is_some_and(|claimed| claimed != size) {
        return Err(OciError::too_large("one file of a tar, in bytes,", 8 << 30));
    }
    let id = |own: Result<u64, std::io::Error>, extended: Option<u64>| {
        let id = extended.map_or_else(|| own.map_err(wrong), Ok)?;
        u32::try_from(id).map_err(|_| OciError::hostile(&path, "an owner's number is over 32 bits"))
    };
    let uid = id(header.uid(), extended.uid)?;
    let gid = id(header.gid(), extended.gid)?;
    Ok(Member {
        kind: header.entry_type(),
        mode: header.mode().map_err(wrong)? & 0o7777,
        mtime: header.mtime().map_or(0, |t| i64::try_from(t).unwrap_or(0)),
        uid,
        gid,
        size,
        position: entry.raw_file_position(),
        path,
        link,
        content: entry,
    })
}

fn long_name<R: Read>(entry: &mut Entry<'_, R>, limits: &Limits) -> Result<Vec<u8>, OciError> {
    let limit = limits.path_bytes as u64 + 1;
    let mut name = read_all(entry, limit, "the length of a path in a tar")?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn pax<R: Read>(entry: &mut Entry<'_, R>, extended: &mut Extended) -> Result<(), OciError> {
    let bytes = read_all(entry, PAX_BYTES_MAX, "an extended header of a tar")?;
    for field in PaxExtensions::new(&bytes) {
        let field = field.map_err(|e| OciError::corrupt("extended header of a tar", e))?;
        let number = || {
            field
                .value()
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| OciError::corrupt("extended header of a tar", "a number is not one"))
        };
        match field.key_bytes() {
            b"path" => extended.path = Some(field.value_bytes().to_vec()),
            b"linkpath" => extended.link = Some(field.value_bytes().to_vec()),
            b"size" => extended.size = Some(number()?),
            b"uid" => extended.uid = Some(number()?),
            b"gid" => extended.gid = Some(number()?),
            _ => {}
        }
    }
    Ok(())
}

fn read_all(from: &mut impl Read, limit: u64, what: &str) -> Result<Vec<u8>, OciError> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes).map_err(io("read a tar"))?;
    if bytes.len() as u64 > limit { Err(OciError::too_large(what, limit)) } else { Ok(bytes) }
}

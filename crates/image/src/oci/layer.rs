//! A layer's bytes as a plain tar: what compresses it is seen from its first bytes, and its digest is checked
//! over all of it, also over what stands behind the archive's end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use tar::Archive;

use super::entry::Root;
use super::error::{OciError, io};
use super::limits::Limits;
use super::source::verify;
use super::tarball::walk;
use crate::digest::{Digest, HashingWriter};

const BUFFER: usize = 128 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A tar's headers and padding beside its files' bytes, per file.
const OVERHEAD_PER_ENTRY: u64 = 16 << 10;

/// Unpacks a layer into the empty folder `to`; what is there after an error is to be thrown away.
pub(crate) fn unpack(from: impl Read, diff_id: Digest, to: &Path, limits: &Limits) -> Result<(), OciError> {
    let what = format!("layer sha256:{diff_id}");
    let mut compressed = BufReader::with_capacity(BUFFER, from);
    let start = compressed.fill_buf().map_err(io(format!("read {what}")))?;
    let plain: Box<dyn Read + '_> = if start.starts_with(GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(compressed))
    } else if start.starts_with(ZSTD) {
        let decoder = zstd::Decoder::with_buffer(compressed).map_err(io(format!("read {what}")))?;
        Box::new(decoder)
    } else {
        Box::new(compressed)
    };
    let most = limits.layer_bytes.saturating_add(limits.entries.saturating_mul(OVERHEAD_PER_ENTRY));
    let hashed = Hashed {
        from: BufReader::with_capacity(BUFFER, plain),
        left: most,
        to: HashingWriter::new(io::sink()),
    };
    let mut root = Root::open(to, limits).map_err(io(format!("open {}", to.display())))?;
    let mut archive = Archive::new(hashed);
    let entries = archive.entries().map_err(io(format!("read {what}")))?;
    walk(entries, limits, |member| root.add(member))?;
    let mut hashed = archive.into_inner();
    io::copy(&mut hashed, &mut io::sink()).map_err(io(format!("read {what}")))?;
    verify(&what, diff_id, hashed.to.finish().1)
}

/// Hashes what is read, and fails beyond a bound.
struct Hashed<R> {
    from: R,
    left: u64,
    to: HashingWriter<io::Sink>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(to)?;
        let Some(left) = self.left.checked_sub(n as u64) else {
            return Err(io::Error::other("it unpacks to more bytes than a layer may have"));
        };
        self.left = left;
        self.to.write_all(&to[..n])?;
        Ok(n)
    }
}

//! Whole images: what strangers send, and what other programs make and read.

mod hostile;
mod layers;
mod peers;
mod registry;

use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::error::OciError;
use super::limits::Limits;
use crate::digest::Digest;

/// An entry that no builder would write: any bytes as names.
fn add(tar: &mut Builder<Vec<u8>>, kind: EntryType, path: &[u8], link: &[u8], content: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_600_000_000);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).expect("tar");
}

fn finish(tar: Builder<Vec<u8>>) -> Vec<u8> {
    tar.into_inner().expect("tar")
}

fn unpack(layer: &[u8], to: &Path, limits: &Limits) -> Result<(), OciError> {
    std::fs::create_dir(to).expect("folder");
    super::layer::unpack(layer, Digest::of(layer), to, limits)
}

//! Backups of disks: how a disk travels as a stream of what it has or what changed in it ([`stream`]), and how it is
//! kept in a store of named bytes so that each backup stands on its own.
//!
//! A disk is cut into chunks of 64 KiB. The chunks that a backup has anew lie in packs; a table for every 4096 chunks
//! says of each its SHA-256, its pack and its place; the manifest says the same of the tables. Backups of one volume
//! share what has not changed: a table names packs of earlier backups. Nothing is counted: a pack goes when no
//! manifest that is left names it. It knows no volume, no cloud and no disk format.

mod error;
mod manifest;
mod read;
pub mod stream;
mod sweep;
mod table;
mod vault;
mod write;

pub use error::Error;
pub use manifest::Manifest;
pub use read::{Reader, send};
pub use sweep::remove;
pub use vault::{Place, Vault};
pub use write::{Draft, Written, receive};

/// Bytes of one chunk: what changes are told apart by.
pub const CHUNK: usize = 64 << 10;

/// How many chunks a disk of this size has.
pub fn chunks(size: u64) -> u64 {
    size.div_ceil(CHUNK as u64)
}

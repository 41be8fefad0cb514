//! Volumes as qcow2 files in a folder of the host. A volume is a head, which takes writes, on a chain of layers,
//! which never change: a snapshot freezes the head into a layer, a clone puts a new head on one, so that both
//! take the same time whatever the size. A layer goes when no volume and no snapshot stands on it, and is merged with
//! the only file that does when nothing else needs it: found out by looking, never counted.
//!
//! `POOL/volumes/UID` and `POOL/snapshots/UID` are records, written whole and synced; `POOL/data/` has the files.
//! What a guest's own QEMU wrote is never trusted: before a tool opens a file, its header has to name just the
//! layer that our record names.
//!
//! A folder may be one that several hosts have mounted. Then it says which pool it is, hosts change records in turn, and
//! each volume has one host, which is in its record with the count of its moves.

mod changes;
mod create;
mod driver;
mod empty;
mod header;
mod keep;
mod merge;
mod pool;
mod record;
mod shared;
mod survey;

#[cfg(test)]
mod model_tests;

pub use crate::driver::DirDriver;

/// The driver's name in messages.
const NAME: &str = "dir";

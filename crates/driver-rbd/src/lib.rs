//! Volumes as images in a pool of a Ceph cluster, which several hosts have. Ceph's own programs do the work: `rbd`,
//! `rados` and `ceph`, of the package ceph-common.
//!
//! **An image's name is its record**: which volume it is, which host has it by which count of moves, under which epoch
//! it is open, and to whom ([`record::Record`]). A change of the record is a rename, whole or not at all; whoever comes
//! late, on whichever host, asks for a name that leads nowhere. What a name cannot refuse is a process that has the image
//! open: Ceph does, once the address of that process is on the cluster's blocklist ([`fence`]).
//!
//! A snapshot is one of Ceph's, and a small object says of which volume; a clone of it stands on it without a copy. A
//! volume that is deleted keeps its image, under another name, for as long as snapshots or clones stand on it.

mod cluster;
mod create;
mod diff;
mod driver;
mod fence;
mod keyring;
mod moves;
mod record;
mod snapshot;
mod tidy;

pub use crate::driver::RbdDriver;

/// The driver's name in messages.
const NAME: &str = "rbd";

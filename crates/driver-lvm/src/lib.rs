//! Volumes as thin volumes of LVM, in a thin pool of each host that has one. LVM's own programs do the work: `lvm`,
//! `dmsetup` and, for what changed, `thin_delta` (packages lvm2, dmsetup and thin-provisioning-tools).
//!
//! A volume, a snapshot and an image are each a logical volume, whose **tags are its record**: LVM changes them in one
//! commit of the group's metadata, or not at all ([`record::Record`]). All of them share blocks in the pool, and none
//! needs another: they go in any order, and nothing has to be merged.
//!
//! **Nobody can open what is closed**: a volume is an active device only while an instance may have it, and LVM refuses to
//! deactivate one that a process still has open. Who opens it gets a device node of its own, which is gone before it is
//! said to be closed.

mod create;
mod diff;
mod driver;
mod lvm;
mod node;
mod record;

pub use crate::driver::LvmDriver;

/// The driver's name in messages.
const NAME: &str = "lvm";

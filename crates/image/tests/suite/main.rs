//! What a user of this crate sees, end to end: imports and their attacks, downloads, disks, a guest that boots.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod disk;
mod fetch;
mod guest;
mod import;
mod server;

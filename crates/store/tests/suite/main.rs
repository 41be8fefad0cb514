//! The store's promises, checked on every backend, and what SQLite adds to them: crashes, damage, a full disk.

// Helpers of tests are tests, too; the lint knows only functions marked as such.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod backend;
mod conformance;
mod crash;
mod damage;
mod full_disk;
mod linearizable;
mod reopen;

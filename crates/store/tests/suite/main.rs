//! The store's promises, checked on every backend, and what SQLite adds to them: crashes, damage, a full disk.

mod backend;
mod conformance;
mod crash;
mod damage;
mod full_disk;
mod linearizable;
mod reopen;

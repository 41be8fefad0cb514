//! What the kernel does at our word. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod cgroups;
mod daemon;
mod helpers;

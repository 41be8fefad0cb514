//! The driver with real guests. Needs root, qemu-system-x86, ovmf, and the tools the tiny guest is built with.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod bench;
mod boot;
mod guest_agent;
mod life;
mod trust;

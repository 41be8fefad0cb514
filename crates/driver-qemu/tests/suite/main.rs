//! The driver with real guests. Needs root, qemu-system-x86, ovmf, and the tools the tiny guest is built with.

mod bench;
mod boot;
mod life;
mod trust;

//! driver-qemu

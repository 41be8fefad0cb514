//! The only place for unsafe code, ioctls, namespaces, mounts and child processes. Small modules, each one idea
//! of the kernel's in safe words; none knows a sandbox, an instance or a driver.

pub mod addresses;
pub mod cgroup;
pub mod command;
pub mod daemon;
pub mod device;
pub mod disk;
pub mod frame;
pub mod inherit;
pub mod jail;
pub mod lock;
pub mod memory;
pub mod memory_file;
pub mod mount;
pub mod mounts;
pub mod namespace;
pub mod netlink;
pub mod pidfd;
pub mod process;
pub mod sockets;
pub mod tap;
pub mod tsc;
pub mod unix;
pub mod xattr;

//! What the one who starts the driver decides.

use std::path::PathBuf;

/// Where namespaces are kept, and where the driver's names end and others' begin.
#[derive(Debug, Clone)]
pub struct VpcOptions {
    /// Holds the mounts that keep namespaces; on a tmpfs, for they mean nothing after a reboot.
    pub run_dir: PathBuf,
    /// Tells clouds on one host apart: letters, digits and `-`. The host's table is named `corten-TAG`.
    pub tag: String,
    /// The network namespace that is the host's; `None` is the caller's own.
    pub host_namespace: Option<PathBuf>,
    /// The UDP port of VXLAN between hosts (RFC 7348 says 4789).
    pub vxlan_port: u16,
    /// Empty namespaces kept ready, so that the first instance of a VPC does not wait for one.
    pub pool_size: usize,
}

impl Default for VpcOptions {
    fn default() -> Self {
        Self {
            run_dir: "/run/corten/vpc".into(),
            tag: "0".into(),
            host_namespace: None,
            vxlan_port: 4789,
            pool_size: 0,
        }
    }
}

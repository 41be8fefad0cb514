//! The drivers of this build: the only list of them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use agent::{NetworkOptions, Upstream, VolumeDrivers};
use driver::ComputeDriver;
use driver_dir::DirDriver;
use driver_haproxy::{HaproxyDriver, HaproxyOptions};
use driver_lvm::LvmDriver;
use driver_oci::{OciDriver, OciOptions};
use driver_qemu::{QemuDriver, QemuOptions};
use driver_rbd::RbdDriver;
use driver_vpc::{VpcDriver, VpcOptions};
use sys::cgroup::QuickMoves;

use super::Layout;

/// Network namespaces kept ready for the first instances of VPCs.
const READY_NAMESPACES: usize = 4;

/// All drivers that can be set up; one that cannot is logged and left out.
pub(crate) fn all(layout: &Layout) -> Vec<Arc<dyn ComputeDriver>> {
    let run_dir = layout.run_dir();
    let mut drivers: Vec<Arc<dyn ComputeDriver>> = Vec::new();
    let qemu = QemuOptions { cgroup: layout.cgroup(), ..QemuOptions::new(run_dir.join("qemu")) };
    drivers.push(Arc::new(QemuDriver::new(qemu)));
    let oci = OciOptions {
        run_dir: run_dir.join("oci"),
        cgroup: layout.cgroup(),
        runtime: oci_runtime(),
        ..OciOptions::default()
    };
    match OciDriver::new(oci) {
        Ok(driver) => drivers.push(Arc::new(driver)),
        Err(e) => tracing::warn!(error = %e, "containers are not possible here"),
    }
    drivers
}

/// The OCI runtime: `CORTEN_RUNTIME=PATH`, or the quickest that this host has.
pub(crate) fn oci_runtime() -> PathBuf {
    std::env::var_os("CORTEN_RUNTIME").map_or_else(driver_oci::quickest_runtime, PathBuf::from)
}

/// What lets processes be put into their control groups without a wait, while it is held. A kernel that cannot is slower,
/// and nothing else.
pub(crate) fn quick_moves(layout: &Layout) -> Option<QuickMoves> {
    QuickMoves::ask(&layout.run_dir().join("moves"))
        .inspect_err(|e| tracing::debug!(error = %e, "guests are put into their control groups the slow way"))
        .ok()
}

/// The drivers of volumes: files beside the rest of the data, and in folders that this host shares with others; images in
/// Ceph clusters and thin volumes of LVM, each with a folder for what is on its way there.
pub(crate) fn volumes(layout: &Layout, host: &str) -> VolumeDrivers {
    VolumeDrivers {
        files: Arc::new(DirDriver::new(layout.pools(), host)),
        lvm: Arc::new(LvmDriver::new(layout.root().join("lvm"), host)),
        ceph: Arc::new(RbdDriver::new(layout.root().join("to-ceph"), host)),
    }
}

/// The network driver, unless networks are switched off: `CORTEN_NETWORKS=off`.
pub(crate) fn network(
    layout: &Layout,
    underlay: Option<IpAddr>,
    closed: Vec<IpAddr>,
    upstream: Arc<dyn Upstream>,
    authority: &str,
) -> Option<NetworkOptions> {
    let options = || NetworkOptions {
        driver: Arc::new(vpc(layout)),
        balancers: Arc::new(balancers(layout)),
        underlay,
        closed,
        answers_guests: true,
        upstream,
        authority: authority.into(),
        flows_dir: layout.root().join("flows"),
    };
    networks_are_on().then(options)
}

/// The network driver itself, to take away what it made.
pub(crate) fn vpc(layout: &Layout) -> VpcDriver {
    let run_dir = layout.run_dir().join("vpc");
    VpcDriver::new(VpcOptions {
        run_dir,
        tag: layout.tag(),
        pool_size: READY_NAMESPACES,
        ..VpcOptions::default()
    })
}

/// The driver of load balancers itself, to take away what it started.
pub(crate) fn balancers(layout: &Layout) -> HaproxyDriver {
    let run_dir = layout.run_dir().join("haproxy");
    HaproxyDriver::new(HaproxyOptions { cgroup: layout.cgroup(), ..HaproxyOptions::new(run_dir) })
}

/// On, unless the operator says otherwise: without them guests have a card that leads nowhere but to their ssh port.
pub(crate) fn networks_are_on() -> bool {
    !std::env::var("CORTEN_NETWORKS").is_ok_and(|word| word == "off")
}

//! The drivers of this build: the only list of them.

use std::sync::Arc;

use driver::ComputeDriver;
use driver_oci::{OciDriver, OciOptions};
use driver_qemu::{QemuDriver, QemuOptions};

use super::Layout;

/// All drivers that can be set up; one that cannot is logged and left out.
pub(crate) fn all(layout: &Layout) -> Vec<Arc<dyn ComputeDriver>> {
    let run_dir = layout.run_dir();
    let mut drivers: Vec<Arc<dyn ComputeDriver>> = Vec::new();
    drivers.push(Arc::new(QemuDriver::new(QemuOptions::new(run_dir.join("qemu")))));
    let oci = OciOptions { run_dir: run_dir.join("oci"), cgroup: layout.cgroup(), ..OciOptions::default() };
    match OciDriver::new(oci) {
        Ok(driver) => drivers.push(Arc::new(driver)),
        Err(e) => tracing::warn!(error = %e, "containers are not possible here"),
    }
    drivers
}

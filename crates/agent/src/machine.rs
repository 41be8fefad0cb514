//! What this machine is: its size and its identity, from the kernel.

use std::path::Path;

use model::{Bytes, CpuMillis, Resources};

/// Memory left to the host itself.
const MEMORY_RESERVED: Bytes = Bytes::mib(512);

/// Facts of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// What instances may use.
    pub capacity: Resources,
    /// `/etc/machine-id`: of this installation.
    pub machine_id: String,
    /// One per boot.
    pub boot_id: String,
    pub kernel: String,
}

impl Machine {
    /// Reads the facts. What cannot be read stays empty or zero: a host without memory takes no instances.
    pub fn read(data_dir: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let disk = sys::disk::free_bytes(data_dir).unwrap_or(0);
        Self {
            capacity: Resources {
                cpu: CpuMillis::cores(cores),
                memory: total_memory(&read("/proc/meminfo")) - MEMORY_RESERVED,
                disk: Bytes(disk),
            },
            machine_id: read("/etc/machine-id"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel: read("/proc/sys/kernel/osrelease"),
        }
    }
}

/// `MemTotal` of /proc/meminfo (proc(5)), in bytes.
fn total_memory(meminfo: &str) -> Bytes {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Bytes(kib.unwrap_or(0) * 1024)
}

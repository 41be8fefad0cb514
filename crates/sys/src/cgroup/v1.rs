//! cgroup v1, also in hybrid mode: one hierarchy per controller, the same group name in each.

use std::path::{Path, PathBuf};

use super::{CPU_PERIOD_US, CgroupError, Limits, Usage, cpu_quota_us, make_folder, read_number, write};

/// Where each controller is mounted; several may share one hierarchy.
#[derive(Debug, Clone)]
pub(super) struct Hierarchies {
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    root: String,
}

impl Hierarchies {
    pub(super) fn find(mount: &Path, root: &str) -> Result<Self, CgroupError> {
        // Resolved, because `cpu` often is a link to `cpu,cpuacct`.
        let find = |controller: &str| std::fs::canonicalize(mount.join(controller)).ok();
        let found = Self {
            cpu: find("cpu"),
            cpuacct: find("cpuacct"),
            memory: find("memory"),
            pids: find("pids"),
            root: root.to_owned(),
        };
        if found.roots().is_empty() {
            return Err(CgroupError::NoController { controller: "cpu" });
        }
        Ok(found)
    }

    /// The root in every hierarchy, each once.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        let all = [&self.memory, &self.cpu, &self.cpuacct, &self.pids];
        let mut roots: Vec<PathBuf> = Vec::new();
        for root in all.into_iter().flatten().map(|mount| mount.join(&self.root)) {
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        roots
    }

    pub(super) fn ensure(&self, name: &str, limits: &Limits) -> Result<(), CgroupError> {
        for root in self.roots() {
            make_folder(&root)?;
            make_folder(&root.join(name))?;
        }
        if let Some(millis) = limits.cpu_millis {
            let cpu = self.folder(self.cpu.as_ref(), "cpu", name)?;
            write(&cpu.join("cpu.shares"), &shares(millis).to_string())?;
            write(&cpu.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string())?;
            write(&cpu.join("cpu.cfs_quota_us"), &cpu_quota_us(millis).to_string())?;
        }
        if let Some(bytes) = limits.memory_bytes {
            let memory = self.folder(self.memory.as_ref(), "memory", name)?;
            write(&memory.join("memory.limit_in_bytes"), &bytes.to_string())?;
        }
        if let Some(pids) = limits.pids {
            let folder = self.folder(self.pids.as_ref(), "pids", name)?;
            write(&folder.join("pids.max"), &pids.to_string())?;
        }
        Ok(())
    }

    pub(super) fn usage(&self, name: &str) -> Result<Usage, CgroupError> {
        let cpuacct = self.folder(self.cpuacct.as_ref(), "cpuacct", name)?;
        let memory = self.folder(self.memory.as_ref(), "memory", name)?;
        Ok(Usage {
            cpu_nanos: read_number(&cpuacct.join("cpuacct.usage"))?,
            memory_bytes: read_number(&memory.join("memory.usage_in_bytes"))?,
        })
    }

    fn folder(
        &self,
        mount: Option<&PathBuf>,
        controller: &'static str,
        name: &str,
    ) -> Result<PathBuf, CgroupError> {
        let mount = mount.ok_or(CgroupError::NoController { controller })?;
        Ok(mount.join(&self.root).join(name))
    }
}

/// The weight of so many thousandths of a core: 1024 for one core.
fn shares(millis: u64) -> u64 {
    (millis.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

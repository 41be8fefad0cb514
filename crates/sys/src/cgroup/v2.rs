//! cgroup v2: one hierarchy, controllers switched on from above.

use std::path::{Path, PathBuf};

use super::{CPU_PERIOD_US, CgroupError, Limits, Usage, cpu_quota_us, make_folder, read, read_number, write};

const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

#[derive(Debug, Clone)]
pub(super) struct Hierarchy {
    mount: PathBuf,
    root: PathBuf,
}

impl Hierarchy {
    pub(super) fn new(mount: &Path, root: &str) -> Self {
        Self { mount: mount.to_owned(), root: mount.join(root) }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub(super) fn ensure(&self, name: &str, limits: &Limits) -> Result<(), CgroupError> {
        let root = self.root();
        make_folder(&root)?;
        switch_on(&self.mount)?;
        switch_on(&root)?;
        let group = root.join(name);
        make_folder(&group)?;
        if let Some(millis) = limits.cpu_millis {
            write(&group.join("cpu.weight"), &weight(millis).to_string())?;
            write(&group.join("cpu.max"), &format!("{} {CPU_PERIOD_US}", cpu_quota_us(millis)))?;
        }
        if let Some(bytes) = limits.memory_bytes {
            write(&group.join("memory.max"), &bytes.to_string())?;
        }
        if let Some(pids) = limits.pids {
            write(&group.join("pids.max"), &pids.to_string())?;
        }
        Ok(())
    }

    pub(super) fn usage(&self, name: &str) -> Result<Usage, CgroupError> {
        let group = self.root().join(name);
        let stat = read(&group.join("cpu.stat"))?.unwrap_or_default();
        Ok(Usage {
            cpu_nanos: cpu_micros(&stat).saturating_mul(1000),
            memory_bytes: read_number(&group.join("memory.current"))?,
        })
    }
}

/// Gives the children of `group` their controllers; those that are on already are left alone.
fn switch_on(group: &Path) -> Result<(), CgroupError> {
    let words = |file: &str| -> Result<Vec<String>, CgroupError> {
        let text = read(&group.join(file))?.unwrap_or_default();
        Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
    };
    let (available, on) = (words("cgroup.controllers")?, words("cgroup.subtree_control")?);
    for controller in CONTROLLERS {
        if on.iter().any(|c| c == controller) {
            continue;
        }
        if !available.iter().any(|c| c == controller) {
            return Err(CgroupError::NoController { controller });
        }
        write(&group.join("cgroup.subtree_control"), &format!("+{controller}"))?;
    }
    Ok(())
}

/// The weight of so many thousandths of a core: 100, the kernel's default, for one core.
fn weight(millis: u64) -> u64 {
    (millis / 10).clamp(1, 10_000)
}

fn cpu_micros(stat: &str) -> u64 {
    let field = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
    field.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_controller_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.controllers"), "cpu pids\n").unwrap();
        std::fs::write(dir.path().join("cgroup.subtree_control"), "cpu pids\n").unwrap();
        let error = Hierarchy::new(dir.path(), "corten").ensure("x", &Limits::default()).unwrap_err();
        assert!(error.to_string().contains("controller memory"), "{error}");
    }

    #[test]
    fn limits_are_written_in_the_kernels_words() {
        let dir = tempfile::tempdir().unwrap();
        for folder in [dir.path().to_owned(), dir.path().join("corten")] {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("cgroup.controllers"), "cpu memory pids").unwrap();
            std::fs::write(folder.join("cgroup.subtree_control"), "cpu memory pids").unwrap();
        }
        let limits = Limits { cpu_millis: Some(1500), memory_bytes: Some(1 << 20), pids: Some(7) };
        let hierarchy = Hierarchy::new(dir.path(), "corten");
        hierarchy.ensure("x", &limits).unwrap();
        let said = |file: &str| std::fs::read_to_string(dir.path().join("corten/x").join(file)).unwrap();
        assert_eq!(said("cpu.max"), "150000 100000");
        assert_eq!(said("cpu.weight"), "150");
        assert_eq!(said("memory.max"), "1048576");
        assert_eq!(said("pids.max"), "7");
    }

    #[test]
    fn usage_is_read_from_the_kernels_words() {
        assert_eq!(cpu_micros("usage_usec 12345\nuser_usec 1\n"), 12_345);
    }
}

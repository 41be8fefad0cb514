//! What the group of a process has used, whoever made the group.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::MOUNT;

/// What a group has used since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    pub cpu_nanos: u64,
    /// Of the processes that are in it now.
    pub read_bytes: u64,
    pub written_bytes: u64,
}

/// What the group of a process has used.
pub fn spent_by_group_of(pid: u32) -> io::Result<Spent> {
    let group = folder(Path::new(MOUNT), &fs::read_to_string(format!("/proc/{pid}/cgroup"))?)?;
    let mut spent = Spent { cpu_nanos: cpu_nanos(&group)?, ..Spent::default() };
    let members = fs::read_to_string(group.join("cgroup.procs"))?;
    for member in members.lines().filter_map(|line| line.parse::<u32>().ok()) {
        // One that has just ended has nothing to say any more.
        let Ok(text) = fs::read_to_string(format!("/proc/{member}/io")) else { continue };
        spent.read_bytes += field(&text, "read_bytes: ");
        spent.written_bytes += field(&text, "write_bytes: ");
    }
    Ok(spent)
}

/// The folder in which a process' time is counted, by its lines in /proc/PID/cgroup.
fn folder(mount: &Path, lines: &str) -> io::Result<PathBuf> {
    let mut unified = None;
    for line in lines.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|name| name == "cpuacct") {
            return Ok(mount.join("cpuacct").join(path));
        }
        if controllers.is_empty() {
            unified = Some(mount.join(path));
        }
    }
    unified.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the process is in no control group"))
}

fn cpu_nanos(group: &Path) -> io::Result<u64> {
    match fs::read_to_string(group.join("cpuacct.usage")) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let stat = fs::read_to_string(group.join("cpu.stat"))?;
            Ok(field(&stat, "usage_usec ").saturating_mul(1000))
        }
        Err(e) => Err(e),
    }
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_leads_to_its_group() {
        let at = |lines: &str| folder(Path::new("/m"), lines).unwrap();
        let v1 = "4:cpu,cpuacct:/corten/qemu-1\n3:memory:/x\n0::/\n";
        assert_eq!(at(v1), Path::new("/m/cpuacct/corten/qemu-1"));
        assert_eq!(at("0::/corten/qemu-1\n"), Path::new("/m/corten/qemu-1"));
        assert!(folder(Path::new("/m"), "").is_err());
        assert_eq!(field("usage_usec 12\nuser_usec 3\n", "usage_usec "), 12);
    }

    #[test]
    fn what_this_process_uses_is_counted() {
        let before = spent_by_group_of(std::process::id()).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(20);
        let mut sum = 0_u64;
        while std::time::Instant::now() < until {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        let after = spent_by_group_of(std::process::id()).unwrap();
        assert!(after.cpu_nanos > before.cpu_nanos, "{sum} {before:?} {after:?}");
    }
}

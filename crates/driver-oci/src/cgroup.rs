//! Control groups of sandboxes, version 1 and 2: limits, freezing, who is inside, taking away.
//!
//! The sandbox's group carries the limits; the runtime makes one group per container below it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use model::{Resources, Uid};
use nix::sys::signal::Signal;
use sys::pidfd::PidFd;

/// The scheduler's accounting period, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;
/// The smallest quota that the kernel takes, in microseconds.
const CPU_QUOTA_MIN_US: u64 = 1_000;

/// The host's control group hierarchies.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    hierarchies: Hierarchies,
    /// Our group below every root.
    parent: String,
}

#[derive(Debug, Clone)]
enum Hierarchies {
    /// Mount points and their controllers; none for the version 2 root of a hybrid host.
    V1(Vec<(PathBuf, String)>),
    V2(PathBuf),
}

/// What a sandbox may use; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) cpu_millis: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) pids: u32,
}

impl Limits {
    pub(crate) fn new(resources: &Resources, pids: u32) -> Self {
        let set = |n: u64| (n > 0).then_some(n);
        Self { cpu_millis: set(resources.cpu.0), memory_bytes: set(resources.memory.0), pids }
    }
}

impl Cgroups {
    /// Finds the hierarchies of this host; version 1 wherever one of its controllers is mounted (hybrid hosts).
    pub(crate) fn discover(parent: &str) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let hierarchies = parse_mounts(&mounts).ok_or_else(|| {
            io::Error::other("no control groups are mounted; mount cgroup2 at /sys/fs/cgroup")
        })?;
        Ok(Self { hierarchies, parent: parent.to_owned() })
    }

    /// What `config.json` calls a container's group.
    pub(crate) fn path_of(&self, uid: &Uid, container: &str) -> String {
        format!("/{}/{uid}/{container}", self.parent)
    }

    /// Makes the sandbox's group with these limits.
    pub(crate) fn apply(&self, uid: &Uid, limits: Limits) -> io::Result<()> {
        if let Hierarchies::V2(root) = &self.hierarchies {
            for group in [root.clone(), root.join(&self.parent)] {
                fs::create_dir_all(&group)?;
                // A controller that is not there is missed by the write to its file below, if it is needed.
                for controller in ["+cpu", "+memory", "+pids"] {
                    let _ = fs::write(group.join("cgroup.subtree_control"), controller);
                }
            }
        }
        for group in self.groups(uid) {
            fs::create_dir_all(&group)?;
        }
        for (controller, file, value) in self.settings(limits) {
            if let Some(group) = self.group(controller, uid) {
                let path = group.join(file);
                match fs::write(&path, &value) {
                    // Not every kernel accounts for swap.
                    Err(e) if file.contains("sw") && e.kind() == io::ErrorKind::NotFound => {}
                    done => done.map_err(|e| named(&path, &e))?,
                }
            }
        }
        Ok(())
    }

    /// Whether the process is in this container's group: what makes a pid the container's and no other's.
    pub(crate) fn contains(&self, uid: &Uid, container: &str, pid: u32) -> bool {
        let suffix = self.path_of(uid, container);
        fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .is_ok_and(|lines| lines.lines().any(|line| line.ends_with(&suffix)))
    }

    pub(crate) fn is_frozen(&self, uid: &Uid) -> bool {
        let (file, frozen) = match self.hierarchies {
            Hierarchies::V1(_) => ("freezer.self_freezing", "1"),
            Hierarchies::V2(_) => ("cgroup.freeze", "1"),
        };
        self.group("freezer", uid)
            .and_then(|group| fs::read_to_string(group.join(file)).ok())
            .is_some_and(|state| state.trim() == frozen)
    }

    /// Stops or continues every process of the sandbox.
    pub(crate) fn freeze(&self, uid: &Uid, frozen: bool) -> io::Result<()> {
        let (file, value) = match (&self.hierarchies, frozen) {
            (Hierarchies::V1(_), true) => ("freezer.state", "FROZEN"),
            (Hierarchies::V1(_), false) => ("freezer.state", "THAWED"),
            (Hierarchies::V2(_), true) => ("cgroup.freeze", "1"),
            (Hierarchies::V2(_), false) => ("cgroup.freeze", "0"),
        };
        let Some(group) = self.group("freezer", uid) else {
            return Err(io::Error::other("the freezer control group is not mounted"));
        };
        fs::write(group.join(file), value).map_err(|e| named(&group.join(file), &e))
    }

    /// Whether the kernel killed something of this container for want of memory.
    pub(crate) fn ran_out_of_memory(&self, uid: &Uid, container: &str) -> bool {
        let file = match self.hierarchies {
            Hierarchies::V1(_) => "memory.oom_control",
            Hierarchies::V2(_) => "memory.events",
        };
        self.group("memory", uid)
            .and_then(|group| fs::read_to_string(group.join(container).join(file)).ok())
            .is_some_and(|text| {
                text.lines().any(|l| l.strip_prefix("oom_kill ").is_some_and(|n| n.trim() != "0"))
            })
    }

    /// Kills every process in one container's group, or, without a name, in the whole sandbox.
    pub(crate) fn kill(&self, uid: &Uid, container: Option<&str>) -> io::Result<()> {
        for group in self.groups(uid) {
            let group = container.map_or(group.clone(), |name| group.join(name));
            for pid in processes_below(&group) {
                if let Some(process) = PidFd::open(pid)?
                    && processes_below(&group).contains(&pid)
                {
                    process.signal(Signal::SIGKILL)?;
                }
            }
        }
        Ok(())
    }

    /// Removes the sandbox's groups; nothing there is a success, processes inside are an error.
    pub(crate) fn remove(&self, uid: &Uid) -> io::Result<()> {
        self.groups(uid).iter().try_for_each(|group| remove_tree(group))
    }

    /// The sandbox's group in every hierarchy.
    fn groups(&self, uid: &Uid) -> Vec<PathBuf> {
        let below = |root: &Path| root.join(&self.parent).join(uid.as_str());
        match &self.hierarchies {
            Hierarchies::V1(mounts) => mounts.iter().map(|(root, _)| below(root)).collect(),
            Hierarchies::V2(root) => vec![below(root)],
        }
    }

    fn group(&self, controller: &str, uid: &Uid) -> Option<PathBuf> {
        let root = match &self.hierarchies {
            Hierarchies::V1(mounts) => {
                &mounts.iter().find(|(_, controllers)| controllers.split(',').any(|c| c == controller))?.0
            }
            Hierarchies::V2(root) => root,
        };
        Some(root.join(&self.parent).join(uid.as_str()))
    }

    /// Controller, file and value of every limit.
    fn settings(&self, limits: Limits) -> Vec<(&'static str, &'static str, String)> {
        let v1 = matches!(self.hierarchies, Hierarchies::V1(_));
        let mut all = vec![("pids", "pids.max", limits.pids.to_string())];
        if let Some(bytes) = limits.memory_bytes {
            if v1 {
                all.push(("memory", "memory.limit_in_bytes", bytes.to_string()));
                all.push(("memory", "memory.memsw.limit_in_bytes", bytes.to_string()));
            } else {
                all.push(("memory", "memory.max", bytes.to_string()));
                all.push(("memory", "memory.swap.max", "0".to_owned()));
            }
        }
        if let Some(millis) = limits.cpu_millis {
            let quota = (millis * CPU_PERIOD_US / 1000).max(CPU_QUOTA_MIN_US);
            let shares = (millis * 1024 / 1000).clamp(2, 262_144);
            if v1 {
                all.push(("cpu", "cpu.cfs_period_us", CPU_PERIOD_US.to_string()));
                all.push(("cpu", "cpu.cfs_quota_us", quota.to_string()));
                all.push(("cpu", "cpu.shares", shares.to_string()));
            } else {
                all.push(("cpu", "cpu.max", format!("{quota} {CPU_PERIOD_US}")));
                // The OCI runtimes' own mapping of shares to weight.
                all.push(("cpu", "cpu.weight", (1 + (shares - 2) * 9999 / 262_142).to_string()));
            }
        }
        all
    }
}

fn parse_mounts(mountinfo: &str) -> Option<Hierarchies> {
    let mut v1 = Vec::new();
    let mut v2 = None;
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4) else { continue };
        let mut fields = filesystem.split(' ');
        match (fields.next(), fields.nth(1)) {
            (Some("cgroup"), Some(options)) if v1.iter().all(|(at, _)| at != Path::new(point)) => {
                v1.push((PathBuf::from(point), options.to_owned()));
            }
            (Some("cgroup2"), _) => v2 = v2.or(Some(PathBuf::from(point))),
            _ => {}
        }
    }
    if v1.iter().any(|(_, options)| options.split(',').any(|o| o == "memory")) {
        // Runtimes make their group there too.
        v1.extend(v2.map(|root| (root, String::new())));
        return Some(Hierarchies::V1(v1));
    }
    v2.map(Hierarchies::V2)
}

fn processes_below(group: &Path) -> Vec<u32> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for child in child_groups(group) {
        pids.extend(processes_below(&child));
    }
    pids
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for child in child_groups(group) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(group) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(named(group, &e)),
        _ => Ok(()),
    }
}

fn child_groups(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn named(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "25 24 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                          26 24 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                          27 24 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn settings(mountinfo: &str, limits: Limits) -> Vec<String> {
        let cgroups =
            Cgroups { hierarchies: parse_mounts(mountinfo).expect("groups"), parent: "corten".to_owned() };
        cgroups.settings(limits).into_iter().map(|(_, file, value)| format!("{file}={value}")).collect()
    }

    #[test]
    fn limits_are_said_in_the_words_of_each_version() {
        let limits = Limits { cpu_millis: Some(1500), memory_bytes: Some(64 << 20), pids: 100 };
        assert_eq!(
            settings(UNIFIED, limits),
            [
                "pids.max=100",
                "memory.max=67108864",
                "memory.swap.max=0",
                "cpu.max=150000 100000",
                "cpu.weight=59"
            ]
        );
        assert_eq!(
            settings(HYBRID, limits),
            [
                "pids.max=100",
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=67108864",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=150000",
                "cpu.shares=1536"
            ]
        );
    }

    #[test]
    fn no_limit_is_no_setting() {
        assert_eq!(settings(UNIFIED, Limits::new(&Resources::ZERO, 7)), ["pids.max=7"]);
    }

    #[test]
    fn a_host_without_control_groups_is_noticed() {
        assert!(parse_mounts("22 1 254:0 / / rw - ext4 /dev/vda rw\n").is_none());
    }
}

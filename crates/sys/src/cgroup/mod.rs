//! Control groups below one root per cloud: made, limited, emptied, removed; the same words for cgroup v1
//! (also hybrid) and v2. Says what a group is allowed; not who is put in it, or why.

mod moves;
mod spent;
mod v1;
mod v2;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

pub use moves::{Hidden, QuickMoves};
pub use spent::{Spent, spent_by_group_of};

/// Where every Linux mounts them.
const MOUNT: &str = "/sys/fs/cgroup";
/// What all groups stand below, where nobody asks for another root.
pub const ROOT: &str = "corten";
/// How long a killed group may take to become empty.
const EMPTYING_MAX: Duration = Duration::from_secs(5);

/// What a group may use; `None` leaves it unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a core: a ceiling, and the weight against others when cores are short.
    pub cpu_millis: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub pids: Option<u64>,
}

/// What a group has used or uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
}

/// Why a group is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("this host has no cgroup controller {controller}: boot with it enabled (see /proc/cgroups)")]
    NoController { controller: &'static str },
    #[error("{name:?} cannot name a cgroup: use letters, digits, '-', '_' and '.'")]
    BadName { name: String },
    #[error("cgroup {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cgroup {} still has processes: {pids:?}", path.display())]
    NotEmpty { path: PathBuf, pids: Vec<u32> },
}

/// This host's hierarchy, or hierarchies.
#[derive(Debug, Clone)]
pub struct Cgroups(Layout);

#[derive(Debug, Clone)]
enum Layout {
    V1(v1::Hierarchies),
    V2(v2::Hierarchy),
}

impl Cgroups {
    /// Looks at what is mounted. All groups are to be below `root`, one folder of each hierarchy: hosts that share
    /// a machine have one each, for they may have guests of one name, before and after a move.
    pub fn detect(root: &str) -> Result<Self, CgroupError> {
        check_name(root)?;
        let mount = Path::new(MOUNT);
        let kind = statfs(mount).map_err(|e| CgroupError::io(mount, e.into()))?.filesystem_type();
        if kind == CGROUP2_SUPER_MAGIC {
            Ok(Self(Layout::V2(v2::Hierarchy::new(mount, root))))
        } else {
            v1::Hierarchies::find(mount, root).map(|found| Self(Layout::V1(found)))
        }
    }

    /// The group of this name, which need not exist yet.
    pub fn group(&self, name: &str) -> Result<Cgroup, CgroupError> {
        check_name(name)?;
        Ok(Cgroup { layout: self.0.clone(), name: name.to_owned() })
    }

    /// The names of all groups of ours that exist.
    pub fn list(&self) -> Result<Vec<String>, CgroupError> {
        let mut names = Vec::new();
        for root in self.0.roots() {
            for entry in entries(&root)? {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    names.extend(entry.file_name().into_string());
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// One group, in every hierarchy that matters.
#[derive(Debug, Clone)]
pub struct Cgroup {
    layout: Layout,
    name: String,
}

impl Cgroup {
    /// Makes the group exist with these limits; processes in it stay.
    pub fn ensure(&self, limits: &Limits) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::V1(v1) => v1.ensure(&self.name, limits),
            Layout::V2(v2) => v2.ensure(&self.name, limits),
        }
    }

    /// The files into which a process writes `0` to join the group.
    pub fn entrances(&self) -> Result<Vec<File>, CgroupError> {
        self.folders()
            .map(|folder| {
                let path = folder.join("cgroup.procs");
                File::options().write(true).open(&path).map_err(|e| CgroupError::io(&path, e))
            })
            .collect()
    }

    /// The processes in the group.
    pub fn processes(&self) -> Result<Vec<u32>, CgroupError> {
        let mut pids = Vec::new();
        for folder in self.folders() {
            if let Some(text) = read(&folder.join("cgroup.procs"))? {
                pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
            }
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    pub fn usage(&self) -> Result<Usage, CgroupError> {
        match &self.layout {
            Layout::V1(v1) => v1.usage(&self.name),
            Layout::V2(v2) => v2.usage(&self.name),
        }
    }

    /// Kills whatever is in the group and removes it; a group that does not exist is a success.
    pub async fn remove(&self) -> Result<(), CgroupError> {
        let give_up = tokio::time::Instant::now() + EMPTYING_MAX;
        let mut pause = Duration::from_millis(1);
        loop {
            for pid in self.processes()? {
                // By descriptor, and only if it is still in the group: the pid may be somebody else's by now.
                if let Ok(Some(process)) = crate::pidfd::PidFd::open(pid)
                    && self.processes()?.contains(&pid)
                {
                    process.signal(nix::sys::signal::Signal::SIGKILL).map_err(|e| self.error(e))?;
                }
            }
            if self.try_remove()? {
                return Ok(());
            }
            if tokio::time::Instant::now() >= give_up {
                return Err(CgroupError::NotEmpty { path: self.folder(), pids: self.processes()? });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// False when a dying process still holds it.
    fn try_remove(&self) -> Result<bool, CgroupError> {
        let mut gone = true;
        for folder in self.folders() {
            match std::fs::remove_dir(&folder) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => gone = false,
                Err(e) => return Err(CgroupError::io(&folder, e)),
            }
        }
        Ok(gone)
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.layout.roots().into_iter().map(|root| root.join(&self.name))
    }

    fn folder(&self) -> PathBuf {
        self.folders().next().unwrap_or_default()
    }

    fn error(&self, source: io::Error) -> CgroupError {
        CgroupError::Io { path: self.folder(), source }
    }
}

impl Layout {
    fn roots(&self) -> Vec<PathBuf> {
        match self {
            Self::V1(v1) => v1.roots(),
            Self::V2(v2) => vec![v2.root()],
        }
    }
}

impl CgroupError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// The kernel's time slice for CPU ceilings, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// Time in each period, for so many thousandths of a core; the kernel takes no less than 1 ms.
fn cpu_quota_us(millis: u64) -> u64 {
    millis.saturating_mul(CPU_PERIOD_US / 1000).max(1000)
}

fn check_name(name: &str) -> Result<(), CgroupError> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !name.bytes().all(fine) || name.is_empty() || name.starts_with('.') || name.len() > 128 {
        return Err(CgroupError::BadName { name: name.to_owned() });
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), CgroupError> {
    match std::fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(CgroupError::io(path, e)),
        _ => Ok(()),
    }
}

fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    std::fs::write(path, value).map_err(|e| CgroupError::io(path, e))
}

/// `None` when there is no such file.
fn read(path: &Path) -> Result<Option<String>, CgroupError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(CgroupError::io(path, e)),
    }
}

fn read_number(path: &Path) -> Result<u64, CgroupError> {
    Ok(read(path)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

fn entries(root: &Path) -> Result<Vec<std::fs::DirEntry>, CgroupError> {
    match std::fs::read_dir(root) {
        Ok(entries) => entries.collect::<io::Result<_>>().map_err(|e| CgroupError::io(root, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(CgroupError::io(root, e)),
    }
}

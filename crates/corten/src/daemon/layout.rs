//! The data directory: what lies where.

use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Paths of one cloud (or one joined host) on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// An existing directory, or one that may not exist.
    pub(crate) fn at(root: &Path) -> Self {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { root }
    }

    /// Makes the directory. Guests run as users of their own and must reach their files, so it can be passed
    /// through by everyone; what is secret in it is readable by root alone.
    pub(crate) fn prepare(root: &Path) -> Result<Self, Failure> {
        let layout = Self::at(root);
        for dir in [layout.root.clone(), layout.images(), layout.layers(), layout.instances(), layout.pools()]
        {
            make_dir(&dir, 0o711)
                .map_err(|e| Failure::failed(format!("{} cannot be made: {e}", dir.display())))?;
        }
        if let Some(closed) = closed_to_others(&layout.root) {
            let (root, closed) = (layout.root.display(), closed.display());
            return Err(Failure::failed(format!(
                "guests run as users of their own and cannot reach {root}: {closed} is closed to other users"
            ))
            .hint(format!("name another folder with --data, or `chmod o+x {closed}`")));
        }
        make_dir(&layout.store(), 0o700)
            .map_err(|e| Failure::failed(format!("{} cannot be made: {e}", layout.store().display())))?;
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store")
    }
    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }
    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }
    pub(crate) fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }
    pub(crate) fn pools(&self) -> PathBuf {
        self.root.join("pools")
    }
    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }
    pub(crate) fn authority(&self) -> PathBuf {
        self.root.join("authority.json")
    }
    /// What secrets in the store are sealed with.
    pub(crate) fn master_key(&self) -> PathBuf {
        self.root.join("master.key")
    }
    pub(crate) fn audit(&self) -> PathBuf {
        self.root.join("audit.log")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("corten.log")
    }
    pub(crate) fn pid(&self) -> PathBuf {
        self.root.join("corten.pid")
    }
    /// Who the daemon is, for all time: a pid alone may belong to anyone by now.
    pub(crate) fn daemon(&self) -> PathBuf {
        self.root.join("daemon.json")
    }
    /// Written when the cloud answers; removed when it stops.
    pub(crate) fn endpoint(&self) -> PathBuf {
        self.root.join("endpoint")
    }
    pub(crate) fn ca(&self) -> PathBuf {
        self.root.join("ca.crt")
    }
    pub(crate) fn admin_certificate(&self) -> PathBuf {
        self.root.join("admin.crt")
    }
    pub(crate) fn admin_key(&self) -> PathBuf {
        self.root.join("admin.key")
    }
    pub(crate) fn admin_token(&self) -> PathBuf {
        self.root.join("admin.token")
    }
    /// What a joined host got from its cloud.
    pub(crate) fn membership(&self) -> PathBuf {
        self.root.join("host.json")
    }

    /// Eight hexadecimal digits that tell clouds on one machine apart (FNV-1a of the path).
    pub(crate) fn tag(&self) -> String {
        let hash = self
            .root
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        format!("{hash:08x}")
    }

    /// Where drivers keep what means nothing after a reboot.
    pub(crate) fn run_dir(&self) -> PathBuf {
        PathBuf::from("/run/corten").join(self.tag())
    }

    /// The control group that everything of this data directory runs below.
    pub(crate) fn cgroup(&self) -> String {
        format!("corten-{}", self.tag())
    }
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// The first folder on the way to `path` that only its owner or group may pass through.
fn closed_to_others(path: &Path) -> Option<&Path> {
    let folders: Vec<&Path> = path.ancestors().collect();
    let is_closed = |folder: &Path| folder.metadata().is_ok_and(|m| m.permissions().mode() & 0o001 == 0);
    folders.into_iter().rev().find(|folder| is_closed(folder))
}

/// Notes that this process is the daemon of the data directory.
pub(crate) fn claim(layout: &Layout) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::failed(format!("{}: {e}", layout.daemon().display()));
    let own = sys::process::Identity::own().map_err(failed)?;
    let json = serde_json::to_vec(&own).map_err(|e| failed(e.into()))?;
    write_file(&layout.pid(), own.pid.to_string().as_bytes(), 0o644).map_err(failed)?;
    write_file(&layout.daemon(), &json, 0o644).map_err(failed)
}

/// Writes a file whole or not at all; secrets are readable by root alone.
pub(crate) fn write_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    use std::io::Write;
    let unfinished = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    // A key that is used must not be gone after the power failed: what it seals would be gone with it.
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_where_guests_cannot_reach_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let failure = Layout::prepare(&dir.path().join("data")).unwrap_err();
        let closed = format!("{} is closed to other users", dir.path().display());
        assert!(failure.message.ends_with(&closed), "{failure}");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        Layout::prepare(&dir.path().join("data")).unwrap();
    }
}

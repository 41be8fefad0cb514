//! A balancer's folder, and the user that only this balancer has. All of it is on a tmpfs: it means nothing after a
//! reboot.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use model::Uid;
use sys::process::{Identity, Process};

/// The first user id given to balancers; above those of instances.
const FIRST_USER_ID: u32 = 2_100_000;
const USER_IDS: u32 = 100_000;
/// The program's words beyond this are forgotten, in bytes.
const LOG_MAX: u64 = 1 << 20;

/// The folder of one balancer.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    #[cfg(test)]
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
    pub(crate) fn config(&self) -> PathBuf {
        self.path.join("haproxy.cfg")
    }
    pub(crate) fn next_config(&self) -> PathBuf {
        self.path.join("next.cfg")
    }
    pub(crate) fn namespace(&self) -> PathBuf {
        self.path.join("net")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }
    /// Where the program itself writes.
    pub(crate) fn own(&self) -> PathBuf {
        self.path.join("run")
    }
    pub(crate) fn stats_socket(&self) -> PathBuf {
        self.own().join(STATS)
    }
    pub(crate) fn server_state(&self) -> PathBuf {
        self.path.join("state")
    }
    fn started(&self) -> PathBuf {
        self.path.join("started.json")
    }

    pub(crate) fn user_id(&self) -> Option<u32> {
        fs::read_to_string(self.path.join("user-id")).ok()?.trim().parse().ok()
    }

    /// The program, if it runs.
    pub(crate) fn process(&self) -> io::Result<Option<Process>> {
        match fs::read(self.started()) {
            Ok(text) => Process::open(&serde_json::from_slice(&text)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn keep_started(&self, identity: &Identity) -> io::Result<()> {
        self.write("started.json", &serde_json::to_vec(identity)?)
    }

    /// Writes a file that the program may read and nobody else, whole or not at all.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let half = self.path.join(format!("{name}.new"));
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
        file.write_all(content)?;
        chown(&half, None, self.user_id())?;
        fs::set_permissions(&half, Permissions::from_mode(0o640))?;
        fs::rename(half, self.path.join(name))
    }

    /// Where the program's words go.
    pub(crate) fn open_log(&self) -> io::Result<File> {
        File::options().create(true).append(true).mode(0o600).open(self.log())
    }

    pub(crate) fn trim_log(&self) -> io::Result<()> {
        match File::options().write(true).open(self.log()) {
            Ok(file) if file.metadata()?.len() > LOG_MAX => file.set_len(0),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// The name of the socket at which the program is asked.
pub(crate) const STATS: &str = "stats";

/// All folders. One caller at a time makes them.
#[derive(Debug)]
pub(crate) struct Folders {
    root: PathBuf,
    alone: parking_lot::Mutex<()>,
}

impl Folders {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, alone: parking_lot::Mutex::new(()) }
    }

    pub(crate) fn of(&self, uid: &Uid) -> Folder {
        Folder { path: self.root.join(uid.as_str()) }
    }

    pub(crate) fn list(&self) -> io::Result<Vec<Uid>> {
        let entries = match fs::read_dir(&self.root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        Ok(entries.flatten().filter_map(|entry| Uid::parse(entry.file_name().to_str()?)).collect())
    }

    /// A balancer's folder with its user and its namespace, made if need be.
    pub(crate) fn ensure(&self, uid: &Uid) -> io::Result<Folder> {
        let _alone = self.alone.lock();
        let folder = self.of(uid);
        fs::create_dir_all(&folder.path)?;
        fs::set_permissions(&self.root, Permissions::from_mode(0o711))?;
        let user = match folder.user_id() {
            Some(user) => user,
            None => self.give_user(&folder)?,
        };
        chown(&folder.path, None, Some(user))?;
        fs::set_permissions(&folder.path, Permissions::from_mode(0o750))?;
        fs::create_dir_all(folder.own())?;
        chown(folder.own(), Some(user), Some(user))?;
        fs::set_permissions(folder.own(), Permissions::from_mode(0o700))?;
        sys::namespace::hold_network(&folder.namespace())?;
        Ok(folder)
    }

    fn give_user(&self, folder: &Folder) -> io::Result<u32> {
        let taken: Vec<u32> = self.list()?.iter().filter_map(|uid| self.of(uid).user_id()).collect();
        let free = (FIRST_USER_ID..FIRST_USER_ID + USER_IDS).find(|id| !taken.contains(id));
        let free = free.ok_or_else(|| io::Error::other("all user ids for load balancers are in use"))?;
        fs::write(folder.path.join("user-id"), free.to_string())?;
        Ok(free)
    }

    /// Takes a balancer's folder away; nothing runs in its namespace any more.
    pub(crate) fn remove(&self, uid: &Uid) -> io::Result<()> {
        let folder = self.of(uid);
        if !folder.path.exists() {
            return Ok(());
        }
        sys::mount::detach(&folder.namespace())?;
        match fs::remove_dir_all(&folder.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

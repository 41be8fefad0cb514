//! What is kept on disk of one virtual machine, so that whoever comes after us can take it over: the plan, the
//! identity of its process, the logs, the sockets; and the index that finds them all. Root's alone: the process
//! itself gets descriptors and may not even look here.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use driver::Plan;
use model::{Timestamp, Uid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sys::process::Identity;

/// The folder within the plan's that is this driver's.
const FOLDER: &str = "qemu";
const PLAN: &str = "plan.json";
const PROCESS: &str = "process.json";
const LOG: &str = "qemu.log";
const CONSOLE_LOG: &str = "console.log";
const UEFI_VARIABLES: &str = "uefi-variables.fd";

/// Names of the sockets in the state folder.
pub(crate) mod socket {
    pub(crate) const MONITOR: &str = "monitor.sock";
    pub(crate) const EVENTS: &str = "events.sock";
    pub(crate) const CONSOLE: &str = "console.sock";
    pub(crate) const GUEST_AGENT: &str = "guest-agent.sock";
}

/// The process behind a virtual machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Started {
    pub(crate) identity: Identity,
    pub(crate) at: Timestamp,
}

/// All virtual machines of this host: a folder of links, one per uid, to where each keeps its state.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    folder: PathBuf,
}

impl Index {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn uids(&self) -> io::Result<Vec<Uid>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| Uid::parse(&name)).collect())
    }

    /// The state of a virtual machine that was made here; `None` when there is none.
    pub(crate) fn find(&self, uid: &Uid) -> io::Result<Option<State>> {
        match fs::read_link(self.link(uid)) {
            Ok(folder) => Ok(Some(State { folder })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes the state folder of a plan, and the link that finds it.
    pub(crate) fn add(&self, plan: &Plan) -> io::Result<State> {
        let state = State { folder: plan.dir.join(FOLDER) };
        private_folder(&state.folder)?;
        private_folder(&self.folder)?;
        let link = self.link(&plan.uid);
        match fs::read_link(&link) {
            Ok(target) if target == state.folder => return Ok(state),
            Ok(_) => fs::remove_file(&link)?,
            Err(_) => {}
        }
        symlink(&state.folder, &link)?;
        Ok(state)
    }

    /// Forgets a virtual machine, its state first: until the link is gone, it can be found and removed again.
    pub(crate) fn remove(&self, uid: &Uid) -> io::Result<()> {
        let Some(state) = self.find(uid)? else { return Ok(()) };
        gone_is_fine(fs::remove_dir_all(&state.folder))?;
        gone_is_fine(fs::remove_file(self.link(uid)))
    }

    fn link(&self, uid: &Uid) -> PathBuf {
        self.folder.join(uid.as_str())
    }
}

/// The state folder of one virtual machine.
#[derive(Debug, Clone)]
pub(crate) struct State {
    folder: PathBuf,
}

impl State {
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn console_log(&self) -> PathBuf {
        self.folder.join(CONSOLE_LOG)
    }

    pub(crate) fn plan(&self) -> io::Result<Option<Plan>> {
        self.read(PLAN)
    }

    pub(crate) fn keep_plan(&self, plan: &Plan) -> io::Result<()> {
        self.write(PLAN, plan)
    }

    /// `None` when it was never started, or not to the end.
    pub(crate) fn started(&self) -> io::Result<Option<Started>> {
        self.read(PROCESS)
    }

    pub(crate) fn keep_started(&self, started: &Started) -> io::Result<()> {
        self.write(PROCESS, started)
    }

    pub(crate) fn forget_started(&self) -> io::Result<()> {
        gone_is_fine(fs::remove_file(self.folder.join(PROCESS)))
    }

    /// The log of the next run, empty.
    pub(crate) fn new_log(&self) -> io::Result<File> {
        let path = self.folder.join(LOG);
        // A new file: one that is left of an earlier run may still be written to.
        gone_is_fine(fs::remove_file(&path))?;
        append(&path)
    }

    pub(crate) fn log(&self) -> io::Result<Vec<u8>> {
        match fs::read(self.folder.join(LOG)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            log => log,
        }
    }

    /// Adds a line of our own to the log.
    pub(crate) fn note(&self, line: &str) -> io::Result<()> {
        use std::io::Write;
        append(&self.folder.join(LOG))?.write_all(format!("{line}\n").as_bytes())
    }

    pub(crate) fn open_console_log(&self) -> io::Result<File> {
        append(&self.console_log())
    }

    /// The machine's own UEFI variables, copied from the template at its first start.
    pub(crate) fn open_uefi_variables(&self, template: &Path) -> io::Result<File> {
        let path = self.folder.join(UEFI_VARIABLES);
        if !path.exists() {
            let new = path.with_extension("new");
            fs::copy(template, &new)?;
            fs::rename(&new, &path)?;
        }
        File::options().read(true).write(true).open(&path)
    }

    /// A file that cannot be read as what it should be was cut short by a power failure: as good as none.
    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.folder.join(name)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let path = self.folder.join(name);
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(value)?)?;
        fs::rename(&new, &path)
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

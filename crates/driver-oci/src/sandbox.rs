//! A sandbox's life on this host: made, started, restarted, taken away. All of it blocks; `compute` moves it
//! off the runtime's threads. Every step may be repeated after a crash at any line.

use std::fs;
use std::io;
use std::path::Path;

use driver::{DriverError, Observed, Plan, SandboxState, StopMode};
use model::Uid;
use model::compute::{Cell, Isolation, PayloadKind};

use crate::OciOptions;
use crate::cgroup::{Cgroups, Limits};
use crate::paths::RunDir;

/// The one cell of the grid this driver serves.
pub(crate) const CELL: Cell = Cell::new(Isolation::Namespace, PayloadKind::Containers);

/// Most layers of one image; overlayfs takes more, the page of mount options does not.
const LAYERS_MAX: usize = 127;

/// Everything the blocking half needs to know.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) options: OciOptions,
    pub(crate) run: RunDir,
    pub(crate) cgroups: Cgroups,
}

impl Host {
    pub(crate) fn new(options: OciOptions) -> Result<Self, DriverError> {
        let run = RunDir::new(options.run_dir.clone());
        for folder in [run.runtime(), run.exits(), run.sandboxes()] {
            fs::create_dir_all(&folder)
                .map_err(|e| DriverError::failed(format!("create {}", folder.display()), e))?;
        }
        let cgroups = Cgroups::discover(&options.cgroup)
            .map_err(|e| DriverError::failed("find the control groups of this host", e))?;
        Ok(Self { options, run, cgroups })
    }

    pub(crate) fn ensure(&self, plan: &Plan) -> Result<Observed, DriverError> {
        self.prepare(plan)?;
        for container in &plan.containers {
            self.start(plan, container)?;
        }
        self.observe(&plan.uid)
    }

    /// Makes the sandbox and, up to the gate, every container that does not run.
    pub(crate) fn prepare(&self, plan: &Plan) -> Result<(), DriverError> {
        check(plan)?;
        let io = |what: &str| {
            let what = format!("{what} of {}", plan.label);
            move |e: io::Error| DriverError::failed(what, e)
        };
        let idle: Vec<_> =
            plan.containers.iter().filter(|c| !self.container(&plan.uid, &c.name).state.is_alive()).collect();
        if idle.len() == plan.containers.len() {
            // Only now: a plan that changed takes effect with the next start, never under a running payload.
            self.save(plan).map_err(io("write the plan"))?;
            self.cgroups
                .apply(&plan.uid, Limits::new(&plan.resources, self.options.pids_max))
                .map_err(io("set the limits"))?;
        }
        if !idle.is_empty() {
            remove(|| fs::remove_file(self.run.stop_request(&plan.uid))).map_err(io("forget the stop"))?;
            self.hold_namespaces(plan).map_err(io("make the namespaces"))?;
        }
        if plan.containers.iter().all(|c| self.container(&plan.uid, &c.name).state.is_over()) {
            self.mount_volumes(plan)?;
        }
        plan.containers.iter().try_for_each(|container| self.create(plan, container))
    }

    pub(crate) fn reset(&self, uid: &Uid) -> Result<(), DriverError> {
        let plan = self.plan(uid)?;
        self.stop(uid, StopMode::Kill)?;
        self.ensure(&plan).map(drop)
    }

    pub(crate) fn set_paused(&self, uid: &Uid, paused: bool) -> Result<(), DriverError> {
        let verb = if paused { "pause" } else { "resume" };
        match (self.observe(uid)?.state, paused) {
            (SandboxState::Paused, true) | (SandboxState::Running, false) => Ok(()),
            (SandboxState::Running, true) | (SandboxState::Paused, false) => self
                .cgroups
                .freeze(uid, paused)
                .map_err(|e| DriverError::failed(format!("{verb} sandbox {uid}"), e)),
            _ => Err(DriverError::WrongState(format!(
                "sandbox {uid} does not run; start it before you {verb} it"
            ))),
        }
    }

    /// The plan a sandbox was last started with.
    pub(crate) fn plan(&self, uid: &Uid) -> Result<Plan, DriverError> {
        let path = self.run.plan(uid);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(DriverError::NotFound(uid.to_string()));
            }
            read => read.map_err(|e| DriverError::failed(format!("read {}", path.display()), e))?,
        };
        serde_json::from_slice(&text).map_err(|e| {
            DriverError::failed(format!("read {}; delete the sandbox to go on", path.display()), e)
        })
    }

    /// Every sandbox that left a trace, also one whose making was cut short.
    pub(crate) fn uids(&self) -> Result<Vec<Uid>, DriverError> {
        let folder = self.run.sandboxes();
        let entries = fs::read_dir(&folder)
            .map_err(|e| DriverError::failed(format!("list {}", folder.display()), e))?;
        Ok(entries.flatten().filter_map(|entry| Uid::parse(entry.file_name().to_str()?)).collect())
    }

    fn save(&self, plan: &Plan) -> io::Result<()> {
        let path = self.run.plan(&plan.uid);
        fs::create_dir_all(self.run.sandbox(&plan.uid))?;
        write_atomically(&path, &serde_json::to_vec(plan)?)
    }

    fn hold_namespaces(&self, plan: &Plan) -> io::Result<()> {
        let folder = self.run.namespaces(&plan.uid);
        fs::create_dir_all(&folder)?;
        let name = hostname(&plan.label);
        sys::namespace::hold(&folder, &name)?;
        fs::write(self.run.hostname(&plan.uid), format!("{name}\n"))?;
        fs::write(
            self.run.hosts(&plan.uid),
            format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost ip6-loopback\n"),
        )
    }
}

/// Refuses what this driver could not run, with the field's name.
fn check(plan: &Plan) -> Result<(), DriverError> {
    if plan.cell != CELL {
        return Err(DriverError::Unsupported { driver: "oci", what: format!("run {}", plan.cell) });
    }
    if plan.containers.is_empty() {
        return Err(DriverError::Invalid("containers: must name at least one".to_owned()));
    }
    for (i, container) in plan.containers.iter().enumerate() {
        let refuse =
            |field: &str, why: &str| Err(DriverError::Invalid(format!("containers[{i}].{field}: {why}")));
        // It becomes a file name; the model's rule, held here again because a plan comes over a wire.
        if model::Name::new(&container.name).is_err() || container.name.contains('.') {
            return refuse("name", "must be 1 to 63 lower-case letters, digits and '-'");
        }
        if container.argv.is_empty() {
            return refuse("argv", "is empty and the image names no program; set a command");
        }
        if container.layers.is_empty() || container.layers.len() > LAYERS_MAX {
            return refuse("layers", "must be 1 to 127 folders");
        }
        if plan.containers[..i].iter().any(|other| other.name == container.name) {
            return refuse("name", "is used by another container of this sandbox");
        }
    }
    Ok(())
}

/// The instance's name without its project, cut to what a host name may be.
pub(crate) fn hostname(label: &str) -> String {
    let name = label.rsplit('/').next().unwrap_or(label);
    name.chars().take(63).collect()
}

/// What is gone already was removed.
pub(crate) fn remove(how: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match how() {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A reader sees the old content or the new, never a part.
fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let half = path.with_extension("tmp");
    fs::write(&half, content)?;
    fs::rename(half, path)
}

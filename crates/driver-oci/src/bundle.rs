//! `config.json`: what the runtime is told, from the plan and the tables beside this file. Pure.
//!
//! `base.json` holds what is the same for every container: Docker's default capabilities, mounts, masked and
//! read-only paths. `seccomp.json` is an allow list after containers-common's, without what makes namespaces or
//! mounts; it names no architecture, so only native system calls pass: each further one costs 6 ms per start.

use std::path::{Path, PathBuf};

use driver::{ContainerPlan, DriverError, Plan};
use oci_spec::runtime::{
    Linux, LinuxNamespace, LinuxNamespaceType, LinuxSeccomp, Mount, Process, Root, Spec, User,
};

const BASE: &str = include_str!("base.json");
const SECCOMP: &str = include_str!("seccomp.json");
/// For images that say nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All that decides a container's configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) container: &'a ContainerPlan,
    pub(crate) user: &'a crate::user::Ids,
    pub(crate) rootfs: &'a Path,
    /// The folder of the sandbox's kept namespaces.
    pub(crate) namespaces: &'a Path,
    pub(crate) cgroup: &'a str,
    pub(crate) files: &'a [HostFile],
    /// Folders of volumes, here and inside.
    pub(crate) folders: &'a [(PathBuf, PathBuf)],
}

/// A file of the host that the container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostFile {
    pub(crate) from: PathBuf,
    pub(crate) to: &'static str,
}

pub(crate) fn spec(around: &Surroundings<'_>) -> Result<Spec, DriverError> {
    let wrong = |what: &str, e: &dyn std::fmt::Display| DriverError::failed(format!("read {what}"), e);
    let mut spec: Spec = serde_json::from_str(BASE).map_err(|e| wrong("base.json", &e))?;
    let seccomp: LinuxSeccomp = serde_json::from_str(SECCOMP).map_err(|e| wrong("seccomp.json", &e))?;

    let mut root = Root::default();
    root.set_path(around.rootfs.to_owned()).set_readonly(Some(false));
    spec.set_root(Some(root));
    spec.set_process(spec.process().clone().map(|base| process(base, around)));
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.extend(around.files.iter().map(mount));
    mounts.extend(around.folders.iter().map(|(from, to)| folder(from, to)));
    spec.set_mounts(Some(mounts));
    spec.set_linux(spec.linux().clone().map(|base| linux(base, seccomp, around)));
    Ok(spec)
}

fn process(mut process: Process, around: &Surroundings<'_>) -> Process {
    let container = around.container;
    let mut user = User::default();
    user.set_uid(around.user.uid).set_gid(around.user.gid);
    if !around.user.groups.is_empty() {
        user.set_additional_gids(Some(around.user.groups.clone()));
    }
    let cwd = if container.working_dir.is_empty() { "/" } else { &container.working_dir };
    process
        .set_user(user)
        .set_args(Some(container.argv.clone()))
        .set_env(Some(environment(container, &crate::sandbox::hostname(&around.plan.label))))
        .set_cwd(cwd.into())
        .set_terminal(Some(container.tty));
    process
}

/// The plan's variables, with defaults for what every program expects.
fn environment(container: &ContainerPlan, hostname: &str) -> Vec<String> {
    let mut env: Vec<String> = container.env.iter().map(|v| format!("{}={}", v.name, v.value)).collect();
    let mut default = |name: &str, value: &str| {
        if container.env.iter().all(|v| v.name != name) {
            env.push(format!("{name}={value}"));
        }
    };
    default("PATH", PATH);
    default("HOSTNAME", hostname);
    if container.tty {
        default("TERM", "xterm");
    }
    env
}

fn mount(file: &HostFile) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(file.to.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(file.from.clone()))
        .set_options(Some(["bind", "ro", "nosuid", "nodev", "noexec"].map(str::to_owned).to_vec()));
    mount
}

/// A volume's filesystem, in which the containers may do as they like.
fn folder(from: &Path, to: &Path) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(to.to_owned())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(from.to_owned()))
        .set_options(Some(["rbind", "rw", "nosuid", "nodev", "rprivate"].map(str::to_owned).to_vec()));
    mount
}

fn linux(mut linux: Linux, seccomp: LinuxSeccomp, around: &Surroundings<'_>) -> Linux {
    let shared = |typ, name: &str| namespace(typ, Some(around.namespaces.join(name)));
    let namespaces = vec![
        shared(LinuxNamespaceType::Network, "net"),
        shared(LinuxNamespaceType::Ipc, "ipc"),
        shared(LinuxNamespaceType::Uts, "uts"),
        namespace(LinuxNamespaceType::Pid, None),
        namespace(LinuxNamespaceType::Mount, None),
    ];
    linux
        .set_namespaces(Some(namespaces))
        .set_cgroups_path(Some(around.cgroup.into()))
        .set_seccomp(Some(seccomp));
    linux
}

fn namespace(typ: LinuxNamespaceType, path: Option<PathBuf>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(typ).set_path(path);
    namespace
}

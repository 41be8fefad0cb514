//! Starting one container: root filesystem, bundle, monitor, gate.
//!
//! The monitor (conmon) calls `runtime create`, which leaves the container's first process waiting at a named
//! pipe. The driver itself opens that pipe, as `runtime start` would, and so saves a third of the time a start
//! takes; a runtime without such a pipe is asked with its `start` command.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driver::{ContainerPlan, DriverError, Plan};
use model::Uid;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;
use sys::mount::{self, Overlay};

use crate::bundle;
use crate::facts::ContainerState;
use crate::paths::{DataDir, container_id};
use crate::runtime::{self, Gate};
use crate::sandbox::{Host, remove};
use crate::user;

/// The number under which the monitor finds the pipe it reports on.
const SYNC_FD: i32 = 3;
/// Longest report that is read.
const REPORT_MAX: u64 = 64 << 10;
/// How long a made container may take to come to the gate's other side.
const GATE_SECONDS: u8 = 10;

/// Between two looks whether the program has taken the runtime's place: it loads its filter, about 3 ms.
const LOOK_AGAIN: Duration = Duration::from_micros(300);

/// What the monitor reports about the making of a container.
#[derive(Debug, Deserialize)]
struct Report {
    pid: i64,
    #[serde(default)]
    message: String,
}

impl Host {
    /// Makes the container, up to the gate, unless it is there.
    pub(crate) fn create(&self, plan: &Plan, container: &ContainerPlan) -> Result<(), DriverError> {
        match self.container(&plan.uid, &container.name).state {
            ContainerState::Running { .. } | ContainerState::Ending | ContainerState::Created { .. } => {
                Ok(())
            }
            ContainerState::Absent | ContainerState::Exited(_) => {
                self.forget(&plan.uid, &container.name)?;
                let made = self.make(plan, container);
                // The container has its own view of the root by now; in the host's it would only be one more
                // mount for every later container to copy.
                let rootfs = DataDir(&plan.dir).rootfs(&container.name);
                mount::detach(&rootfs)
                    .map_err(|e| failed("unmount the root filesystem", plan, container, e))?;
                made
            }
        }
    }

    /// Makes a container run that waits at its gate.
    pub(crate) fn start(&self, plan: &Plan, container: &ContainerPlan) -> Result<(), DriverError> {
        match self.container(&plan.uid, &container.name).state {
            ContainerState::Created { .. } => {
                self.open_gate(&plan.uid, &container.name).map_err(|e| failed("start", plan, container, e))
            }
            _ => Ok(()),
        }
    }

    fn make(&self, plan: &Plan, container: &ContainerPlan) -> Result<(), DriverError> {
        let bundle = self.run.bundle(&plan.uid, &container.name);
        mount_root(plan, container).map_err(|e| failed("mount the root filesystem", plan, container, e))?;
        let rootfs = DataDir(&plan.dir).rootfs(&container.name);
        let user = user::resolve(&container.user, &rootfs).map_err(|e| {
            DriverError::Invalid(format!("container {}: user {:?}: {e}", container.name, container.user))
        })?;
        let spec = bundle::spec(&bundle::Surroundings {
            plan,
            container,
            user: &user,
            rootfs: &rootfs,
            namespaces: &self.run.namespaces(&plan.uid),
            cgroup: &self.cgroups.path_of(&plan.uid, &container.name),
            files: &self.files(plan),
            folders: &self.folders(plan),
        })?;
        fs::create_dir_all(&bundle)
            .and_then(|()| fs::write(bundle.join("config.json"), serde_json::to_vec(&spec)?))
            .map_err(|e| failed("write config.json", plan, container, e))?;
        self.monitor(plan, container, &bundle)
    }

    /// Files of the sandbox that appear in every container.
    fn files(&self, plan: &Plan) -> Vec<bundle::HostFile> {
        let file = |from, to| bundle::HostFile { from, to };
        let mut files = vec![
            file(self.run.hosts(&plan.uid), "/etc/hosts"),
            file(self.run.hostname(&plan.uid), "/etc/hostname"),
        ];
        let resolv_conf = DataDir(&plan.dir).resolv_conf();
        if resolv_conf.exists() {
            files.push(file(resolv_conf, "/etc/resolv.conf"));
        }
        files
    }

    /// Starts the monitor, which makes the container, and waits for its report.
    fn monitor(&self, plan: &Plan, container: &ContainerPlan, bundle: &Path) -> Result<(), DriverError> {
        let fail = |e: io::Error| failed("start conmon for", plan, container, e);
        let id = container_id(&plan.uid, &container.name);
        let mut log = std::ffi::OsString::from("k8s-file:");
        log.push(DataDir(&plan.dir).log(&container.name));
        let mut command = Command::new(&self.options.monitor);
        command
            .args(["--cid", &id, "--cuuid", &id, "--name", &id])
            .arg("--bundle")
            .arg(bundle)
            .arg("--runtime")
            .arg(absolute(&self.options.runtime))
            .arg("--runtime-arg=--root")
            .arg(prefixed("--runtime-arg=", &self.run.runtime()))
            .arg("--container-pidfile")
            .arg(self.run.pid(&plan.uid, &container.name))
            .arg("--conmon-pidfile")
            .arg(self.run.monitor_pid(&plan.uid, &container.name))
            .arg("--log-path")
            .arg(log)
            .args(["--log-size-max", &self.options.log_bytes_max.to_string()])
            .arg("--exit-dir")
            .arg(self.run.exits())
            // A keyring per container is more than the kernel lets root have (kernel.keys.maxkeys), and the
            // system calls that would use a shared one are not let through.
            .args(["--full-attach", "--no-sync-log", "--no-new-keyring", "--log-level", "error"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("_OCI_SYNCPIPE", SYNC_FD.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if container.tty {
            command.args(["--terminal", "--stdin", "--leave-stdin-open"]);
        }
        let (report, sync) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| fail(e.into()))?;
        sys::inherit::inherit(&mut command, sync, SYNC_FD);
        let mut child = command.spawn().map_err(fail)?;
        drop(command);
        let mut text = Vec::new();
        let read = read_line(File::from(report), &mut text);
        let mut complaint = String::new();
        if let Some(stderr) = child.stderr.take()
            && text.is_empty()
        {
            let _ = stderr.take(REPORT_MAX).read_to_string(&mut complaint);
        }
        child.wait().map_err(fail)?;
        read.map_err(fail)?;
        match serde_json::from_slice::<Report>(&text) {
            Ok(report) if report.pid > 0 => Ok(()),
            Ok(report) => Err(failed("start", plan, container, runtime_words(&report.message))),
            Err(_) => Err(failed("start", plan, container, complaint.trim())),
        }
    }

    /// Lets the container's first process go on to its program; returns when that program runs.
    fn open_gate(&self, uid: &Uid, container: &str) -> io::Result<()> {
        let is_gone = || io::Error::other("its first process was killed before it could start");
        let first = || self.container(uid, container).state.pid();
        let pid = first().ok_or_else(is_gone)?;
        let runtime = program_of(pid);
        let gate = self.run.start_gate(uid, container);
        let way = self.gate(uid, container);
        let opened = match open_pipe(&gate, way) {
            Ok(opened) => opened,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return self.ask_to_start(uid, container),
            Err(e) => return Err(e),
        };
        for _ in 0..GATE_SECONDS {
            if is_at_gate(&opened, way)? {
                // Whoever comes to look finds a started container from now on.
                remove(|| fs::remove_file(&gate))?;
                return wait_for_exec(pid, runtime);
            }
            first().ok_or_else(is_gone)?;
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("not at the gate after {GATE_SECONDS} s")))
    }

    fn ask_to_start(&self, uid: &Uid, container: &str) -> io::Result<()> {
        let id = container_id(uid, container);
        let output = self.runtime_command(uid, container).args(["start", &id]).output()?;
        if output.status.success() {
            Ok(())
        } else {
            Err(io::Error::other(runtime_words(&String::from_utf8_lossy(&output.stderr))))
        }
    }

    /// The container's runtime, told where its state is.
    pub(crate) fn runtime_command(&self, uid: &Uid, container: &str) -> Command {
        let mut command = Command::new(self.maker(uid, container));
        command.arg("--root").arg(self.run.runtime()).stdin(Stdio::null());
        command
    }
}

fn open_pipe(gate: &Path, way: Gate) -> io::Result<File> {
    let mut options = File::options();
    match way {
        Gate::Reads => options.read(true),
        Gate::Writes => options.write(true),
    };
    options.custom_flags(nix::libc::O_NONBLOCK).open(gate)
}

/// Whether the first process has come to its gate, within a second. With that it has passed it.
fn is_at_gate(mut gate: &File, way: Gate) -> io::Result<bool> {
    match way {
        Gate::Reads => {
            let mut fds = [PollFd::new(gate.as_fd(), PollFlags::POLLIN)];
            Ok(poll(&mut fds, PollTimeout::from(1000u16))? > 0)
        }
        Gate::Writes => gate.write_all(&[0]).map(|()| true),
    }
}

fn mount_root(plan: &Plan, container: &ContainerPlan) -> io::Result<()> {
    let data = DataDir(&plan.dir);
    let (upper, work, rootfs) =
        (data.upper(&container.name), data.work(&container.name), data.rootfs(&container.name));
    for folder in [&upper, &work, &rootfs] {
        fs::create_dir_all(folder)?;
    }
    // Left over from a start that was cut short.
    mount::detach(&rootfs)?;
    mount::overlay(Overlay { lower: &container.layers, upper: &upper, work: &work }, &rootfs)
}

/// Waits until the process is no longer the runtime's. Until then it would take a SIGTERM for itself, and what
/// was asked to end would be said to run.
fn wait_for_exec(pid: u32, runtime: Option<(u64, u64)>) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(GATE_SECONDS.into());
    while runtime.is_some() && program_of(pid) == runtime {
        if Instant::now() > deadline {
            let why = format!("its program did not begin within {GATE_SECONDS} s");
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    // The program is the new one before its signal handlers are. This file's reader waits for the lock that
    // execve holds to its end; that the process has ended already is no failure of its start.
    let _ = fs::read(format!("/proc/{pid}/personality"));
    Ok(())
}

/// The file a process runs, by device and inode; `None` when it has ended.
fn program_of(pid: u32) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(format!("/proc/{pid}/exe")).ok().map(|file| (file.dev(), file.ino()))
}

/// The monitor may hold its end open for long; its report is one line.
fn read_line(from: File, to: &mut Vec<u8>) -> io::Result<()> {
    use std::io::BufRead;
    io::BufReader::new(from.take(REPORT_MAX)).read_until(b'\n', to).map(drop)
}

/// The runtime's message without its log decoration.
pub(crate) fn runtime_words(text: &str) -> String {
    let line = text.trim().lines().last().unwrap_or_default();
    let message = line.split_once("msg=\"").map_or(line, |(_, rest)| rest.trim_end_matches('"'));
    let message = message.trim_start_matches("runc create failed: ").trim_start_matches("exec failed: ");
    message.replace("\\\"", "\"")
}

fn failed(what: &str, plan: &Plan, container: &ContainerPlan, e: impl std::fmt::Display) -> DriverError {
    DriverError::failed(format!("{what} container {} of {}", container.name, plan.label), e)
}

fn prefixed(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(prefix);
    text.push(path);
    text
}

/// The monitor looks no program up in PATH.
fn absolute(program: &Path) -> std::path::PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    runtime::find(program).unwrap_or_else(|| program.to_owned())
}

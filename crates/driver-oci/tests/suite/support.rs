//! A driver in a folder of its own, and plans over a layer made of the host's static busybox.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use driver::{ComputeDriver, ContainerPlan, ExecRequest, Plan, SandboxState};
use driver_oci::{OciDriver, OciOptions};
use model::compute::{Cell, Isolation, PayloadKind};
use model::{Bytes, CpuMillis, Resources, Uid};
use sys::cgroup::Hidden;
use tokio::io::AsyncReadExt;

/// What this host has of one driver's making.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    pub(crate) mounts: usize,
    pub(crate) cgroups: usize,
    pub(crate) processes: usize,
    pub(crate) files: usize,
}

impl Traces {
    pub(crate) const NONE: Self = Self { mounts: 0, cgroups: 0, processes: 0, files: 0 };
}

/// Removes all of its sandboxes when dropped.
pub(crate) struct Lab {
    pub(crate) driver: OciDriver,
    options: OciOptions,
    folder: tempfile::TempDir,
}

/// crun serves no host that has controllers in a second, unified hierarchy beside the others: what is in none of those
/// (hugetlb, where this is so) gets one of its own as long as this lives.
pub(crate) fn let_crun_serve() -> Option<Hidden> {
    let folder = tempfile::tempdir().expect("folder");
    Hidden::hold(&folder.path().join("hugetlb"), "hugetlb").ok()
}

/// What tests start from.
pub(crate) fn options() -> OciOptions {
    let runtime = std::env::var_os("CORTEN_RUNTIME").map_or_else(|| "runc".into(), Into::into);
    OciOptions { runtime, ..OciOptions::default() }
}

impl Lab {
    /// With the runtime that `CORTEN_RUNTIME` names, or runc.
    pub(crate) fn new() -> Self {
        Self::with(options())
    }

    pub(crate) fn with(options: OciOptions) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().expect("folder");
        let bin = folder.path().join("layer/bin");
        std::fs::create_dir_all(&bin).expect("bin");
        std::fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
        for name in [
            "sh", "cat", "echo", "sleep", "hostname", "nc", "id", "grep", "tty", "dd", "ls", "kill", "mount",
            "unshare", "printf", "true",
        ] {
            std::os::unix::fs::symlink("busybox", bin.join(name)).expect("link");
        }
        let options = OciOptions {
            run_dir: folder.path().join("run"),
            cgroup: format!("corten-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)),
            ..options
        };
        Self { driver: OciDriver::new(options.clone()).expect("driver"), options, folder }
    }

    /// What an agent that was restarted has.
    pub(crate) fn another_driver(&self) -> OciDriver {
        OciDriver::new(self.options.clone()).expect("driver")
    }

    /// The same after another runtime was chosen.
    pub(crate) fn another_driver_with(&self, runtime: &str) -> OciDriver {
        OciDriver::new(OciOptions { runtime: runtime.into(), ..self.options.clone() }).expect("driver")
    }

    pub(crate) fn plan(&self, containers: &[(&str, &str)]) -> Plan {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let uid = Uid::parse(&format!("{:08x}-{number:04x}", std::process::id())).expect("uid");
        let dir = self.folder.path().join("data").join(uid.as_str());
        std::fs::create_dir_all(&dir).expect("data");
        Plan {
            label: format!("demo/box{number}"),
            cell: Cell::new(Isolation::Namespace, PayloadKind::Containers),
            resources: Resources { cpu: CpuMillis(1000), memory: Bytes::mib(64), disk: Bytes(0) },
            dir,
            user_id: 100_000,
            vm: None,
            containers: containers.iter().map(|(name, script)| self.container(name, script)).collect(),
            mounts: Vec::new(),
            uid,
        }
    }

    fn container(&self, name: &str, script: &str) -> ContainerPlan {
        ContainerPlan {
            name: name.to_owned(),
            layers: vec![self.folder.path().join("layer")],
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: Vec::new(),
            working_dir: String::new(),
            user: String::new(),
            tty: false,
        }
    }

    pub(crate) async fn run(&self, uid: &Uid, container: &str, script: &str) -> (i32, String, String) {
        Self::run_by(&self.driver, uid, container, script).await
    }

    pub(crate) async fn run_by(
        driver: &OciDriver,
        uid: &Uid,
        container: &str,
        script: &str,
    ) -> (i32, String, String) {
        let request = ExecRequest {
            container: container.to_owned(),
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            tty: false,
        };
        let mut exec = driver.exec().expect("exec").exec(uid, request).await.expect("exec");
        drop(exec.stdin);
        let (mut out, mut err) = (String::new(), String::new());
        let (out_done, err_done, code) = tokio::join!(
            exec.stdout.read_to_string(&mut out),
            exec.stderr.read_to_string(&mut err),
            exec.exit
        );
        out_done.and(err_done).expect("output");
        (code.expect("exit"), out, err)
    }

    pub(crate) async fn state(&self, uid: &Uid) -> SandboxState {
        self.driver.observe(uid).await.expect("observe").state
    }

    /// Starts a payload that ends by itself, and waits until it has.
    pub(crate) async fn ensure_ended(&self, plan: &Plan, expected: SandboxState) {
        let mut changes = self.driver.changes();
        self.driver.ensure(plan).await.expect("ensure");
        while self.state(&plan.uid).await == SandboxState::Running {
            changes.recv().await.expect("change");
        }
        assert_eq!(self.state(&plan.uid).await, expected);
    }

    /// The lines of a container's log, each with its stream.
    pub(crate) async fn log(&self, uid: &Uid, container: &str) -> Vec<String> {
        let console = self.driver.console().expect("console");
        let path = console.log_path(uid, container).await.expect("path");
        let text = std::fs::read(path).unwrap_or_default();
        let lines = text.split_inclusive(|b| *b == b'\n').map(|line| console.log_format().read_line(line));
        lines
            .map(|line| {
                assert!(line.time.is_some(), "{line:?}");
                let stream = if line.is_stderr { "err" } else { "out" };
                format!("{stream}:{}", String::from_utf8_lossy(line.text))
            })
            .collect()
    }

    pub(crate) async fn wait_for_log(&self, uid: &Uid, container: &str, text: &str) {
        self.wait_for(|| async { self.log(uid, container).await.iter().any(|line| line.contains(text)) })
            .await;
    }

    /// Looks again until it is so.
    pub(crate) async fn wait_for<F: Future<Output = bool>>(&self, is_so: impl Fn() -> F) {
        let patience = Duration::from_mins(1);
        let looking = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(patience, looking).await.expect("it never came to be so");
    }

    /// How many processes are in a sandbox.
    pub(crate) fn processes(&self, uid: &Uid) -> usize {
        let group = format!("/{}/{uid}/", self.options.cgroup);
        let pids = std::fs::read_dir("/proc").expect("proc").flatten();
        pids.filter(|pid| {
            std::fs::read_to_string(pid.path().join("cgroup")).is_ok_and(|groups| groups.contains(&group))
        })
        .count()
    }

    pub(crate) fn traces(&self) -> Traces {
        self.traces_with("")
    }

    /// What there is of one sandbox.
    pub(crate) fn traces_of(&self, uid: &Uid) -> Traces {
        self.traces_with(uid.as_str())
    }

    fn traces_with(&self, text: &str) -> Traces {
        let root = self.folder.path().to_str().expect("text");
        let mounts = std::fs::read_to_string("/proc/mounts").expect("mounts");
        let processes = Command::new("ps").args(["-eo", "args"]).output().expect("ps");
        let is_ours = |line: &&str| line.contains(root) && line.contains(text);
        let run = self.folder.path().join("run");
        let groups =
            roots(Path::new("/sys/fs/cgroup")).into_iter().map(|root| root.join(&self.options.cgroup));
        Traces {
            mounts: mounts.lines().filter(is_ours).count(),
            cgroups: groups.map(|group| count(&group, text)).sum(),
            processes: String::from_utf8_lossy(&processes.stdout).lines().filter(is_ours).count(),
            files: ["runtime", "exits", "sandboxes"].iter().map(|d| count(&run.join(d), text)).sum(),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let options = self.options.clone();
        // A runtime of its own: this may run inside of one that is ending.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            runtime.block_on(async {
                let driver = OciDriver::new(options).expect("driver");
                for sandbox in driver.list().await.expect("list") {
                    driver.delete(&sandbox.uid).await.expect("delete");
                }
            });
        })
        .join()
        .expect("clean up");
        for root in roots(Path::new("/sys/fs/cgroup")) {
            let _ = std::fs::remove_dir(root.join(&self.options.cgroup));
        }
    }
}

fn roots(mounted: &Path) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> =
        std::fs::read_dir(mounted).expect("control groups").flatten().map(|entry| entry.path()).collect();
    roots.push(mounted.to_owned());
    roots
}

/// Folders, and the files that are no control group's own, with `text` in their name.
fn count(folder: &Path, text: &str) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let in_groups = folder.starts_with("/sys/fs/cgroup");
    let named = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().contains(text));
    named.filter(|entry| !in_groups || entry.file_type().is_ok_and(|kind| kind.is_dir())).count()
}

//! A host for tests: the tiny guest, plans for it, and a look at what is left afterwards.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use driver::conformance::Bench;
use driver::{Boot, ByteStream, ComputeDriver, Plan, VmPlan};
use driver_qemu::{QemuDriver, QemuOptions};
use image::build::Tiny;
use model::compute::{Cell, Isolation, Machine, PayloadKind};
use model::{Bytes, CpuMillis, Resources, Uid};
use sys::cgroup::Cgroups;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A guest that takes longer than this does not come up.
const BOOT_MAX: Duration = Duration::from_mins(1);
/// Guests run under user ids nobody else has.
const FIRST_USER: u32 = 700_000;

/// A shell as the first process, on the console: it knows of no power button.
pub(crate) const SHELL: &str = "console=ttyS0 quiet rdinit=/bin/busybox -- sh";

pub(crate) struct Host {
    dir: TempDir,
    machine: Machine,
    made: AtomicU8,
}

impl Host {
    pub(crate) fn new(machine: Machine) -> Self {
        let dir = tempfile::tempdir().unwrap();
        allow_passage(dir.path());
        Self { dir, machine, made: AtomicU8::new(0) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn driver(&self) -> QemuDriver {
        QemuDriver::new(QemuOptions::new(self.dir.path().join("run")))
    }

    /// The tiny guest, with this on its kernel's command line.
    pub(crate) fn kernel_plan(&self, cmdline: &str) -> Plan {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let tiny = tiny();
        let uid = Uid::from_random(random(number));
        let dir = self.dir.path().join(uid.as_str());
        std::fs::create_dir(&dir).unwrap();
        allow_passage(&dir);
        let isolation = match self.machine {
            Machine::Q35 => Isolation::Vm,
            Machine::MicroVm => Isolation::MicroVm,
        };
        Plan {
            uid,
            label: format!("test/guest{number}"),
            cell: Cell::new(isolation, PayloadKind::Kernel),
            resources: Resources { cpu: CpuMillis::cores(1), memory: Bytes::mib(96), disk: Bytes(0) },
            dir,
            user_id: FIRST_USER + u32::from(number),
            vm: Some(VmPlan {
                machine: self.machine,
                boot: Boot::Kernel {
                    kernel: tiny.kernel.clone(),
                    initrd: Some(tiny.initrd.clone()),
                    cmdline: cmdline.to_owned(),
                },
                disks: Vec::new(),
                volumes: Vec::new(),
                nics: Vec::new(),
            }),
            containers: Vec::new(),
            mounts: Vec::new(),
        }
    }
}

/// The console's output, once it holds `text`.
pub(crate) async fn console_says(driver: &dyn ComputeDriver, uid: &Uid, text: &str) -> String {
    let path = driver.console().unwrap().log_path(uid, "").await.unwrap();
    let read = async {
        loop {
            let log = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            if log.contains(text) {
                return log;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let said = tokio::time::timeout(BOOT_MAX, read).await;
    said.unwrap_or_else(|_| panic!("the console never says {text:?}: {:?}", std::fs::read_to_string(&path)))
}

/// Waits for a shell's prompt, asking for it with an empty line now and then: the first one may have come and
/// gone before we were attached.
pub(crate) async fn prompt(console: &mut Pin<Box<dyn ByteStream>>) {
    let mut said = Vec::new();
    let listen = async {
        while !said.windows(2).any(|two| two == b"# ") {
            let read = console.read_buf(&mut said);
            match tokio::time::timeout(Duration::from_secs(1), read).await {
                Ok(read) => assert_ne!(read.unwrap(), 0, "the console is closed"),
                Err(_) => console.write_all(b"\n").await.unwrap(),
            }
        }
    };
    tokio::time::timeout(BOOT_MAX, listen).await.expect("a shell on the console");
}

/// The tiny guest, built once per run.
pub(crate) fn tiny() -> &'static Tiny {
    static TINY: OnceLock<Tiny> = OnceLock::new();
    TINY.get_or_init(|| {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tiny");
        let packages = image::build::Packages::open(std::env::temp_dir().join("corten-test-packages"));
        let tiny = image::build::tiny(&dir, &packages.unwrap()).expect("build the tiny guest");
        // Read by every guest's own user, so it stands where all may pass.
        let public = std::env::temp_dir().join("corten-test-guest");
        std::fs::create_dir_all(&public).unwrap();
        allow_passage(&public);
        let copy = |path: &Path| {
            let to = public.join(path.file_name().unwrap());
            let new = to.with_extension(std::process::id().to_string());
            std::fs::copy(path, &new).unwrap();
            std::fs::rename(&new, &to).unwrap();
            to
        };
        Tiny { kernel: copy(&tiny.kernel), initrd: copy(&tiny.initrd), ..tiny }
    })
}

/// The tiny guest as a disk that boots by BIOS; to be copied.
pub(crate) fn tiny_disk() -> &'static Path {
    static DISK: OnceLock<PathBuf> = OnceLock::new();
    DISK.get_or_init(|| {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tiny-disk");
        image::build::tiny_disk(tiny(), &dir).expect("build the tiny guest's disk")
    })
}

pub(crate) fn allow_passage(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711)).unwrap();
}

fn random(number: u8) -> [u8; 16] {
    let mut bytes = [number; 16];
    let from = std::fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut &from, &mut bytes).unwrap();
    bytes
}

#[async_trait]
impl Bench for Host {
    fn driver(&self) -> Arc<dyn ComputeDriver> {
        Arc::new(Host::driver(self))
    }

    fn plan(&self) -> Plan {
        self.kernel_plan(&tiny().cmdline)
    }

    fn stubborn_plan(&self) -> Plan {
        self.kernel_plan(SHELL)
    }

    async fn finish(&self, driver: &dyn ComputeDriver, uid: &Uid) {
        let mut console = driver.console().unwrap().attach(uid).await.unwrap();
        prompt(&mut console).await;
        console.write_all(b"/bin/busybox poweroff -f\n").await.unwrap();
        // To the end, because what is not read yet goes when the console is let go of.
        console.read_to_end(&mut Vec::new()).await.unwrap();
    }

    fn leftovers(&self, plan: &Plan) -> Vec<String> {
        let uid = plan.uid.as_str();
        let groups = Cgroups::detect(sys::cgroup::ROOT).unwrap().list().unwrap();
        let groups = groups.into_iter().filter(|name| name.contains(uid));
        let files = [self.path().join("run").join(uid), plan.dir.join("qemu")];
        let files = files.into_iter().filter(|path| path.symlink_metadata().is_ok());
        groups.chain(files.map(|path| path.display().to_string())).chain(processes_of(uid)).collect()
    }
}

/// The command lines of all processes that mention `uid`.
pub(crate) fn processes_of(uid: &str) -> Vec<String> {
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    pids.filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(uid))
        .collect()
}

//! From a plan to a running process: checks, the cgroup, the descriptors it inherits, the start itself. Blocks
//! (a fork, a few files); callers run it where that is fine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ::driver::{Boot, DiskLocation, DriverError, NicPlan, Plan, VmPlan};
use model::compute::{Firmware, Machine};
use model::{Resources, Timestamp};
use sys::cgroup::{Cgroup, Cgroups, Limits};
use sys::daemon::{Daemon, ResourceLimit};

use crate::QemuOptions;
use crate::args::{self, Descriptors, TapDescriptors, translations_mib};
use crate::clock;
use crate::devices::HOTPLUG_SLOTS;
use crate::host::{Accelerator, Host};
use crate::state::{Index, Started, State, socket};
use crate::volumes;

/// What QEMU itself takes beside the guest's memory and the translations: measured at 160 MiB for a small
/// guest, with room for its I/O threads and the screen.
const MEMORY_OVERHEAD_MIB: u64 = 368;
/// What QEMU's own threads may take beside the guest's processors.
const CPU_OVERHEAD_MILLIS: u64 = 100;
/// What it takes beside that for each volume in a Ceph cluster: a cache of 32 MiB, and what is on its way.
const CLUSTER_MIB: u64 = 64;
/// Threads of one QEMU beside the guest's processors: its pool for disk requests has 64, and each volume in a Ceph cluster
/// 15, of which there may be nine.
const THREADS_MAX: u64 = 288;
const OPEN_FILES_MAX: u64 = 4096;
/// Longest serial number of a virtio disk.
const SERIAL_MAX: usize = 20;
/// Queues of a network card; more do not make small guests faster, and each costs descriptors and interrupts.
const QUEUES_MAX: u8 = 8;

/// The cgroup of a virtual machine.
pub(crate) fn cgroup(root: &str, uid: &model::Uid) -> Result<Cgroup, DriverError> {
    let group = Cgroups::detect(root).and_then(|cgroups| cgroups.group(&format!("qemu-{uid}")));
    group.map_err(|e| DriverError::failed("finding the cgroup", e))
}

/// Says what is wrong with a plan before anything is made.
pub(crate) fn check<'a>(plan: &'a Plan, host: &Host) -> Result<&'a VmPlan, DriverError> {
    let vm = plan.vm.as_ref().ok_or_else(|| invalid("the plan has no virtual machine"))?;
    if plan.resources.memory.as_mib() == 0 {
        return Err(invalid("resources.memory must be at least 1Mi"));
    }
    if plan.user_id == 0 {
        return Err(invalid("user_id must not be root's"));
    }
    let data = vm.volumes.iter().filter(|disk| !disk.boot).count();
    if data > HOTPLUG_SLOTS as usize {
        return Err(invalid(&format!("{data} volumes are more than {HOTPLUG_SLOTS}")));
    }
    let all = || vm.disks.iter().chain(&vm.volumes);
    if let Some(disk) = all().find(|disk| disk.serial.len() > SERIAL_MAX) {
        return Err(invalid(&format!("disk serial {:?} is longer than {SERIAL_MAX} bytes", disk.serial)));
    }
    let mut files = all().filter_map(|disk| disk.location.path());
    if let Some(path) = files.find(|path| path.to_str().is_none()) {
        return Err(invalid(&format!("disk path {} is not UTF-8", path.display())));
    }
    match (&vm.boot, vm.machine) {
        (Boot::Firmware(_), Machine::MicroVm) => {
            Err(unsupported("boot a microvm from a disk: give it a kernel"))
        }
        (Boot::Firmware(_), Machine::Q35) if vm.disks.is_empty() && !vm.boots_from_volume() => {
            Err(invalid("a machine that boots by firmware needs a disk"))
        }
        (Boot::Firmware(Firmware::Uefi), _) if host.uefi.is_none() => {
            Err(unsupported("boot by UEFI: install ovmf"))
        }
        _ => Ok(vm),
    }
}

/// Starts the machine and keeps who it is.
pub(crate) fn start(
    options: &QemuOptions,
    host: &Host,
    index: &Index,
    plan: &Plan,
) -> Result<State, DriverError> {
    let vm = check(plan, host)?;
    let group = limit(options, plan)?;
    let at = |what: &'static str| move |e: io::Error| DriverError::failed(what, e);
    let state = index.add(plan).map_err(at("making the state folder"))?;
    state.forget_started().map_err(at("making the state folder"))?;
    state.keep_plan(plan).map_err(at("keeping the plan"))?;
    hand_over_disks(vm, plan.user_id)?;
    let vm = &*clock::tell(vm, host).map_err(at("reading the kernel"))?;
    let inherited = Inherited::open(&state, plan, vm, host).map_err(at("opening what the guest needs"))?;
    let entrances = group.entrances().map_err(|e| DriverError::failed("limiting the guest", e))?;
    let identity = Daemon {
        program: &options.program,
        args: &args::args(plan, vm, host, &inherited.numbers()),
        directory: Path::new("/"),
        output: state.new_log().map_err(at("opening the log"))?,
        inherit: &inherited.all(),
        cgroups: &entrances,
        user_id: Some(plan.user_id),
        limits: &[(ResourceLimit::OpenFiles, OPEN_FILES_MAX), (ResourceLimit::CoreBytes, 0)],
    }
    .spawn()
    .map_err(at("starting qemu"))?;
    state.keep_started(&Started { identity, at: now() }).map_err(at("keeping who was started"))?;
    Ok(state)
}

/// The guest's control group, with what it may take.
pub(crate) fn limit(options: &QemuOptions, plan: &Plan) -> Result<Cgroup, DriverError> {
    let group = cgroup(&options.cgroup, &plan.uid)?;
    group.ensure(&limits(&plan.resources, plan)).map_err(|e| DriverError::failed("limiting the guest", e))?;
    Ok(group)
}

fn limits(resources: &Resources, plan: &Plan) -> Limits {
    let volumes = plan.vm.iter().flat_map(|vm| &vm.volumes);
    let in_clusters = volumes.filter(|disk| matches!(disk.location, DiskLocation::Rbd(_))).count() as u64;
    let own_mib = translations_mib(plan) + MEMORY_OVERHEAD_MIB + CLUSTER_MIB * in_clusters;
    let memory_mib = resources.memory.as_mib() + own_mib;
    Limits {
        cpu_millis: (resources.cpu.0 > 0).then_some(resources.cpu.0 + CPU_OVERHEAD_MILLIS),
        memory_bytes: Some(memory_mib << 20),
        pids: Some(THREADS_MAX + resources.cpu.ceil_cores()),
    }
}

/// Disks the guest may write belong to its user from now on; nobody else's file is touched.
fn hand_over_disks(vm: &VmPlan, user_id: u32) -> Result<(), DriverError> {
    let disks = vm.disks.iter().chain(&vm.volumes);
    let mut written = disks.filter(|disk| !disk.read_only).filter_map(|disk| disk.location.path());
    written.try_for_each(|file| hand_over(file, user_id))
}

pub(crate) fn hand_over(path: &Path, user_id: u32) -> Result<(), DriverError> {
    let give = || {
        let file = std::fs::symlink_metadata(path)?;
        if file.uid() == user_id && file.gid() == user_id {
            return Ok(());
        }
        chown(path, Some(user_id), Some(user_id))
    };
    give().map_err(|e: io::Error| DriverError::failed(format!("handing {} to its guest", path.display()), e))
}

/// What the process gets as open descriptors.
#[derive(Debug)]
struct Inherited {
    monitor: UnixListener,
    events: UnixListener,
    console: UnixListener,
    guest_agent: UnixListener,
    console_log: File,
    kvm: Option<File>,
    uefi_variables: Option<File>,
    taps: Vec<Tap>,
    keys: BTreeMap<String, File>,
}

/// A tap's queues, and the kernel's helper for each.
#[derive(Debug)]
pub(crate) struct Tap {
    queues: Vec<OwnedFd>,
    vhost: Vec<OwnedFd>,
}

impl Tap {
    pub(crate) fn open(device: &str, namespace: Option<&Path>, queues: u8) -> io::Result<Self> {
        let queues = sys::tap::open(device, namespace, queues)?;
        let mut vhost = Vec::new();
        for _ in &queues {
            vhost.extend(sys::tap::open_vhost()?);
        }
        Ok(Self { queues, vhost })
    }

    pub(crate) fn queues(&self) -> Vec<BorrowedFd<'_>> {
        self.queues.iter().map(AsFd::as_fd).collect()
    }

    /// None where the kernel has no helper.
    pub(crate) fn vhost(&self) -> Vec<BorrowedFd<'_>> {
        self.vhost.iter().map(AsFd::as_fd).collect()
    }

    fn numbers(&self) -> TapDescriptors {
        let numbers = |fds: &[OwnedFd]| fds.iter().map(AsRawFd::as_raw_fd).collect();
        TapDescriptors { queues: numbers(&self.queues), vhost: numbers(&self.vhost) }
    }
}

/// How many queues a card of this machine has.
pub(crate) fn queues(plan: &Plan) -> u8 {
    u8::try_from(plan.resources.cpu.ceil_cores()).unwrap_or(QUEUES_MAX).clamp(1, QUEUES_MAX)
}

impl Inherited {
    fn open(state: &State, plan: &Plan, vm: &VmPlan, host: &Host) -> io::Result<Self> {
        let listen = |name| sys::unix::listen(state.folder(), name);
        let kvm = match host.accelerator {
            Accelerator::Kvm => Some(File::options().read(true).write(true).open("/dev/kvm")?),
            Accelerator::Tcg => None,
        };
        let uefi_variables = match (&vm.boot, &host.uefi) {
            (Boot::Firmware(Firmware::Uefi), Some(uefi)) => Some(state.open_uefi_variables(&uefi.variables)?),
            _ => None,
        };
        let queues = queues(plan);
        let taps = vm.nics.iter().filter_map(|nic| match nic {
            NicPlan::Tap { device, namespace, .. } => Some(Tap::open(device, namespace.as_deref(), queues)),
            NicPlan::User { .. } => None,
        });
        Ok(Self {
            monitor: listen(socket::MONITOR)?,
            events: listen(socket::EVENTS)?,
            console: listen(socket::CONSOLE)?,
            guest_agent: listen(socket::GUEST_AGENT)?,
            console_log: state.open_console_log()?,
            kvm,
            uefi_variables,
            taps: taps.collect::<io::Result<_>>()?,
            keys: keys(vm)?,
        })
    }

    fn numbers(&self) -> Descriptors {
        Descriptors {
            monitor: self.monitor.as_raw_fd(),
            events: self.events.as_raw_fd(),
            console: self.console.as_raw_fd(),
            guest_agent: self.guest_agent.as_raw_fd(),
            console_log: self.console_log.as_raw_fd(),
            kvm: self.kvm.as_ref().map(AsRawFd::as_raw_fd),
            uefi_variables: self.uefi_variables.as_ref().map(AsRawFd::as_raw_fd),
            taps: self.taps.iter().map(Tap::numbers).collect(),
            keys: self.keys.iter().map(|(id, file)| (id.clone(), file.as_raw_fd())).collect(),
        }
    }

    fn all(&self) -> Vec<BorrowedFd<'_>> {
        let listeners = [&self.monitor, &self.events, &self.console, &self.guest_agent];
        let mut all: Vec<_> = listeners.into_iter().map(AsFd::as_fd).collect();
        all.push(self.console_log.as_fd());
        all.extend(self.kvm.iter().map(AsFd::as_fd));
        all.extend(self.uefi_variables.iter().map(AsFd::as_fd));
        all.extend(self.keys.values().map(AsFd::as_fd));
        all.extend(self.taps.iter().flat_map(|tap| tap.queues.iter().chain(&tap.vhost)).map(AsFd::as_fd));
        all
    }
}

/// The keys of volumes, each in a file that is nowhere.
fn keys(vm: &VmPlan) -> io::Result<BTreeMap<String, File>> {
    let mut files = BTreeMap::new();
    for disk in &vm.volumes {
        for (id, key) in volumes::keys(disk).map_err(io::Error::other)? {
            files.insert(id, sys::memory_file::holding(key.expose().as_bytes())?);
        }
    }
    Ok(files)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn invalid(what: &str) -> DriverError {
    DriverError::Invalid(what.to_owned())
}

fn unsupported(what: &str) -> DriverError {
    DriverError::Unsupported { driver: crate::NAME, what: what.to_owned() }
}

//! Volumes of containers: a disk's blocks as a file (QEMU's storage daemon and FUSE), that file as a block device
//! (loop), the device's filesystem mounted where the runtime binds it into the containers. All of it lives outside of
//! the agent; what there is is read from the kernel and a file per volume. It is made while nothing of the sandbox
//! runs, and taken away, in the opposite order and to its end, before anybody hears that the disk is free.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use driver::{ChangesPlan, DiskKey, DiskPlan, DriverError, Merging, Plan, PluggedDisk, VolumeAccess};
use model::{Bytes, Uid};
use nix::sys::signal::Signal;
use serde_json::json;
use sys::cgroup::{Cgroup, CgroupError, Cgroups, Limits};
use sys::command::last_words;
use sys::daemon::{Daemon, ResourceLimit};
use sys::memory_file;
use sys::process::{Identity, Process};

use crate::OciDriver;
use crate::facts::ContainerState;
use crate::sandbox::{Host, remove};

const DAEMON: &str = "/usr/bin/qemu-storage-daemon";
const FILESYSTEM: &str = "ext4";
/// How long the storage daemon may take to start and to write everything down.
const START_MAX: Duration = Duration::from_secs(10);
const END_MAX: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const MEMORY_MAX_BYTES: u64 = 512 << 20;
const THREADS_MAX: u64 = 128;
const OPEN_FILES_MAX: u64 = 1024;

/// Where one volume of a sandbox is on this host.
#[derive(Debug, Clone)]
struct Folder {
    path: PathBuf,
    /// The root of this host's control groups.
    cgroup: String,
}

impl Folder {
    /// The disk's blocks as a file.
    fn blocks(&self) -> PathBuf {
        self.path.join("blocks")
    }
    /// Where its filesystem is mounted.
    fn files(&self) -> PathBuf {
        self.path.join("files")
    }
    /// Who the storage daemon is.
    fn started(&self) -> PathBuf {
        self.path.join("started.json")
    }
    fn plan(&self) -> PathBuf {
        self.path.join("disk.json")
    }
    fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    fn process(&self) -> io::Result<Option<Process>> {
        match fs::read(self.started()) {
            Ok(text) => match serde_json::from_slice::<Identity>(&text) {
                Ok(identity) => Process::open(&identity),
                Err(_) => Ok(None),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl Host {
    /// Mounts every volume of the plan; nothing of the sandbox runs.
    pub(crate) fn mount_volumes(&self, plan: &Plan) -> Result<(), DriverError> {
        self.unmount_volumes(&plan.uid)?;
        plan.mounts.iter().try_for_each(|mount| {
            let folder = self.volume(&plan.uid, &mount.disk.serial);
            let mounted = mount_volume(&folder, &mount.disk);
            if mounted.is_err() {
                // The first error is the one that matters.
                let _ = unmount(&folder, &mount.disk.serial);
            }
            mounted
        })
    }

    /// Takes away what was mounted for a sandbox of which nothing runs.
    pub(crate) fn unmount_volumes(&self, uid: &Uid) -> Result<(), DriverError> {
        for serial in self.mounted(uid)? {
            unmount(&self.volume(uid, &serial), &serial)?;
        }
        remove(|| fs::remove_dir(self.run.volumes(uid))).map_err(|e| failed("removing a folder", e))
    }

    /// What the runtime binds into the containers: the folder here, and that inside.
    pub(crate) fn folders(&self, plan: &Plan) -> Vec<(PathBuf, PathBuf)> {
        let folder = |mount: &driver::MountPlan| {
            (self.volume(&plan.uid, &mount.disk.serial).files(), mount.target.clone())
        };
        plan.mounts.iter().map(folder).collect()
    }

    /// Whether a container of it may have volumes open.
    fn uses_volumes(&self, uid: &Uid) -> Result<bool, DriverError> {
        let plan = match self.plan(uid) {
            Ok(plan) => plan,
            Err(DriverError::NotFound(_)) => return Ok(false),
            Err(e) => return Err(e),
        };
        Ok(!plan.containers.iter().all(|c| self.container(uid, &c.name).state.is_over()))
    }

    fn volume(&self, uid: &Uid, serial: &str) -> Folder {
        Folder { path: self.run.volumes(uid).join(serial), cgroup: self.options.cgroup.clone() }
    }

    fn mounted(&self, uid: &Uid) -> Result<Vec<String>, DriverError> {
        match fs::read_dir(self.run.volumes(uid)) {
            Ok(entries) => {
                Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(failed("listing volumes", e)),
        }
    }

    /// Those that containers have now. What a run that is over has left is put away.
    fn volumes_in_use(&self, uid: &Uid) -> Result<Vec<PluggedDisk>, DriverError> {
        if !self.uses_volumes(uid)? {
            self.unmount_volumes(uid)?;
            return Ok(Vec::new());
        }
        let read = |serial: String| {
            let folder = self.volume(uid, &serial);
            let _: DiskPlan = serde_json::from_slice(&fs::read(folder.plan()).ok()?).ok()?;
            let size = Bytes(fs::metadata(folder.blocks()).ok()?.len());
            Some(PluggedDisk { serial, size })
        };
        Ok(self.mounted(uid)?.into_iter().filter_map(read).collect())
    }

    fn take_volume(&self, uid: &Uid, serial: &str) -> Result<(), DriverError> {
        let folder = self.volume(uid, serial);
        if !folder.path.exists() {
            return Ok(());
        }
        if self.uses_volumes(uid)? {
            let why = "containers keep their volumes while they run; stop the instance";
            return Err(DriverError::WrongState(why.into()));
        }
        unmount(&folder, serial)
    }
}

impl ContainerState {
    /// Nothing of it is there that could have a file open.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Absent | Self::Exited(_))
    }
}

fn mount_volume(folder: &Folder, disk: &DiskPlan) -> Result<(), DriverError> {
    fs::create_dir_all(folder.files()).map_err(|e| failed("making a volume's folder", e))?;
    fs::write(folder.plan(), serde_json::to_vec(disk).unwrap_or_default())
        .and_then(|()| File::create(folder.blocks()).map(drop))
        .map_err(|e| failed("making a volume's folder", e))?;
    start(folder, disk)?;
    let device = tool("losetup", &["--find".into(), "--show".into(), folder.blocks().into()])?;
    let device = PathBuf::from(device.trim());
    if has_filesystem(&device)? {
        fill_device(&device)?;
    } else {
        // Blocks of which nobody ever wrote one: to discard them would only take time.
        let quiet = ["-q", "-E", "nodiscard", "-m", "0"].map(OsString::from);
        tool("mkfs.ext4", &[&quiet[..], &[device.clone().into()]].concat())?;
    }
    sys::mount::filesystem(&device, &folder.files(), FILESYSTEM).map_err(|e| failed("mounting a volume", e))
}

/// The disk may have grown. While it is mounted not every root may enlarge a filesystem.
fn fill_device(device: &Path) -> Result<(), DriverError> {
    /// What e2fsck ends with when it found nothing wrong, or put it right.
    const CLEAN: [Option<i32>; 2] = [Some(0), Some(1)];
    if tool("resize2fs", &[device.into()]).is_ok() {
        return Ok(());
    }
    // It wants to be sure first, and its journal played back.
    let checked = Command::new("e2fsck").args(["-f", "-p"]).arg(device).stdin(Stdio::null()).output();
    let checked = checked.map_err(|e| failed("e2fsck (package e2fsprogs)", e))?;
    if !CLEAN.contains(&checked.status.code()) {
        return Err(failed(
            "the volume's filesystem is damaged and is not mounted",
            last_words(&checked.stdout),
        ));
    }
    tool("resize2fs", &[device.into()]).map(drop)
}

/// The storage daemon, until the disk is there as a file.
fn start(folder: &Folder, disk: &DiskPlan) -> Result<(), DriverError> {
    let node = disk.location.node("disk", "pool-key", false);
    let mut args: Vec<OsString> = vec!["--blockdev".into(), node.to_string().into()];
    let mut exported = "disk";
    let own = disk.required_key()?.map(|key| ("key", key));
    let mut keys = Vec::new();
    for (id, key) in disk.location.key().map(|key| ("pool-key", key)).into_iter().chain(own) {
        let file = memory_file::holding(key.expose().as_bytes());
        let file = file.map_err(|e| failed("handing over a volume's key", e))?;
        let object = key.object_of_file(id, &memory_file::inherited_path(file.as_raw_fd()));
        args.splice(0..0, ["--object".into(), object.to_string().into()]);
        keys.push(file);
    }
    if own.is_some() {
        let plain = DiskKey::node("plain", "key", &json!("disk"));
        args.extend(["--blockdev".into(), plain.to_string().into()]);
        exported = "plain";
    }
    if disk.limits != model::storage::VolumeLimits::default() {
        let limits = json!({
            "qom-type": "throttle-group", "id": "limits",
            "limits": { "iops-total": disk.limits.iops, "bps-total": disk.limits.bytes_per_second },
        });
        let slow = json!({ "node-name": "slow", "driver": "throttle", "throttle-group": "limits", "file": exported });
        args.splice(0..0, ["--object".into(), limits.to_string().into()]);
        args.extend(["--blockdev".into(), slow.to_string().into()]);
        exported = "slow";
    }
    let export = json!({
        "type": "fuse", "id": "blocks", "node-name": exported, "mountpoint": folder.blocks(), "writable": true,
        "growable": false, "allow-other": "off",
    });
    args.extend(["--export".into(), export.to_string().into()]);
    let log = File::options().append(true).create(true).mode(0o600).open(folder.log());
    let limited = |e: CgroupError| failed("limiting a volume", e);
    let group = group(folder)?;
    let limits = Limits { cpu_millis: None, memory_bytes: Some(MEMORY_MAX_BYTES), pids: Some(THREADS_MAX) };
    group.ensure(&limits).map_err(limited)?;
    let identity = Daemon {
        program: Path::new(DAEMON),
        args: &args,
        directory: Path::new("/"),
        output: log.map_err(|e| failed("opening a volume's log", e))?,
        inherit: &keys.iter().map(AsFd::as_fd).collect::<Vec<_>>(),
        cgroups: &group.entrances().map_err(limited)?,
        user_id: None,
        limits: &[(ResourceLimit::OpenFiles, OPEN_FILES_MAX), (ResourceLimit::CoreBytes, 0)],
    }
    .spawn()
    .map_err(|e| failed("starting qemu-storage-daemon (package qemu-utils)", e))?;
    fs::write(folder.started(), serde_json::to_vec(&identity).unwrap_or_default())
        .map_err(|e| failed("keeping who was started", e))?;
    let give_up = Instant::now() + START_MAX;
    while !is_mounted(&folder.blocks()) {
        let ended = folder.process().is_ok_and(|process| process.is_none());
        if ended || Instant::now() > give_up {
            let words = last_words(&fs::read(folder.log()).unwrap_or_default());
            return Err(failed("showing a volume's blocks as a file (FUSE)", words));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Whether another filesystem begins there than in the folder.
fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    device(path).is_some() && device(path) != path.parent().and_then(device)
}

/// A disk has ours or none at all: this host alone has ever written to it.
fn has_filesystem(device: &Path) -> Result<bool, DriverError> {
    /// What blkid ends with when it finds nothing.
    const NOTHING: i32 = 2;
    let found = Command::new("blkid").args(["-p", "-o", "value", "-s", "TYPE"]).arg(device).output();
    let found = found.map_err(|e| failed("blkid", e))?;
    match (String::from_utf8_lossy(&found.stdout).trim(), found.status.code()) {
        (FILESYSTEM, Some(0)) => Ok(true),
        ("", Some(NOTHING)) => Ok(false),
        (other, _) => Err(DriverError::Invalid(format!(
            "the volume has {other:?} and no {FILESYSTEM} filesystem, and is left alone"
        ))),
    }
}

/// Everything is on the volume's disk, and nobody has that open any more, when this returns.
fn unmount(folder: &Folder, serial: &str) -> Result<(), DriverError> {
    let process = folder.process().map_err(|e| failed("looking for the storage daemon", e))?;
    match sys::mount::unmount(&folder.files()) {
        Err(e) if process.is_some() => {
            return Err(DriverError::WrongState(format!("serial {serial} cannot be unmounted: {e}")));
        }
        // Without the daemon there is nothing to write to.
        Err(_) => sys::mount::detach(&folder.files()).map_err(|e| failed("unmounting a volume", e))?,
        Ok(()) => {}
    }
    let devices = tool(
        "losetup",
        &[
            "--noheadings".into(),
            "--output".into(),
            "NAME".into(),
            "--associated".into(),
            folder.blocks().into(),
        ],
    );
    for device in devices.unwrap_or_default().split_whitespace() {
        tool("losetup", &["--detach".into(), device.into()])?;
    }
    if let Some(process) = process {
        end(&process)?;
    }
    sys::mount::detach(&folder.blocks()).map_err(|e| failed("unmounting a volume's blocks", e))?;
    let removed = tokio::runtime::Handle::current().block_on(group(folder)?.remove());
    removed.map_err(|e| failed("removing a volume's control group", e))?;
    remove(|| fs::remove_dir_all(&folder.path)).map_err(|e| failed("removing a volume's folder", e))
}

/// SIGTERM has it write everything down.
fn end(process: &Process) -> Result<(), DriverError> {
    let give_up = Instant::now() + END_MAX;
    process.signal(Signal::SIGTERM).map_err(|e| failed("ending the storage daemon", e))?;
    while process.is_alive().map_err(|e| failed("ending the storage daemon", e))? {
        if Instant::now() > give_up {
            return Err(DriverError::TimedOut {
                what: "writing a volume down".into(),
                seconds: END_MAX.as_secs(),
            });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

fn group(folder: &Folder) -> Result<Cgroup, DriverError> {
    let name = folder.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let group = Cgroups::detect(&folder.cgroup).and_then(|cgroups| cgroups.group(&format!("volume-{name}")));
    group.map_err(|e| failed("finding the control groups", e))
}

fn tool(program: &str, args: &[OsString]) -> Result<String, DriverError> {
    let done = Command::new(program).args(args).stdin(Stdio::null()).output();
    let done = done.map_err(|e| failed(program, format!("{e} (packages mount, e2fsprogs)")))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(failed(program, last_words(&done.stderr)))
}

fn failed(what: &str, e: impl std::fmt::Display) -> DriverError {
    DriverError::failed(what.to_owned(), e)
}

fn unsupported(what: &str) -> DriverError {
    DriverError::Unsupported { driver: "oci", what: format!("{what}; stop the instance first") }
}

#[async_trait]
impl VolumeAccess for OciDriver {
    fn changes_disks(&self) -> bool {
        false
    }

    async fn plugged(&self, uid: &Uid) -> Result<Vec<PluggedDisk>, DriverError> {
        let owned = uid.clone();
        self.alone(uid, move |host| host.volumes_in_use(&owned)).await
    }

    async fn plug(&self, uid: &Uid, disk: &DiskPlan) -> Result<(), DriverError> {
        if self.plugged(uid).await?.iter().any(|plugged| plugged.serial == disk.serial) {
            return Ok(());
        }
        Err(unsupported("mount a volume into containers that run"))
    }

    async fn unplug(&self, uid: &Uid, serial: &str) -> Result<(), DriverError> {
        let (owned, serial) = (uid.clone(), serial.to_owned());
        self.alone(uid, move |host| host.take_volume(&owned, &serial)).await
    }

    async fn resize(&self, _: &Uid, _: &str, _: Bytes) -> Result<(), DriverError> {
        Err(unsupported("enlarge a volume that containers have mounted"))
    }

    async fn switch(&self, _: &Uid, _: &str, _: &Path) -> Result<(), DriverError> {
        Err(unsupported("freeze a volume that containers have mounted"))
    }

    async fn merge(&self, _: &Uid, _: &str, _: Option<&Path>) -> Result<Merging, DriverError> {
        Err(unsupported("merge layers of a volume that containers have mounted"))
    }

    async fn copy(&self, _: &Uid, _: &str, _: &Path) -> Result<(), DriverError> {
        Err(unsupported("copy a disk that containers have mounted"))
    }

    async fn changes(&self, _: &Uid, _: &str, _: &ChangesPlan) -> Result<Option<Uid>, DriverError> {
        Err(unsupported("back up a volume that containers have mounted"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn qemu_img(args: &[&str]) {
        let done = Command::new("qemu-img").args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
    }

    /// Makes and takes away on a thread that may block, as the driver does.
    async fn off_thread(
        folder: &Folder,
        work: impl FnOnce(&Folder) -> Result<(), DriverError> + Send + 'static,
    ) {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || work(&folder)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_filesystem_is_made_once_outlives_kills_grows_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.qcow2");
        let name = path.to_str().unwrap().to_owned();
        qemu_img(&["create", "-q", "-f", "qcow2", &name, "32M"]);
        let serial = format!("test{}", std::process::id());
        let folder =
            Folder { path: dir.path().join("volumes").join(&serial), cgroup: sys::cgroup::ROOT.into() };
        let disk = DiskPlan::new(driver::DiskLocation::qcow2(&path), serial.clone());
        let mount = |disk: &DiskPlan| {
            let disk = disk.clone();
            move |folder: &Folder| mount_volume(folder, &disk)
        };
        let take = |serial: &str| {
            let serial = serial.to_owned();
            move |folder: &Folder| unmount(folder, &serial)
        };
        off_thread(&folder, mount(&disk)).await;
        fs::write(folder.files().join("file"), "kept").unwrap();
        let open = File::open(folder.files().join("file")).unwrap();
        let (there, taking) = (folder.clone(), take(&serial));
        let busy = tokio::task::spawn_blocking(move || taking(&there)).await.unwrap();
        assert!(matches!(busy, Err(DriverError::WrongState(_))), "{busy:?}");
        drop(open);
        let locked =
            Command::new("qemu-io").args(["-f", "qcow2", "-c", "write 0 512", &name]).output().unwrap();
        assert!(!locked.status.success(), "nobody else can write to the disk");
        off_thread(&folder, take(&serial)).await;
        assert!(!folder.path.exists());
        qemu_img(&["check", "-q", "-f", "qcow2", &name]);
        qemu_img(&["resize", "-q", "-f", "qcow2", &name, "64M"]);
        off_thread(&folder, mount(&disk)).await;
        assert_eq!(fs::read_to_string(folder.files().join("file")).unwrap(), "kept");
        let size = Command::new("df").args(["--output=size", "-k"]).arg(folder.files()).output().unwrap();
        let size = String::from_utf8(size.stdout).unwrap();
        let kib: u64 = size.lines().last().unwrap().trim().parse().unwrap();
        assert!(kib > 50 << 10, "it has grown: {size}");
        fs::write(folder.files().join("late"), "synced").unwrap();
        File::open(folder.files().join("late")).unwrap().sync_all().unwrap();
        folder.process().unwrap().unwrap().kill().unwrap();
        off_thread(&folder, take(&serial)).await;
        off_thread(&folder, mount(&disk)).await;
        assert_eq!(fs::read_to_string(folder.files().join("late")).unwrap(), "synced");
        off_thread(&folder, take(&serial)).await;
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&serial), "{mounts}");
    }
}

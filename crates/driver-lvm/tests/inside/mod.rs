//! What the machine runs: one after the other, in one thin pool, which is empty again at the end of each.

mod data;
mod random;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use driver::{
    DiskLocation, DriverError, PoolPlace, StoragePool, VolumeDriver, VolumeOrigin, VolumePlace, VolumePlan,
    volume_conformance as conformance,
};
use driver_lvm::LvmDriver;
use model::{Bytes, Uid};
use serde_json::Value;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GROUP: &str = "vg-one";
const POOL: &str = "thin-pool";
const POOL_SIZE: u64 = 192 * MIB;
const FOLDER: &str = "/var/corten";

pub(crate) fn run() {
    set_up();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        pools_are_looked_for().await;
        let driver = driver().await;
        conformance::epochs_only_grow(&driver).await;
        nothing_is_left(&driver, "epochs_only_grow").await;
        conformance::clones_stand_on_snapshots(&driver).await;
        nothing_is_left(&driver, "clones_stand_on_snapshots").await;
        conformance::volumes_are_filled(&driver, content).await;
        nothing_is_left(&driver, "volumes_are_filled").await;
        data::run(&driver).await;
        random::run(&driver).await;
    });
}

/// A volume group on a file in memory, with extents as small as a thin pool's blocks.
fn set_up() {
    tool("modprobe", &["loop"]);
    tool("mount", &["-t", "tmpfs", "-o", "size=1G", "tmp", "/mnt"]);
    tool("truncate", &["-s", "512M", "/mnt/disk"]);
    let device = tool("losetup", &["--find", "--show", "/mnt/disk"]);
    lvm(&["pvcreate", device.trim()]);
    lvm(&["vgcreate", "--physicalextentsize", "64k", GROUP, device.trim()]);
    let size = format!("{POOL_SIZE}b");
    // As an operator may have made it.
    lvm(&["lvcreate", "--type", "thin-pool", "--zero", "n", "--size", &size, "--name", POOL, GROUP]);
}

fn plan_of_pool() -> StoragePool {
    StoragePool {
        name: "default".into(),
        identity: uid("ee01"),
        place: PoolPlace::ThinPool { group: GROUP.into(), pool: POOL.into() },
        is_new: true,
    }
}

/// A driver that knows nothing of the ones before.
async fn driver() -> LvmDriver {
    let driver = LvmDriver::new(FOLDER, "h1");
    driver.serve(&plan_of_pool()).await.unwrap();
    driver
}

async fn pools_are_looked_for() {
    let driver = LvmDriver::new(FOLDER, "h1");
    let early = driver.observe(&place("aa01")).await.unwrap_err();
    assert!(early.to_string().contains("has not been looked at yet"), "{early}");
    let refused = async |group: &str, pool: &str, why: &str| {
        let there = PoolPlace::ThinPool { group: group.into(), pool: pool.into() };
        let error = driver.serve(&StoragePool { place: there, ..plan_of_pool() }).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        let then = driver.observe(&place("aa01")).await.unwrap_err();
        assert!(then.to_string().contains(why), "{then}");
    };
    refused("none", POOL, "Volume group \"none\" not found").await;
    refused(GROUP, "none", "lvcreate --type thin-pool").await;
    lvm(&["lvcreate", "--size", "1m", "--name", "thick", GROUP]);
    refused(GROUP, "thick", "no thin pool").await;
    lvm(&["lvremove", "--yes", "vg-one/thick"]);
    lvm(&["lvcreate", "--virtualsize", "1m", "--thinpool", POOL, "--name", "others", GROUP]);
    refused(GROUP, POOL, "it has \"others\"").await;
    lvm(&["lvremove", "--yes", "vg-one/others"]);
    for _ in 0..2 {
        driver.serve(&plan_of_pool()).await.unwrap();
    }
    let told = lvm(&["lvs", "--noheadings", "--options", "zero,lv_when_full", "vg-one/thin-pool"]);
    assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["zero", "error"]);
    let other = StoragePool { identity: uid("ee02"), ..plan_of_pool() };
    let error = driver.serve(&other).await.unwrap_err();
    assert!(error.to_string().contains("(corten.host=h1, corten.pool=ee01)"), "{error}");
    // A host that sees the same disks.
    let error = LvmDriver::new("/var/h2", "h2").serve(&plan_of_pool()).await.unwrap_err();
    assert!(error.to_string().contains("(corten.host=h1, corten.pool=ee01)"), "{error}");
}

/// Neither in the pool nor in the kernel nor in the folder.
async fn nothing_is_left(driver: &LvmDriver, after: &str) {
    println!("{after}: done");
    driver.tidy("default").await.unwrap();
    let told = lvm(&["lvs", "--noheadings", "--options", "lv_name", GROUP]);
    assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["corten-owner", POOL]);
    assert_eq!(driver.usage("default").await.unwrap().used, Bytes(0));
    let devices = tool("dmsetup", &["ls"]);
    assert!(!devices.contains("corten"), "{devices}");
    for folder in ["devices", "making"] {
        let left = std::fs::read_dir(Path::new(FOLDER).join(folder)).map(Iterator::count).unwrap_or_default();
        assert_eq!(left, 0, "{folder}");
    }
}

fn uid(name: &str) -> Uid {
    Uid::parse(name).unwrap()
}

fn place(name: &str) -> VolumePlace {
    VolumePlace { pool: "default".into(), uid: uid(name) }
}

fn plan(name: &str, size: u64, source: VolumeOrigin) -> VolumePlan {
    VolumePlan { place: place(name), size: Bytes(size), source, key: None }
}

fn run_tool(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

fn tool(program: &str, args: &[&str]) -> String {
    let done = run_tool(program, args);
    assert!(done.status.success(), "{program} {args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn lvm(args: &[&str]) -> String {
    tool("lvm", args)
}

fn path(disk: &DiskLocation) -> PathBuf {
    disk.path().unwrap().to_owned()
}

/// Everything that is in a disk.
fn content(disk: &DiskLocation) -> Vec<u8> {
    std::fs::read(path(disk)).unwrap()
}

/// What `qemu-io` says to these commands on a disk, as whoever has it open does them.
fn io(node: &Value, commands: &[&str], options: &[&str]) -> String {
    let commands = commands.iter().flat_map(|command| ["-c", command]);
    let done =
        Command::new("qemu-io").args(options).args(commands).arg(format!("json:{node}")).output().unwrap();
    String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
}

fn write(disk: &DiskLocation, commands: &[&str]) {
    let said = io(&disk.node("disk", "", false), commands, &[]);
    assert_eq!(said.matches("ops;").count(), commands.len(), "{said}");
}

fn holds(disk: &DiskLocation, byte: u8, offset: u64, length: u64) {
    let said = io(&disk.node("disk", "", true), &[&format!("read -P {byte} {offset} {length}")], &["-r"]);
    assert!(said.contains("ops;") && !said.contains("failed"), "{said}");
}

fn refused<T: std::fmt::Debug>(result: Result<T, DriverError>, why: &str) {
    match result {
        Err(DriverError::WrongState(said) | DriverError::Invalid(said)) if said.contains(why) => {}
        other => panic!("not refused with {why:?}: {other:?}"),
    }
}

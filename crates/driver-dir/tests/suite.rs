//! The suite of volume drivers, and that nothing is left in the folder.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use driver::volume_conformance as suite;
use driver::{ChangesPlan, VolumeDriver, VolumeOrigin, VolumePlace, VolumePlan};
use driver_dir::DirDriver;
use model::{Bytes, Uid};

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

#[tokio::test]
async fn epochs_only_grow() {
    let dir = tempfile::tempdir().unwrap();
    suite::epochs_only_grow(&DirDriver::new(dir.path())).await;
    assert_eq!(files(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn clones_stand_on_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    suite::clones_stand_on_snapshots(&DirDriver::new(dir.path())).await;
    assert_eq!(files(dir.path()), Vec::<std::path::PathBuf>::new());
}

fn tool(program: &str, args: &[&str]) {
    let done = std::process::Command::new(program).args(args).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn write(disk: &Path, commands: &[&str]) {
    let args: Vec<&str> = commands.iter().flat_map(|command| ["-c", command]).collect();
    tool("qemu-io", &[&["-f", "qcow2"], &args[..], &[disk.to_str().unwrap()]].concat());
}

/// Which clusters a file of changes says something of, and whether they have bytes.
fn read(disk: &Path) -> Vec<(u64, bool)> {
    let mut clusters = image::Clusters::open(disk).unwrap();
    let mut found = Vec::new();
    while let Some((number, cluster)) = clusters.next_cluster().unwrap() {
        found.push((number, cluster != image::Cluster::Zeros));
    }
    found
}

#[tokio::test]
async fn changes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    suite::changes_are_told(&DirDriver::new(dir.path()), write, read).await;
    assert_eq!(files(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn volumes_are_filled() {
    let dir = tempfile::tempdir().unwrap();
    let show = |disk: &Path| {
        let raw = disk.with_extension("raw");
        tool(
            "qemu-img",
            &["convert", "-f", "qcow2", "-O", "raw", disk.to_str().unwrap(), raw.to_str().unwrap()],
        );
        let content = std::fs::read(&raw).unwrap();
        std::fs::remove_file(&raw).unwrap();
        content
    };
    suite::volumes_are_filled(&DirDriver::new(dir.path()), show).await;
    assert_eq!(files(dir.path()), Vec::<std::path::PathBuf>::new());
}

/// Whoever had it open was killed: what it noted misses changes, and the volume can grow all the same.
#[tokio::test]
async fn a_note_that_misses_changes_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let driver = DirDriver::new(dir.path());
    let place = VolumePlace { pool: "default".into(), uid: Uid::parse("aa").unwrap() };
    let plan = VolumePlan { place: place.clone(), size: Bytes(1 << 20), source: VolumeOrigin::Empty };
    driver.create(&plan).await.unwrap();
    let told = async |backup: &str, since: &str| {
        let uid = |name| Uid::parse(name).unwrap();
        let target = driver.begin_changes(&place, &uid(backup)).await.unwrap();
        let plan = ChangesPlan { target: target.clone(), begins: uid(backup), since: vec![uid(since)] };
        let base = driver.changes(&place, &plan).await.unwrap();
        let found: Vec<u64> = read(&target).into_iter().filter(|c| c.1).map(|c| c.0).collect();
        driver.finish_changes(&place, &uid(backup)).await.unwrap();
        (base, found)
    };
    told("d1", "d0").await;
    let head = dir.path().join("default/data/aa.0.qcow2");
    let commands = ["-f", "qcow2", "-c", "write -P 7 64k 64k", "-c", "flush", "-c", "abort"];
    let ended = std::process::Command::new("qemu-io").args(commands).arg(&head).output().unwrap();
    assert!(!ended.status.success(), "it ends as if it was killed");
    driver.grow(&place, Bytes(2 << 20)).await.unwrap();
    assert_eq!(told("d2", "d1").await, (None, vec![1]));
    driver.delete(&place).await.unwrap();
}

/// A guest that took its QEMU over writes the name of a file of the host into its disk's header.
#[tokio::test]
async fn a_header_that_names_a_file_of_the_host_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let driver = DirDriver::new(dir.path());
    let place = VolumePlace { pool: "default".into(), uid: Uid::parse("aa").unwrap() };
    let plan = VolumePlan { place: place.clone(), size: Bytes(1 << 20), source: VolumeOrigin::Empty };
    driver.create(&plan).await.unwrap();
    let head = dir.path().join("default/data/aa.0.qcow2");
    let rebase = ["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", head.to_str().unwrap()];
    assert!(std::process::Command::new("qemu-img").args(rebase).status().unwrap().success());
    for error in [
        driver.grow(&place, Bytes(2 << 20)).await.unwrap_err(),
        driver.open(&place, &Uid::parse("bb").unwrap(), 1).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("tampered with"), "{error}");
    }
}

//! The suite of volume drivers, and that nothing is left in the folder.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use driver::volume_conformance as suite;
use driver::{VolumeDriver, VolumeOrigin, VolumePlace, VolumePlan};
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

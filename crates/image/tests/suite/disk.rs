//! The disks of instances.

use std::fs;
use std::path::Path;
use std::process::Command;

use image::{clone_disk, create_disk};
use model::Bytes;

fn info(path: &Path) -> String {
    let output = Command::new("qemu-img").args(["info", "--output=json"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect()
}

#[test]
fn a_clone_states_its_backing_format_and_grows() {
    let dir = tempfile::tempdir().unwrap();
    let (base, clone) = (dir.path().join("base"), dir.path().join("clone"));
    create_disk(&base, Bytes::mib(64)).unwrap();
    clone_disk(&base, &clone, Some(Bytes::gib(10))).unwrap();
    let info = info(&clone);
    assert!(info.contains("\"backing-filename-format\":\"qcow2\""), "{info}");
    assert!(info.contains(&format!("\"virtual-size\":{}", 10_u64 << 30)), "{info}");
    assert!(fs::metadata(&clone).unwrap().len() < 1 << 20);
}

#[test]
fn a_clone_is_never_smaller_than_its_image() {
    let dir = tempfile::tempdir().unwrap();
    let (base, clone) = (dir.path().join("base"), dir.path().join("clone"));
    create_disk(&base, Bytes::mib(64)).unwrap();
    let error = clone_disk(&base, &clone, Some(Bytes::mib(1))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a disk of 1Mi is smaller than its image, which needs 64Mi; ask for 64Mi or more"
    );
}

#[test]
fn only_a_flat_qcow2_is_cloned() {
    let dir = tempfile::tempdir().unwrap();
    let (base, clone) = (dir.path().join("base"), dir.path().join("clone"));
    fs::write(&base, vec![0; 1 << 20]).unwrap();
    assert!(clone_disk(&base, &clone, None).is_err());
    assert!(!clone.exists());
}

//! Layers as overlayfs wants them: whiteouts, modes, owners, links.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sys::mount::{self, Overlay};
use tar::{Builder, EntryType};

use super::{add, finish, unpack};
use crate::oci::Limits;

fn made(entries: &[(EntryType, &[u8], &[u8])]) -> tempfile::TempDir {
    let mut tar = Builder::new(Vec::new());
    for (kind, path, link) in entries {
        let content: &[u8] = if *kind == EntryType::Regular { b"content" } else { b"" };
        add(&mut tar, *kind, path, link, content);
    }
    let root = tempfile::tempdir().expect("folder");
    unpack(&finish(tar), &root.path().join("layer"), &Limits::default()).expect("unpack");
    root
}

fn is_whiteout(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

/// Whether a lower layer's file in `folder` is hidden when the two are mounted.
fn is_opaque(layer: &Path, folder: &str) -> bool {
    let root = tempfile::tempdir().expect("folder");
    let [lower, upper, work, merged] =
        ["lower", "upper", "work", "merged"].map(|name| root.path().join(name));
    for made in [&lower.join(folder), &upper, &work, &merged] {
        std::fs::create_dir_all(made).expect("folder");
    }
    std::fs::write(lower.join(folder).join("below"), "").expect("file");
    let overlay = Overlay { lower: &[lower, layer.to_owned()], upper: &upper, work: &work };
    mount::overlay(overlay, &merged).expect("mount");
    let seen = merged.join(folder).join("below").exists();
    mount::detach(&merged).expect("unmount");
    !seen
}

#[test]
fn whiteouts_become_devices_and_opaque_folders_an_attribute() {
    let root = made(&[
        (EntryType::Regular, b"etc/.wh.passwd", b""),
        (EntryType::Regular, b"var/.wh..wh..opq", b""),
        (EntryType::Regular, b".wh..wh.plnk", b""),
    ]);
    let layer = root.path().join("layer");
    assert!(is_whiteout(&layer.join("etc/passwd")));
    assert!(is_opaque(&layer, "var") && !is_opaque(&layer, "etc"));
    assert!(!layer.join(".wh..wh.plnk").exists());
}

#[test]
fn what_is_removed_and_made_again_shows_nothing_from_below() {
    let remade = made(&[(EntryType::Regular, b".wh.d", b""), (EntryType::Directory, b"d", b"")]);
    assert!(is_opaque(&remade.path().join("layer"), "d"));
    let removed_after = made(&[(EntryType::Directory, b"d", b""), (EntryType::Regular, b".wh.d", b"")]);
    assert!(is_opaque(&removed_after.path().join("layer"), "d"));
    let file = made(&[(EntryType::Regular, b".wh.f", b""), (EntryType::Regular, b"f", b"")]);
    assert_eq!(std::fs::read(file.path().join("layer/f")).expect("file"), b"content");
}

#[test]
fn modes_owners_times_and_links_are_kept() {
    let mut tar = Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_path("bin/su").expect("path");
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1_500_000_000);
    header.set_size(2);
    header.set_cksum();
    tar.append(&header, b"su".as_slice()).expect("tar");
    add(&mut tar, EntryType::Link, b"bin/sudo", b"bin/su", b"");
    add(&mut tar, EntryType::Symlink, b"bin/sh", b"/no/such/thing", b"");
    let root = tempfile::tempdir().expect("folder");
    unpack(&finish(tar), &root.path().join("layer"), &Limits::default()).expect("unpack");
    let bin = root.path().join("layer/bin");
    let su = bin.join("su").metadata().expect("su");
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.mtime()), (0o4755, 7, 8, 1_500_000_000));
    assert_eq!(bin.join("sudo").metadata().expect("sudo").ino(), su.ino());
    assert_eq!(std::fs::read_link(bin.join("sh")).expect("sh").to_str(), Some("/no/such/thing"));
}

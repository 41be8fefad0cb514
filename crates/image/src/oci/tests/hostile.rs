//! Layers that want out of their folder, or want too much, are refused and leave nothing outside.

use std::os::unix::fs::symlink;

use proptest::prelude::*;
use tar::{Builder, EntryType};

use super::{add, finish, unpack};
use crate::oci::{Limits, OciError};

type Entry<'a> = (EntryType, &'a [u8], &'a [u8]);

/// Everything but the layer's own folder, as text.
fn outside(root: &std::path::Path) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(root)
        .expect("root")
        .flatten()
        .filter(|entry| entry.file_name() != "layer")
        .map(|entry| {
            let content = std::fs::read_to_string(entry.path()).unwrap_or_default();
            format!(
                "{:?} {content} {:?}",
                entry.file_name(),
                entry.metadata().expect("metadata").permissions()
            )
        })
        .collect();
    found.sort();
    found
}

fn check(entries: &[Entry<'_>]) {
    let mut tar = Builder::new(Vec::new());
    for (kind, path, link) in entries {
        let content: &[u8] = if *kind == EntryType::Regular { b"taken over" } else { b"" };
        add(&mut tar, *kind, path, link, content);
    }
    let root = tempfile::tempdir().expect("folder");
    std::fs::write(root.path().join("victim"), "untouched").expect("victim");
    std::fs::create_dir(root.path().join("folder")).expect("folder");
    let before = outside(root.path());
    let result = unpack(&finish(tar), &root.path().join("layer"), &Limits::default());
    assert!(matches!(result, Err(OciError::Hostile { .. })), "{entries:?}: {result:?}");
    assert_eq!(outside(root.path()), before);
}

#[test]
fn paths_with_dots_are_refused() {
    for path in ["../victim", "a/../../victim", "a/..", "/../victim", ".."] {
        check(&[(EntryType::Regular, path.as_bytes(), b"")]);
    }
}

#[test]
fn links_of_earlier_entries_are_not_followed() {
    for target in ["..", "../folder", "/", "/tmp", "."] {
        check(&[(EntryType::Symlink, b"way", target.as_bytes()), (EntryType::Regular, b"way/victim", b"")]);
        check(&[(EntryType::Symlink, b"way", target.as_bytes()), (EntryType::Directory, b"way/a/b", b"")]);
        check(&[
            (EntryType::Symlink, b"way", target.as_bytes()),
            (EntryType::Regular, b"way/.wh.victim", b""),
        ]);
        check(&[
            (EntryType::Symlink, b"way", target.as_bytes()),
            (EntryType::Regular, b"way/.wh..wh..opq", b""),
        ]);
    }
}

#[test]
fn hard_links_stay_in_the_layer() {
    for target in ["../victim", "/etc/passwd", "nothing", "", "."] {
        check(&[(EntryType::Link, b"mine", target.as_bytes())]);
    }
    check(&[(EntryType::Symlink, b"way", b".."), (EntryType::Link, b"mine", b"way/victim")]);
}

#[test]
fn a_link_with_a_files_name_is_replaced_not_written_through() {
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, EntryType::Symlink, b"file", b"../victim", b"");
    add(&mut tar, EntryType::Regular, b"file", b"", b"content");
    let root = tempfile::tempdir().expect("folder");
    std::fs::write(root.path().join("victim"), "untouched").expect("victim");
    unpack(&finish(tar), &root.path().join("layer"), &Limits::default()).expect("unpack");
    assert_eq!(std::fs::read_to_string(root.path().join("victim")).expect("victim"), "untouched");
    let made = root.path().join("layer/file");
    assert!(made.symlink_metadata().expect("file").is_file());
    assert_eq!(std::fs::read_to_string(made).expect("file"), "content");
}

#[test]
fn whiteouts_of_nothing_are_refused() {
    for path in [".wh.", ".wh..", ".wh...", "a/.wh."] {
        check(&[(EntryType::Regular, path.as_bytes(), b"")]);
    }
}

#[test]
fn what_is_over_a_limit_is_refused() {
    let small = Limits { layer_bytes: 1000, entries: 5, path_bytes: 300, ..Limits::default() };
    let refused = |layer: &[u8]| {
        let root = tempfile::tempdir().expect("folder");
        let result = unpack(layer, &root.path().join("layer"), &small);
        assert!(matches!(result, Err(OciError::TooLarge { .. })), "{result:?}");
    };
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, EntryType::Regular, b"large", b"", &[0; 1001]);
    refused(&finish(tar));

    let mut tar = Builder::new(Vec::new());
    for number in 0..6 {
        add(&mut tar, EntryType::Directory, format!("d{number}").as_bytes(), b"", b"");
    }
    refused(&finish(tar));

    let mut tar = Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    tar.append_data(&mut header, "x/".repeat(200), std::io::empty()).expect("tar");
    refused(&finish(tar));
}

#[test]
fn a_layer_that_ends_early_is_refused() {
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, EntryType::Regular, b"short", b"", &[0; 900]);
    let mut bytes = finish(tar);
    bytes.truncate(1000);
    let root = tempfile::tempdir().expect("folder");
    let result = unpack(&bytes, &root.path().join("layer"), &Limits::default());
    assert!(matches!(result, Err(OciError::Corrupt { .. })), "{result:?}");
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, EntryType::Directory, b"d", b"", b"");
    std::io::copy(&mut &*finish(tar), &mut encoder).expect("gzip");
    // Padding behind the archive's end is content of no file.
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 64 << 20), &mut encoder).expect("gzip");
    let bomb = encoder.finish().expect("gzip");
    let limits = Limits { layer_bytes: 1 << 20, entries: 10, ..Limits::default() };
    let root = tempfile::tempdir().expect("folder");
    let error = unpack(&bomb, &root.path().join("layer"), &limits).expect_err("a bomb");
    assert!(format!("{error:?}").contains("more bytes than a layer may have"), "{error:?}");
}

#[test]
fn devices_are_left_out() {
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, EntryType::Char, b"null", b"", b"");
    add(&mut tar, EntryType::Block, b"disk", b"", b"");
    add(&mut tar, EntryType::Directory, b"kept", b"", b"");
    let root = tempfile::tempdir().expect("folder");
    let layer = root.path().join("layer");
    unpack(&finish(tar), &layer, &Limits::default()).expect("unpack");
    let names: Vec<_> = std::fs::read_dir(&layer).expect("layer").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["kept"]);
}

#[test]
fn a_layer_that_is_not_what_its_digest_says_is_refused() {
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, EntryType::Directory, b"d", b"", b"");
    let layer = finish(tar);
    let root = tempfile::tempdir().expect("folder");
    let other = crate::digest::Digest::of(b"other");
    let result = crate::oci::layer::unpack(layer.as_slice(), other, root.path(), &Limits::default());
    assert!(matches!(result, Err(OciError::WrongDigest { .. })), "{result:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a layer does with links and dots, nothing outside of its folder changes.
    #[test]
    fn nothing_outside_ever_changes(entries in prop::collection::vec((0..4usize, path(), path()), 1..12)) {
        let kinds = [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link];
        let mut tar = Builder::new(Vec::new());
        for (kind, name, link) in &entries {
            let content: &[u8] = if *kind == 0 { b"x" } else { b"" };
            add(&mut tar, kinds[*kind], name.as_bytes(), link.as_bytes(), content);
        }
        let root = tempfile::tempdir().expect("folder");
        std::fs::write(root.path().join("a"), "untouched").expect("victim");
        symlink("layer", root.path().join("b")).expect("link");
        let before = outside(root.path());
        let _ = unpack(&finish(tar), &root.path().join("layer"), &Limits::default());
        prop_assert_eq!(outside(root.path()), before);
    }
}

fn path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "c", "..", ".", "", ".wh.a", ".wh..wh..opq", "layer"]);
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

//! What every driver of volumes has to keep. A driver's tests call it with a fresh driver; it panics at a breach.

use std::path::Path;

use model::{Bytes, Uid};

use crate::{
    DiskKey, DiskLocation, DriverError, KEY_HEADER, VolumeDriver, VolumeOrigin, VolumePlace, VolumePlan,
    qemu_img,
};

fn uid(name: &str) -> Uid {
    Uid::parse(name).unwrap_or_default()
}

fn place(name: &str) -> VolumePlace {
    VolumePlace { pool: "default".into(), uid: uid(name) }
}

fn plan(name: &str, size: u64, source: VolumeOrigin) -> VolumePlan {
    VolumePlan { place: place(name), size: Bytes(size), source, key: None }
}

fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, DriverError>) {
    assert!(matches!(result, Err(DriverError::WrongState(_))), "{what} is not refused: {result:?}");
}

async fn ok<T>(what: &str, work: impl Future<Output = Result<T, DriverError>>) -> T {
    match work.await {
        Ok(value) => value,
        Err(e) => panic!("{what}: {e}"),
    }
}

/// An epoch that is over is refused, and so is a second holder.
///
/// # Panics
/// At the first promise that is broken.
pub async fn epochs_only_grow(driver: &dyn VolumeDriver) {
    let volume = place("aa01");
    ok("create", driver.create(&plan("aa01", 1 << 20, VolumeOrigin::Empty))).await;
    ok("create again", driver.create(&plan("aa01", 1 << 20, VolumeOrigin::Empty))).await;
    let first = ok("open", driver.open(&volume, &uid("bb01"), 3)).await;
    assert_eq!(first, ok("open again", driver.open(&volume, &uid("bb01"), 3)).await);
    refused("a second holder", driver.open(&volume, &uid("bb02"), 4).await);
    refused("deleting what is held", driver.delete(&volume).await);
    ok("close by another", driver.close(&volume, &uid("bb02"))).await;
    refused("still held", driver.open(&volume, &uid("bb02"), 4).await);
    ok("close", driver.close(&volume, &uid("bb01"))).await;
    refused("the same epoch", driver.open(&volume, &uid("bb02"), 3).await);
    refused("an older epoch", driver.open(&volume, &uid("bb01"), 2).await);
    ok("a newer epoch", driver.open(&volume, &uid("bb02"), 4)).await;
    assert_eq!(driver.held_by(&uid("bb02")).await.unwrap_or_default(), std::slice::from_ref(&volume));
    ok("close", driver.close(&volume, &uid("bb02"))).await;
    ok("delete", driver.delete(&volume)).await;
    ok("delete again", driver.delete(&volume)).await;
    assert!(matches!(driver.observe(&volume).await, Err(DriverError::NotFound(_))));
}

/// Snapshots outlive their volume, clones outlive both.
///
/// # Panics
/// At the first promise that is broken.
pub async fn clones_stand_on_snapshots(driver: &dyn VolumeDriver) {
    let (volume, clone) = (place("aa02"), place("aa03"));
    ok("create", driver.create(&plan("aa02", 1 << 20, VolumeOrigin::Empty))).await;
    for _ in 0..2 {
        let is_pending = ok("begin", driver.begin_snapshot(&volume, &uid("cc01"))).await.is_some();
        if is_pending {
            refused("another at the same time", driver.begin_snapshot(&volume, &uid("cc02")).await);
        }
    }
    for _ in 0..2 {
        assert_eq!(ok("finish", driver.finish_snapshot(&volume, &uid("cc01"))).await, Bytes(1 << 20));
    }
    assert_eq!(ok("begin after the end", driver.begin_snapshot(&volume, &uid("cc01"))).await, None);
    ok("grow", driver.grow(&volume, Bytes(2 << 20))).await;
    ok("clone", driver.create(&plan("aa03", 0, VolumeOrigin::Snapshot(uid("cc01"))))).await;
    assert_eq!(ok("observe", driver.observe(&clone)).await.size, Bytes(1 << 20));
    let small = driver.create(&plan("aa04", 512, VolumeOrigin::Snapshot(uid("cc01")))).await;
    assert!(matches!(small, Err(DriverError::Invalid(_))), "smaller than its source: {small:?}");
    ok("revert", driver.revert(&volume, &uid("cc01"))).await;
    assert_eq!(ok("observe", driver.observe(&volume)).await.size, Bytes(2 << 20));
    ok("delete the volume", driver.delete(&volume)).await;
    ok("delete the snapshot", driver.delete_snapshot(&place("cc01"))).await;
    ok("open the clone", driver.open(&clone, &uid("bb01"), 1)).await;
    ok("close the clone", driver.close(&clone, &uid("bb01"))).await;
    ok("delete the clone", driver.delete(&clone)).await;
}

/// What changed is told since a moment that is known, and all of it when none is; whoever needs the volume does not
/// wait. `write` puts bytes into a file that the volume consists of, as whoever has it open does; `read` says which
/// clusters of a file of changes have something, and which are zero.
///
/// # Panics
/// At the first promise that is broken.
pub async fn changes_are_told(
    driver: &dyn VolumeDriver,
    write: impl Fn(&std::path::Path, &[&str]),
    read: impl Fn(&std::path::Path) -> Vec<(u64, bool)>,
) {
    let volume = place("aa05");
    let told = async |backup: &str, since: &[&str]| {
        let target = ok("begin", driver.begin_changes(&volume, &uid(backup))).await;
        let since = since.iter().map(|name| uid(name)).collect();
        let plan = crate::ChangesPlan { target: target.clone(), begins: uid(backup), since };
        let base = ok("changes", driver.changes(&volume, &plan)).await;
        let mut found = read(&target);
        if base.is_none() {
            // Of a whole disk, zeros need no mention.
            found.retain(|(_, has_bytes)| *has_bytes);
        }
        ok("finish", driver.finish_changes(&volume, &uid(backup))).await;
        assert!(!target.exists(), "the file is left");
        (base, found)
    };
    let opened = async |epoch: u64| {
        let disk = ok("open", driver.open(&volume, &uid("bb01"), epoch)).await;
        disk.file().map(std::path::Path::to_owned).unwrap_or_default()
    };
    ok("create", driver.create(&plan("aa05", 1 << 20, VolumeOrigin::Empty))).await;
    write(&opened(1).await, &["write -P 1 64k 64k", "write -P 2 512k 64k"]);
    let begins = uid("dd00");
    let plan_of_held = crate::ChangesPlan { target: "/dev/null".into(), begins, since: Vec::new() };
    refused("reading what somebody has open", driver.changes(&volume, &plan_of_held).await);
    ok("close", driver.close(&volume, &uid("bb01"))).await;
    assert_eq!(told("dd01", &[]).await, (None, vec![(1, true), (8, true)]), "everything at first");
    assert_eq!(told("dd02", &["dd01"]).await, (Some(uid("dd01")), vec![]), "nothing has changed");
    write(&opened(2).await, &["write -P 3 128k 4k", "write -z 512k 64k"]);
    ok("close", driver.close(&volume, &uid("bb01"))).await;
    assert_eq!(told("dd03", &["dd02", "dd01"]).await, (Some(uid("dd02")), vec![(2, true), (8, false)]));
    // Its backup never arrived: the one before counts, and nothing of what changed since is missing.
    write(&opened(3).await, &["write -P 4 256k 64k"]);
    ok("close", driver.close(&volume, &uid("bb01"))).await;
    assert_eq!(told("dd04", &["dd02"]).await, (Some(uid("dd02")), vec![(2, true), (4, true), (8, false)]));
    ok("grow", driver.grow(&volume, Bytes(2 << 20))).await;
    assert_eq!(told("dd05", &["dd04"]).await, (Some(uid("dd04")), vec![]), "what it grew by is zero");
    // A snapshot gives it another file for its writes: what is not known is not guessed.
    ok("begin", driver.begin_snapshot(&volume, &uid("cc05"))).await;
    ok("finish", driver.finish_snapshot(&volume, &uid("cc05"))).await;
    let (base, found) = told("dd06", &["dd05"]).await;
    assert_eq!(base, None);
    for cluster in [(1, true), (2, true), (4, true)] {
        assert!(found.contains(&cluster), "{found:?}");
    }
    assert!(!found.contains(&(8, true)), "{found:?}");
    ok("delete the snapshot", driver.delete_snapshot(&place("cc05"))).await;
    ok("tidy", driver.tidy("default")).await;
    write(&opened(4).await, &["write -P 5 320k 64k"]);
    ok("close", driver.close(&volume, &uid("bb01"))).await;
    let (base, found) = told("dd07", &["dd06", "dd05"]).await;
    assert!(base.is_none() || found.contains(&(5, true)), "{base:?} {found:?}");
    ok("delete", driver.delete(&volume)).await;
}

/// A volume is made of what was put into a file.
///
/// # Panics
/// At the first promise that is broken.
pub async fn volumes_are_filled(driver: &dyn VolumeDriver, show: impl Fn(&DiskLocation) -> Vec<u8>) {
    let volume = place("aa06");
    for content in [b"lost".as_slice(), b"kept"] {
        let path = ok("begin", driver.begin_fill(&volume, Bytes(1 << 20))).await;
        assert_eq!(std::fs::metadata(&path).map(|meta| meta.len()).unwrap_or_default(), 1 << 20);
        let written = std::fs::File::options().write(true).open(&path);
        let written =
            written.and_then(|file| std::os::unix::fs::FileExt::write_all_at(&file, content, 65_536));
        assert!(written.is_ok(), "{written:?}");
    }
    for _ in 0..2 {
        ok("create", driver.create(&plan("aa06", 2 << 20, VolumeOrigin::Filled))).await;
    }
    assert_eq!(ok("observe", driver.observe(&volume)).await.size, Bytes(2 << 20));
    let disk = ok("open", driver.open(&volume, &uid("bb01"), 1)).await;
    let content = show(&disk);
    assert_eq!((content.len(), &content[65_536..65_540]), (2 << 20, b"kept".as_slice()));
    ok("close", driver.close(&volume, &uid("bb01"))).await;
    ok("delete", driver.delete(&volume)).await;
    ok("begin what is never made", driver.begin_fill(&volume, Bytes(1 << 20))).await;
    ok("delete it", driver.delete(&volume)).await;
}

/// The key of volumes in [`volumes_are_encrypted`].
pub const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What is in encrypted volumes is shown to nobody without the key, whatever they are made of. `image` is a qcow2 of 20 MiB
/// with 2 MiB of the byte 165 after the first. `inside` has qemu-io carry out a command in a disk, with [`KEY`]; `show`
/// says what is in it without.
///
/// # Panics
/// At the first promise that is broken.
pub async fn volumes_are_encrypted(
    driver: &dyn VolumeDriver,
    image: &Path,
    inside: impl Fn(&DiskLocation, &str),
    show: impl Fn(&DiskLocation) -> Vec<u8>,
) {
    const MIB: u64 = 1 << 20;
    /// What sizes may be rounded up by.
    const EXTENT: u64 = 64 << 10;
    let key = || Some(DiskKey::new(KEY));
    let holder = uid("bb01");
    let (empty, of_image) = (VolumeOrigin::Empty, VolumeOrigin::Image(image.to_owned()));
    for (name, size, source) in [("ae01", 4 * MIB, empty), ("ae02", 24 * MIB, of_image)] {
        let plan = VolumePlan { key: key(), ..plan(name, size, source) };
        for _ in 0..2 {
            ok("create", driver.create(&plan)).await;
        }
        let seen = ok("observe", driver.observe(&place(name))).await.size.0;
        assert!((size..size + EXTENT).contains(&seen), "{seen}");
        let disk = ok("open", driver.open(&place(name), &holder, 1)).await;
        inside(&disk, "read -P 0 0 1M");
        if name == "ae02" {
            inside(&disk, "read -P 165 1M 2M");
            inside(&disk, "read -P 0 3M 17M");
            let is_shown = show(&disk).windows(16).any(|window| window == [165; 16]);
            assert!(!is_shown, "the disk shows what the image has");
        }
        ok("close", driver.close(&place(name), &holder)).await;
    }
    ok("begin", driver.begin_snapshot(&place("ae02"), &uid("ce01"))).await;
    let size = ok("finish", driver.finish_snapshot(&place("ae02"), &uid("ce01"))).await;
    assert!((24 * MIB..24 * MIB + EXTENT).contains(&size.0), "{size:?}");
    ok("grow", driver.grow(&place("ae02"), Bytes(28 * MIB))).await;
    let clone = VolumePlan { key: key(), ..plan("ae03", 0, VolumeOrigin::Snapshot(uid("ce01"))) };
    ok("clone", driver.create(&clone)).await;
    let foreign = driver.revert(&place("ae01"), &uid("ce01")).await;
    assert!(matches!(foreign, Err(DriverError::Invalid(_))), "its key is another: {foreign:?}");
    ok("revert", driver.revert(&place("ae02"), &uid("ce01"))).await;
    assert!(ok("observe", driver.observe(&place("ae02"))).await.size.0 >= 28 * MIB);
    for name in ["ae02", "ae03"] {
        let disk = ok("open", driver.open(&place(name), &holder, 2)).await;
        inside(&disk, "read -P 165 1M 2M");
        ok("close", driver.close(&place(name), &holder)).await;
    }
    // What a backup brings is encrypted already.
    let fill = ok("begin", driver.begin_fill(&place("ae04"), Bytes(4 * MIB + KEY_HEADER.0))).await;
    ok("fill", qemu_img::make_encrypted(&fill, Bytes(4 * MIB), &DiskKey::new(KEY))).await;
    let filled = VolumePlan { key: key(), ..plan("ae04", 0, VolumeOrigin::Filled) };
    ok("create", driver.create(&filled)).await;
    let disk = ok("open", driver.open(&place("ae04"), &holder, 1)).await;
    inside(&disk, "read -P 0 0 1M");
    ok("close", driver.close(&place("ae04"), &holder)).await;
    for name in ["ae01", "ae02", "ae03", "ae04"] {
        ok("delete", driver.delete(&place(name))).await;
    }
    ok("delete the snapshot", driver.delete_snapshot(&place("ce01"))).await;
}

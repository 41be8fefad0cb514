//! What volumes, snapshots and backups show.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use driver::{Change, ChangeStream, DiskKey};

use super::*;

const IMAGE: &str = "/tmp/sha256-abc";
const CHUNK: u64 = 64 * KIB;

pub(super) async fn run(driver: &LvmDriver) {
    tool("qemu-img", &["create", "-q", "-f", "qcow2", IMAGE, "20M"]);
    tool("qemu-io", &["-f", "qcow2", "-c", "write -P 165 1M 2M", IMAGE]);
    snapshots_clones_and_returns(driver).await;
    nothing_is_left(driver, "snapshots_clones_and_returns").await;
    images_are_brought_once(driver).await;
    nothing_is_left(driver, "images_are_brought_once").await;
    who_has_it_open_keeps_it(driver).await;
    nothing_is_left(driver, "who_has_it_open_keeps_it").await;
    nobody_reads_what_was_deleted(driver).await;
    nothing_is_left(driver, "nobody_reads_what_was_deleted").await;
    encrypted_volumes(driver).await;
    nothing_is_left(driver, "encrypted_volumes").await;
    what_changed_is_told(driver).await;
    nothing_is_left(driver, "what_changed_is_told").await;
    a_full_pool(driver).await;
    nothing_is_left(driver, "a_full_pool").await;
}

async fn snapshots_clones_and_returns(driver: &LvmDriver) {
    let (volume, clone) = (place("aa01"), place("aa02"));
    driver.create(&plan("aa01", 8 * MIB, VolumeOrigin::Empty)).await.unwrap();
    let disk = driver.open(&volume, &uid("bb01"), 1).await.unwrap();
    write(&disk, &["write -P 1 0 1M", "write -P 2 4M 1M"]);
    // Of what is open, while it is.
    assert_eq!(driver.begin_snapshot(&volume, &uid("cc01")).await.unwrap(), None);
    write(&disk, &["write -P 3 0 1M", "discard 4M 1M"]);
    holds(&disk, 3, 0, MIB);
    holds(&disk, 0, 4 * MIB, MIB);
    driver.create(&plan("aa02", 16 * MIB, VolumeOrigin::Snapshot(uid("cc01")))).await.unwrap();
    let of_then = driver.open(&clone, &uid("bb02"), 1).await.unwrap();
    holds(&of_then, 1, 0, MIB);
    holds(&of_then, 2, 4 * MIB, MIB);
    holds(&of_then, 0, 8 * MIB, 8 * MIB);
    let layers = driver.layers(&place("cc01")).await.unwrap();
    holds(&layers[0], 1, 0, MIB);
    driver.tidy("default").await.unwrap();
    assert!(!path(&layers[0]).exists(), "it is shown no longer than it is read");

    // Larger while it is open: first its room, then whoever has it open looks.
    driver.begin_growth(&volume, Bytes(12 * MIB)).await.unwrap();
    assert_eq!(std::fs::read(path(&disk)).unwrap().len() as u64, 12 * MIB);
    refused(driver.revert(&volume, &uid("cc01")).await, "detach it first");
    driver.close(&volume, &uid("bb01")).await.unwrap();
    driver.close(&clone, &uid("bb02")).await.unwrap();

    // Back, cut off at each step.
    let step = |args: &[&str]| drop(lvm(args));
    let of = "vg-one/corten-snapshot-cc01";
    let back = [
        "lvcreate",
        "--snapshot",
        "--activate",
        "n",
        "--setactivationskip",
        "y",
        "--name",
        "corten-back-aa01",
    ];
    step(&[&back[..], &[of]].concat());
    assert_eq!(driver.observe(&volume).await.unwrap().size, Bytes(12 * MIB), "not yet");
    step(&[&back[..], &["--addtag", "corten.epoch=1", of]].concat());
    step(&["lvrename", GROUP, "corten-volume-aa01", "corten-old-aa01"]);
    let seen = driver.observe(&volume).await.unwrap();
    assert_eq!((seen.size, seen.epoch), (Bytes(8 * MIB), 1), "from then on");
    driver.revert(&volume, &uid("cc01")).await.unwrap();
    refused(driver.open(&volume, &uid("bb01"), 1).await, "is over");
    let disk = driver.open(&volume, &uid("bb01"), 2).await.unwrap();
    holds(&disk, 1, 0, MIB);
    driver.close(&volume, &uid("bb01")).await.unwrap();
    // What another volume was: as large as it is itself.
    driver.revert(&clone, &uid("cc01")).await.unwrap();
    assert_eq!(driver.observe(&clone).await.unwrap().size, Bytes(16 * MIB));
    driver.delete(&volume).await.unwrap();
    driver.delete(&clone).await.unwrap();
    driver.delete_snapshot(&place("cc01")).await.unwrap();
}

async fn images_are_brought_once(driver: &LvmDriver) {
    for (volume, size) in [("aa01", 0), ("aa02", 32 * MIB)] {
        driver.create(&plan(volume, size, VolumeOrigin::Image(IMAGE.into()))).await.unwrap();
        driver.create(&plan(volume, size, VolumeOrigin::Image(IMAGE.into()))).await.unwrap();
        assert_eq!(driver.observe(&place(volume)).await.unwrap().size, Bytes(size.max(20 * MIB)));
        let disk = driver.open(&place(volume), &uid("bb01"), 1).await.unwrap();
        holds(&disk, 165, MIB, 2 * MIB);
        holds(&disk, 0, 3 * MIB, 17 * MIB);
        driver.close(&place(volume), &uid("bb01")).await.unwrap();
    }
    // Two volumes and the image have the same blocks.
    let used = driver.usage("default").await.unwrap().used;
    // Which LVM tells in hundredths of a percent.
    assert!((2 * MIB - CHUNK..2 * MIB + CHUNK).contains(&used.0), "{used:?}");
    let small = driver.create(&plan("aa03", MIB, VolumeOrigin::Image(IMAGE.into()))).await;
    refused(small, "spec.size");
    driver.tidy("default").await.unwrap();
    assert!(lvm(&["lvs", GROUP]).contains("corten-image-sha256-abc"), "volumes stand on it");
    driver.delete(&place("aa01")).await.unwrap();
    driver.delete(&place("aa02")).await.unwrap();
}

/// A process that has a device open.
struct Opened(Child);

impl Opened {
    fn start(disk: &DiskLocation) -> Self {
        let device = File::open(path(disk)).unwrap();
        Self(Command::new("sleep").arg("1000").stdin(Stdio::from(device)).spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

async fn who_has_it_open_keeps_it(driver: &LvmDriver) {
    let volume = place("aa01");
    driver.create(&plan("aa01", 4 * MIB, VolumeOrigin::Empty)).await.unwrap();
    assert!(!tool("dmsetup", &["ls"]).contains("corten"), "nobody can open what nobody has");
    let disk = driver.open(&volume, &uid("bb01"), 1).await.unwrap();
    let guest = Opened::start(&disk);
    // Not closed, and given to nobody, while it is open.
    refused(driver.close(&volume, &uid("bb01")).await, "still has it open");
    assert_eq!(driver.observe(&volume).await.unwrap().holder, Some(uid("bb01")));
    refused(driver.open(&volume, &uid("bb01"), 2).await, "still has it open");
    refused(driver.open(&volume, &uid("bb02"), 2).await, "detach it first");
    // It goes on with it all the same, under the epoch that it has.
    let again = driver.open(&volume, &uid("bb01"), 1).await.unwrap();
    write(&again, &["write -P 7 0 64k"]);
    guest.kill();
    // A driver that was started anew knows as much.
    let anew = super::driver().await;
    assert_eq!(anew.held_by(&uid("bb01")).await.unwrap(), std::slice::from_ref(&volume));
    let disk = anew.open(&volume, &uid("bb01"), 2).await.unwrap();
    holds(&disk, 7, 0, 64 * KIB);
    anew.close(&volume, &uid("bb01")).await.unwrap();
    assert!(!path(&disk).exists(), "its path is gone before anybody hears that it is closed");
    assert!(!tool("dmsetup", &["ls"]).contains("corten"), "and its device");
    anew.delete(&volume).await.unwrap();
}

async fn nobody_reads_what_was_deleted(driver: &LvmDriver) {
    for round in 1..=2 {
        let volume = place("aa01");
        driver.create(&plan("aa01", 128 * MIB, VolumeOrigin::Empty)).await.unwrap();
        let disk = driver.open(&volume, &uid("bb01"), 1).await.unwrap();
        if round == 1 {
            write(&disk, &["write -P 165 0 128M"]);
        } else {
            // A block of the pool for each of these, of which most is not written.
            let commands: Vec<String> = (0..64).map(|n| format!("write -P 1 {}k 4k", n * 128)).collect();
            write(&disk, &commands.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(!content(&disk).contains(&165), "what somebody else had written");
        }
        driver.close(&volume, &uid("bb01")).await.unwrap();
        driver.delete(&volume).await.unwrap();
    }
}

/// Reads what an encrypted disk has, with its key.
fn inside(disk: &DiskLocation, command: &str) {
    let node = DiskKey::node("plain", "key", &disk.node("disk", "", true));
    let secret = format!("secret,id=key,format=raw,data={}", conformance::KEY);
    let said = io(&node, &[command], &["-r", "--object", &secret]);
    assert!(said.contains("ops;") && !said.contains("failed"), "{said}");
}

async fn encrypted_volumes(driver: &LvmDriver) {
    conformance::volumes_are_encrypted(driver, Path::new(IMAGE), inside, content).await;
}

/// The moment that changes count from, and the chunks in which there is something or nothing any more.
async fn read(stream: ChangeStream) -> (Option<Uid>, Vec<(u64, bool)>) {
    let ChangeStream { since, mut changes, .. } = stream;
    let mut found = Vec::new();
    while let Some(change) = changes.next().await.unwrap() {
        match change {
            Change::Data { offset, bytes } => {
                for (number, chunk) in bytes.chunks(usize::try_from(CHUNK).unwrap()).enumerate() {
                    if since.is_some() || chunk.iter().any(|byte| *byte != 0) {
                        found.push((offset / CHUNK + number as u64, true));
                    }
                }
            }
            Change::Zeros { offset, length } => {
                found.extend((0..length / CHUNK).map(|number| (offset / CHUNK + number, false)));
            }
        }
    }
    (since, found)
}

async fn what_changed_is_told(driver: &LvmDriver) {
    let volume = place("aa01");
    let told = async |backup: &str, since: &[&str]| {
        let since: Vec<Uid> = since.iter().map(|name| uid(name)).collect();
        let stream = driver.change_stream(&volume, &uid(backup), &since).await.unwrap().unwrap();
        let found = read(stream).await;
        driver.finish_changes(&volume, &uid(backup)).await.unwrap();
        found
    };
    driver.create(&plan("aa01", 4 * MIB, VolumeOrigin::Empty)).await.unwrap();
    let disk = driver.open(&volume, &uid("bb01"), 1).await.unwrap();
    write(&disk, &["write -P 1 64k 64k", "write -P 2 512k 128k"]);
    // While somebody has it open.
    assert_eq!(told("dd01", &[]).await, (None, vec![(1, true), (8, true), (9, true)]));
    assert_eq!(told("dd02", &["dd01"]).await, (Some(uid("dd01")), vec![]));
    write(&disk, &["write -P 3 128k 4k", "discard 512k 64k"]);
    let (since, found) = told("dd03", &["dd02", "dd01"]).await;
    assert_eq!((since, found), (Some(uid("dd02")), vec![(2, true), (8, false)]));
    // Its backup never arrived: the one before counts.
    write(&disk, &["write -P 4 256k 64k"]);
    driver.close(&volume, &uid("bb01")).await.unwrap();
    let (since, found) = told("dd04", &["dd02"]).await;
    assert_eq!((since, found), (Some(uid("dd02")), vec![(2, true), (4, true), (8, false)]));
    driver.grow(&volume, Bytes(8 * MIB)).await.unwrap();
    assert_eq!(told("dd05", &["dd04"]).await, (Some(uid("dd04")), vec![]));
    // One that nobody knows: all of it.
    assert_eq!(told("dd06", &["dd99"]).await, (None, vec![(1, true), (2, true), (4, true), (9, true)]));
    // Only the newest moments are kept.
    assert_eq!(lvm(&["lvs", GROUP]).matches("corten-backup-").count(), 1);
    driver.delete(&volume).await.unwrap();
}

async fn a_full_pool(driver: &LvmDriver) {
    let volume = place("aa01");
    driver.create(&plan("aa01", 2 * POOL_SIZE, VolumeOrigin::Empty)).await.unwrap();
    driver.create(&plan("aa02", 32 * MIB, VolumeOrigin::Empty)).await.unwrap();
    let other = driver.open(&place("aa02"), &uid("bb02"), 1).await.unwrap();
    write(&other, &["write -P 9 0 32M"]);
    let disk = driver.open(&volume, &uid("bb01"), 1).await.unwrap();
    write(&disk, &["write -P 5 0 96M"]);
    let said = io(&disk.node("disk", "", false), &["write -P 6 96M 128M"], &[]);
    assert!(said.contains("No space left on device"), "{said}");
    holds(&disk, 5, 0, 96 * MIB);
    holds(&other, 9, 0, 32 * MIB);
    assert!(driver.usage("default").await.unwrap().free.0 < MIB);
    // Deleting goes on working, and gives room to whoever has none.
    driver.close(&place("aa02"), &uid("bb02")).await.unwrap();
    driver.delete(&place("aa02")).await.unwrap();
    write(&disk, &["write -P 6 96M 16M"]);
    holds(&disk, 6, 96 * MIB, 16 * MIB);
    driver.close(&volume, &uid("bb01")).await.unwrap();
    driver.delete(&volume).await.unwrap();
}

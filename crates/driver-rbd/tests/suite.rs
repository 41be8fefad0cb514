//! A cluster of one node for all tests of this crate: it takes longer to start than they do.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use driver::{
    CephPool, Change, DiskKey, DiskLocation, DriverError, PoolPlace, StoragePool, VolumeDriver, VolumeOrigin,
    VolumePlace, VolumePlan, volume_conformance as conformance,
};
use driver_rbd::RbdDriver;
use model::{Bytes, Uid};

const MIB: u64 = 1 << 20;
const CHUNK: u64 = 64 << 10;
const TRIMMED_WITHIN: Duration = Duration::from_secs(60);

struct Ceph {
    folder: tempfile::TempDir,
}

impl Ceph {
    fn start() -> Self {
        let ceph = Self { folder: tempfile::tempdir().unwrap() };
        ceph.script("start");
        ceph
    }

    fn script(&self, what: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab/ceph");
        let done = Command::new(script).arg(what).arg(self.folder.path()).status().unwrap();
        assert!(done.success(), "lab/ceph {what}: {done}");
    }

    fn conf(&self) -> PathBuf {
        self.folder.path().join("ceph.conf")
    }

    fn pool(&self) -> StoragePool {
        let place = CephPool { conf: self.conf(), user: "corten".into(), pool: "corten".into() };
        let identity = uid("ee01");
        StoragePool { name: "default".into(), identity, place: PoolPlace::Ceph(place), is_new: true }
    }

    /// A host's driver that knows nothing of the ones before.
    async fn driver(&self, host: &str) -> RbdDriver {
        let driver = RbdDriver::new(self.folder.path().join("scratch"), host);
        driver.serve(&self.pool()).await.unwrap();
        driver
    }

    fn tool(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(["--conf", self.conf().to_str().unwrap(), "--id", "corten", "--pool", "corten"]);
        let done = command.args(args).output().unwrap();
        assert!(done.status.success(), "{program} {args:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    fn images(&self) -> Vec<String> {
        self.tool("rbd", &["ls"]).lines().map(ToOwned::to_owned).collect()
    }

    /// Everything in the pool that is not Ceph's own book of it.
    fn objects(&self) -> Vec<String> {
        let own =
            ["rbd_directory", "rbd_info", "rbd_children", "rbd_trash", "rbd_trash_purge", "corten.identity"];
        let all = self.tool("rados", &["ls"]);
        all.lines().filter(|name| !own.contains(name)).map(ToOwned::to_owned).collect()
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        self.script("stop");
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

fn node(disk: &DiskLocation) -> String {
    let is_snapshot = matches!(disk, DiskLocation::Rbd(image) if image.snapshot.is_some());
    format!("json:{}", disk.without_key().node("disk", "", is_snapshot))
}

/// What `qemu-io` says to these commands on a disk.
fn io(disk: &DiskLocation, commands: &[&str]) -> String {
    let commands = commands.iter().flat_map(|command| ["-c", command]);
    let is_snapshot = node(disk).contains("\"read-only\":true");
    let done =
        Command::new("qemu-io").args(is_snapshot.then_some("-r")).args(commands).arg(node(disk)).output();
    let done = done.unwrap();
    String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
}

fn write(disk: &DiskLocation, commands: &[&str]) {
    let said = io(disk, commands);
    assert_eq!(said.matches("ops;").count(), commands.len(), "{said}");
}

fn holds(disk: &DiskLocation, byte: u8, offset: u64, length: u64) {
    let said = io(disk, &[&format!("read -P {byte} {offset} {length}")]);
    assert!(said.contains("ops;") && !said.contains("failed"), "{said}");
}

fn tool(program: &str, args: &[&str]) -> String {
    let done = Command::new(program).args(args).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// Reads what an encrypted disk has, with its key.
fn inside(disk: &DiskLocation, command: &str) {
    let plain = DiskKey::node("plain", "key", &disk.without_key().node("disk", "", true));
    let secret = format!("secret,id=key,format=raw,data={}", conformance::KEY);
    let args = ["-r", "--object", &secret, "-c", command, &format!("json:{plain}")];
    let said = tool("qemu-io", &args);
    assert!(said.contains("ops;") && !said.contains("failed"), "{said}");
}

/// A process that has a disk open, as a guest's does.
struct Guest {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Guest {
    fn open(disk: &DiskLocation) -> Self {
        let mut child = Command::new("qemu-io")
            .arg(node(disk))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    /// What it says to a write, to its first whole line.
    fn write(&mut self, byte: u8) -> String {
        writeln!(self.to, "write -P {byte} 0 4k").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        let mut rest = String::new();
        if line.contains("wrote") {
            self.from.read_line(&mut rest).unwrap();
        }
        line
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_the_contract() {
    let ceph = Ceph::start();
    let driver = ceph.driver("h1").await;
    conformance::epochs_only_grow(&driver).await;
    conformance::clones_stand_on_snapshots(&driver).await;
    let show = |disk: &DiskLocation| -> Vec<u8> {
        let raw = ceph.folder.path().join("shown.raw");
        let args = ["convert", "-O", "raw", &node(disk), raw.to_str().unwrap()];
        assert!(Command::new("qemu-img").args(args).status().unwrap().success());
        std::fs::read(&raw).unwrap()
    };
    conformance::volumes_are_filled(&driver, show).await;
    let image = ceph.folder.path().join("sha256-encrypted");
    tool("qemu-img", &["create", "-q", "-f", "qcow2", image.to_str().unwrap(), "20M"]);
    tool("qemu-io", &["-f", "qcow2", "-c", "write -P 165 1M 2M", image.to_str().unwrap()]);
    conformance::volumes_are_encrypted(&driver, &image, inside, show).await;
    nothing_is_left(&ceph, &driver).await;
    the_pool_says_whose_it_is(&ceph).await;
    images_are_brought_once(&ceph, &driver).await;
    a_volume_goes_back(&ceph, &driver).await;
    changes_are_told(&ceph, &driver).await;
    a_lost_host_writes_nothing(&ceph, &driver).await;
    what_was_killed_holds_up_nobody(&driver).await;
    a_late_host_makes_no_second_volume(&ceph, &driver).await;
    nothing_is_left(&ceph, &driver).await;
}

async fn nothing_is_left(ceph: &Ceph, driver: &RbdDriver) {
    driver.tidy("default").await.unwrap();
    assert_eq!(ceph.images(), Vec::<String>::new());
    // What only snapshots had is taken away by the cluster, when it has the time.
    let give_up = Instant::now() + TRIMMED_WITHIN;
    while !ceph.objects().is_empty() && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(ceph.objects(), Vec::<String>::new());
}

async fn the_pool_says_whose_it_is(ceph: &Ceph) {
    let driver = RbdDriver::new(ceph.folder.path().join("scratch"), "h1");
    let other = StoragePool { identity: uid("ee02"), ..ceph.pool() };
    let refused = driver.serve(&other).await.unwrap_err();
    assert!(refused.to_string().contains("another pool's"), "{refused}");
    let unused = driver.create(&plan("aa07", MIB, VolumeOrigin::Empty)).await.unwrap_err();
    assert!(unused.to_string().contains("another pool's"), "{unused}");
    let nobody = CephPool { conf: ceph.conf(), user: "nobody".into(), pool: "corten".into() };
    let refused =
        driver.serve(&StoragePool { place: PoolPlace::Ceph(nobody), ..ceph.pool() }).await.unwrap_err();
    assert!(refused.to_string().contains("keyring of client.nobody"), "{refused}");
}

async fn images_are_brought_once(ceph: &Ceph, driver: &RbdDriver) {
    let image = ceph.folder.path().join("sha256-00aa");
    let name = image.to_str().unwrap();
    assert!(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", name, "8M"])
            .status()
            .unwrap()
            .success()
    );
    let commands = ["-c", "write -P 9 1M 64k", name];
    assert!(Command::new("qemu-io").args(["-f", "qcow2"]).args(commands).output().unwrap().status.success());
    let small = driver.create(&plan("aa10", MIB, VolumeOrigin::Image(image.clone()))).await;
    assert!(matches!(small, Err(DriverError::Invalid(_))), "{small:?}");
    for (volume, size) in [("aa10", 0), ("aa11", 16 * MIB)] {
        driver.create(&plan(volume, size, VolumeOrigin::Image(image.clone()))).await.unwrap();
        let disk = driver.open(&place(volume), &uid("bb01"), 1).await.unwrap();
        holds(&disk, 9, MIB, CHUNK);
        write(&disk, &["write -P 3 1M 4k"]);
        driver.close(&place(volume), &uid("bb01")).await.unwrap();
    }
    assert_eq!(driver.observe(&place("aa10")).await.unwrap().size, Bytes(8 * MIB));
    let observed = driver.observe(&place("aa11")).await.unwrap();
    assert_eq!(observed.size, Bytes(16 * MIB));
    assert!(observed.used <= Bytes(4 * MIB), "a clone takes what was written to it: {observed:?}");
    let of_image = |names: &[String]| names.iter().filter(|name| name.starts_with("image+")).count();
    assert_eq!(of_image(&ceph.images()), 1);
    driver.delete(&place("aa10")).await.unwrap();
    driver.tidy("default").await.unwrap();
    assert_eq!(of_image(&ceph.images()), 1, "a clone stands on it");
    driver.delete(&place("aa11")).await.unwrap();
    nothing_is_left(ceph, driver).await;
}

async fn a_volume_goes_back(ceph: &Ceph, driver: &RbdDriver) {
    let volume = place("aa12");
    driver.create(&plan("aa12", 8 * MIB, VolumeOrigin::Empty)).await.unwrap();
    let disk = driver.open(&volume, &uid("bb01"), 1).await.unwrap();
    write(&disk, &["write -P 1 0 64k"]);
    // While it is open.
    assert_eq!(driver.begin_snapshot(&volume, &uid("cc12")).await.unwrap(), None);
    driver.finish_snapshot(&volume, &uid("cc12")).await.unwrap();
    write(&disk, &["write -P 2 0 64k", "write -P 2 4M 64k"]);
    let held = driver.revert(&volume, &uid("cc12")).await;
    assert!(matches!(held, Err(DriverError::WrongState(_))), "{held:?}");
    driver.close(&volume, &uid("bb01")).await.unwrap();
    driver.grow(&volume, Bytes(16 * MIB)).await.unwrap();
    for _ in 0..2 {
        driver.revert(&volume, &uid("cc12")).await.unwrap();
    }
    assert_eq!(driver.observe(&volume).await.unwrap().size, Bytes(16 * MIB), "it never shrinks");
    let layers = driver.layers(&place("cc12")).await.unwrap();
    let [whole] = &layers[..] else { panic!("{layers:?}") };
    holds(whole, 1, 0, CHUNK);
    let disk = driver.open(&volume, &uid("bb01"), 2).await.unwrap();
    holds(&disk, 1, 0, CHUNK);
    holds(&disk, 0, 4 * MIB, CHUNK);
    holds(&disk, 0, 8 * MIB, 8 * MIB);
    driver.close(&volume, &uid("bb01")).await.unwrap();
    driver.delete(&volume).await.unwrap();
    assert_eq!(ceph.images(), ["gone+aa12"], "the snapshot stands on it");
    let again = driver.create(&plan("aa12", 8 * MIB, VolumeOrigin::Empty)).await;
    assert!(matches!(again, Err(DriverError::WrongState(_))), "{again:?}");
    driver.delete_snapshot(&place("cc12")).await.unwrap();
    driver.delete_snapshot(&place("cc12")).await.unwrap();
    nothing_is_left(ceph, driver).await;
}

/// What a backup is told: the clusters that have something, and those that are zero now.
async fn told(
    driver: &RbdDriver,
    volume: &str,
    backup: &str,
    since: &[&str],
) -> (Option<Uid>, Vec<(u64, u8)>) {
    let since: Vec<Uid> = since.iter().map(|name| uid(name)).collect();
    let stream = driver.change_stream(&place(volume), &uid(backup), &since).await.unwrap();
    let mut stream = stream.expect("the pool knows");
    let mut found = Vec::new();
    while let Some(change) = stream.changes.next().await.unwrap() {
        match change {
            Change::Zeros { offset, length } => {
                found.extend((offset / CHUNK..(offset + length).div_ceil(CHUNK)).map(|index| (index, 0)));
            }
            Change::Data { offset, bytes } => {
                for (index, chunk) in (offset / CHUNK..).zip(bytes.chunks(usize::try_from(CHUNK).unwrap())) {
                    found.push((index, chunk[0]));
                }
            }
        }
    }
    driver.finish_changes(&place(volume), &uid(backup)).await.unwrap();
    (stream.since, found)
}

async fn changes_are_told(ceph: &Ceph, driver: &RbdDriver) {
    let volume = place("aa13");
    driver.create(&plan("aa13", 64 * MIB, VolumeOrigin::Empty)).await.unwrap();
    let disk = driver.open(&volume, &uid("bb01"), 1).await.unwrap();
    write(&disk, &["write -P 1 0 64k", "write -P 2 40M 64k"]);
    let (since, found) = told(driver, "aa13", "dd01", &[]).await;
    assert_eq!(since, None);
    assert!(found.contains(&(0, 1)) && found.contains(&(640, 2)), "{found:?}");
    assert!(found.len() <= 128, "what was never written is not told: {}", found.len());
    assert_eq!(
        told(driver, "aa13", "dd02", &["dd01"]).await,
        (Some(uid("dd01")), vec![]),
        "nothing has changed"
    );
    write(&disk, &["write -P 3 20M 4k", "discard 40M 4M"]);
    let (since, found) = told(driver, "aa13", "dd03", &["dd02", "dd01"]).await;
    assert_eq!(since, Some(uid("dd02")));
    assert!(found.contains(&(320, 3)) && found.contains(&(640, 0)) && found.len() <= 128, "{found:?}");
    // Its backup never arrived: the one before counts, and nothing of what changed since is missing.
    let (since, found) = told(driver, "aa13", "dd04", &["dd02"]).await;
    assert_eq!(since, Some(uid("dd02")));
    assert!(found.contains(&(320, 3)) && found.contains(&(640, 0)), "{found:?}");
    // A clone has what it stands on.
    driver.begin_snapshot(&volume, &uid("cc13")).await.unwrap();
    driver.create(&plan("aa14", 0, VolumeOrigin::Snapshot(uid("cc13")))).await.unwrap();
    let (since, found) = told(driver, "aa14", "dd05", &["dd04"]).await;
    assert_eq!(since, None, "of another volume");
    assert!(found.contains(&(0, 1)) && found.contains(&(320, 3)), "{found:?}");
    driver.close(&volume, &uid("bb01")).await.unwrap();
    driver.delete(&volume).await.unwrap();
    driver.delete_snapshot(&place("cc13")).await.unwrap();
    driver.delete(&place("aa14")).await.unwrap();
    nothing_is_left(ceph, driver).await;
}

async fn a_lost_host_writes_nothing(ceph: &Ceph, first: &RbdDriver) {
    let (volume, holder) = (place("aa15"), uid("bb01"));
    let second = ceph.driver("h2").await;
    first.create(&plan("aa15", MIB, VolumeOrigin::Empty)).await.unwrap();
    let disk = first.open(&volume, &holder, 1).await.unwrap();
    let mut guest = Guest::open(&disk);
    assert!(guest.write(1).contains("wrote"));
    let kept = second.keep(&volume, 1, &[]).await.unwrap_err();
    assert!(matches!(&kept, DriverError::WrongState(why) if why.contains("host \"h1\"")), "{kept}");
    assert!(first.is_wanted_elsewhere(&volume).await.unwrap(), "and its host hears of it");
    assert!(guest.write(2).contains("wrote"), "it is not lost");
    for _ in 0..2 {
        second.keep(&volume, 1, &["h1".into()]).await.unwrap();
    }
    assert!(!second.is_wanted_elsewhere(&volume).await.unwrap());
    let said = guest.write(3);
    assert!(said.contains("failed"), "the cluster takes nothing from it: {said}");
    let late = io(&disk, &["write -P 4 0 4k"]);
    assert!(late.contains("No such file"), "its name leads nowhere: {late}");
    for refused in [
        first.open(&volume, &holder, 9).await.map(drop),
        first.keep(&volume, 1, &["h2".into()]).await,
        first.delete(&volume).await,
        first.grow(&volume, Bytes(2 * MIB)).await,
    ] {
        assert!(matches!(refused, Err(DriverError::WrongState(_))), "{refused:?}");
    }
    first.close(&volume, &holder).await.unwrap();
    assert_eq!(first.held_by(&holder).await.unwrap(), vec![]);
    let disk = second.open(&volume, &holder, 3).await.unwrap();
    holds(&disk, 2, 0, 4096);
    let again = ceph.driver("h2").await;
    assert_eq!(again.held_by(&holder).await.unwrap(), std::slice::from_ref(&volume));
    again.close(&volume, &holder).await.unwrap();
    again.delete(&volume).await.unwrap();
}

/// It had begun to make the volume when the cloud gave it to another.
async fn a_late_host_makes_no_second_volume(ceph: &Ceph, first: &RbdDriver) {
    let volume = place("aa17");
    first.create(&plan("aa17", MIB, VolumeOrigin::Empty)).await.unwrap();
    first.keep(&volume, 1, &[]).await.unwrap();
    let late = |name: &str| ceph.tool("rbd", &["create", "--size", "1M", name]);
    late("volume+aa17+0+0+h2++");
    assert_eq!(first.observe(&volume).await.unwrap().epoch, 0);
    first.tidy("default").await.unwrap();
    assert_eq!(ceph.images(), ["volume+aa17+1+0+h1++"]);
    late("volume+aa17+0+0+h3++");
    first.delete(&volume).await.unwrap();
    assert_eq!(ceph.images(), Vec::<String>::new());
}

/// The cluster takes half a minute to see that somebody died.
async fn what_was_killed_holds_up_nobody(driver: &RbdDriver) {
    let volume = place("aa16");
    driver.create(&plan("aa16", MIB, VolumeOrigin::Empty)).await.unwrap();
    let mut guest = Guest::open(&driver.open(&volume, &uid("bb01"), 1).await.unwrap());
    assert!(guest.write(1).contains("wrote"));
    drop(guest);
    let disk = driver.open(&volume, &uid("bb01"), 2).await.unwrap();
    write(&disk, &["write -P 2 0 4k"]);
    holds(&disk, 2, 0, 4096);
    driver.close(&volume, &uid("bb01")).await.unwrap();
    driver.delete(&volume).await.unwrap();
}

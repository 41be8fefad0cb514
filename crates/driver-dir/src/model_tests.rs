//! Thousands of random operations against a model that keeps contents in memory, with a crash between any two steps
//! on the disk: in a pool of one host, and in one that two hosts share. `CORTEN_VOLUME_STEPS` makes it longer,
//! `CORTEN_VOLUME_SEED` repeats one.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use driver::{DriverError, VolumeDriver, VolumeOrigin, VolumePlace, VolumePlan};
use model::{Bytes, Uid};

use crate::DirDriver;

const POOL: &str = "default";
/// Room that a disk is made of here.
const BLOCK: u64 = 64 << 10;
const BLOCKS_MAX: u64 = 24;
const VOLUMES_MAX: usize = 5;
const SNAPSHOTS_MAX: usize = 6;
const STEPS: u64 = 400;
const HOLDER: &str = "bb01";

thread_local! {
    /// Steps on the disk until the next crash; none when it is zero.
    static COUNTDOWN: Cell<u64> = const { Cell::new(0) };
}

/// Called between any two changes of the disk.
pub(crate) fn crash() -> io::Result<()> {
    COUNTDOWN.with(|countdown| match countdown.get() {
        0 => Ok(()),
        1 => Err(io::Error::other("crash")),
        n => {
            countdown.set(n - 1);
            Ok(())
        }
    })
}

/// Splitmix64: the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Clone>(&mut self, from: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = from.into_iter().collect();
        (!all.is_empty()).then(|| all[usize::try_from(self.below(all.len() as u64)).unwrap()].clone())
    }
}

/// A disk as one byte for each block.
type Content = Vec<u8>;

#[derive(Debug, Default)]
struct Model {
    volumes: BTreeMap<Uid, Content>,
    snapshots: BTreeMap<Uid, Content>,
    /// Those that have a holder, with their epoch.
    open: BTreeMap<Uid, u64>,
    epochs: BTreeMap<Uid, u64>,
    /// Which host has a volume, and how often it went to another.
    keepers: BTreeMap<Uid, (&'static str, u64)>,
}

struct Run {
    root: PathBuf,
    /// Those that share the pool; one without a name has it alone.
    hosts: &'static [&'static str],
    /// The one whose driver it is.
    host: &'static str,
    driver: DirDriver,
    dice: Dice,
    model: Model,
    made: u64,
    crashes: u64,
    merged: u64,
    moved: u64,
    taken: u64,
}

fn uid(number: u64) -> Uid {
    Uid::parse(&format!("{number:08x}")).unwrap()
}

fn place(uid: &Uid) -> VolumePlace {
    VolumePlace { pool: POOL.into(), uid: uid.clone() }
}

/// Repeats an operation until it has come to its end, each time by a driver that knows nothing of the one before.
macro_rules! persist {
    ($run:ident, $driver:ident => $work:expr) => {
        loop {
            if $run.dice.below(3) == 0 {
                COUNTDOWN.set(1 + $run.dice.below(12));
            }
            let $driver = &$run.driver;
            let result = $work.await;
            COUNTDOWN.set(0);
            match result {
                Err(e) if e.to_string().contains("crash") => {
                    $run.crashes += 1;
                    $run.driver = $run.driver_anew().await;
                }
                result => break result,
            }
        }
    };
}

// Behind the macro, which it uses.
mod hosts;

impl Run {
    async fn new(root: &Path, hosts: &'static [&'static str], seed: u64) -> Self {
        let host = hosts[0];
        Self {
            root: root.to_owned(),
            hosts,
            host,
            driver: hosts::driver(root, host).await,
            dice: Dice(seed),
            model: Model::default(),
            made: 0,
            crashes: 0,
            merged: 0,
            moved: 0,
            taken: 0,
        }
    }

    fn fresh(&mut self) -> Uid {
        self.made += 1;
        uid(self.made)
    }

    async fn step(&mut self) {
        match self.dice.below(20) {
            0 => self.create().await,
            1 | 2 => self.clone_snapshot().await,
            3..=6 => self.snapshot().await,
            7 => self.revert().await,
            8 => self.grow().await,
            9 => self.delete().await,
            10 | 11 => self.delete_snapshot().await,
            12 | 13 => self.tidy().await,
            14 => self.merge_open().await,
            15 => self.close().await,
            _ => self.write().await,
        }
    }

    async fn create(&mut self) {
        if self.model.volumes.len() >= VOLUMES_MAX {
            return;
        }
        let (uid, blocks) = (self.fresh(), 1 + self.dice.below(BLOCKS_MAX));
        let plan = VolumePlan {
            place: place(&uid),
            size: Bytes(blocks * BLOCK),
            source: VolumeOrigin::Empty,
            key: None,
        };
        persist!(self, d => d.create(&plan)).unwrap();
        self.model.keepers.insert(uid.clone(), (self.host, 0));
        self.model.volumes.insert(uid, vec![0; usize::try_from(blocks).unwrap()]);
    }

    async fn clone_snapshot(&mut self) {
        let Some(snapshot) = self.dice.pick(self.model.snapshots.keys().cloned()) else { return };
        if self.model.volumes.len() >= VOLUMES_MAX {
            return;
        }
        let uid = self.fresh();
        let source = VolumeOrigin::Snapshot(snapshot.clone());
        let plan = VolumePlan { place: place(&uid), size: Bytes(0), source, key: None };
        persist!(self, d => d.create(&plan)).unwrap();
        self.model.keepers.insert(uid.clone(), (self.host, 0));
        self.model.volumes.insert(uid, self.model.snapshots[&snapshot].clone());
    }

    async fn snapshot(&mut self) {
        let Some(volume) = self.any_volume().await else { return };
        if self.model.snapshots.len() >= SNAPSHOTS_MAX {
            return;
        }
        let (snapshot, place) = (self.fresh(), place(&volume));
        persist!(self, d => d.begin_snapshot(&place, &snapshot)).unwrap();
        // The agent may be gone in between.
        self.driver = self.driver_anew().await;
        persist!(self, d => d.finish_snapshot(&place, &snapshot)).unwrap();
        self.model.snapshots.insert(snapshot, self.model.volumes[&volume].clone());
    }

    async fn revert(&mut self) {
        let Some(volume) = self.any_volume().await else { return };
        let Some(snapshot) = self.dice.pick(self.model.snapshots.keys().cloned()) else { return };
        let place = place(&volume);
        let result = persist!(self, d => d.revert(&place, &snapshot));
        if self.model.open.contains_key(&volume) {
            assert!(matches!(result, Err(DriverError::WrongState(_))), "{result:?}");
            return;
        }
        let content = self.model.volumes.get_mut(&volume).unwrap();
        let size = content.len();
        if self.model.snapshots[&snapshot].len() > size {
            assert!(matches!(result, Err(DriverError::Invalid(_))), "{result:?}");
            return;
        }
        result.unwrap();
        content.clone_from(&self.model.snapshots[&snapshot]);
        content.resize(size, 0);
    }

    async fn grow(&mut self) {
        let Some(volume) = self.closed_volume().await else { return };
        let content = self.model.volumes.get_mut(&volume).unwrap();
        content.resize(content.len() + 1, 0);
        let (place, size) = (place(&volume), Bytes(content.len() as u64 * BLOCK));
        persist!(self, d => d.grow(&place, size)).unwrap();
    }

    async fn delete(&mut self) {
        let Some(volume) = self.any_volume().await else { return };
        let place = place(&volume);
        let result = persist!(self, d => d.delete(&place));
        if self.model.open.contains_key(&volume) {
            assert!(matches!(result, Err(DriverError::WrongState(_))), "{result:?}");
            return;
        }
        result.unwrap();
        self.model.volumes.remove(&volume);
        self.model.keepers.remove(&volume);
    }

    async fn delete_snapshot(&mut self) {
        let Some(snapshot) = self.dice.pick(self.model.snapshots.keys().cloned()) else { return };
        let place = place(&snapshot);
        persist!(self, d => d.delete_snapshot(&place)).unwrap();
        self.model.snapshots.remove(&snapshot);
    }

    async fn tidy(&mut self) {
        let before = layers(&self.root).len();
        persist!(self, d => d.tidy(POOL)).unwrap();
        let after = layers(&self.root);
        self.merged += (before - after.len()) as u64;
        if !self.model.open.is_empty() {
            return;
        }
        for (name, layer) in &after {
            let standing = after.values().filter(|l| l.as_deref() == Some(name)).count();
            let is_head = standing == 0;
            let is_kept = records(&self.root, "snapshots").iter().any(|r| r["layer"] == name.as_str());
            assert!(is_head || is_kept || standing > 1, "{name} on {layer:?} should have been merged");
        }
    }

    /// What an agent does with a volume that a guest uses: the guest's QEMU writes layers into the head.
    async fn merge_open(&mut self) {
        let Some(volume) = self.open_volume().await else { return };
        let place = place(&volume);
        let Some(plan) = persist!(self, d => d.begin_merge(&place)).unwrap() else { return };
        if self.dice.below(3) > 0 {
            let head = self.open(&volume).await;
            let base = plan.base.as_deref().map_or_else(String::new, |base| base.display().to_string());
            let done = Command::new("qemu-img")
                .args(["rebase", "-f", "qcow2", "-F", "qcow2", "-b", &base])
                .arg(&head)
                .output()
                .unwrap();
            assert!(done.status.success(), "{done:?}");
            self.merged += 1;
        }
        self.driver = self.driver_anew().await;
        persist!(self, d => d.finish_merge(&place)).unwrap();
    }

    async fn close(&mut self) {
        let Some(volume) = self.open_volume().await else { return };
        let (place, holder) = (place(&volume), Uid::parse(HOLDER).unwrap());
        persist!(self, d => d.close(&place, &holder)).unwrap();
        self.model.open.remove(&volume);
    }

    async fn write(&mut self) {
        let Some(volume) = self.any_volume().await else { return };
        let path = self.open(&volume).await;
        let content = self.model.volumes.get_mut(&volume).unwrap();
        let mut commands = Vec::new();
        for _ in 0..=self.dice.below(3) {
            let start = self.dice.below(content.len() as u64);
            let count = 1 + self.dice.below((content.len() as u64 - start).min(4));
            let tag = u8::try_from(self.dice.below(256)).unwrap();
            let (offset, length) = (start * BLOCK, count * BLOCK);
            commands.push(match tag {
                0..=31 => format!("write -z {offset} {length}"),
                32..=63 => format!("discard {offset} {length}"),
                _ => format!("write -P {tag} {offset} {length}"),
            });
            let tag = if tag < 64 { 0 } else { tag };
            let range = usize::try_from(start).unwrap()..usize::try_from(start + count).unwrap();
            content[range].fill(tag);
        }
        qemu_io(&path, &commands);
    }

    async fn open(&mut self, volume: &Uid) -> PathBuf {
        let (place, holder) = (place(volume), Uid::parse(HOLDER).unwrap());
        let epoch = match self.model.open.get(volume) {
            Some(epoch) => *epoch,
            None => self.model.epochs.get(volume).copied().unwrap_or(0) + 1,
        };
        let opened = persist!(self, d => d.open(&place, &holder, epoch)).unwrap();
        self.model.open.insert(volume.clone(), epoch);
        self.model.epochs.insert(volume.clone(), epoch);
        opened.file().unwrap().to_owned()
    }

    /// Everything is what the model says, and nothing else is there.
    async fn check(&mut self) {
        for uid in self.model.volumes.keys().cloned().collect::<Vec<_>>() {
            self.be_at(&uid).await;
            let content = &self.model.volumes[&uid];
            let uid = &uid;
            let observed = self.driver.observe(&place(uid)).await.unwrap();
            assert_eq!(observed.size, Bytes(content.len() as u64 * BLOCK));
            assert_eq!(observed.holder.is_some(), self.model.open.contains_key(uid));
            holds(&self.head(uid), content);
        }
        for (uid, content) in &self.model.snapshots {
            let layers = self.driver.layers(&place(uid)).await.unwrap();
            holds(layers[0].file().unwrap(), content);
        }
        let count = |folder| records(&self.root, folder).len();
        assert_eq!(count("volumes"), self.model.volumes.len());
        assert_eq!(count("snapshots"), self.model.snapshots.len());
        let used: u64 = files(&self.root).iter().map(|file| blocks(file)).sum();
        assert_eq!(self.driver.usage(POOL).await.unwrap().used, Bytes(used), "used is what the files take");
    }

    fn head(&self, uid: &Uid) -> PathBuf {
        let record: serde_json::Value = serde_json::from_slice(
            &std::fs::read(self.root.join(POOL).join("volumes").join(uid.as_str())).unwrap(),
        )
        .unwrap();
        self.root.join(POOL).join("data").join(format!("{uid}.{}.qcow2", record["head"]))
    }

    async fn any_volume(&mut self) -> Option<Uid> {
        let volume = self.dice.pick(self.model.volumes.keys().cloned())?;
        self.go_on(&volume).await;
        Some(volume)
    }

    async fn closed_volume(&mut self) -> Option<Uid> {
        let volume = self.any_volume().await?;
        (!self.model.open.contains_key(&volume)).then_some(volume)
    }

    async fn open_volume(&mut self) -> Option<Uid> {
        let volume = self.dice.pick(self.model.open.keys().cloned())?;
        self.go_on(&volume).await;
        self.model.open.contains_key(&volume).then_some(volume)
    }

    async fn clear(&mut self) {
        while !self.model.open.is_empty() {
            self.close().await;
        }
        while !self.model.volumes.is_empty() {
            self.delete().await;
        }
        while !self.model.snapshots.is_empty() {
            self.delete_snapshot().await;
        }
        self.driver.tidy(POOL).await.unwrap();
        assert_eq!(files(&self.root), BTreeSet::new(), "nothing is left");
    }
}

fn data(root: &Path) -> PathBuf {
    root.join(POOL).join("data")
}

fn list(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn files(root: &Path) -> BTreeSet<PathBuf> {
    list(&data(root)).into_iter().collect()
}

fn blocks(file: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(file).unwrap().blocks() * 512
}

fn records(root: &Path, folder: &str) -> Vec<serde_json::Value> {
    let read = |path: PathBuf| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    list(&root.join(POOL).join(folder)).into_iter().map(read).collect()
}

/// Every file of a disk, and what it stands on.
fn layers(root: &Path) -> BTreeMap<String, Option<String>> {
    let mut layers = BTreeMap::new();
    for file in files(root) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if file.extension().is_some_and(|extension| extension == "qcow2") {
            let record = std::fs::read(data(root).join(format!("{name}.json"))).unwrap();
            let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
            layers.insert(name, record["backing"].as_str().map(ToOwned::to_owned));
        }
    }
    layers
}

fn qemu_io(path: &Path, commands: &[String]) -> String {
    let mut qemu_io = Command::new("qemu-io");
    qemu_io.args(["-f", "qcow2", "-d", "unmap"]);
    for command in commands {
        qemu_io.args(["-c", command]);
    }
    let done = qemu_io.arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && !text.contains("failed"), "{commands:?} {}: {done:?}", path.display());
    text
}

fn holds(path: &Path, content: &Content) {
    let mut commands = Vec::new();
    let mut at = 0;
    for run in content.chunk_by(|a, b| a == b) {
        commands.push(format!("read -P {} {} {}", run[0], at * BLOCK, run.len() as u64 * BLOCK));
        at += run.len() as u64;
    }
    let text = qemu_io(path, &commands);
    assert_eq!(text.matches("ops;").count(), commands.len(), "{}: {text}", path.display());
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn is_what_the_model_says(hosts: &'static [&'static str]) {
    let seed = number("CORTEN_VOLUME_SEED", u64::from(std::process::id()));
    let steps = number("CORTEN_VOLUME_STEPS", STEPS);
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(dir.path(), hosts, seed).await;
    println!("CORTEN_VOLUME_SEED={seed}");
    for step in 0..steps {
        run.step().await;
        if step % 8 == 0 {
            run.check().await;
        }
    }
    run.check().await;
    let Run { crashes, merged, moved, taken, .. } = run;
    println!(
        "{steps} steps, {crashes} crashes, {merged} layers merged, {moved} moves, {taken} from lost hosts"
    );
    assert!(crashes > steps / 40 && merged > 0, "it tried what it is there to try");
    assert!(hosts.len() == 1 || (moved > steps / 40 && taken > 0), "it tried what it is there to try");
    run.clear().await;
}

#[tokio::test]
async fn a_pool_is_what_a_simple_model_says_through_crashes() {
    is_what_the_model_says(&[""]).await;
}

#[tokio::test]
async fn a_pool_that_hosts_share_is_what_a_simple_model_says_through_crashes() {
    is_what_the_model_says(&["h1", "h2"]).await;
}

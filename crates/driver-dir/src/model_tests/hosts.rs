//! Two hosts with one pool: volumes go from one to the other, also from one that is lost; and both at work at once.

use std::fs::File;
use std::time::Duration;

use driver::{PoolPlace, StoragePool};
use tokio::time::timeout;

use super::*;

/// A driver that knows nothing of the ones before.
pub(super) async fn driver(root: &Path, host: &str) -> DirDriver {
    if host.is_empty() {
        return DirDriver::new(root, "h1");
    }
    // Where a pool of one host would be, so that the same files are looked at.
    std::fs::create_dir_all(root.join(POOL)).unwrap();
    let driver = DirDriver::new(root.join(format!("of-{host}")), host);
    let pool = StoragePool {
        name: POOL.into(),
        identity: Uid::parse("ee01").unwrap(),
        place: PoolPlace::Folder(root.join(POOL)),
        is_new: true,
    };
    driver.serve(&pool).await.unwrap();
    driver
}

impl Run {
    pub(super) async fn driver_anew(&self) -> DirDriver {
        driver(&self.root, self.host).await
    }

    /// Works at the host that has the volume.
    pub(super) async fn be_at(&mut self, volume: &Uid) {
        let (host, _) = self.model.keepers[volume];
        if self.host != host {
            self.host = host;
            self.driver = self.driver_anew().await;
        }
    }

    /// The same, after the volume went to another host, now and then.
    pub(super) async fn go_on(&mut self, volume: &Uid) {
        self.be_at(volume).await;
        let (from, moves) = self.model.keepers[volume];
        let to = self.dice.pick(self.hosts.iter().copied()).unwrap();
        if from == to || self.dice.below(3) > 0 {
            return;
        }
        let place = place(volume);
        let old_path = self.head(volume);
        self.host = to;
        self.driver = self.driver_anew().await;
        if self.model.open.contains_key(volume) {
            let held = persist!(self, d => d.keep(&place, moves + 1, &[]));
            assert!(matches!(held, Err(DriverError::WrongState(_))), "{held:?}");
            if self.dice.below(3) > 0 {
                return self.be_at(volume).await;
            }
            let lost = [from.to_owned()];
            {
                let _guest = OpenDisk::new(&old_path);
                let open = persist!(self, d => d.keep(&place, moves + 1, &lost));
                assert!(matches!(open, Err(DriverError::WrongState(_))), "somebody has it open: {open:?}");
                assert!(
                    driver(&self.root, from).await.is_wanted_elsewhere(&place).await.unwrap(),
                    "it is told"
                );
            }
            persist!(self, d => d.keep(&place, moves + 1, &lost)).unwrap();
            persist!(self, d => d.keep(&place, moves + 1, &lost)).unwrap();
            assert!(
                !old_path.exists() || old_path.metadata().unwrap().permissions().readonly(),
                "it leads nowhere"
            );
            self.model.open.remove(volume);
            *self.model.epochs.get_mut(volume).unwrap() += 1;
            self.taken += 1;
        } else {
            persist!(self, d => d.keep(&place, moves + 1, &[])).unwrap();
        }
        self.moved += 1;
        self.model.keepers.insert(volume.clone(), (to, moves + 1));
        assert!(!self.driver.is_wanted_elsewhere(&place).await.unwrap(), "it has it");
        // Who had it is refused, whatever it wants.
        let late = driver(&self.root, from).await;
        let refused = [
            late.keep(&place, moves, &[]).await,
            late.open(&place, &Uid::parse(HOLDER).unwrap(), 1 << 40).await.map(drop),
            late.grow(&place, Bytes(1 << 40)).await,
            late.delete(&place).await,
            late.begin_snapshot(&place, &uid(1 << 30)).await.map(drop),
        ];
        for result in refused {
            assert!(matches!(result, Err(DriverError::WrongState(_))), "{result:?}");
        }
        late.close(&place, &Uid::parse(HOLDER).unwrap()).await.unwrap();
        assert!(!late.held_by(&Uid::parse(HOLDER).unwrap()).await.unwrap().contains(&place));
    }
}

/// A disk with the lock that a QEMU has on it.
struct OpenDisk(File);

impl OpenDisk {
    fn new(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        assert!(sys::lock::try_exclusive(&file, 100..101).unwrap());
        Self(file)
    }
}

impl Drop for OpenDisk {
    fn drop(&mut self) {
        // Programs that other tests are just starting have the file open, too.
        sys::lock::release(&self.0, 100..101).unwrap();
    }
}

const VOLUMES: u64 = 3;
const ROUNDS: u64 = 60;

/// What one of them does; how often it wrote, and how often it was cut off.
async fn work(root: PathBuf, host: &'static str, seed: u64) -> (u64, u64) {
    let (mut dice, mut written, mut cut) = (Dice(seed), 0, 0);
    let holder = Uid::parse(if host == "h1" { "bb01" } else { "bb02" }).unwrap();
    for _ in 0..ROUNDS {
        let place = place(&uid(dice.below(VOLUMES)));
        let patience = Duration::from_millis(dice.below(600));
        let pause = Duration::from_millis(dice.below(100));
        match timeout(patience, round(&root, host, &holder, &place, pause)).await {
            Ok(Ok(())) => written += 1,
            // The other one has it.
            Ok(Err(DriverError::WrongState(_))) => {}
            Ok(Err(e)) => panic!("{e}"),
            Err(_) => {
                // The agent is gone, and comes back: it closes what it finds open.
                cut += 1;
                let driver = driver(&root, host).await;
                for held in driver.held_by(&holder).await.unwrap() {
                    driver.close(&held, &holder).await.unwrap();
                }
            }
        }
        driver(&root, host).await.tidy(POOL).await.unwrap();
    }
    (written, cut)
}

/// A counter in the disk: who reads it, writes one more, and reads that is alone.
async fn round(
    root: &Path,
    host: &str,
    holder: &Uid,
    place: &VolumePlace,
    pause: Duration,
) -> Result<(), DriverError> {
    let driver = driver(root, host).await;
    let record = record_of(root, &place.uid);
    let moves = record["moves"].as_u64().unwrap_or(0) + u64::from(record["host"] != host);
    driver.keep(place, moves, &[]).await?;
    let opened = driver.open(place, holder, record["epoch"].as_u64().unwrap() + 1).await?;
    let disk = opened.file().unwrap();
    let number = counter(disk);
    tokio::time::sleep(pause).await;
    let next = (number + 1) % 250;
    qemu_io(disk, &[format!("write -P {next} 0 {BLOCK}")]);
    tokio::time::sleep(pause).await;
    assert_eq!(counter(disk), next, "somebody else wrote");
    driver.close(place, holder).await
}

fn record_of(root: &Path, volume: &Uid) -> serde_json::Value {
    let path = root.join(POOL).join("volumes").join(volume.as_str());
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Two hosts do what they like with the same volumes at the same time, and are cut off at any moment. What was written
/// under a holder's name is there for the next.
#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_at_once_never_write_to_the_same_disk() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let first = driver(&root, "h1").await;
    for number in 0..VOLUMES {
        let plan = VolumePlan {
            place: place(&uid(number)),
            size: Bytes(BLOCK),
            source: VolumeOrigin::Empty,
            key: None,
        };
        first.create(&plan).await.unwrap();
    }
    let one = tokio::spawn(work(root.clone(), "h1", 1));
    let other = tokio::spawn(work(root.clone(), "h2", 2));
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    println!("(written, cut off): {one:?} {other:?}");
    assert!(one.0 > 0 && other.0 > 0 && one.1 + other.1 > 0, "it tried what it is there to try");
    for number in 0..VOLUMES {
        let driver = driver(&root, record_of(&root, &uid(number))["host"].as_str().unwrap()).await;
        driver.delete(&place(&uid(number))).await.unwrap();
    }
    assert_eq!(files(&root), BTreeSet::new(), "nothing is left");
}

/// The byte that a disk is full of.
fn counter(path: &Path) -> u64 {
    let text = qemu_io(path, &["read -v 0 1".to_owned()]);
    let byte = text.lines().next().and_then(|line| line.split_whitespace().nth(1));
    u64::from_str_radix(byte.unwrap(), 16).unwrap()
}

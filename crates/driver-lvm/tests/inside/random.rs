//! Random volumes, snapshots, clones and returns, against a model of what each has to show.

use std::collections::BTreeMap;

use super::*;

const STEPS: u32 = 24;
const BLOCK: u64 = 64 * KIB;
const BLOCKS: u64 = 16;

/// A byte for each block.
type Content = Vec<u8>;

#[derive(Default)]
struct Model {
    volumes: BTreeMap<String, Content>,
    snapshots: BTreeMap<String, Content>,
    epoch: u64,
    made: u32,
}

/// Numbers that are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_of<'a>(&mut self, all: impl Iterator<Item = &'a String>) -> Option<String> {
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then(|| all[usize::try_from(self.below(all.len() as u64)).unwrap()].clone())
    }
}

pub(super) async fn run(driver: &LvmDriver) {
    let mut random = Random(0x00c0_ffee);
    let mut model = Model::default();
    for _ in 0..STEPS {
        step(driver, &mut model, &mut random).await;
    }
    for (name, content) in &model.volumes {
        model.epoch += 1;
        let disk = driver.open(&place(name), &uid("bb01"), model.epoch).await.unwrap();
        shows(&disk, content, name);
        driver.close(&place(name), &uid("bb01")).await.unwrap();
        driver.delete(&place(name)).await.unwrap();
    }
    for name in model.snapshots.keys() {
        driver.delete_snapshot(&place(name)).await.unwrap();
    }
    nothing_is_left(driver, "random").await;
}

async fn step(driver: &LvmDriver, model: &mut Model, random: &mut Random) {
    model.made += 1;
    model.epoch += 1;
    let new = format!("{:04x}", model.made);
    let volume = random.one_of(model.volumes.keys());
    let snapshot = random.one_of(model.snapshots.keys());
    match (random.below(8), volume, snapshot) {
        (0, ..) | (_, None, _) => {
            driver.create(&plan(&new, BLOCKS * BLOCK, VolumeOrigin::Empty)).await.unwrap();
            model.volumes.insert(new, vec![0; usize::try_from(BLOCKS).unwrap()]);
        }
        (1, Some(volume), _) => {
            driver.begin_snapshot(&place(&volume), &uid(&new)).await.unwrap();
            model.snapshots.insert(new, model.volumes[&volume].clone());
        }
        (2, _, Some(snapshot)) => {
            driver.create(&plan(&new, 0, VolumeOrigin::Snapshot(uid(&snapshot)))).await.unwrap();
            model.volumes.insert(new, model.snapshots[&snapshot].clone());
        }
        (3, Some(volume), Some(snapshot)) => {
            driver.revert(&place(&volume), &uid(&snapshot)).await.unwrap();
            model.volumes.insert(volume, model.snapshots[&snapshot].clone());
        }
        (4, Some(volume), _) if model.volumes.len() > 3 => {
            driver.delete(&place(&volume)).await.unwrap();
            model.volumes.remove(&volume);
        }
        (5, _, Some(snapshot)) => {
            driver.delete_snapshot(&place(&snapshot)).await.unwrap();
            model.snapshots.remove(&snapshot);
        }
        (_, Some(volume), _) => {
            let disk = driver.open(&place(&volume), &uid("bb01"), model.epoch).await.unwrap();
            let content = model.volumes.get_mut(&volume).unwrap();
            let block = random.below(BLOCKS);
            let byte = u8::try_from(random.below(250)).unwrap();
            write(&disk, &[&format!("write -P {byte} {} {BLOCK}", block * BLOCK)]);
            content[usize::try_from(block).unwrap()] = byte;
            shows(&disk, content, &volume);
            driver.close(&place(&volume), &uid("bb01")).await.unwrap();
        }
    }
}

fn shows(disk: &DiskLocation, content: &Content, volume: &str) {
    let bytes = usize::try_from(BLOCK).unwrap();
    let expected: Vec<u8> = content.iter().flat_map(|byte| std::iter::repeat_n(*byte, bytes)).collect();
    assert!(super::content(disk) == expected, "volume {volume} does not show what was written");
}

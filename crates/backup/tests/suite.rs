//! Random disks, changes, lost bitmaps and deletions against a model that keeps whole disks in memory.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use async_trait::async_trait;
use backup::stream::{Head, Receiver, Sender};
use backup::{CHUNK, Error, Manifest, Place, Reader, Vault, Written, receive, remove, send};
use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;

#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Bytes>>);

#[async_trait]
impl Vault for Memory {
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        self.0.lock().insert(key.into(), bytes);
        Ok(())
    }
    async fn get(&self, key: &str) -> Result<Bytes, Error> {
        self.0.lock().get(key).cloned().ok_or_else(|| Error::Missing(key.into()))
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        Ok(self.0.lock().keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.0.lock().remove(key);
        Ok(())
    }
}

/// A disk as one byte for each chunk; 0 is zeros.
type Disk = Vec<u8>;

fn place(backup: &str) -> Place {
    Place { volume: "v".into(), backup: backup.into() }
}

/// Bytes that do not compress, the same for the same number.
fn content(seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed);
    let mut bytes = Vec::with_capacity(CHUNK);
    while bytes.len() < CHUNK {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes()[..4]);
    }
    bytes[0] = seed;
    bytes
}

/// The stream of what is told of a disk.
async fn told(disk: &Disk, base: &str, changed: impl Fn(usize) -> bool) -> Vec<u8> {
    let head = Head { size: (disk.len() * CHUNK) as u64, base: base.into(), ..Head::default() };
    let mut sender = Sender::begin(Vec::new(), &head).await.unwrap();
    for (i, byte) in disk.iter().enumerate().filter(|(i, _)| changed(*i)) {
        match byte {
            0 => sender.zeros(i as u64, 1).await.unwrap(),
            seed => sender.data(i as u64, &content(*seed)).await.unwrap(),
        }
    }
    sender.end().await.unwrap()
}

async fn keep(
    vault: &Memory,
    name: &str,
    stream: &[u8],
    base: Option<&Manifest>,
    known: Option<&Manifest>,
) -> Result<Written, Error> {
    let from = Receiver::begin(stream).await?;
    receive(vault, place(name), from, base, known).await
}

async fn restored(vault: &Memory, name: &str, written: &Written) -> Result<Disk, Error> {
    let manifest = Manifest::load(vault, &place(name), Some(written.digest)).await?;
    let mut disk = vec![0; usize::try_from(manifest.size).unwrap() / CHUNK];
    let mut reader = Reader::new(vault, "v", &manifest);
    while let Some((index, bytes)) = reader.next().await? {
        assert_eq!(content(bytes[0]), bytes);
        disk[usize::try_from(index).unwrap()] = bytes[0];
    }
    Ok(disk)
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize, u8),
    Grow,
    /// Of what changed; or, when nothing is known of that, of everything.
    Backup {
        lost: bool,
    },
    Delete(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..64_usize, 0..20_u8).prop_map(|(at, byte)| Step::Write(at * 97, byte)),
        1 => Just(Step::Grow),
        3 => any::<bool>().prop_map(|lost| Step::Backup { lost }),
        2 => (0..8_usize).prop_map(Step::Delete),
    ];
    proptest::collection::vec(step, 1..40)
}

async fn run(steps: Vec<Step>) {
    let vault = Memory::default();
    let mut disk: Disk = vec![0; 5000];
    let mut changed = vec![true; disk.len()];
    let mut kept: Vec<(String, Written, Disk)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Write(at, byte) if at < disk.len() => (disk[at], changed[at]) = (byte, true),
            Step::Grow => {
                disk.resize(disk.len() + 1000, 0);
                changed.resize(disk.len(), false);
            }
            Step::Backup { lost } => {
                let newest = match kept.last() {
                    Some((name, written, _)) => Some((
                        name.clone(),
                        Manifest::load(&vault, &place(name), Some(written.digest)).await.unwrap(),
                    )),
                    None => None,
                };
                let base = newest.as_ref().filter(|_| !lost);
                let since = base.map(|(name, _)| name.as_str()).unwrap_or_default();
                let stream =
                    told(&disk, since, |i| if base.is_some() { changed[i] } else { disk[i] != 0 }).await;
                let name = format!("b{number}");
                let known = newest.as_ref().map(|(_, manifest)| manifest);
                let base = base.map(|(_, manifest)| manifest);
                let written = keep(&vault, &name, &stream, base, known).await.unwrap();
                kept.push((name, written, disk.clone()));
                changed.fill(false);
            }
            Step::Delete(at) if at < kept.len() => {
                let (name, ..) = kept.remove(at);
                if at == kept.len() {
                    // The host's bitmap is of a backup that is gone.
                    changed.fill(true);
                }
                remove(&vault, &place(&name)).await.unwrap();
            }
            // What is not there.
            Step::Write(..) | Step::Delete(_) => {}
        }
        for (name, written, wanted) in &kept {
            assert_eq!(&restored(&vault, name, written).await.unwrap(), wanted, "{name}");
        }
    }
    for (name, ..) in kept {
        remove(&vault, &place(&name)).await.unwrap();
    }
    assert_eq!(vault.list("").await.unwrap(), Vec::<String>::new(), "something is left");
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn every_backup_stands_on_its_own(steps in steps()) {
        block_on(run(steps));
    }
}

#[tokio::test]
async fn an_increment_stores_what_changed_and_a_full_one_after_it_no_more() {
    let vault = Memory::default();
    let mut disk: Disk = (0..1000).map(|i| u8::try_from(i % 251 + 1).unwrap()).collect();
    let first = keep(&vault, "a", &told(&disk, "", |_| true).await, None, None).await.unwrap();
    assert!(first.stored > 1000 * CHUNK as u64);
    for at in (0..1000).step_by(100) {
        disk[at] = 252;
    }
    let base = Manifest::load(&vault, &place("a"), Some(first.digest)).await.unwrap();
    let stream = told(&disk, "a", |i| i % 100 == 0).await;
    let second = keep(&vault, "b", &stream, Some(&base), None).await.unwrap();
    assert!(second.stored < 13 * CHUNK as u64, "{}", second.stored);
    let stream = told(&disk, "", |_| true).await;
    let known = Manifest::load(&vault, &place("b"), Some(second.digest)).await.unwrap();
    let third = keep(&vault, "c", &stream, None, Some(&known)).await.unwrap();
    assert!(third.stored < CHUNK as u64, "a full one that finds everything stored: {}", third.stored);
    assert_eq!(restored(&vault, "c", &third).await.unwrap(), disk);
}

#[tokio::test]
async fn a_changed_byte_anywhere_is_found() {
    let vault = Memory::default();
    let disk: Disk = (0..200).map(|i| u8::try_from(i + 1).unwrap()).collect();
    let written = keep(&vault, "a", &told(&disk, "", |_| true).await, None, None).await.unwrap();
    let keys = vault.list("").await.unwrap();
    assert!(keys.len() >= 3, "{keys:?}");
    for key in keys {
        let whole = vault.get(&key).await.unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x40;
            vault.put(&key, bytes.into()).await.unwrap();
            let found = restored(&vault, "a", &written).await;
            assert!(
                matches!(found, Err(Error::Digest { .. } | Error::Damaged(_))),
                "{key} at {at}: {found:?}"
            );
        }
        vault.put(&key, whole).await.unwrap();
    }
    assert_eq!(restored(&vault, "a", &written).await.unwrap(), disk);
}

#[tokio::test]
async fn a_stream_that_is_cut_off_or_changed_is_no_backup() {
    let vault = Memory::default();
    let disk: Disk = vec![1, 0, 2, 0];
    let stream = told(&disk, "", |i| i != 3).await;
    for cut in [0, 10, stream.len() / 2, stream.len() - 33, stream.len() - 1] {
        assert!(keep(&vault, "a", &stream[..cut], None, None).await.is_err(), "{cut}");
    }
    for at in (0..stream.len()).step_by(997).chain(stream.len() - 40..stream.len()) {
        let mut changed = stream.clone();
        changed[at] ^= 1;
        assert!(keep(&vault, "a", &changed, None, None).await.is_err(), "{at}");
    }
    assert!(Manifest::load(&vault, &place("a"), None).await.is_err());
    let written = keep(&vault, "a", &stream, None, None).await.unwrap();
    let manifest = Manifest::load(&vault, &place("a"), Some(written.digest)).await.unwrap();
    let mut again = Vec::new();
    send(&vault, "v", &manifest, Head::default(), &mut again).await.unwrap();
    let elsewhere = Memory::default();
    let there = keep(&elsewhere, "a", &again, None, None).await.unwrap();
    assert_eq!(restored(&elsewhere, "a", &there).await.unwrap(), disk);
    assert_eq!(there.digest, written.digest, "the same disk, the same manifest");
}

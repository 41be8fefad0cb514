//! `kill -9` at random moments: whatever was acknowledged is there, whole; nothing is there by half.
//!
//! The writer is this very test binary, started again with the one test that writes and a directory to write to.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use store::{ListOptions, Options, Retention, Revision, SqliteStore, Store, Txn};

use crate::backend::small;

const DIRECTORY: &str = "CORTEN_TEST_CRASH_DIRECTORY";
const KILLS: usize = 200;
/// A new store after so many kills, to crash young ones too.
const KILLS_PER_STORE: usize = 25;
const TASKS: u64 = 16;
/// Each task keeps its last so many keys and deletes those before.
const KEPT: u64 = 8;

fn options() -> Options {
    small(Retention { revisions: 300, bytes: usize::MAX })
}

/// Transaction `number` of a task: two keys that belong together, the task's counter, and two deletions.
fn transaction(task: u64, number: u64) -> Txn {
    let value = format!("{number}").repeat(50);
    let txn = Txn::new()
        .put(format!("{task}/{number}/a"), value.clone())
        .put(format!("{task}/{number}/b"), value)
        .put(format!("{task}/last"), number.to_string());
    match number.checked_sub(KEPT) {
        Some(old) => txn.delete(format!("{task}/{old}/a")).delete(format!("{task}/{old}/b")),
        None => txn,
    }
}

async fn last(store: &SqliteStore, task: u64) -> Option<u64> {
    let entry = store.get(&format!("{task}/last"), None).await.unwrap()?;
    Some(std::str::from_utf8(&entry.value).unwrap().parse().unwrap())
}

/// Writes with all tasks, at most `each` transactions per task, and says what was acknowledged.
async fn write(directory: &Path, each: u64) {
    let store = Arc::new(SqliteStore::open(directory, options()).await.unwrap());
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let first = last(&store, task).await.map_or(0, |last| last + 1);
            for number in first..first.saturating_add(each) {
                let revision = store.txn(transaction(task, number)).await.unwrap();
                // On a line of its own, whatever the test runner prints beside it.
                print!("\nack {task} {number} {revision}\n");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return write(Path::new(&directory), u64::MAX).await;
    }
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 20).await;
    check(directory.path(), &BTreeMap::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let mut directory = tempfile::tempdir().unwrap();
    let mut newest = 0;
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        if kill % KILLS_PER_STORE == 0 {
            directory = tempfile::tempdir().unwrap();
            newest = 0;
        }
        let delay = Duration::from_micros(random() % 20_000);
        let acks = write_and_kill(directory.path(), delay);
        acknowledged += acks.len();
        let revision = check(directory.path(), &acks).await;
        assert!(revision >= newest, "kill {kill}: the revision went back from {newest} to {revision}");
        newest = revision;
    }
    assert!(acknowledged > KILLS, "only {acknowledged} transactions were acknowledged: nothing was tested");
}

/// Starts a writer and kills it so long after its first acknowledgement. Returns (task, number) -> revision.
fn write_and_kill(directory: &Path, delay: Duration) -> BTreeMap<(u64, u64), Revision> {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::the_writer", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(writer.stdout.take().unwrap());
    let mut acks = BTreeMap::new();
    let mut line = String::new();
    while acks.is_empty() {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the writer ended by itself");
        acks.extend(parse(&line));
    }
    std::thread::sleep(delay);
    writer.kill().unwrap();
    writer.wait().unwrap();
    loop {
        line.clear();
        if output.read_line(&mut line).unwrap() == 0 {
            return acks;
        }
        acks.extend(parse(&line));
    }
}

fn parse(line: &str) -> Option<((u64, u64), Revision)> {
    let numbers = line.strip_suffix('\n')?.strip_prefix("ack ")?;
    let mut numbers = numbers.split(' ').map(|number| number.parse().unwrap());
    Some(((numbers.next()?, numbers.next()?), numbers.next()?))
}

/// Opens the store and compares it with what was acknowledged. Returns its revision.
async fn check(directory: &Path, acks: &BTreeMap<(u64, u64), Revision>) -> Revision {
    let store = SqliteStore::open(directory, options()).await.unwrap();
    for task in 0..TASKS {
        let acked = acks.range((task, 0)..(task + 1, 0)).next_back();
        let Some(last) = last(&store, task).await else {
            assert_eq!(acked, None, "task {task} lost everything");
            continue;
        };
        if let Some(((_, number), _)) = acked {
            assert!(last >= *number, "task {task} had {number} acknowledged, but only {last} is there");
        }
        let mut expected = vec![format!("{task}/last")];
        for number in (last + 1).saturating_sub(KEPT)..=last {
            expected.extend([format!("{task}/{number}/a"), format!("{task}/{number}/b")]);
            let a = store.get(&format!("{task}/{number}/a"), None).await.unwrap().unwrap();
            let b = store.get(&format!("{task}/{number}/b"), None).await.unwrap().unwrap();
            assert_eq!(a.mod_revision, b.mod_revision, "task {task}, transaction {number} is torn");
            assert_eq!(a.value, format!("{number}").repeat(50));
            if let Some(revision) = acks.get(&(task, number)) {
                assert_eq!(a.mod_revision, *revision);
            }
        }
        let page = store.list(&format!("{task}/"), ListOptions::default()).await.unwrap();
        let mut found: Vec<_> = page.entries.iter().map(|entry| entry.key.to_string()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "task {task}: nothing deleted came back, nothing else went");
    }
    let newest = acks.values().max().copied().unwrap_or(0);
    assert!(store.revision() >= newest);
    store.revision()
}

fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

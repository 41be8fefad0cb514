//! Objects as their users see them: written, read, hidden, damaged, and after a kill.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use futures::TryStreamExt;
use objects::{
    CompletedPart, Condition, Error, ListQuery, Meta, NewUpload, Objects, Put, Record, Versioning,
    WhichVersion,
};

const BUCKET: &str = "a-bucket";
/// Where a child of the kill test writes.
const CHILD: &str = "CORTEN_OBJECTS_CHILD";

async fn store(dir: &Path) -> Objects {
    let objects = Objects::open(dir).unwrap();
    objects.create_bucket(BUCKET).await.unwrap();
    objects
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i % 251).unwrap() ^ seed).collect()
}

async fn put(
    objects: &Objects,
    key: &str,
    bytes: &[u8],
    conditions: Vec<Condition>,
) -> Result<Record, Error> {
    let mut incoming = objects.incoming();
    incoming.write(bytes.to_vec().into()).await?;
    let bytes = incoming.finish().await?;
    let (bucket, key) = (BUCKET.to_owned(), key.to_owned());
    objects.put(Put { bucket, key, bytes, meta: Meta::default(), conditions }).await
}

async fn get(objects: &Objects, key: &str, which: WhichVersion) -> Result<Vec<u8>, Error> {
    let (record, content) = objects.get(BUCKET, key, which).await?;
    let chunks: Vec<bytes::Bytes> = content.read(0..record.size).await?.try_collect().await?;
    Ok(chunks.concat())
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(dir.join("files")).unwrap().map(|f| f.unwrap().path());
    folders.flat_map(|f| std::fs::read_dir(f).unwrap().map(|e| e.unwrap().path())).collect()
}

#[tokio::test]
async fn what_is_written_is_read_whole_and_in_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let objects = store(dir.path()).await;
    for len in [0, 1, 4096, 128 << 10, (128 << 10) + 1, 1 << 20, (5 << 20) + 7] {
        let bytes = pattern(len, 0);
        put(&objects, "k", &bytes, vec![]).await.unwrap();
        assert!(get(&objects, "k", WhichVersion::Latest).await.unwrap() == bytes, "{len}");
        let (_, content) = objects.get(BUCKET, "k", WhichVersion::Latest).await.unwrap();
        let (from, to) = (len / 3, len - len / 5);
        let part: Vec<bytes::Bytes> =
            content.read(from as u64..to as u64).await.unwrap().try_collect().await.unwrap();
        assert!(part.concat() == bytes[from..to], "{len}");
    }
    objects.delete(BUCKET, "k", WhichVersion::Latest, Condition::None, false).await.unwrap();
    assert!(matches!(get(&objects, "k", WhichVersion::Latest).await, Err(Error::NoKey)));
    objects.delete_bucket(BUCKET).await.unwrap();
}

#[tokio::test]
async fn versions_stay_behind_markers_and_conditions_hold() {
    let dir = tempfile::tempdir().unwrap();
    let objects = store(dir.path()).await;
    objects.set_versioning(BUCKET, Versioning::Enabled).await.unwrap();
    let first = put(&objects, "k", b"one", vec![Condition::Absent]).await.unwrap();
    assert!(matches!(put(&objects, "k", b"x", vec![Condition::Absent]).await, Err(Error::Precondition)));
    put(&objects, "k", b"two", vec![Condition::Is(first.etag.clone())]).await.unwrap();
    let marker = objects
        .delete(BUCKET, "k", WhichVersion::Latest, Condition::None, false)
        .await
        .unwrap()
        .version
        .unwrap();
    assert!(matches!(get(&objects, "k", WhichVersion::Latest).await, Err(Error::DeleteMarker { .. })));
    assert_eq!(get(&objects, "k", WhichVersion::Id(first.version)).await.unwrap(), b"one");
    assert!(matches!(objects.delete_bucket(BUCKET).await, Err(Error::NotEmpty)));
    objects.delete(BUCKET, "k", WhichVersion::Id(marker), Condition::None, false).await.unwrap();
    assert_eq!(get(&objects, "k", WhichVersion::Latest).await.unwrap(), b"two");
}

#[tokio::test]
async fn lists_are_in_order_and_go_on_where_they_ended() {
    let dir = tempfile::tempdir().unwrap();
    let objects = store(dir.path()).await;
    for key in ["a", "b/1", "b/2", "b0", "c/x/y", "d"] {
        put(&objects, key, b"x", vec![]).await.unwrap();
    }
    let (mut seen, mut from) = (Vec::new(), String::new());
    loop {
        let query = ListQuery { delimiter: "/".into(), from, max: 2, ..ListQuery::default() };
        let page = objects.list(BUCKET, query).await.unwrap();
        let mut names: Vec<String> = page.records.into_iter().map(|r| r.key).chain(page.prefixes).collect();
        names.sort();
        seen.extend(names);
        if !page.is_truncated {
            break;
        }
        from = page.next;
    }
    assert_eq!(seen, ["a", "b/", "b0", "c/", "d"]);
}

#[tokio::test]
async fn parts_become_one_object_and_nothing_is_left_of_an_aborted_upload() {
    let dir = tempfile::tempdir().unwrap();
    let objects = store(dir.path()).await;
    let new = || NewUpload { bucket: BUCKET.into(), key: "k".into(), meta: Meta::default() };
    let (big, small) = (pattern(5 << 20, 1), pattern(100, 2));
    let id = objects.begin_upload(new()).await.unwrap();
    let mut named = Vec::new();
    for (number, bytes) in [(1, &big), (2, &small)] {
        let mut incoming = objects.incoming();
        incoming.write(bytes.clone().into()).await.unwrap();
        let staged = incoming.finish().await.unwrap();
        let part = objects.put_part((BUCKET, "k", &id), number, staged, [].into()).await.unwrap();
        named.push(CompletedPart { number, etag: part.etag });
    }
    let at = (BUCKET, "k", id.as_str());
    let record = objects.complete_upload(at, named, vec![], |meta, _| Ok(meta)).await.unwrap();
    assert!(record.etag.ends_with("-2"), "{}", record.etag);
    assert!(get(&objects, "k", WhichVersion::Latest).await.unwrap() == [big.clone(), small].concat());

    let id = objects.begin_upload(new()).await.unwrap();
    let mut incoming = objects.incoming();
    incoming.write(big.into()).await.unwrap();
    objects.put_part((BUCKET, "k", &id), 1, incoming.finish().await.unwrap(), [].into()).await.unwrap();
    objects.abort_upload(BUCKET, "k", &id).await.unwrap();
    objects.delete(BUCKET, "k", WhichVersion::Latest, Condition::None, false).await.unwrap();
    drop(objects);
    let _reopened = store(dir.path()).await;
    assert_eq!(files(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn rot_is_found_by_who_reads_and_by_the_scrub() {
    let dir = tempfile::tempdir().unwrap();
    let objects = store(dir.path()).await;
    put(&objects, "big", &pattern(3 << 20, 0), vec![]).await.unwrap();
    put(&objects, "small", b"whole", vec![]).await.unwrap();
    assert!(objects.scrub().await.unwrap().damaged.is_empty());
    let path = files(dir.path()).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[2 << 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(get(&objects, "big", WhichVersion::Latest).await, Err(Error::Damaged { .. })));
    let damaged: Vec<String> = objects.scrub().await.unwrap().damaged.into_iter().map(|d| d.key).collect();
    assert_eq!(damaged, ["big"]);
}

/// Not a test of its own: what the next one kills.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let objects = store(Path::new(&dir)).await;
    let writers = (0..8).map(|writer| {
        let objects = objects.clone();
        tokio::spawn(async move {
            for n in 0..1_000_000 {
                let key = format!("{writer}-{n}");
                let len = if n % 5 == 4 { 300 << 10 } else { 4096 };
                put(&objects, &key, &pattern(len, writer), vec![]).await.unwrap();
                println!("acknowledged {key} {writer} {len}");
            }
        })
    });
    futures::future::join_all(writers).await;
}

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    for after in [40, 150] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_writes", "--exact", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        for line in lines {
            let Ok(line) = line else { break };
            if let Some(at) = line.find("acknowledged ") {
                acknowledged.push(line[at..].to_owned());
            }
            if acknowledged.len() == after {
                // SIGKILL; what it had already said is still read.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= after);
        let objects = Objects::open(dir.path()).unwrap();
        for line in &acknowledged {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, key, writer, len] = words.as_slice() else { continue };
            let (Ok(writer), Ok(len)) = (writer.parse(), len.parse()) else { continue };
            let bytes = get(&objects, key, WhichVersion::Latest).await.unwrap();
            assert!(bytes == pattern(len, writer), "{key}");
        }
        assert!(objects.scrub().await.unwrap().damaged.is_empty());
    }
}

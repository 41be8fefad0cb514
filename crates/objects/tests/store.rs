//! Objects as their users see them: written, read, hidden, damaged, and after a kill.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use futures::{Stream, TryStreamExt};
use objects::{
    CompletedPart, Condition, Error, Key, ListQuery, Meta, NewUpload, Objects, Put, Record, Sealed, Sealing,
    Source, Versioning, WhichVersion,
};

const BUCKET: &str = "a-bucket";
const STORE_KEY: Key = Key::new([7; 32]);
/// Where a child of the kill test writes.
const CHILD: &str = "CORTEN_OBJECTS_CHILD";

async fn store(dir: &Path) -> Objects {
    let objects = Objects::open(dir, STORE_KEY).unwrap();
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
    put_sealed(objects, key, bytes, (&Sealing::Clear, conditions)).await
}

async fn put_sealed(
    objects: &Objects,
    key: &str,
    bytes: &[u8],
    (sealing, conditions): (&Sealing, Vec<Condition>),
) -> Result<Record, Error> {
    let mut incoming = objects.incoming(sealing)?;
    incoming.write(bytes.to_vec().into()).await?;
    let bytes = incoming.finish().await?;
    let (bucket, key) = (BUCKET.to_owned(), key.to_owned());
    objects.put(Put { bucket, key, bytes, meta: Meta::default(), conditions }).await
}

async fn get(objects: &Objects, key: &str, which: WhichVersion) -> Result<Vec<u8>, Error> {
    let (record, content) = objects.get(BUCKET, key, which).await?;
    all(content.read(0..record.size).await?).await
}

async fn range(
    objects: &Objects,
    key: &str,
    range: std::ops::Range<u64>,
    with: Option<&Key>,
) -> Result<Vec<u8>, Error> {
    let (_, content) = objects.get(BUCKET, key, WhichVersion::Latest).await?;
    let content = content.with_key(with.cloned());
    all(content.read(range).await?).await
}

async fn all(blocks: impl Stream<Item = Result<bytes::Bytes, Error>>) -> Result<Vec<u8>, Error> {
    Ok(blocks.try_collect::<Vec<_>>().await?.concat())
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
        let mut incoming = objects.incoming(&Sealing::Clear).unwrap();
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
    let mut incoming = objects.incoming(&Sealing::Clear).unwrap();
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

/// Both ways to seal, and the key that reading takes.
fn sealings() -> [(Sealing, Option<Key>); 2] {
    let key = Key::new([9; 32]);
    [(Sealing::Store, None), (Sealing::Customer(key.clone()), Some(key))]
}

#[tokio::test]
async fn what_is_sealed_is_read_whole_and_over_the_borders_of_blocks() {
    const BLOCK: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let objects = store(dir.path()).await;
    for (sealing, key) in sealings() {
        for len in [0, 1, 4096, 128 << 10, (128 << 10) + 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 7] {
            let bytes = pattern(len, 0);
            let record = put_sealed(&objects, "k", &bytes, (&sealing, vec![])).await.unwrap();
            assert_eq!(record.size, len as u64);
            let end = len as u64;
            let ranges = [
                0..end,
                0..1,
                BLOCK - 1..BLOCK + 1,
                BLOCK..BLOCK + 1,
                2 * BLOCK - 3..3 * BLOCK + 3,
                end - end / 5..end,
            ];
            for wanted in ranges.into_iter().filter(|range| range.end <= end) {
                let came = range(&objects, "k", wanted.clone(), key.as_ref()).await.unwrap();
                let at = usize::try_from(wanted.start).unwrap()..usize::try_from(wanted.end).unwrap();
                assert!(came == bytes[at], "{len}: {wanted:?}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_that_is_sealed_lies_on_the_disk_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let objects = store(dir.path()).await;
    let secret = b"a sentence that must not be found anywhere";
    let big: Vec<u8> = secret.iter().copied().cycle().take(2 << 20).collect();
    for (number, (sealing, _)) in sealings().into_iter().enumerate() {
        put_sealed(&objects, &format!("small-{number}"), secret, (&sealing, vec![])).await.unwrap();
        put_sealed(&objects, &format!("big-{number}"), &big, (&sealing, vec![])).await.unwrap();
    }
    let own = ["objects.db", "objects.db-wal"].map(|name| dir.path().join(name));
    let holders = files(dir.path()).into_iter().chain(own).filter(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(secret.len()).any(|window| window == secret)
    });
    assert_eq!(holders.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
    put(&objects, "clear", &big, vec![]).await.unwrap();
    let clear = files(dir.path())
        .into_iter()
        .filter(|path| std::fs::read(path).unwrap().windows(secret.len()).any(|window| window == secret));
    assert_eq!(clear.count(), 1, "what is not sealed is found by the same search");
}

#[tokio::test]
async fn a_key_of_the_writers_is_needed_and_its_digest_is_no_etag() {
    let dir = tempfile::tempdir().unwrap();
    let objects = store(dir.path()).await;
    let key = Key::new([9; 32]);
    let sealing = Sealing::Customer(key.clone());
    let clear = put(&objects, "clear", b"bytes", vec![]).await.unwrap();
    let ours = put_sealed(&objects, "ours", b"bytes", (&Sealing::Store, vec![])).await.unwrap();
    let theirs = put_sealed(&objects, "k", b"bytes", (&sealing, vec![])).await.unwrap();
    assert_eq!(ours.etag, clear.etag);
    assert_ne!(theirs.etag, clear.etag);
    let read = |with| range(&objects, "k", 0..5, with);
    assert!(matches!(read(None).await, Err(Error::Sealed)));
    let other = Key::new([8; 32]);
    assert!(matches!(read(Some(&other)).await, Err(Error::WrongKey)));
    assert_eq!(read(Some(&key)).await.unwrap(), b"bytes");
    let Sealed::Customer(proof) = theirs.meta.sealed else { panic!("{:?}", theirs.meta.sealed) };
    assert!(proof.admits(&key) && !proof.admits(&Key::new([8; 32])));

    let source = |key: &str| Source {
        bucket: BUCKET.into(),
        key: key.into(),
        which: WhichVersion::Latest,
        conditions: vec![],
    };
    let copy = |from: &str, sealing| objects.copy(source(from), BUCKET, "copy", vec![], sealing, |meta| meta);
    assert!(matches!(copy("k", &Sealing::Clear).await, Err(Error::Reseal)));
    assert!(matches!(copy("ours", &Sealing::Clear).await, Err(Error::Reseal)));
    copy("ours", &Sealing::Store).await.unwrap();
    assert_eq!(get(&objects, "copy", WhichVersion::Latest).await.unwrap(), b"bytes");

    drop(objects);
    let stranger = Objects::open(dir.path(), Key::new([1; 32])).unwrap();
    assert!(matches!(range(&stranger, "ours", 0..5, None).await, Err(Error::WrongKey)));
    assert_eq!(range(&stranger, "k", 0..5, Some(&key)).await.unwrap(), b"bytes");
    assert_eq!(range(&stranger, "clear", 0..5, None).await.unwrap(), b"bytes");
}

#[tokio::test]
async fn parts_that_are_sealed_are_read_over_their_borders() {
    let dir = tempfile::tempdir().unwrap();
    let objects = store(dir.path()).await;
    for (sealing, key) in sealings() {
        let meta = Meta { sealed: Sealed::by(&sealing).unwrap(), ..Meta::default() };
        let new = NewUpload { bucket: BUCKET.into(), key: "k".into(), meta };
        let id = objects.begin_upload(new).await.unwrap();
        let (big, small) = (pattern((5 << 20) + 5, 1), pattern(100, 2));
        let mut named = Vec::new();
        for (number, bytes) in [(1, &big), (2, &small)] {
            let mut incoming = objects.incoming(&sealing).unwrap();
            incoming.write(bytes.clone().into()).await.unwrap();
            let staged = incoming.finish().await.unwrap();
            let part = objects.put_part((BUCKET, "k", &id), number, staged, [].into()).await.unwrap();
            named.push(CompletedPart { number, etag: part.etag });
        }
        let at = (BUCKET, "k", id.as_str());
        objects.complete_upload(at, named, vec![], |meta, _| Ok(meta)).await.unwrap();
        let whole = [big, small].concat();
        let border = (5 << 20) + 5;
        for wanted in [0..whole.len(), border - 10..border + 10, border..border + 1] {
            let range = range(&objects, "k", wanted.start as u64..wanted.end as u64, key.as_ref()).await;
            assert!(range.unwrap() == whole[wanted.clone()], "{wanted:?}");
        }
    }
}

#[tokio::test]
async fn rot_of_what_is_sealed_is_found_without_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let objects = store(dir.path()).await;
    let key = Key::new([9; 32]);
    let sealing = Sealing::Customer(key.clone());
    put_sealed(&objects, "k", &pattern(3 << 20, 0), (&sealing, vec![])).await.unwrap();
    assert!(objects.scrub().await.unwrap().damaged.is_empty());
    let path = files(dir.path()).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[2 << 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(objects.scrub().await.unwrap().damaged.len(), 1);
    let read = range(&objects, "k", 0..3 << 20, Some(&key)).await;
    assert!(matches!(read, Err(Error::Damaged { .. })));
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
        let objects = Objects::open(dir.path(), STORE_KEY).unwrap();
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

//! A full disk: reads and deletions go on, and writes come back when there is room.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use store::{ListOptions, Options, Retention, SqliteStore, Store, StoreError, Txn};

/// A small disk of its own, gone when this is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(mib: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let none = None::<&str>;
        match mount(none, directory.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str())) {
            Ok(()) => Some(Self(directory)),
            Err(nix::errno::Errno::EPERM) => None,
            Err(error) => panic!("cannot mount a tmpfs: {error}"),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

const OPTIONS: Options = Options {
    retention: Retention { revisions: 1_000_000, bytes: usize::MAX },
    resumable: 10_000,
    queue: 1024,
    reserve_bytes: 2 * 1024 * 1024,
    wal_bytes: 1024 * 1024,
    sweep_rows: 4096,
};

async fn fill(store: &SqliteStore, round: usize) -> Vec<String> {
    let mut written = Vec::new();
    loop {
        let key = format!("{round}/{:05}", written.len());
        match store.txn(Txn::new().put(key.clone(), vec![7; 10_000])).await {
            Ok(_) => written.push(key),
            Err(StoreError::Full(_)) => return written,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn keys(store: &SqliteStore) -> Vec<String> {
    let page = store.list("", ListOptions::default()).await.unwrap();
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

#[tokio::test]
async fn deletions_go_on_and_writes_come_back() {
    let Some(disk) = SmallDisk::new(16) else {
        eprintln!("skipped: only root can mount a small disk");
        return;
    };
    let directory = disk.path().join("store");
    let mut store = SqliteStore::open(&directory, OPTIONS).await.unwrap();
    let mut first_fill = 0;
    for round in 0..4 {
        let written = fill(&store, round).await;
        assert_eq!(keys(&store).await, written, "what was acknowledged is there, what was not is not");
        if round == 0 {
            first_fill = written.len();
        }
        assert!(written.len() > 100 && written.len() * 2 > first_fill, "round {round}: {}", written.len());
        for key in &written {
            // As what is deleted in two steps is: marked, then removed.
            store.txn(Txn::new().put(key.as_str(), "leaves").makes_room(true)).await.unwrap();
            store.txn(Txn::new().delete(key.as_str())).await.unwrap();
        }
        assert_eq!(keys(&store).await, Vec::<String>::new());
        if round == 1 {
            let revision = store.revision();
            drop(store);
            store = SqliteStore::open(&directory, OPTIONS).await.unwrap();
            assert_eq!(store.revision(), revision);
        }
    }
}

#[tokio::test]
async fn a_full_store_opens() {
    let Some(disk) = SmallDisk::new(16) else {
        eprintln!("skipped: only root can mount a small disk");
        return;
    };
    let directory = disk.path().join("store");
    let store = SqliteStore::open(&directory, OPTIONS).await.unwrap();
    let written = fill(&store, 0).await;
    drop(store);
    // Somebody else takes what is left.
    let mut rest = std::fs::File::create(disk.path().join("rest")).unwrap();
    while std::io::Write::write_all(&mut rest, &[0; 4096]).is_ok() {}

    let store = SqliteStore::open(&directory, OPTIONS).await.unwrap();
    assert_eq!(keys(&store).await, written);
    let full = store.txn(Txn::new().put("one more", vec![7; 100_000])).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    for key in &written {
        store.txn(Txn::new().delete(key.as_str())).await.unwrap();
    }
    store.txn(Txn::new().put("one more", vec![7; 100_000])).await.unwrap();
}

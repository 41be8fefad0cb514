//! The backends under test. A new one is a function here and one more line in `conformance`.

use std::sync::Arc;

use store::{MemoryStore, Options, Retention, SqliteStore, Store};

pub(crate) struct Bed {
    pub(crate) store: Arc<dyn Store>,
    _directory: Option<tempfile::TempDir>,
}

/// Enough that no test is compacted by surprise.
pub(crate) const ALL: Retention = Retention { revisions: 1_000_000, bytes: usize::MAX };

// Asynchronous like every other backend's.
#[allow(clippy::unused_async)]
pub(crate) async fn memory(retention: Retention) -> Bed {
    Bed { store: Arc::new(MemoryStore::with_retention(retention)), _directory: None }
}

pub(crate) async fn sqlite(retention: Retention) -> Bed {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path(), small(retention)).await.unwrap();
    Bed { store: Arc::new(store), _directory: Some(directory) }
}

/// Options that make the rare things (write-back of the WAL, sweeping) happen within a test.
pub(crate) fn small(retention: Retention) -> Options {
    Options {
        retention,
        reserve_bytes: 64 * 1024,
        wal_bytes: 128 * 1024,
        sweep_rows: 50,
        ..Options::default()
    }
}

//! The database's tables and settings.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::types::Error;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS bucket (
        id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT UNIQUE NOT NULL, versioning INTEGER NOT NULL,
        settings TEXT NOT NULL);
    -- The newest version of a key has the least age.
    CREATE TABLE IF NOT EXISTS version (
        bucket INTEGER NOT NULL, key TEXT NOT NULL, age INTEGER NOT NULL, id TEXT NOT NULL,
        marker INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, modified INTEGER NOT NULL,
        meta TEXT NOT NULL, pieces TEXT NOT NULL, PRIMARY KEY (bucket, key, age)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS small (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS file (id TEXT PRIMARY KEY, uses INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS upload (
        id TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key TEXT NOT NULL, started INTEGER NOT NULL,
        meta TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS upload_of ON upload (bucket, key);
    CREATE TABLE IF NOT EXISTS part (
        upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
        modified INTEGER NOT NULL, checksums TEXT NOT NULL, pieces TEXT NOT NULL,
        PRIMARY KEY (upload, number)) WITHOUT ROWID;
    PRAGMA user_version = 1;";

const PAGE_BYTES: i64 = 8192;
/// 32 MiB of log before its pages are written back: bursts of small objects are written once and in order.
const CHECKPOINT_PAGES: i64 = 4096;
/// Layouts after this one are of a newer Corten.
const FORMAT: i64 = 1;
const BUSY: Duration = Duration::from_secs(10);

pub(crate) fn open_writer(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // An acknowledged write is on the disk, also when the power fails.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    let format: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    if format > FORMAT {
        let newer = format!("{} was written by a newer Corten (format {format})", path.display());
        return Err(Error::Disk(std::io::Error::other(newer)));
    }
    connection.execute_batch(TABLES)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

pub(crate) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

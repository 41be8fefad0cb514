//! The database's tables and how a write becomes a row. Every row carries a checksum over all of it.
//!
//! The log is keyed by position (revision, place), so writes only ever append; superseded rows are removed later,
//! in bulk. A row without value is a deletion.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use crate::index::{Position, Write};
use crate::{Entry, LeaseId, Revision};

/// The layout below. A change that an older version could not read raises it and migrates.
pub(super) const FORMAT: i64 = 1;

/// Rows of about 1 KiB fill these better than smaller pages, and a batch has fewer of them.
pub(super) const PAGE_BYTES: usize = 8192;

const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_ms INTEGER NOT NULL);
    CREATE TABLE log (
        position INTEGER PRIMARY KEY,
        sum INTEGER NOT NULL,
        created INTEGER NOT NULL,
        lease INTEGER,
        key TEXT NOT NULL,
        value BLOB
    );";

/// Names of rows in `meta`.
pub(super) mod meta {
    pub(crate) const FORMAT: &str = "format";
    pub(crate) const CLUSTER: &str = "cluster";
    /// Rows up to this revision may be incomplete: only what they leave behind counts.
    pub(crate) const COMPACTED: &str = "compacted";
    pub(crate) const LAST_LEASE: &str = "last_lease";
}

/// Settings that a database keeps from its first page on.
pub(super) fn prepare_file(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES.cast_signed() as i64)?;
    // Gives space back to a full disk; see `sweep`.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")
}

pub(super) fn create(connection: &mut Connection, cluster: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    {
        let mut insert = transaction.prepare("INSERT INTO meta VALUES (?, ?)")?;
        insert.execute(params![meta::FORMAT, FORMAT])?;
        insert.execute(params![meta::CLUSTER, cluster])?;
        insert.execute(params![meta::COMPACTED, 0])?;
        insert.execute(params![meta::LAST_LEASE, 0])?;
    }
    transaction.commit()
}

/// Has anything been written here yet?
pub(super) fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", (), |row| row.get(0))
}

pub(super) fn get_meta<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<T>> {
    connection.query_row("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0)).optional()
}

pub(super) fn set_meta(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached("UPDATE meta SET value = ? WHERE name = ?")?;
    update.execute(params![signed(value), name]).map(drop)
}

/// From now on rows up to `revision` may be missing.
pub(super) fn raise_compacted(connection: &Connection, revision: Revision) -> rusqlite::Result<()> {
    let mut update =
        connection.prepare_cached("UPDATE meta SET value = ?1 WHERE name = ?2 AND value < ?1")?;
    update.execute(params![signed(revision), meta::COMPACTED]).map(drop)
}

pub(super) const INSERT: &str =
    "INSERT INTO log (position, sum, created, lease, key, value) VALUES (?, ?, ?, ?, ?, ?)";

pub(super) const SELECT_RANGE: &str = "SELECT position, sum, created, lease, key, value FROM log
    WHERE position >= ? AND position < ? ORDER BY position";

pub(super) fn insert(statement: &mut Statement<'_>, write: &Write) -> rusqlite::Result<()> {
    let position = signed(write.position.raw());
    let sum = checksum(&Fields::of(write));
    statement.raw_bind_parameter(1, position)?;
    statement.raw_bind_parameter(2, sum)?;
    let entry = write.entry.as_deref();
    statement.raw_bind_parameter(3, entry.map_or(0, |entry| signed(entry.create_revision)))?;
    statement.raw_bind_parameter(4, entry.and_then(|entry| entry.lease).map(signed))?;
    statement.raw_bind_parameter(6, entry.map(|entry| &entry.value[..]))?;
    statement.raw_bind_parameter(5, &*write.key)?;
    statement.raw_execute().map(drop)
}

/// Reads a row back, or says what is wrong with it.
pub(super) fn decode(row: &Row<'_>, values: &mut Values) -> Result<Write, String> {
    let position = Position::from_raw(unsigned(row.get(0).map_err(|error| format!("a row: {error}"))?));
    let name = |what: &str| format!("row {} (revision {}) {what}", position.raw(), position.revision());
    let broken = |error: rusqlite::Error| name(&format!("cannot be read ({error})"));

    let sum: u32 = row.get(1).map_err(broken)?;
    let created = unsigned(row.get(2).map_err(broken)?);
    let lease = row.get::<_, Option<i64>>(3).map_err(broken)?.map(unsigned);
    let key = row.get_ref(4).map_err(broken)?.as_str().map_err(|error| broken(error.into()))?;
    let value = match row.get_ref(5).map_err(broken)? {
        ValueRef::Null => None,
        ValueRef::Blob(value) => Some(value),
        _ => return Err(name("has a value that is no blob")),
    };
    if checksum(&Fields { position, created, lease, key, value }) != sum {
        return Err(name(&format!("of key {key:?} does not match its checksum")));
    }
    let key: Arc<str> = key.into();
    let entry = value.map(|value| Entry {
        key: Arc::clone(&key),
        value: values.copy(value),
        create_revision: created,
        mod_revision: position.revision(),
        lease,
    });
    Ok(Write { key, position, entry: entry.map(Arc::new) })
}

/// Memory for loaded values, asked for in large pieces: that many small ones would take longer than all the rest
/// of opening. A piece is given back when its last value is; they were last written at about the same time, so the
/// short-lived ones share pieces.
#[derive(Debug, Default)]
pub(super) struct Values {
    piece: BytesMut,
    pieces: usize,
}

impl Values {
    const PIECE: usize = 256 * 1024;
    /// From here on the store is a large one, and what costs most is the first touch of every page.
    const LARGE_AFTER: usize = 8;
    const LARGE_PIECE: usize = 8 * 1024 * 1024;
    const OWN_PIECE: usize = 16 * 1024;

    fn copy(&mut self, value: &[u8]) -> Bytes {
        if value.len() >= Self::OWN_PIECE {
            return Bytes::copy_from_slice(value);
        }
        if self.piece.capacity() < value.len() {
            self.pieces += 1;
            let is_large = self.pieces > Self::LARGE_AFTER;
            self.piece = BytesMut::with_capacity(if is_large { Self::LARGE_PIECE } else { Self::PIECE });
            if is_large {
                sys::memory::prefer_huge_pages(self.piece.spare_capacity_mut());
            }
        }
        self.piece.extend_from_slice(value);
        self.piece.split().freeze()
    }
}

struct Fields<'a> {
    position: Position,
    created: Revision,
    lease: Option<LeaseId>,
    key: &'a str,
    value: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn of(write: &'a Write) -> Self {
        let entry = write.entry.as_deref();
        Self {
            position: write.position,
            created: entry.map_or(0, |entry| entry.create_revision),
            lease: entry.and_then(|entry| entry.lease),
            key: &write.key,
            value: entry.map(|entry| &entry.value[..]),
        }
    }
}

fn checksum(fields: &Fields<'_>) -> u32 {
    let mut head = [0; 33];
    head[..8].copy_from_slice(&fields.position.raw().to_le_bytes());
    head[8..16].copy_from_slice(&fields.created.to_le_bytes());
    head[16..24].copy_from_slice(&fields.lease.unwrap_or(0).to_le_bytes());
    head[24..32].copy_from_slice(&(fields.key.len() as u64).to_le_bytes());
    head[32] = u8::from(fields.value.is_some());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    hasher.update(fields.key.as_bytes());
    hasher.update(fields.value.unwrap_or_default());
    hasher.finalize()
}

/// SQLite's integers are signed; ours stay far below 2^63, but the bits survive either way.
pub(super) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

pub(super) fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

//! Rows of versions, and the bytes they name.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::database::Freed;
use crate::types::{Error, Piece, Place, Record, Versioning, WhichVersion};

/// The id of a version that was written without versioning.
pub(crate) const NULL: &str = "null";

/// A bucket's own number and its versioning.
pub(crate) fn bucket(connection: &Connection, uid: &str) -> Result<(i64, Versioning), Error> {
    connection
        .prepare_cached("SELECT id, versioning FROM bucket WHERE uid = ?")?
        .query_row([uid], |row| Ok((row.get(0)?, Versioning::from_code(row.get(1)?))))
        .optional()?
        .ok_or(Error::NoBucket)
}

const COLUMNS: &str = "key, id, marker, size, etag, modified, meta, pieces, age";

fn record(row: &Row<'_>) -> Result<(Record, i64), Error> {
    let (meta, pieces): (String, String) = (row.get(6)?, row.get(7)?);
    let record = Record {
        key: row.get(0)?,
        version: row.get(1)?,
        is_latest: false,
        is_marker: row.get(2)?,
        size: row.get::<_, i64>(3)?.unsigned_abs(),
        etag: row.get(4)?,
        modified_ms: row.get(5)?,
        meta: serde_json::from_str(&meta)?,
        pieces: serde_json::from_str(&pieces)?,
    };
    Ok((record, row.get(8)?))
}

/// A version with its age, if there is one.
pub(crate) fn find(
    connection: &Connection,
    bucket: i64,
    key: &str,
    which: &WhichVersion,
) -> Result<Option<(Record, i64)>, Error> {
    let newest = format!("SELECT {COLUMNS} FROM version WHERE bucket = ? AND key = ? ORDER BY age LIMIT 1");
    let mut statement = connection.prepare_cached(&newest)?;
    let mut rows = statement.query(params![bucket, key])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (mut newest, age) = record(row)?;
    newest.is_latest = true;
    match which {
        WhichVersion::Latest => Ok(Some((newest, age))),
        WhichVersion::Id(id) if *id == newest.version => Ok(Some((newest, age))),
        WhichVersion::Id(id) => {
            let one = format!("SELECT {COLUMNS} FROM version WHERE bucket = ? AND key = ? AND id = ?");
            let mut statement = connection.prepare_cached(&one)?;
            let mut rows = statement.query(params![bucket, key, id])?;
            rows.next()?.map(record).transpose()
        }
    }
}

/// Makes a version the newest one of its key.
pub(crate) fn insert(connection: &Connection, bucket: i64, record: &Record) -> Result<(), Error> {
    let age: i64 = connection
        .prepare_cached("SELECT coalesce(min(age), 0) - 1 FROM version WHERE bucket = ? AND key = ?")?
        .query_row(params![bucket, record.key], |row| row.get(0))?;
    connection
        .prepare_cached("INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            bucket,
            record.key,
            age,
            record.version,
            record.is_marker,
            record.size.cast_signed(),
            record.etag,
            record.modified_ms,
            serde_json::to_string(&record.meta)?,
            serde_json::to_string(&record.pieces)?,
        ])
        .map(drop)
        .map_err(Error::from)
}

/// Takes a version away, with its bytes.
pub(crate) fn remove(
    connection: &Connection,
    freed: &mut Freed,
    bucket: i64,
    record: &Record,
    age: i64,
) -> Result<(), Error> {
    release(connection, freed, &record.pieces)?;
    connection
        .prepare_cached("DELETE FROM version WHERE bucket = ? AND key = ? AND age = ?")?
        .execute(params![bucket, record.key, age])?;
    Ok(())
}

/// Adds a user to bytes; those in the database are copied.
pub(crate) fn share(connection: &Connection, pieces: &[Piece]) -> Result<Vec<Piece>, Error> {
    let mut shared = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let place = match &piece.place {
            Place::File(id) => {
                connection.prepare_cached("UPDATE file SET uses = uses + 1 WHERE id = ?")?.execute([id])?;
                piece.place.clone()
            }
            Place::Small(id) => {
                connection
                    .prepare_cached("INSERT INTO small (data) SELECT data FROM small WHERE id = ?")?
                    .execute([id])?;
                Place::Small(connection.last_insert_rowid())
            }
        };
        shared.push(Piece { place, ..piece.clone() });
    }
    Ok(shared)
}

/// Takes a user away from bytes; those that nobody uses go.
pub(crate) fn release(connection: &Connection, freed: &mut Freed, pieces: &[Piece]) -> Result<(), Error> {
    for piece in pieces {
        match &piece.place {
            Place::Small(id) => {
                connection.prepare_cached("DELETE FROM small WHERE id = ?")?.execute([id])?;
            }
            Place::File(id) => {
                connection.prepare_cached("UPDATE file SET uses = uses - 1 WHERE id = ?")?.execute([id])?;
                let gone = connection
                    .prepare_cached("DELETE FROM file WHERE id = ? AND uses <= 0")?
                    .execute([id])?;
                if gone > 0 {
                    freed.files.push(id.clone());
                }
            }
        }
    }
    Ok(())
}

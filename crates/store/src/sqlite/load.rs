//! Opening: checks what is in the directory and builds the index from the log, on two threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::time::Instant;

use super::OpenError;
use super::directory::{self, Directory};
use super::layout::{self, meta};
use crate::index::{Index, Position, Write};
use crate::lease::Leases;
use crate::{LeaseId, Revision};

/// The log is read in so many pieces of equal span, by as many threads as pay.
const PIECES: usize = 16;
const THREADS: usize = 2;
/// Reading goes through a mapping, so that a page is copied once.
const MAPPED_BYTES: i64 = 1 << 36;

pub(super) struct Loaded {
    pub(super) database: Database,
    pub(super) index: Index,
    pub(super) leases: Leases,
    pub(super) garbage: VecDeque<Position>,
    pub(super) cluster: String,
}

/// The open database. The lock is given up after the connection is closed.
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) directory: Directory,
}

pub(super) fn load(directory: Directory, now: Instant) -> Result<Loaded, OpenError> {
    let fail = Failure { directory: &directory };
    let connection = open(&directory)?;
    let cluster = check_format(&directory, &connection)?;
    let compacted = required(&fail, &connection, meta::COMPACTED)?;
    let leases = load_leases(&fail, &connection, now)?;
    let pieces = read_log(&fail, &directory, &connection)?;
    let (index, leases, garbage) = build(&fail, compacted, leases, pieces)?;
    tracing::debug!(revision = index.revision(), keys = index.len(), "store loaded");
    Ok(Loaded { database: Database { connection, directory }, index, leases, garbage, cluster })
}

fn open(directory: &Directory) -> Result<Connection, OpenError> {
    let fail = Failure { directory };
    let path = directory.database();
    let file = directory::open_private(&path);
    file.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    let mut connection = connect(&path).map_err(|error| fail.database(error))?;
    if layout::is_empty(&connection).map_err(|error| fail.database(error))? {
        let cluster = uuid::Uuid::new_v4().to_string();
        layout::prepare_file(&connection).map_err(|error| fail.database(error))?;
        configure(&connection).map_err(|error| fail.database(error))?;
        layout::create(&mut connection, &cluster).map_err(|error| fail.database(error))?;
        directory.sync()?;
    }
    configure(&connection).map_err(|error| fail.database(error))?;
    Ok(connection)
}

fn connect(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Written back by the writer itself, after it has answered; see `Writer::checkpoint`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // Pages are written once and seldom read again: a small cache, exceeded only by a large batch.
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.pragma_update(None, "cache_spill", false)
}

fn check_format(directory: &Directory, connection: &Connection) -> Result<String, OpenError> {
    let path = directory.path().to_owned();
    let fail = Failure { directory };
    let found = match layout::get_meta::<i64>(connection, meta::FORMAT) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(OpenError::Foreign { path, why: "it names no format".to_owned() }),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
            return Err(OpenError::Foreign { path, why: error.to_string() });
        }
        Err(error) => return Err(fail.database(error)),
    };
    if found > layout::FORMAT {
        return Err(OpenError::Newer { path, found, known: layout::FORMAT });
    }
    required(&fail, connection, meta::CLUSTER)
}

fn required<T: FromMeta>(fail: &Failure<'_>, connection: &Connection, name: &str) -> Result<T, OpenError> {
    let found = layout::get_meta::<T::Stored>(connection, name).map_err(|error| fail.database(error))?;
    found.map(T::from_stored).ok_or_else(|| fail.damaged(format!("{name} is missing in its meta table")))
}

/// What a meta row can hold.
trait FromMeta {
    type Stored: rusqlite::types::FromSql;
    fn from_stored(stored: Self::Stored) -> Self;
}

impl FromMeta for u64 {
    type Stored = i64;
    fn from_stored(stored: i64) -> Self {
        layout::unsigned(stored)
    }
}

impl FromMeta for String {
    type Stored = String;
    fn from_stored(stored: String) -> Self {
        stored
    }
}

fn load_leases(fail: &Failure<'_>, connection: &Connection, now: Instant) -> Result<Leases, OpenError> {
    let mut leases = Leases::default();
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = connection.prepare("SELECT id, ttl_ms FROM lease")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let lease: LeaseId = layout::unsigned(row.get(0)?);
            leases.grant(lease, Duration::from_millis(layout::unsigned(row.get(1)?)), now);
        }
        Ok(())
    };
    read().map_err(|error| fail.database(error))?;
    leases.skip_to(required(fail, connection, meta::LAST_LEASE)?);
    Ok(leases)
}

/// All rows, in order, in pieces.
fn read_log(
    fail: &Failure<'_>,
    directory: &Directory,
    connection: &Connection,
) -> Result<Vec<Vec<Write>>, OpenError> {
    let span = "SELECT coalesce(min(position), 0), coalesce(max(position), 0) FROM log";
    let (first, last) = connection
        .query_row(span, (), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .map_err(|error| fail.database(error))?;
    let step = (last - first) / PIECES.cast_signed() as i64 + 1;
    let start_of = |piece: usize| first + step * piece.cast_signed() as i64;

    let next = AtomicUsize::new(0);
    let path = directory.database();
    let work = || -> Result<Vec<(usize, Vec<Write>)>, OpenError> {
        let connection = connect(&path).map_err(|error| fail.database(error))?;
        connection.pragma_update(None, "mmap_size", MAPPED_BYTES).map_err(|error| fail.database(error))?;
        let mut done = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= PIECES {
                return Ok(done);
            }
            done.push((piece, read_piece(fail, &connection, start_of(piece), start_of(piece + 1))?));
        }
    };
    let mut pieces = std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS).map(|_| scope.spawn(work)).collect();
        let mut pieces = work()?;
        for other in others {
            let more = other.join().map_err(|_| OpenError::Loading("a reader panicked".to_owned()))?;
            pieces.extend(more?);
        }
        Ok::<_, OpenError>(pieces)
    })?;
    pieces.sort_unstable_by_key(|(piece, _)| *piece);
    Ok(pieces.into_iter().map(|(_, writes)| writes).collect())
}

fn read_piece(
    fail: &Failure<'_>,
    connection: &Connection,
    from: i64,
    until: i64,
) -> Result<Vec<Write>, OpenError> {
    let mut statement =
        connection.prepare_cached(layout::SELECT_RANGE).map_err(|error| fail.database(error))?;
    let mut rows = statement.query([from, until]).map_err(|error| fail.database(error))?;
    let mut writes = Vec::new();
    while let Some(row) = rows.next().map_err(|error| fail.database(error))? {
        writes.push(layout::decode(row).map_err(|what| fail.damaged(what))?);
    }
    Ok(writes)
}

fn build(
    fail: &Failure<'_>,
    compacted: Revision,
    mut leases: Leases,
    pieces: Vec<Vec<Write>>,
) -> Result<(Index, Leases, VecDeque<Position>), OpenError> {
    let mut index = Index::starting_at(compacted);
    let mut garbage = Vec::new();
    let mut commit: Vec<Write> = Vec::new();
    let finish = |index: &mut Index, commit: &mut Vec<Write>| -> Result<(), OpenError> {
        let Some(first) = commit.first() else { return Ok(()) };
        let revision = first.position.revision();
        let expected = index.revision() + 1;
        if revision != expected {
            return Err(fail.damaged(format!("revision {expected} is missing")));
        }
        index.apply(std::mem::take(commit));
        Ok(())
    };
    for write in pieces.into_iter().flatten() {
        if write.position.revision() <= compacted {
            index.restore(write, &mut garbage);
            continue;
        }
        if commit.first().is_some_and(|first| first.position.revision() != write.position.revision()) {
            finish(&mut index, &mut commit)?;
        }
        commit.push(write);
    }
    finish(&mut index, &mut commit)?;
    for entry in index.entries() {
        if let Some(lease) = entry.lease {
            leases.attach(lease, std::sync::Arc::clone(&entry.key));
        }
    }
    Ok((index, leases, garbage.into()))
}

/// Turns what went wrong into an error that names the store.
#[derive(Clone, Copy)]
struct Failure<'a> {
    directory: &'a Directory,
}

impl Failure<'_> {
    fn damaged(&self, what: String) -> OpenError {
        OpenError::Damaged { path: self.directory.path().to_owned(), what }
    }

    fn database(&self, source: rusqlite::Error) -> OpenError {
        let path = self.directory.database();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => self.damaged(source.to_string()),
            Some(ErrorCode::NotADatabase) => OpenError::Foreign { path, why: source.to_string() },
            _ => OpenError::Database { path, source },
        }
    }
}

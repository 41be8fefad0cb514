//! Opening: checks what is in the directory and builds the index from the log, on two threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::time::Instant;

use super::directory::{self, Directory};
use super::layout::{self, meta};
use super::{OpenError, Options, reserve};
use crate::LeaseId;
use crate::index::{Index, LogSpan, Position, Write};
use crate::lease::Leases;

/// The log is read in so many pieces of equal span, by as many threads as pay.
const PIECES: i64 = 16;
const THREADS: usize = 2;
/// Reading goes through a mapping, so that a page is copied once.
const MAPPED_BYTES: i64 = 1 << 30;

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

pub(super) fn load(directory: Directory, options: Options, now: Instant) -> Result<Loaded, OpenError> {
    let connection = match open(&directory) {
        // Even reading needs a little shared memory on the same disk.
        Err(error) if lacks_room(&error) && reserve::give_back(&directory.reserve()).is_ok() => {
            open(&directory)?
        }
        opened => opened?,
    };
    let cluster = check_format(&directory, &connection)?;
    let compacted = layout::unsigned(required(&directory, &connection, meta::COMPACTED)?);
    let mut leases = load_leases(&directory, &connection, now)?;
    let rows = positions(&directory, &connection)?;
    let runs = read_log(&directory, rows)?;
    let newest = compacted.max(Position::from_raw(layout::unsigned(rows.last)).revision());
    let span = LogSpan { compacted, newest, history: options.resumable };
    let (index, garbage) = Index::from_log(span, runs)
        .map_err(|missing| directory.damaged(format!("revision {missing} is missing")))?;
    leases.attach_all(index.entries());
    tracing::debug!(revision = index.revision(), keys = index.len(), "store loaded");
    Ok(Loaded {
        database: Database { connection, directory },
        index,
        leases,
        garbage: garbage.into(),
        cluster,
    })
}

fn open(directory: &Directory) -> Result<Connection, OpenError> {
    let path = directory.database();
    let file = directory::open_private(&path);
    file.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    let mut connection = connect(&path).map_err(|error| directory.fault(error))?;
    if layout::is_empty(&connection).map_err(|error| directory.fault(error))? {
        let cluster = uuid::Uuid::new_v4().to_string();
        layout::prepare_file(&connection).map_err(|error| directory.fault(error))?;
        configure(&connection).map_err(|error| directory.fault(error))?;
        layout::create(&mut connection, &cluster).map_err(|error| directory.fault(error))?;
        directory.sync()?;
    }
    configure(&connection).map_err(|error| directory.fault(error))?;
    Ok(connection)
}

fn lacks_room(error: &OpenError) -> bool {
    let OpenError::Database { source, .. } = error else { return false };
    source.sqlite_error().is_some_and(|error| {
        error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE || error.code == ErrorCode::DiskFull
    })
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
    let found = match layout::get_meta::<i64>(connection, meta::FORMAT) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(OpenError::Foreign { path, why: "it names no format".to_owned() }),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
            return Err(OpenError::Foreign { path, why: error.to_string() });
        }
        Err(error) => return Err(directory.fault(error)),
    };
    if found > layout::FORMAT {
        return Err(OpenError::Newer { path, found, known: layout::FORMAT });
    }
    required(directory, connection, meta::CLUSTER)
}

fn required<T: FromSql>(directory: &Directory, connection: &Connection, name: &str) -> Result<T, OpenError> {
    let found = layout::get_meta(connection, name).map_err(|error| directory.fault(error))?;
    found.ok_or_else(|| directory.damaged(format!("{name} is missing in its meta table")))
}

fn load_leases(directory: &Directory, connection: &Connection, now: Instant) -> Result<Leases, OpenError> {
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
    read().map_err(|error| directory.fault(error))?;
    leases.skip_to(layout::unsigned(required(directory, connection, meta::LAST_LEASE)?));
    Ok(leases)
}

#[derive(Clone, Copy)]
struct Rows {
    first: i64,
    last: i64,
}

fn positions(directory: &Directory, connection: &Connection) -> Result<Rows, OpenError> {
    // Two queries in one: SQLite looks up a lone minimum or maximum, but scans the table for both.
    let span = "SELECT coalesce((SELECT min(position) FROM log), 0),
                       coalesce((SELECT max(position) FROM log), 0)";
    let found = connection.query_row(span, (), |row| Ok(Rows { first: row.get(0)?, last: row.get(1)? }));
    found.map_err(|error| directory.fault(error))
}

/// All rows, one run of them from each thread, each sorted by key and position.
fn read_log(directory: &Directory, Rows { first, last }: Rows) -> Result<Vec<Vec<Write>>, OpenError> {
    let step = (last - first) / PIECES + 1;
    let next = AtomicI64::new(0);
    let path = directory.database();
    let read_run = || -> Result<Vec<Write>, OpenError> {
        let connection = connect(&path).map_err(|error| directory.fault(error))?;
        connection.pragma_update(None, "mmap_size", MAPPED_BYTES).map_err(|error| directory.fault(error))?;
        let mut values = layout::Values::default();
        let mut run = Vec::new();
        loop {
            let from = first + step * next.fetch_add(1, Ordering::Relaxed);
            if from > last {
                break;
            }
            read_piece(directory, &connection, [from, from + step], &mut values, &mut run)?;
        }
        run.sort_unstable_by(Write::by_key);
        Ok(run)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS).map(|_| scope.spawn(read_run)).collect();
        let mut runs = vec![read_run()?];
        for other in others {
            runs.push(other.join().map_err(|_| OpenError::Loading("a reader panicked".to_owned()))??);
        }
        Ok(runs)
    })
}

fn read_piece(
    directory: &Directory,
    connection: &Connection,
    span: [i64; 2],
    values: &mut layout::Values,
    run: &mut Vec<Write>,
) -> Result<(), OpenError> {
    let mut statement =
        connection.prepare_cached(layout::SELECT_RANGE).map_err(|error| directory.fault(error))?;
    let mut rows = statement.query(span).map_err(|error| directory.fault(error))?;
    while let Some(row) = rows.next().map_err(|error| directory.fault(error))? {
        run.push(layout::decode(row, values).map_err(|what| directory.damaged(what))?);
    }
    Ok(())
}

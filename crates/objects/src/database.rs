//! The database's two doors: one writer that commits what many ask for together, and readers beside it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::incoming::Guard;
use crate::schema;
use crate::types::Error;

/// Most changes of one commit.
const GROUP_MAX: usize = 256;
/// Changes that may wait for the writer; more have to wait for their turn to wait.
const QUEUE_MAX: usize = 4096;
/// Connections that are kept for reading.
const READERS_KEPT: usize = 16;

/// What changes leave to be done once they are committed.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    /// Files that nothing names any more.
    pub(crate) files: Vec<String>,
    /// Files that are named from now on.
    pub(crate) placed: Vec<Guard>,
}

type Answer = Box<dyn FnOnce(Result<(), String>) + Send>;
type Job = Box<dyn FnOnce(&Connection, &mut Freed) -> Answer + Send>;

#[derive(Clone)]
pub(crate) struct Database {
    jobs: mpsc::SyncSender<Job>,
    readers: Arc<Mutex<Vec<Connection>>>,
    path: Arc<PathBuf>,
}

impl Database {
    /// `unlink` removes files that nothing names any more.
    pub(crate) fn open(path: &Path, unlink: impl Fn(&str) + Send + 'static) -> Result<Self, Error> {
        let writer = schema::open_writer(path)?;
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE_MAX);
        thread::Builder::new().name("objects-writer".into()).spawn(move || run(&writer, &queue, unlink))?;
        Ok(Self { jobs, readers: Arc::default(), path: Arc::new(path.to_owned()) })
    }

    /// Makes a change, whole or not at all. It is on the disk when this returns.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection, &mut Freed) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let mut job: Job = Box::new(move |connection, freed| {
            let result = in_savepoint(connection, freed, change);
            Box::new(move |committed| {
                let committed = committed.map_err(|e| Error::Disk(std::io::Error::other(e)));
                // Nobody waits any more when the caller has gone; the change stands all the same.
                let _ = answer.send(committed.and(result));
            })
        });
        loop {
            match self.jobs.try_send(job) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(Error::Closed),
                Err(mpsc::TrySendError::Full(back)) => {
                    job = back;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
        }
        answered.await.map_err(|_| Error::Closed)?
    }

    /// Reads from one state of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let database = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let kept = database.readers.lock().pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => schema::open_reader(&database.path)?,
            };
            let result = {
                let transaction = connection.transaction()?;
                query(&transaction)
            };
            let mut readers = database.readers.lock();
            if readers.len() < READERS_KEPT {
                readers.push(connection);
            }
            result
        });
        task.await.map_err(|_| Error::Closed)?
    }
}

fn run(writer: &Connection, queue: &mpsc::Receiver<Job>, unlink: impl Fn(&str)) {
    while let Ok(first) = queue.recv() {
        let mut freed = Freed::default();
        let begun = writer.execute_batch("BEGIN IMMEDIATE");
        let mut answers = vec![first(writer, &mut freed)];
        while answers.len() < GROUP_MAX {
            let Ok(job) = queue.try_recv() else { break };
            answers.push(job(writer, &mut freed));
        }
        let committed = begun.and_then(|()| writer.execute_batch("COMMIT")).map_err(|e| e.to_string());
        if let Err(e) = &committed {
            tracing::error!(error = e, "a group of changes to objects was not written");
            // Already over when the commit itself ended it.
            let _ = writer.execute_batch("ROLLBACK");
        }
        // Also when the commit failed: whether it reached the disk is known only at the next start, which sweeps.
        freed.placed.into_iter().for_each(Guard::keep);
        for answer in answers {
            answer(committed.clone());
        }
        if committed.is_ok() {
            freed.files.iter().for_each(|file| unlink(file));
        }
    }
}

/// One change of a group fails alone.
fn in_savepoint<T>(
    connection: &Connection,
    freed: &mut Freed,
    change: impl FnOnce(&Connection, &mut Freed) -> Result<T, Error>,
) -> Result<T, Error> {
    let (files, placed) = (freed.files.len(), freed.placed.len());
    connection.prepare_cached("SAVEPOINT job")?.execute(())?;
    let result = change(connection, freed);
    if result.is_err() {
        freed.files.truncate(files);
        freed.placed.truncate(placed);
        connection.prepare_cached("ROLLBACK TO job")?.execute(())?;
    }
    connection.prepare_cached("RELEASE job")?.execute(())?;
    result
}

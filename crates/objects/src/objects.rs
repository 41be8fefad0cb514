//! The store itself: opening it, buckets, and writing, reading and deleting objects.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use rusqlite::params;

use crate::database::Database;
use crate::incoming::{Incoming, Staged, path_of};
use crate::rows;
use crate::seal::{Key, Sealing};
use crate::types::{Bucket, Condition, Error, Lock, Meta, Record, Versioning, WhichVersion, now_ms};

/// Versions of a bucket that go in one change, so that others need not wait long.
const PURGED_AT_ONCE: i64 = 200;

/// Objects below one directory. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    pub(crate) database: Database,
    /// Where files lie.
    pub(crate) files: Arc<std::path::PathBuf>,
    /// What seals where nobody brings a key.
    pub(crate) key: Arc<Key>,
    /// Held for as long as the store is open, so that no second one opens it.
    _lock: Arc<File>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("files", &self.files).finish_non_exhaustive()
    }
}

/// What is to be written.
#[derive(Debug)]
pub struct Put {
    pub bucket: String,
    pub key: String,
    pub bytes: Staged,
    pub meta: Meta,
    /// All must hold.
    pub conditions: Vec<Condition>,
}

/// What a deletion did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// The version that is gone, or the marker that was made.
    pub version: Option<String>,
    pub is_marker: bool,
}

impl Objects {
    /// Opens the store of a directory, made if need be. What a crash left half made goes. What was sealed with `key` is
    /// lost without it.
    pub fn open(directory: &Path, key: Key) -> Result<Self, Error> {
        let files = directory.join("files");
        for n in 0..=255_u8 {
            fs::create_dir_all(files.join(format!("{n:02x}")))?;
        }
        for made in [files.as_path(), directory] {
            File::open(made)?.sync_all()?;
        }
        let lock = File::create(directory.join("lock"))?;
        if lock.try_lock().is_err() {
            return Err(Error::InUse(directory.display().to_string()));
        }
        let files = Arc::new(files);
        let below = Arc::clone(&files);
        let database = Database::open(&directory.join("objects.db"), move |id| {
            if let Err(e) = fs::remove_file(path_of(&below, id)) {
                tracing::warn!(file = id, error = %e, "bytes of no object were not removed; the next start does");
            }
        })?;
        let named = crate::schema::open_reader(&directory.join("objects.db"))?;
        sweep(&named, &files)?;
        Ok(Self { database, files, key: Arc::new(key), _lock: Arc::new(lock) })
    }

    /// An object that is going to come.
    pub fn incoming(&self, sealing: &Sealing) -> Result<Incoming, Error> {
        Incoming::new(Arc::clone(&self.files), sealing, &self.key)
    }

    /// Makes a bucket; one that exists stays as it is.
    pub async fn create_bucket(&self, uid: &str) -> Result<(), Error> {
        let uid = uid.to_owned();
        self.database
            .write(move |c, _| {
                c.execute(
                    "INSERT OR IGNORE INTO bucket (uid, versioning, settings) VALUES (?, 0, '{}')",
                    [uid],
                )?;
                Ok(())
            })
            .await
    }

    pub async fn bucket(&self, uid: &str) -> Result<Bucket, Error> {
        let uid = uid.to_owned();
        self.database
            .read(move |c| {
                let (id, versioning) = rows::bucket(c, &uid)?;
                let settings: String =
                    c.query_row("SELECT settings FROM bucket WHERE id = ?", [id], |row| row.get(0))?;
                Ok(Bucket { versioning, settings: serde_json::from_str(&settings)? })
            })
            .await
    }

    pub async fn set_versioning(&self, uid: &str, versioning: Versioning) -> Result<(), Error> {
        let uid = uid.to_owned();
        self.database
            .write(move |c, _| {
                let (id, _) = rows::bucket(c, &uid)?;
                c.execute("UPDATE bucket SET versioning = ? WHERE id = ?", params![versioning.code(), id])?;
                Ok(())
            })
            .await
    }

    /// Keeps a document with a bucket, or takes it away.
    pub async fn set(&self, uid: &str, name: &'static str, document: Option<String>) -> Result<(), Error> {
        let uid = uid.to_owned();
        self.database
            .write(move |c, _| {
                let (id, _) = rows::bucket(c, &uid)?;
                let text: String =
                    c.query_row("SELECT settings FROM bucket WHERE id = ?", [id], |row| row.get(0))?;
                let mut settings: BTreeMap<String, String> = serde_json::from_str(&text)?;
                match document {
                    Some(document) => settings.insert(name.to_owned(), document),
                    None => settings.remove(name),
                };
                let text = serde_json::to_string(&settings)?;
                c.execute("UPDATE bucket SET settings = ? WHERE id = ?", params![text, id])?;
                Ok(())
            })
            .await
    }

    /// Removes a bucket in which there is nothing.
    pub async fn delete_bucket(&self, uid: &str) -> Result<(), Error> {
        let uid = uid.to_owned();
        self.database
            .write(move |c, freed| {
                let (id, _) = rows::bucket(c, &uid)?;
                let any = "SELECT EXISTS (SELECT 1 FROM version WHERE bucket = ?)";
                if c.query_row(any, [id], |row| row.get::<_, bool>(0))? {
                    return Err(Error::NotEmpty);
                }
                crate::multipart::abort_all(c, freed, id)?;
                c.execute("DELETE FROM bucket WHERE id = ?", [id])?;
                Ok(())
            })
            .await
    }

    /// Removes a bucket with all that lies in it.
    pub async fn purge_bucket(&self, uid: &str) -> Result<(), Error> {
        loop {
            let uid = uid.to_owned();
            let gone = self.database.write(move |c, freed| purge_some(c, freed, &uid)).await;
            match gone {
                Ok(false) => {}
                Ok(true) | Err(Error::NoBucket) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// All buckets there are.
    pub async fn buckets(&self) -> Result<Vec<String>, Error> {
        self.database
            .read(|c| {
                let mut statement = c.prepare_cached("SELECT uid FROM bucket")?;
                let uids = statement.query_map((), |row| row.get(0))?;
                Ok(uids.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Writes an object. When this returns it is on the disk, and is what its key names.
    pub async fn put(&self, put: Put) -> Result<Record, Error> {
        self.database
            .write(move |c, freed| {
                let (bucket, versioning) = rows::bucket(c, &put.bucket)?;
                let record = Record {
                    key: put.key,
                    size: put.bytes.size,
                    etag: put.bytes.etag(),
                    modified_ms: now_ms(),
                    meta: Meta { sealed: put.bytes.sealed.clone(), ..put.meta },
                    pieces: put.bytes.place(c, freed)?,
                    ..Record::default()
                };
                write_version(c, freed, bucket, versioning, record, &put.conditions)
            })
            .await
    }

    /// What is known of a version. A delete marker is an error that says so.
    pub async fn head(&self, bucket: &str, key: &str, which: WhichVersion) -> Result<Record, Error> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.database
            .read(move |c| {
                let (bucket, _) = rows::bucket(c, &bucket)?;
                found(rows::find(c, bucket, &key, &which)?, &which).map(|(record, _)| record)
            })
            .await
    }

    /// Deletes a version, or hides the object behind a marker, as the bucket's versioning has it.
    pub async fn delete(
        &self,
        bucket: &str,
        key: &str,
        which: WhichVersion,
        condition: Condition,
        bypass: bool,
    ) -> Result<Deleted, Error> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.database
            .write(move |c, freed| {
                let (bucket, versioning) = rows::bucket(c, &bucket)?;
                let found = rows::find(c, bucket, &key, &which)?;
                condition.check(found.as_ref().map(|(record, _)| record))?;
                if let WhichVersion::Id(id) = &which {
                    // Deleting what is gone is no error.
                    let Some((record, age)) = found else {
                        return Ok(Deleted { version: Some(id.clone()), is_marker: false });
                    };
                    unlocked(&record, bypass)?;
                    rows::remove(c, freed, bucket, &record, age)?;
                    return Ok(Deleted { version: Some(record.version), is_marker: record.is_marker });
                }
                if versioning == Versioning::Off {
                    if let Some((record, age)) = found {
                        unlocked(&record, bypass)?;
                        rows::remove(c, freed, bucket, &record, age)?;
                    }
                    return Ok(Deleted::default());
                }
                let marker = Record { key, is_marker: true, modified_ms: now_ms(), ..Record::default() };
                let marker = write_version(c, freed, bucket, versioning, marker, &[])?;
                Ok(Deleted { version: Some(marker.version), is_marker: true })
            })
            .await
    }

    /// Changes what is kept of a version beside its bytes.
    pub async fn change_meta(
        &self,
        bucket: &str,
        key: &str,
        which: WhichVersion,
        change: impl FnOnce(&mut Meta) -> Result<(), Error> + Send + 'static,
    ) -> Result<Record, Error> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.database
            .write(move |c, _| {
                let (bucket, _) = rows::bucket(c, &bucket)?;
                let (mut record, age) = found(rows::find(c, bucket, &key, &which)?, &which)?;
                change(&mut record.meta)?;
                c.prepare_cached("UPDATE version SET meta = ? WHERE bucket = ? AND key = ? AND age = ?")?
                    .execute(params![serde_json::to_string(&record.meta)?, bucket, record.key, age])?;
                Ok(record)
            })
            .await
    }

    /// Sets what keeps a version. Compliance is only ever made longer; governance takes `bypass` to make shorter.
    pub async fn set_lock(
        &self,
        bucket: &str,
        key: &str,
        which: WhichVersion,
        lock: impl FnOnce(&Lock) -> Lock + Send + 'static,
        bypass: bool,
    ) -> Result<(), Error> {
        let change = move |meta: &mut Meta| {
            let new = lock(&meta.lock);
            let old = Lock { legal_hold: false, ..meta.lock.clone() };
            let weaker = new.until_ms < old.until_ms || (new.mode != old.mode && new.mode != "COMPLIANCE");
            if weaker && old.holds(now_ms(), bypass) {
                return Err(Error::Locked);
            }
            meta.lock = new;
            Ok(())
        };
        self.change_meta(bucket, key, which, change).await.map(drop)
    }
}

pub(crate) fn found(found: Option<(Record, i64)>, which: &WhichVersion) -> Result<(Record, i64), Error> {
    match found {
        None if *which == WhichVersion::Latest => Err(Error::NoKey),
        None => Err(Error::NoVersion),
        Some((record, _)) if record.is_marker => Err(Error::DeleteMarker { version: record.version }),
        Some(found) => Ok(found),
    }
}

fn unlocked(record: &Record, bypass: bool) -> Result<(), Error> {
    if record.meta.lock.holds(now_ms(), bypass) { Err(Error::Locked) } else { Ok(()) }
}

/// Writes a version as the bucket's versioning has it: beside those there are, or in the place of the unnamed one.
pub(crate) fn write_version(
    c: &rusqlite::Connection,
    freed: &mut crate::database::Freed,
    bucket: i64,
    versioning: Versioning,
    mut record: Record,
    conditions: &[Condition],
) -> Result<Record, Error> {
    if !conditions.is_empty() {
        let current = rows::find(c, bucket, &record.key, &WhichVersion::Latest)?;
        for condition in conditions {
            condition.check(current.as_ref().map(|(record, _)| record))?;
        }
    }
    record.version = if versioning == Versioning::Enabled {
        uuid::Uuid::new_v4().simple().to_string()
    } else {
        let null = WhichVersion::Id(rows::NULL.to_owned());
        if let Some((old, age)) = rows::find(c, bucket, &record.key, &null)? {
            unlocked(&old, false)?;
            rows::remove(c, freed, bucket, &old, age)?;
        }
        rows::NULL.to_owned()
    };
    rows::insert(c, bucket, &record)?;
    record.is_latest = true;
    Ok(record)
}

/// Removes some of what lies in a bucket, and the bucket once it is empty; true then.
fn purge_some(
    c: &rusqlite::Connection,
    freed: &mut crate::database::Freed,
    uid: &str,
) -> Result<bool, Error> {
    let (id, _) = rows::bucket(c, uid)?;
    let mut statement = c.prepare_cached("SELECT key, id FROM version WHERE bucket = ? LIMIT ?")?;
    let some = statement.query_map(params![id, PURGED_AT_ONCE], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let some: Vec<(String, String)> = some.collect::<Result<_, _>>()?;
    for (key, version) in &some {
        if let Some((record, age)) = rows::find(c, id, key, &WhichVersion::Id(version.clone()))? {
            rows::remove(c, freed, id, &record, age)?;
        }
    }
    if !some.is_empty() {
        return Ok(false);
    }
    crate::multipart::abort_all(c, freed, id)?;
    c.execute("DELETE FROM bucket WHERE id = ?", [id])?;
    Ok(true)
}

/// Removes files that no row names.
fn sweep(connection: &rusqlite::Connection, files: &Path) -> Result<(), Error> {
    let mut statement = connection.prepare("SELECT id FROM file")?;
    let named: HashSet<String> = statement.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
    for folder in fs::read_dir(files)? {
        for entry in fs::read_dir(folder?.path())? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| named.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

//! The store's directory: who may use it, and what its files are called.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::OpenError;

/// A directory that this process alone has open, until this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Makes the directory if there is none and locks it. The lock goes with the process, however that ends.
    pub(super) fn claim(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let lock = open_private(&path.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join("store.db")
    }

    pub(super) fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    pub(super) fn damaged(&self, what: String) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), what }
    }

    /// What SQLite found, in the store's own terms.
    pub(super) fn fault(&self, source: rusqlite::Error) -> OpenError {
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => self.damaged(source.to_string()),
            Some(ErrorCode::NotADatabase) => {
                OpenError::Foreign { path: self.path.clone(), why: source.to_string() }
            }
            _ => OpenError::Database { path: self.database(), source },
        }
    }

    /// Makes the names of new files survive a power loss.
    pub(super) fn sync(&self) -> Result<(), OpenError> {
        let io = |source| OpenError::Io { path: self.path.clone(), source };
        File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(io)?;
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                File::open(parent).and_then(|directory| directory.sync_all()).map_err(io)
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Directory {
    /// Closing alone does not unlock while a child that was just forked still has the file, too.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the store's lock cannot be given up");
        }
    }
}

/// Opens for reading and writing; a new file is the owner's alone, as it may hold secrets.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

//! Why a store does not open. A store that is damaged is never opened in part.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by another process; stop that one first", .0.display())]
    InUse(PathBuf),
    #[error(
        "{} was written by a newer version (format {found}, this one knows up to {known}); use that version",
        .path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} is not a store: {why}", .path.display())]
    Foreign { path: PathBuf, why: String },
    #[error("{} is damaged: {what}; restore it from a backup", .path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("cannot use {}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("cannot open the database {}", .path.display())]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error("the store could not be loaded: {0}")]
    Loading(String),
}

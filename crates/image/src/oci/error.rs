//! Why an image was not taken.

use std::io;
use std::path::Path;

use crate::digest::Digest;

#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// Not an image in any form that is read here.
    #[error(
        "{0} is neither an OCI layout nor a `docker save` tar: it has no index.json and no manifest.json"
    )]
    NotAnImage(String),
    /// The image contradicts itself or its format.
    #[error("{what}: {why}")]
    Corrupt { what: String, why: String },
    #[error("{what} has sha256 {found}, but {expected} was declared; get the image again")]
    WrongDigest { what: String, expected: Digest, found: Digest },
    #[error("{what} is over the limit of {limit}")]
    TooLarge { what: String, limit: u64 },
    /// An entry of a layer that no honest tool writes.
    #[error("layer entry {entry:?} is refused: {why}")]
    Hostile { entry: String, why: &'static str },
    /// More than one image, or none, fits what was asked for.
    #[error("{0}")]
    Choice(String),
    #[error("registry {host}: {why}")]
    Registry { host: String, why: String },
}

impl OciError {
    pub(crate) fn corrupt(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Corrupt { what: what.into(), why: why.to_string() }
    }

    pub(crate) fn hostile(entry: &[u8], why: &'static str) -> Self {
        Self::Hostile { entry: String::from_utf8_lossy(&entry[..entry.len().min(200)]).into_owned(), why }
    }

    pub(crate) fn too_large(what: impl Into<String>, limit: u64) -> Self {
        Self::TooLarge { what: what.into(), limit }
    }
}

/// For `map_err`: an I/O error with what was done.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> OciError {
    let what = what.into();
    move |source| OciError::Io { what, source }
}

pub(crate) fn at(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> OciError {
    io(format!("{verb} {}", path.display()))
}

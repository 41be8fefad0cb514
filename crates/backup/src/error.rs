//! What can be wrong with a backup.

use image::Digest;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is stored is not what was stored.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    #[error("the backup is damaged: {what} has the digest {found}, but must have {wanted}")]
    Digest { what: String, wanted: Digest, found: Digest },
    #[error("the backup's store has nothing under {0:?}")]
    Missing(String),
    #[error("the backup's store failed: {0}")]
    Store(String),
    /// The sender's own words.
    #[error("{0}")]
    Sender(String),
    #[error("this is no stream of a backup: {0}")]
    Stream(String),
    #[error("the stream of the backup was cut off: {0}")]
    CutOff(std::io::Error),
}

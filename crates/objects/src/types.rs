//! The words: buckets, versions, what is kept of an object, and what can go wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::seal::{Seal, Sealed};

/// Bytes of one block, over which a checksum is kept.
pub(crate) const BLOCK: usize = 1 << 20;
/// Objects of at most so many bytes lie in the database, where many of them share one fsync.
pub(crate) const SMALL_MAX: usize = 128 << 10;

/// Names of buckets that are the cloud's own, and no bucket of anybody, begin so.
pub const OWN: &str = "corten-";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such bucket")]
    NoBucket,
    #[error("there is no such object")]
    NoKey,
    #[error("there is no such version")]
    NoVersion,
    #[error("there is no such upload")]
    NoUpload,
    #[error("the bucket is not empty")]
    NotEmpty,
    #[error("the condition does not hold")]
    Precondition,
    #[error("the newest version is a delete marker")]
    DeleteMarker { version: String },
    #[error("the version is locked until its retention ends")]
    Locked,
    #[error("part {0} was not uploaded, or is another one by now")]
    InvalidPart(u32),
    #[error("the checksum {0} does not match what was received")]
    Checksum(String),
    #[error("parts must be listed in ascending order")]
    PartOrder,
    #[error("part {0} is smaller than 5 MiB and not the last one")]
    PartTooSmall(u32),
    #[error("what is stored of {key:?} is damaged: {what}")]
    Damaged { key: String, what: String },
    #[error("the object store's database failed: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the object store's disk failed: {0}")]
    Disk(#[from] std::io::Error),
    #[error("{0} is in use by another process")]
    InUse(String),
    #[error("the object store is closed")]
    Closed,
    #[error("the object is sealed with a key that only its writer has; give it")]
    Sealed,
    #[error("the object was sealed with another key")]
    WrongKey,
    #[error("the copy is to be sealed in another way than its source: its bytes have to be written anew")]
    Reseal,
    #[error("the system's cipher or its random numbers failed")]
    Cipher,
    #[error("a row cannot be read: {0}")]
    Row(#[from] serde_json::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versioning {
    #[default]
    Off,
    Enabled,
    Suspended,
}

impl Versioning {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Off => 0,
            Self::Enabled => 1,
            Self::Suspended => 2,
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Enabled,
            2 => Self::Suspended,
            _ => Self::Off,
        }
    }
}

/// A bucket as it is here. Who it belongs to is not said here.
#[derive(Debug, Clone, Default)]
pub struct Bucket {
    pub versioning: Versioning,
    /// Documents by name, kept as they were given.
    pub settings: BTreeMap<String, String>,
}

/// What is kept of an object beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Headers that are given back as they came, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub user: BTreeMap<String, String>,
    /// Base64 by the algorithm's name in lower case.
    pub checksums: BTreeMap<String, String>,
    /// Whether those are of the parts' checksums and not of the bytes.
    pub is_composite: bool,
    /// The checksum that an upload's parts come with; empty where its uploader did not choose.
    pub algorithm: String,
    pub tags: Vec<(String, String)>,
    /// Of how many parts it was made; 0 for one that came whole.
    pub parts: u32,
    /// What is known of each of them, in order.
    pub part_list: Vec<PartMeta>,
    pub lock: Lock,
    /// How the bytes are kept.
    #[serde(skip_serializing_if = "Sealed::is_clear")]
    pub sealed: Sealed,
}

/// A part of an object that was uploaded in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartMeta {
    pub number: u32,
    pub size: u64,
    pub checksums: BTreeMap<String, String>,
}

/// What keeps a version from being removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lock {
    /// `GOVERNANCE` or `COMPLIANCE`; empty without retention.
    pub mode: String,
    pub until_ms: i64,
    pub legal_hold: bool,
}

impl Lock {
    /// Whether it holds at this time. `bypass` lifts governance, and nothing else.
    pub fn holds(&self, now_ms: i64, bypass: bool) -> bool {
        let retained = !self.mode.is_empty() && now_ms < self.until_ms;
        self.legal_hold || (retained && !(bypass && self.mode == "GOVERNANCE"))
    }
}

/// A version of an object, or a delete marker.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub key: String,
    /// `null` for one that was written without versioning.
    pub version: String,
    pub is_latest: bool,
    pub is_marker: bool,
    pub size: u64,
    pub etag: String,
    pub modified_ms: i64,
    pub meta: Meta,
    pub(crate) pieces: Vec<Piece>,
}

/// Which version is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichVersion {
    Latest,
    Id(String),
}

impl From<Option<String>> for WhichVersion {
    fn from(id: Option<String>) -> Self {
        id.map_or(Self::Latest, Self::Id)
    }
}

/// What must be so in the moment of writing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    #[default]
    None,
    /// There is no such object.
    Absent,
    /// There is one.
    Present,
    /// Its ETag is this one.
    Is(String),
    IsNot(String),
    /// It was not written after this time; both are compared in whole seconds, as HTTP has them.
    NotAfter(i64),
    After(i64),
}

impl Condition {
    /// Whether it holds for what there is.
    pub fn check(&self, current: Option<&Record>) -> Result<(), Error> {
        let current = current.filter(|record| !record.is_marker);
        let etag = current.map(|record| record.etag.as_str());
        let seconds = current.map(|record| record.modified_ms.div_euclid(1000));
        match (self, etag) {
            (Self::Present | Self::Is(_), None) => Err(Error::NoKey),
            (Self::NotAfter(ms), Some(_)) if seconds > Some(ms.div_euclid(1000)) => Err(Error::Precondition),
            (Self::After(ms), Some(_)) if seconds <= Some(ms.div_euclid(1000)) => Err(Error::Precondition),
            (Self::Absent, Some(_)) => Err(Error::Precondition),
            (Self::Is(wanted), Some(etag)) if wanted != etag => Err(Error::Precondition),
            (Self::IsNot(unwanted), Some(etag)) if unwanted == etag => Err(Error::Precondition),
            _ => Ok(()),
        }
    }
}

/// A run of bytes that lies in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) place: Place,
    /// Bytes of the object; sealed, each block is longer.
    pub(crate) len: u64,
    /// CRC-64/NVME of each block, as it lies on the disk.
    pub(crate) sums: Vec<u64>,
    /// What its blocks are sealed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seal: Option<Seal>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    File(String),
    /// A row of `small`.
    Small(i64),
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn sum(block: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, block)
}

//! Uploads in parts. Parts are kept as they came; completing one only names them in order.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use rusqlite::{Connection, OptionalExtension, params};

use crate::database::Freed;
use crate::incoming::{Staged, hex};
use crate::objects::{Objects, found, write_version};
use crate::rows;
use crate::seal::Sealed;
use crate::types::{Condition, Error, Meta, PartMeta, Piece, Record, now_ms};

/// Least bytes of a part that is not the last.
const PART_MIN: u64 = 5 << 20;
#[derive(Debug, Clone)]
pub struct NewUpload {
    pub bucket: String,
    pub key: String,
    pub meta: Meta,
}

#[derive(Debug, Clone)]
pub struct Upload {
    pub id: String,
    pub key: String,
    pub started_ms: i64,
    pub meta: Meta,
}

/// Which uploads are listed: those of keys with a prefix, after a key or after one upload of it.
#[derive(Debug, Clone, Default)]
pub struct UploadQuery {
    pub prefix: String,
    pub after_key: Option<String>,
    pub after_id: Option<String>,
    pub max: usize,
}

#[derive(Debug, Clone)]
pub struct Part {
    pub number: u32,
    pub size: u64,
    pub etag: String,
    pub modified_ms: i64,
    pub checksums: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default)]
pub struct PartsPage {
    pub parts: Vec<Part>,
    pub is_truncated: bool,
}

/// A part as its uploader names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    pub number: u32,
    /// Empty: whichever was uploaded.
    pub etag: String,
}

impl Objects {
    pub async fn begin_upload(&self, new: NewUpload) -> Result<String, Error> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let given = id.clone();
        self.database
            .write(move |c, _| {
                let (bucket, _) = rows::bucket(c, &new.bucket)?;
                let meta = serde_json::to_string(&new.meta)?;
                c.prepare_cached("INSERT INTO upload VALUES (?, ?, ?, ?, ?)")?.execute(params![
                    id,
                    bucket,
                    new.key,
                    now_ms(),
                    meta
                ])?;
                Ok(())
            })
            .await?;
        Ok(given)
    }

    pub async fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, Error> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.database
            .read(move |c| {
                let (bucket, _) = rows::bucket(c, &bucket)?;
                upload(c, bucket, &key, &id)
            })
            .await
    }

    /// Keeps a part; one of the same number gives way.
    pub async fn put_part(
        &self,
        (bucket, key, id): (&str, &str, &str),
        number: u32,
        bytes: Staged,
        checksums: BTreeMap<String, String>,
    ) -> Result<Part, Error> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.database
            .write(move |c, freed| {
                let (bucket, _) = rows::bucket(c, &bucket)?;
                upload(c, bucket, &key, &id)?;
                let (size, etag) = (bytes.size, bytes.etag());
                let pieces = bytes.place(c, freed)?;
                let part = Part { number, size, etag, modified_ms: now_ms(), checksums };
                write_part(c, freed, &id, &part, &pieces)?;
                Ok(part)
            })
            .await
    }

    /// Parts after a number, in order.
    pub async fn parts(
        &self,
        (bucket, key, id): (&str, &str, &str),
        after: u32,
        max: usize,
    ) -> Result<PartsPage, Error> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.database
            .read(move |c| {
                let (bucket, _) = rows::bucket(c, &bucket)?;
                upload(c, bucket, &key, &id)?;
                let all = all_parts(c, &id)?;
                let mut parts: Vec<Part> =
                    all.into_iter().map(|(part, _)| part).filter(|part| part.number > after).collect();
                let is_truncated = parts.len() > max;
                parts.truncate(max);
                Ok(PartsPage { parts, is_truncated })
            })
            .await
    }

    /// Unfinished uploads, in the order of keys and then of ids.
    pub async fn uploads(&self, bucket: &str, query: UploadQuery) -> Result<Vec<Upload>, Error> {
        let bucket = bucket.to_owned();
        self.database
            .read(move |c| {
                let (bucket, _) = rows::bucket(c, &bucket)?;
                let after = query.after_key.unwrap_or_default();
                // Without an id everything of the key has been listed: no id is greater than this one.
                let after_id = query.after_id.unwrap_or_else(|| "~".to_owned());
                let mut statement = c.prepare_cached(
                    "SELECT id, key, started, meta FROM upload
                     WHERE bucket = ? AND key >= ? AND (key, id) > (?, ?) ORDER BY key, id LIMIT ?",
                )?;
                let max = i64::try_from(query.max).unwrap_or(i64::MAX);
                let mut rows = statement.query(params![bucket, query.prefix, after, after_id, max])?;
                let mut uploads = Vec::new();
                while let Some(row) = rows.next()? {
                    let upload = read_upload(row)?;
                    if !upload.key.starts_with(&query.prefix) {
                        break;
                    }
                    uploads.push(upload);
                }
                Ok(uploads)
            })
            .await
    }

    /// Makes the object of the parts that are named. `meta` gives what is kept of it.
    pub async fn complete_upload(
        &self,
        (bucket, key, id): (&str, &str, &str),
        named: Vec<CompletedPart>,
        conditions: Vec<Condition>,
        meta: impl FnOnce(Meta, &[Part]) -> Result<Meta, Error> + Send + 'static,
    ) -> Result<Record, Error> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.database
            .write(move |c, freed| {
                let (bucket, versioning) = rows::bucket(c, &bucket)?;
                let upload = upload(c, bucket, &key, &id)?;
                let (chosen, others) = choose(all_parts(c, &id)?, &named)?;
                for (_, pieces) in &others {
                    rows::release(c, freed, pieces)?;
                }
                let (parts, pieces): (Vec<Part>, Vec<Vec<Piece>>) = chosen.into_iter().unzip();
                let record = Record {
                    key,
                    size: parts.iter().map(|part| part.size).sum(),
                    etag: etag(&parts),
                    modified_ms: now_ms(),
                    meta: Meta {
                        parts: u32::try_from(parts.len()).unwrap_or(u32::MAX),
                        part_list: parts.iter().map(part_meta).collect(),
                        ..meta(upload.meta, &parts)?
                    },
                    pieces: pieces.concat(),
                    ..Record::default()
                };
                forget(c, &id)?;
                write_version(c, freed, bucket, versioning, record, &conditions)
            })
            .await
    }

    pub async fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), Error> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.database
            .write(move |c, freed| {
                let (bucket, _) = rows::bucket(c, &bucket)?;
                upload(c, bucket, &key, &id)?;
                abort(c, freed, &id)
            })
            .await
    }

    /// Makes a whole version a part, without copying it.
    pub async fn copy_part(
        &self,
        source: crate::Source,
        (bucket, key, id): (&str, &str, &str),
        number: u32,
    ) -> Result<Part, Error> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.database
            .write(move |c, freed| {
                let (from, _) = rows::bucket(c, &source.bucket)?;
                let (old, _) = found(rows::find(c, from, &source.key, &source.which)?, &source.which)?;
                let (bucket, _) = rows::bucket(c, &bucket)?;
                let upload = upload(c, bucket, &key, &id)?;
                let is_shared = upload.meta.sealed == old.meta.sealed;
                if !is_shared || matches!(old.meta.sealed, Sealed::Customer(_)) {
                    return Err(Error::Reseal);
                }
                let pieces = rows::share(c, &old.pieces)?;
                let etag = old.etag.get(..32).unwrap_or_default().to_owned();
                // What is said of the parts of a version is not said of its bytes.
                let checksums =
                    if old.meta.is_composite { BTreeMap::new() } else { old.meta.checksums.clone() };
                let part = Part { number, size: old.size, etag, modified_ms: now_ms(), checksums };
                write_part(c, freed, &id, &part, &pieces)?;
                Ok(part)
            })
            .await
    }
}

pub(crate) fn abort_all(c: &Connection, freed: &mut Freed, bucket: i64) -> Result<(), Error> {
    let mut statement = c.prepare_cached("SELECT id FROM upload WHERE bucket = ?")?;
    let ids: Vec<String> = statement.query_map([bucket], |row| row.get(0))?.collect::<Result<_, _>>()?;
    ids.iter().try_for_each(|id| abort(c, freed, id))
}

fn abort(c: &Connection, freed: &mut Freed, id: &str) -> Result<(), Error> {
    for (_, pieces) in all_parts(c, id)? {
        rows::release(c, freed, &pieces)?;
    }
    forget(c, id)
}

fn part_meta(part: &Part) -> PartMeta {
    PartMeta { number: part.number, size: part.size, checksums: part.checksums.clone() }
}

fn forget(c: &Connection, id: &str) -> Result<(), Error> {
    c.prepare_cached("DELETE FROM part WHERE upload = ?")?.execute([id])?;
    c.prepare_cached("DELETE FROM upload WHERE id = ?")?.execute([id])?;
    Ok(())
}

fn read_upload(row: &rusqlite::Row<'_>) -> Result<Upload, Error> {
    let meta: String = row.get(3)?;
    Ok(Upload {
        id: row.get(0)?,
        key: row.get(1)?,
        started_ms: row.get(2)?,
        meta: serde_json::from_str(&meta)?,
    })
}

fn upload(c: &Connection, bucket: i64, key: &str, id: &str) -> Result<Upload, Error> {
    let mut statement = c.prepare_cached(
        "SELECT id, key, started, meta FROM upload WHERE id = ? AND bucket = ? AND key = ?",
    )?;
    let mut rows = statement.query(params![id, bucket, key])?;
    rows.next()?.map(read_upload).transpose()?.ok_or(Error::NoUpload)
}

fn write_part(
    c: &Connection,
    freed: &mut Freed,
    id: &str,
    part: &Part,
    pieces: &[Piece],
) -> Result<(), Error> {
    let old: Option<String> = c
        .prepare_cached("SELECT pieces FROM part WHERE upload = ? AND number = ?")?
        .query_row(params![id, part.number], |row| row.get(0))
        .optional()?;
    if let Some(old) = old {
        rows::release(c, freed, &serde_json::from_str::<Vec<Piece>>(&old)?)?;
    }
    c.prepare_cached("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?, ?)")?.execute(params![
        id,
        part.number,
        part.size.cast_signed(),
        part.etag,
        part.modified_ms,
        serde_json::to_string(&part.checksums)?,
        serde_json::to_string(pieces)?,
    ])?;
    Ok(())
}

fn all_parts(c: &Connection, id: &str) -> Result<Vec<(Part, Vec<Piece>)>, Error> {
    let mut statement = c.prepare_cached(
        "SELECT number, size, etag, modified, checksums, pieces FROM part WHERE upload = ? ORDER BY number",
    )?;
    let mut rows = statement.query([id])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        let (checksums, pieces): (String, String) = (row.get(4)?, row.get(5)?);
        let part = Part {
            number: row.get(0)?,
            size: row.get::<_, i64>(1)?.unsigned_abs(),
            etag: row.get(2)?,
            modified_ms: row.get(3)?,
            checksums: serde_json::from_str(&checksums)?,
        };
        parts.push((part, serde_json::from_str(&pieces)?));
    }
    Ok(parts)
}

type Parts = Vec<(Part, Vec<Piece>)>;

/// The parts that are named, and those that are not.
fn choose(all: Parts, named: &[CompletedPart]) -> Result<(Parts, Parts), Error> {
    if !named.windows(2).all(|pair| pair[0].number < pair[1].number) {
        return Err(Error::PartOrder);
    }
    let (chosen, others): (Parts, Parts) =
        all.into_iter().partition(|(part, _)| named.iter().any(|name| name.number == part.number));
    for name in named {
        let part = chosen.iter().find(|(part, _)| part.number == name.number);
        if !part.is_some_and(|(part, _)| name.etag.is_empty() || name.etag == part.etag) {
            return Err(Error::InvalidPart(name.number));
        }
    }
    let small = chosen.iter().rev().skip(1).find(|(part, _)| part.size < PART_MIN);
    match small {
        Some((part, _)) => Err(Error::PartTooSmall(part.number)),
        None if chosen.is_empty() => Err(Error::InvalidPart(1)),
        None => Ok((chosen, others)),
    }
}

/// As AWS makes it: of the parts' digests, and how many they are.
fn etag(parts: &[Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        let digits = part.etag.as_bytes().chunks_exact(2);
        let bytes = digits.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        md5.update(bytes.collect::<Vec<u8>>());
    }
    format!("{}-{}", hex(&md5.finalize()), parts.len())
}

//! Reading everything to see whether it is as it was written.

use std::sync::Arc;

use rusqlite::params;

use crate::objects::Objects;
use crate::read;
use crate::types::{Error, Piece};

/// Versions that are looked up at once.
const PAGE: i64 = 64;

#[derive(Debug, Clone, Default)]
pub struct Scrubbed {
    pub versions: u64,
    pub bytes: u64,
    pub damaged: Vec<Damage>,
}

#[derive(Debug, Clone)]
pub struct Damage {
    /// The bucket's uid.
    pub bucket: String,
    pub key: String,
    pub version: String,
    pub what: String,
}

struct Row {
    bucket: i64,
    uid: String,
    key: String,
    age: i64,
    version: String,
    size: u64,
    pieces: Vec<Piece>,
}

impl Objects {
    /// Compares every version there is with its checksums.
    pub async fn scrub(&self) -> Result<Scrubbed, Error> {
        let mut result = Scrubbed::default();
        let mut after = (0, String::new(), i64::MIN);
        loop {
            let from = after.clone();
            let rows = self.database.read(move |c| page(c, &from)).await?;
            let Some(last) = rows.last() else { return Ok(result) };
            after = (last.bucket, last.key.clone(), last.age);
            for row in rows {
                let (files, store) = (Arc::clone(&self.files), Arc::clone(&self.key));
                let (key, pieces, size) = (row.key.clone(), row.pieces, row.size);
                let opened = self.database.read(move |c| read::open(c, &files, store, &key, &pieces)).await;
                let verified = match opened {
                    Ok(content) => tokio::task::spawn_blocking(move || content.verify(size))
                        .await
                        .map_err(|_| Error::Closed)?,
                    Err(e) => Err(e),
                };
                result.versions += 1;
                result.bytes += size;
                match verified {
                    Err(Error::Damaged { what, .. })
                        if self.is_there(row.bucket, &row.key, row.age).await? =>
                    {
                        tracing::error!(bucket = row.uid, key = row.key, what, "an object is damaged");
                        let (bucket, key, version) = (row.uid, row.key, row.version);
                        result.damaged.push(Damage { bucket, key, version, what });
                    }
                    // What was deleted meanwhile is not damaged.
                    Ok(()) | Err(Error::Damaged { .. }) => {}
                    Err(e) => return Err(e),
                }
            }
        }
    }

    async fn is_there(&self, bucket: i64, key: &str, age: i64) -> Result<bool, Error> {
        let key = key.to_owned();
        self.database
            .read(move |c| {
                let any = "SELECT EXISTS (SELECT 1 FROM version WHERE bucket = ? AND key = ? AND age = ?)";
                Ok(c.query_row(any, params![bucket, key, age], |row| row.get(0))?)
            })
            .await
    }
}

fn page(c: &rusqlite::Connection, after: &(i64, String, i64)) -> Result<Vec<Row>, Error> {
    let mut statement = c.prepare_cached(
        "SELECT v.bucket, b.uid, v.key, v.age, v.id, v.size, v.pieces FROM version v JOIN bucket b ON b.id = v.bucket
         WHERE (v.bucket, v.key, v.age) > (?, ?, ?) AND NOT v.marker ORDER BY v.bucket, v.key, v.age LIMIT ?",
    )?;
    let mut rows = statement.query(params![after.0, after.1, after.2, PAGE])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let pieces: String = row.get(6)?;
        page.push(Row {
            bucket: row.get(0)?,
            uid: row.get(1)?,
            key: row.get(2)?,
            age: row.get(3)?,
            version: row.get(4)?,
            size: row.get::<_, i64>(5)?.unsigned_abs(),
            pieces: serde_json::from_str(&pieces)?,
        });
    }
    Ok(page)
}

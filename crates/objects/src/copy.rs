//! Copies within the store: bytes of big objects are shared, not copied.

use crate::objects::{Objects, found, write_version};
use crate::rows;
use crate::seal::{Sealed, Sealing};
use crate::types::{Condition, Error, Meta, Record, WhichVersion, now_ms};

/// What is copied.
#[derive(Debug, Clone)]
pub struct Source {
    pub bucket: String,
    pub key: String,
    pub which: WhichVersion,
    /// All must hold for the source.
    pub conditions: Vec<Condition>,
}

impl Objects {
    /// Copies a version. `meta` makes what is kept of the copy from what is kept of the source. Bytes that are to be
    /// sealed in another way than they are cannot be shared.
    pub async fn copy(
        &self,
        source: Source,
        bucket: &str,
        key: &str,
        conditions: Vec<Condition>,
        sealing: &Sealing,
        meta: impl FnOnce(Meta) -> Meta + Send + 'static,
    ) -> Result<(Record, Record), Error> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let wanted = match sealing {
            Sealing::Clear => Sealed::Clear,
            Sealing::Store => Sealed::Store,
            // Another key wraps another data key.
            Sealing::Customer(_) => return Err(Error::Reseal),
        };
        self.database
            .write(move |c, freed| {
                let (from, _) = rows::bucket(c, &source.bucket)?;
                let (old, _) = found(rows::find(c, from, &source.key, &source.which)?, &source.which)?;
                for condition in &source.conditions {
                    condition.check(Some(&old))?;
                }
                if old.meta.sealed != wanted {
                    return Err(Error::Reseal);
                }
                let (bucket, versioning) = rows::bucket(c, &bucket)?;
                let record = Record {
                    key,
                    size: old.size,
                    etag: old.etag.clone(),
                    modified_ms: now_ms(),
                    meta: meta(Meta { lock: crate::Lock::default(), ..old.meta.clone() }),
                    pieces: rows::share(c, &old.pieces)?,
                    ..Record::default()
                };
                Ok((write_version(c, freed, bucket, versioning, record, &conditions)?, old))
            })
            .await
    }
}

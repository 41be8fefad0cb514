//! Backups in the cloud's own object store, and the way to them for the server and for the host in this process.

use std::pin::Pin;
use std::sync::Arc;

use agent::BlobSource;
use async_trait::async_trait;
use backup::{Error, Vault};
use bytes::{Bytes, BytesMut};
use client::Client;
use controllers::backup::{Backups, Vaults};
use futures::TryStreamExt;
use model::storage::VolumeBackup;
use model::{ApiError, Reason};
use objects::{Condition, ListQuery, Meta, OWN, Objects, Put, Sealing, Versioning, WhichVersion};
use server::http::Upload;
use tokio::io::AsyncRead;

/// Keys of backups in a bucket begin so.
const PREFIX: &str = "backups/";
/// Keys of one page of a listing.
const PAGE: usize = 1000;

/// Vaults in buckets.
#[derive(Debug)]
pub(crate) struct ObjectVaults {
    objects: Objects,
}

impl ObjectVaults {
    pub(crate) fn new(objects: Objects) -> Self {
        Self { objects }
    }
}

#[async_trait]
impl Vaults for ObjectVaults {
    async fn open(&self, bucket: &str) -> Result<Arc<dyn Vault>, ApiError> {
        let failed = |e: objects::Error| ApiError::new(Reason::InternalError, e.to_string());
        let own = format!("{OWN}backups");
        let bucket = if bucket.is_empty() { own.as_str() } else { bucket };
        if bucket == own {
            self.objects.create_bucket(bucket).await.map_err(failed)?;
        }
        let found = match self.objects.bucket(bucket).await {
            Ok(found) => found,
            Err(objects::Error::NoBucket) => return Err(ApiError::not_found("bucket", bucket)),
            Err(e) => return Err(failed(e)),
        };
        if found.versioning != Versioning::Off {
            let why = "the bucket keeps versions, where what is deleted stays; backups need one without";
            return Err(ApiError::new(Reason::Invalid, why));
        }
        Ok(Arc::new(ObjectVault { objects: self.objects.clone(), bucket: bucket.to_owned() }))
    }
}

struct ObjectVault {
    objects: Objects,
    bucket: String,
}

fn store(e: objects::Error) -> Error {
    match e {
        objects::Error::Damaged { .. } => Error::Damaged(e.to_string()),
        objects::Error::NoKey => Error::Missing(String::new()),
        e => Error::Store(e.to_string()),
    }
}

#[async_trait]
impl Vault for ObjectVault {
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        let mut incoming = self.objects.incoming(&Sealing::Clear).map_err(store)?;
        incoming.write(bytes).await.map_err(store)?;
        let put = Put {
            bucket: self.bucket.clone(),
            key: format!("{PREFIX}{key}"),
            bytes: incoming.finish().await.map_err(store)?,
            meta: Meta::default(),
            conditions: Vec::new(),
        };
        self.objects.put(put).await.map(drop).map_err(store)
    }

    async fn get(&self, key: &str) -> Result<Bytes, Error> {
        let full = format!("{PREFIX}{key}");
        let (record, content) = match self.objects.get(&self.bucket, &full, WhichVersion::Latest).await {
            Err(objects::Error::NoKey) => return Err(Error::Missing(full)),
            result => result.map_err(store)?,
        };
        let blocks = content.read(0..record.size).await.map_err(store)?;
        let bytes = blocks.try_fold(BytesMut::new(), |mut all, block| async move {
            all.extend_from_slice(&block);
            Ok(all)
        });
        Ok(bytes.await.map_err(store)?.freeze())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        let mut query = ListQuery { prefix: format!("{PREFIX}{prefix}"), max: PAGE, ..ListQuery::default() };
        loop {
            let page = self.objects.list(&self.bucket, query.clone()).await.map_err(store)?;
            let found = page.records.iter().filter_map(|record| record.key.strip_prefix(PREFIX));
            keys.extend(found.map(ToOwned::to_owned));
            if !page.is_truncated {
                return Ok(keys);
            }
            query.from = page.next;
        }
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        let key = format!("{PREFIX}{key}");
        let deleted =
            self.objects.delete(&self.bucket, &key, WhichVersion::Latest, Condition::None, false).await;
        match deleted {
            Err(objects::Error::NoKey) => Ok(()),
            result => result.map(drop).map_err(store),
        }
    }
}

/// What the server passes on.
pub(crate) struct Served(pub(crate) Backups);

#[async_trait]
impl server::http::Backups for Served {
    async fn read(&self, backup: VolumeBackup) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        self.0.read(&backup).await
    }

    async fn write(&self, backup: VolumeBackup, body: Upload) -> Result<(), ApiError> {
        self.0.write(&backup, body).await
    }
}

/// For the host in this process, which shares the server's cache: what is not there does not exist.
pub(crate) struct LocalFiles {
    pub(crate) backups: Backups,
    pub(crate) client: Client,
}

#[async_trait]
impl BlobSource for LocalFiles {
    async fn open(&self, sha256: &str) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        Err(ApiError::new(Reason::NotFound, format!("the image file {sha256} is not in the cache")))
    }

    async fn backup(&self, project: &str, name: &str) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        let backup = self.client.project::<VolumeBackup>(project).get(name).await?;
        self.backups.read(&backup).await
    }
}

//! What is done without being asked: what lay in buckets that are gone goes, and so does what lifecycles say.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ::objects::{Condition, Error, ListQuery, Record, UploadQuery, WhichVersion};
use client::ListParams;
use model::storage::{Bucket, LifecycleRule};
use s3s::S3Result;

use crate::access::component;
use crate::failure::{self, refused};
use crate::lifecycle::{self, Standing};
use crate::operations::Operations;

/// How often buckets are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often a lifecycle that did not change is followed again.
const FOLLOW_EVERY: Duration = Duration::from_secs(3600);
/// Versions and uploads that are looked at together.
const PAGE: usize = 1000;

/// Which state of a bucket's rules was followed, and when.
type Followed = HashMap<String, (u64, Instant)>;

impl crate::S3 {
    /// Keeps order, for as long as it is let.
    pub async fn keep(&self) {
        let mut followed = Followed::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(e) = self.operations.keep(&mut followed).await {
                tracing::warn!(error = %e, "buckets were not looked after; it is tried again");
            }
        }
    }
}

impl Operations {
    async fn keep(&self, followed: &mut Followed) -> S3Result<()> {
        // In this order: a bucket has its object before it has its place here.
        let places = self.objects.buckets().await.map_err(failure::of)?;
        let client = self.cloud.client(&component());
        let buckets = client.all::<Bucket>().list(&ListParams::default()).await.map_err(refused)?.items;
        let uid = |bucket: &Bucket| bucket.metadata.uid.to_string();
        let others = places.iter().filter(|place| !place.starts_with(::objects::OWN));
        for gone in others.filter(|place| !buckets.iter().any(|bucket| uid(bucket) == **place)) {
            self.objects.purge_bucket(gone).await.map_err(failure::of)?;
            followed.remove(gone);
        }
        for bucket in buckets.iter().filter(|bucket| bucket.metadata.is_deleting()) {
            self.let_go(bucket.clone()).await?;
        }
        for bucket in buckets.iter().filter(|bucket| places.contains(&uid(bucket))) {
            let (id, generation) = (uid(bucket), bucket.metadata.generation);
            let known = followed.get(&id);
            let is_fresh = known.is_some_and(|(g, at)| *g == generation && at.elapsed() < FOLLOW_EVERY);
            if !is_fresh && !bucket.spec.lifecycle.is_empty() {
                self.follow(&id, &bucket.spec.lifecycle).await.map_err(failure::of)?;
                followed.insert(id, (generation, Instant::now()));
            }
        }
        Ok(())
    }

    /// Removes everything in a bucket that is due.
    async fn follow(&self, bucket: &str, rules: &[LifecycleRule]) -> Result<(), Error> {
        let now_ms = self.cloud.now().0;
        self.abort_uploads(bucket, rules, now_ms).await?;
        let mut query = ListQuery { max: PAGE, versions: true, ..ListQuery::default() };
        // Versions of a key come newest first. One that ends a page may have older ones on the next.
        let mut key: Vec<Record> = Vec::new();
        loop {
            let page = self.objects.list(bucket, query.clone()).await?;
            for record in page.records {
                if key.last().is_some_and(|last| last.key != record.key) {
                    self.expire(bucket, rules, std::mem::take(&mut key), now_ms).await?;
                }
                key.push(record);
            }
            if !page.is_truncated {
                return self.expire(bucket, rules, key, now_ms).await;
            }
            query.from = page.last;
            query.after_version = page.last_version;
        }
    }

    /// Removes what is due of one key.
    async fn expire(
        &self,
        bucket: &str,
        rules: &[LifecycleRule],
        versions: Vec<Record>,
        now_ms: i64,
    ) -> Result<(), Error> {
        let (mut replaced_ms, mut newer_noncurrent) = (None, 0);
        let is_only = versions.len() == 1;
        for mut record in versions {
            let standing = Standing { replaced_ms, newer_noncurrent, is_only };
            if replaced_ms.is_some() {
                newer_noncurrent += 1;
            }
            replaced_ms = Some(record.modified_ms);
            if rules.iter().any(|rule| !rule.filter.tags.is_empty()) && !record.is_marker {
                let which = WhichVersion::Id(record.version.clone());
                match self.objects.head(bucket, &record.key, which).await {
                    Ok(found) => record.meta = found.meta,
                    Err(Error::NoVersion | Error::NoKey) => continue,
                    Err(e) => return Err(e),
                }
            }
            if !rules.iter().any(|rule| lifecycle::is_due(rule, &record, standing, now_ms)) {
                continue;
            }
            // What is there now goes as if it were deleted: behind a marker where versions are kept.
            let is_named = standing.replaced_ms.is_some() || record.is_marker;
            let which = if is_named { WhichVersion::Id(record.version) } else { WhichVersion::Latest };
            let condition =
                if record.is_marker { Condition::None } else { Condition::NotAfter(record.modified_ms) };
            match self.objects.delete(bucket, &record.key, which, condition, false).await {
                Ok(_) => tracing::debug!(bucket, key = record.key, "an object has expired"),
                // Written anew meanwhile, gone already, or locked.
                Err(Error::Precondition | Error::NoKey | Error::NoVersion | Error::Locked) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    async fn abort_uploads(&self, bucket: &str, rules: &[LifecycleRule], now_ms: i64) -> Result<(), Error> {
        let mut query = UploadQuery { max: PAGE, ..UploadQuery::default() };
        loop {
            let uploads = self.objects.uploads(bucket, query.clone()).await?;
            let Some(last) = uploads.last() else { return Ok(()) };
            query.after_key = Some(last.key.clone());
            query.after_id = Some(last.id.clone());
            for upload in uploads {
                let abandons = |rule| lifecycle::is_abandoned(rule, &upload.key, upload.started_ms, now_ms);
                if rules.iter().any(abandons) {
                    match self.objects.abort_upload(bucket, &upload.key, &upload.id).await {
                        Ok(()) | Err(Error::NoUpload) => {}
                        Err(e) => return Err(e),
                    }
                }
            }
        }
    }
}

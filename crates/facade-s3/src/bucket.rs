//! Buckets: our kind, made, changed and removed in the caller's name.

use ::objects::Error;
use client::{DeleteOptions, ListParams};
use model::storage::{BUCKET_CONTENTS, Bucket, BucketSpec, BucketVersioning, ObjectLock, is_bucket_name};
use model::{ObjectMeta, REGION, Reason};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::access::{Place, component};
use crate::failure::{self, refused};
use crate::operations::Operations;
use crate::words;

/// How often a change of a bucket is tried again because somebody else changed it meanwhile.
const TRIES: usize = 8;

impl Operations {
    /// Changes what is wanted of a bucket.
    pub(crate) async fn change(
        &self,
        place: &Place,
        name: &str,
        change: impl Fn(&mut BucketSpec) -> S3Result<()>,
    ) -> S3Result<()> {
        let reader = self.cloud.client(&component()).project::<Bucket>(&place.project);
        let writer = self.cloud.client(&place.principal()).project::<Bucket>(&place.project);
        let mut tries = 0;
        loop {
            tries += 1;
            let mut bucket = reader.get(name).await.map_err(refused)?;
            let before = bucket.spec.clone();
            change(&mut bucket.spec)?;
            if bucket.spec == before {
                return Ok(());
            }
            match writer.update(&bucket).await {
                Err(e) if e.reason == Reason::Conflict && tries < TRIES => {}
                result => return result.map(drop).map_err(refused),
            }
        }
    }
}

impl Operations {
    /// Lets a bucket that is being deleted go, if nothing lies in it.
    pub(crate) async fn let_go(&self, mut bucket: Bucket) -> S3Result<()> {
        if !bucket.metadata.is_deleting() {
            return Ok(());
        }
        match self.objects.delete_bucket(&bucket.metadata.uid.to_string()).await {
            Ok(()) | Err(Error::NoBucket) => {}
            Err(Error::NotEmpty) => return Ok(()),
            Err(e) => return Err(failure::of(e)),
        }
        bucket.metadata.finalizers.retain(|finalizer| finalizer != BUCKET_CONTENTS);
        let api = self.cloud.client(&component()).project::<Bucket>(&bucket.metadata.namespace);
        match api.update(&bucket).await {
            // Changed meanwhile: it is looked at again.
            Err(e) if e.is_conflict() || e.is_not_found() => Ok(()),
            result => result.map(drop).map_err(refused),
        }
    }
}

pub(crate) async fn list(
    s3: &Operations,
    req: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    let api = s3.cloud.client(&place.principal()).project::<Bucket>(&place.project);
    let mut items = api.list(&ListParams::default()).await.map_err(refused)?.items;
    items.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let (prefix, after) = (input.prefix.as_deref(), input.continuation_token.as_deref());
    items.retain(|b| prefix.is_none_or(|p| b.metadata.name.starts_with(p)));
    items.retain(|b| after.is_none_or(|after| b.metadata.name.as_str() > after));
    let max = input.max_buckets.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    let is_truncated = items.len() > max;
    items.truncate(max);
    let last = items.last().map(|bucket| bucket.metadata.name.clone());
    let bucket = |b: Bucket| s3s::dto::Bucket {
        creation_date: b.metadata.creation_timestamp.map(|at| words::time(at.0)),
        name: Some(b.metadata.name),
        bucket_region: Some(REGION.to_owned()),
    };
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(items.into_iter().map(bucket).collect()),
        owner: Some(words::owner(&place.project)),
        continuation_token: last.filter(|_| is_truncated),
        prefix: input.prefix,
    }))
}

pub(crate) async fn create(
    s3: &Operations,
    req: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    let name = &input.bucket;
    if !is_bucket_name(name) {
        return Err(s3_error!(InvalidBucketName));
    }
    let region = input.create_bucket_configuration.and_then(|c| c.location_constraint);
    if region.as_ref().is_some_and(|region| !crate::guard::is_own_region(region.as_str())) {
        return Err(s3_error!(IllegalLocationConstraintException, "buckets of this cloud are in {REGION}"));
    }
    let owned = input.object_ownership.as_ref().map(ObjectOwnership::as_str);
    if !matches!(owned, None | Some(ObjectOwnership::BUCKET_OWNER_ENFORCED)) {
        return Err(words::no_acls());
    }
    let locked = input.object_lock_enabled_for_bucket.unwrap_or(false);
    let spec = BucketSpec {
        versioning: if locked { BucketVersioning::Enabled } else { BucketVersioning::Off },
        object_lock: locked.then(ObjectLock::default),
        ..BucketSpec::default()
    };
    if s3.bucket(&place.project, name).await?.is_some() {
        return Err(s3_error!(BucketAlreadyOwnedByYou));
    }
    let api = s3.cloud.client(&place.principal()).project::<Bucket>(&place.project);
    api.create(&Bucket::new(ObjectMeta::named(name), spec)).await.map_err(|e| match e.reason {
        Reason::Invalid | Reason::Conflict | Reason::AlreadyExists => s3_error!(BucketAlreadyExists),
        _ => refused(e),
    })?;
    Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
}

pub(crate) async fn delete(
    s3: &Operations,
    req: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let place = Place::of(&req)?;
    s3.objects.delete_bucket(&place.bucket).await.map_err(failure::of)?;
    let api = s3.cloud.client(&place.principal()).project::<Bucket>(&place.project);
    api.delete(&req.input.bucket, &DeleteOptions::default()).await.map_err(refused)?;
    if let Some(bucket) = s3.bucket(&place.project, &req.input.bucket).await? {
        s3.let_go(bucket).await?;
    }
    Ok(S3Response::new(DeleteBucketOutput::default()))
}

pub(crate) async fn head(
    _: &Operations,
    req: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    Place::of(&req)?;
    let bucket_region = Some(REGION.to_owned());
    Ok(S3Response::new(HeadBucketOutput { bucket_region, ..HeadBucketOutput::default() }))
}

pub(crate) async fn location(
    _: &Operations,
    req: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    Place::of(&req)?;
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint: Some(REGION.to_owned().into()) }))
}

pub(crate) async fn versioning(
    _: &Operations,
    req: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let place = Place::of(&req)?;
    let status = match place.spec.versioning {
        BucketVersioning::Off => None,
        BucketVersioning::Enabled => Some(BucketVersioningStatus::ENABLED),
        BucketVersioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
    };
    let status = status.map(BucketVersioningStatus::from_static);
    Ok(S3Response::new(GetBucketVersioningOutput { status, mfa_delete: None }))
}

pub(crate) async fn set_versioning(
    s3: &Operations,
    req: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let place = Place::of(&req)?;
    let wanted = req.input.versioning_configuration;
    if wanted.mfa_delete.is_some_and(|mfa| mfa.as_str() == MFADelete::ENABLED) {
        return Err(s3_error!(NotImplemented, "MFA delete is not here"));
    }
    let versioning = match wanted.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => BucketVersioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) => BucketVersioning::Suspended,
        _ => return Err(s3_error!(MalformedXML, "Status must be Enabled or Suspended")),
    };
    if place.spec.object_lock.is_some() && versioning == BucketVersioning::Suspended {
        let message = "versioning cannot be suspended where versions can be locked";
        return Err(s3_error!(InvalidBucketState, "{message}"));
    }
    let change = |spec: &mut BucketSpec| {
        spec.versioning = versioning;
        Ok(())
    };
    s3.change(&place, &req.input.bucket, change).await?;
    Ok(S3Response::new(PutBucketVersioningOutput {}))
}

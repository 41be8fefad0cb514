//! Locks of versions: retention and legal hold, and what new versions of a bucket are locked with.

use ::objects::{Lock, WhichVersion};
use model::storage::{BucketVersioning, DefaultRetention as Default, ObjectLock, RetentionMode};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::access::Place;
use crate::operations::Operations;
use crate::{failure, words};

fn lockable(place: &Place) -> S3Result<()> {
    if place.spec.object_lock.is_none() {
        return Err(s3_error!(InvalidRequest, "Bucket is missing Object Lock Configuration"));
    }
    Ok(())
}

pub(crate) async fn of_bucket(
    _: &Operations,
    req: S3Request<GetObjectLockConfigurationInput>,
) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
    let place = Place::of(&req)?;
    let lock = place.spec.object_lock.as_ref();
    let lock = lock.ok_or_else(|| failure::not_set("ObjectLockConfigurationNotFoundError"))?;
    let days = |n: u32| i32::try_from(n).ok().filter(|n| *n > 0);
    let rule = lock.retention.as_ref().map(|retention| ObjectLockRule {
        default_retention: Some(DefaultRetention {
            mode: Some(retention.mode.as_str().to_owned().into()),
            days: days(retention.days),
            years: days(retention.years),
        }),
    });
    let enabled = ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED);
    let configuration = ObjectLockConfiguration { object_lock_enabled: Some(enabled), rule };
    Ok(S3Response::new(GetObjectLockConfigurationOutput { object_lock_configuration: Some(configuration) }))
}

pub(crate) async fn set_of_bucket(
    s3: &Operations,
    req: S3Request<PutObjectLockConfigurationInput>,
) -> S3Result<S3Response<PutObjectLockConfigurationOutput>> {
    let place = Place::of(&req)?;
    let wanted = req.input.object_lock_configuration.unwrap_or_default();
    let enabled = wanted.object_lock_enabled.as_ref().map(ObjectLockEnabled::as_str);
    if enabled != Some(ObjectLockEnabled::ENABLED) {
        return Err(s3_error!(MalformedXML, "ObjectLockEnabled must be Enabled"));
    }
    if place.spec.versioning != BucketVersioning::Enabled {
        let message = "versioning must be Enabled on the bucket before its versions can be locked";
        return Err(s3_error!(InvalidBucketState, "{message}"));
    }
    let retention = wanted.rule.and_then(|rule| rule.default_retention).map(|retention| {
        let number = |n: Option<i32>| u32::try_from(n.unwrap_or(0));
        let wrong = || s3_error!(MalformedXML, "a retention has a mode and either Days or Years");
        let mode = match retention.mode.as_ref().map(ObjectLockRetentionMode::as_str) {
            Some(ObjectLockRetentionMode::GOVERNANCE) => RetentionMode::Governance,
            Some(ObjectLockRetentionMode::COMPLIANCE) => RetentionMode::Compliance,
            _ => return Err(wrong()),
        };
        let (days, years) = (number(retention.days), number(retention.years));
        let (days, years) = (days.map_err(|_| wrong())?, years.map_err(|_| wrong())?);
        if (days > 0) == (years > 0) { Err(wrong()) } else { Ok(Default { mode, days, years }) }
    });
    let retention = retention.transpose()?;
    s3.change(&place, &req.input.bucket, |spec| {
        spec.object_lock = Some(ObjectLock { retention: retention.clone() });
        Ok(())
    })
    .await?;
    Ok(S3Response::new(PutObjectLockConfigurationOutput::default()))
}

pub(crate) async fn retention(
    s3: &Operations,
    req: S3Request<GetObjectRetentionInput>,
) -> S3Result<S3Response<GetObjectRetentionOutput>> {
    let place = Place::of(&req)?;
    lockable(&place)?;
    let lock = s3.record(&place, &req.input.key, req.input.version_id).await?.meta.lock;
    if lock.mode.is_empty() {
        return Err(failure::not_set("NoSuchObjectLockConfiguration"));
    }
    let retention = ObjectLockRetention {
        mode: Some(lock.mode.into()),
        retain_until_date: Some(words::time(lock.until_ms)),
    };
    Ok(S3Response::new(GetObjectRetentionOutput { retention: Some(retention) }))
}

async fn set(
    s3: &Operations,
    place: &Place,
    key: &str,
    version: Option<String>,
    lock: impl FnOnce(&Lock) -> Lock + Send + 'static,
    bypass: bool,
) -> S3Result<()> {
    let is_named = version.is_some();
    let set = s3.objects.set_lock(&place.bucket, key, WhichVersion::from(version), lock, bypass).await;
    set.map(drop).map_err(|e| failure::of_version(e, is_named))
}

pub(crate) async fn set_retention(
    s3: &Operations,
    req: S3Request<PutObjectRetentionInput>,
) -> S3Result<S3Response<PutObjectRetentionOutput>> {
    let place = Place::of(&req)?;
    lockable(&place)?;
    let input = req.input;
    let wanted = input.retention.unwrap_or_default();
    let mode = wanted.mode.as_ref().map(ObjectLockRetentionMode::as_str);
    let new = words::lock_of(mode, wanted.retain_until_date.as_ref(), None)?;
    if !new.mode.is_empty() && new.until_ms <= s3.cloud.now().0 {
        return Err(s3_error!(InvalidArgument, "the retain until date must be in the future"));
    }
    let lock = move |old: &Lock| Lock { legal_hold: old.legal_hold, ..new };
    let bypass = input.bypass_governance_retention.unwrap_or(false);
    set(s3, &place, &input.key, input.version_id, lock, bypass).await?;
    Ok(S3Response::new(PutObjectRetentionOutput::default()))
}

pub(crate) async fn legal_hold(
    s3: &Operations,
    req: S3Request<GetObjectLegalHoldInput>,
) -> S3Result<S3Response<GetObjectLegalHoldOutput>> {
    let place = Place::of(&req)?;
    lockable(&place)?;
    let lock = s3.record(&place, &req.input.key, req.input.version_id).await?.meta.lock;
    let status = if lock.legal_hold { ObjectLockLegalHoldStatus::ON } else { ObjectLockLegalHoldStatus::OFF };
    let status = Some(ObjectLockLegalHoldStatus::from_static(status));
    Ok(S3Response::new(GetObjectLegalHoldOutput { legal_hold: Some(ObjectLockLegalHold { status }) }))
}

pub(crate) async fn set_legal_hold(
    s3: &Operations,
    req: S3Request<PutObjectLegalHoldInput>,
) -> S3Result<S3Response<PutObjectLegalHoldOutput>> {
    let place = Place::of(&req)?;
    lockable(&place)?;
    let status = req.input.legal_hold.and_then(|hold| hold.status);
    let legal_hold = match status.as_ref().map(ObjectLockLegalHoldStatus::as_str) {
        Some(ObjectLockLegalHoldStatus::ON) => true,
        Some(ObjectLockLegalHoldStatus::OFF) => false,
        _ => return Err(s3_error!(MalformedXML, "Status must be ON or OFF")),
    };
    let lock = move |old: &Lock| Lock { legal_hold, ..old.clone() };
    set(s3, &place, &req.input.key, req.input.version_id, lock, false).await?;
    Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
}

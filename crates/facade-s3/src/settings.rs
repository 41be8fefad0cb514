//! Settings of buckets: policy, public access, CORS, lifecycle; and the answers for those that are not here.

use identity::iam::Document;
use model::storage::{BucketSpec, PublicAccessBlock};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::access::Place;
use crate::operations::Operations;
use crate::{cors as pages, failure, lifecycle as rules};

const SMALLEST_MOVED: &str = TransitionDefaultMinimumObjectSize::ALL_STORAGE_CLASSES_128K;

pub(crate) async fn policy(
    _: &Operations,
    req: S3Request<GetBucketPolicyInput>,
) -> S3Result<S3Response<GetBucketPolicyOutput>> {
    let place = Place::of(&req)?;
    if place.spec.policy.is_empty() {
        return Err(failure::not_set("NoSuchBucketPolicy"));
    }
    Ok(S3Response::new(GetBucketPolicyOutput { policy: Some(place.spec.policy.clone()) }))
}

pub(crate) async fn set_policy(
    s3: &Operations,
    req: S3Request<PutBucketPolicyInput>,
) -> S3Result<S3Response<PutBucketPolicyOutput>> {
    let place = Place::of(&req)?;
    let (name, text) = (&req.input.bucket, &req.input.policy);
    let document = Document::of_resource(text).map_err(|e| s3_error!(MalformedPolicy, "{e}"))?;
    let whole = format!("arn:aws:s3:::{name}");
    let is_own =
        |resource: &str| resource == "*" || resource == whole || resource.starts_with(&format!("{whole}/"));
    if let Some(other) = document.resources().into_iter().find(|resource| !is_own(resource)) {
        return Err(s3_error!(MalformedPolicy, "the resource {other:?} is not of this bucket"));
    }
    let block = place.spec.public_access_block.as_ref();
    if document.is_public() && block.is_some_and(|block| block.block_public_policy) {
        return Err(s3_error!(
            AccessDenied,
            "public policies are blocked by BlockPublicPolicy of the bucket"
        ));
    }
    s3.change(&place, name, |spec| {
        spec.policy.clone_from(text);
        Ok(())
    })
    .await?;
    Ok(S3Response::new(PutBucketPolicyOutput {}))
}

pub(crate) async fn delete_policy(
    s3: &Operations,
    req: S3Request<DeleteBucketPolicyInput>,
) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
    let place = Place::of(&req)?;
    s3.change(&place, &req.input.bucket, |spec| {
        spec.policy.clear();
        Ok(())
    })
    .await?;
    Ok(S3Response::new(DeleteBucketPolicyOutput {}))
}

pub(crate) async fn policy_status(
    _: &Operations,
    req: S3Request<GetBucketPolicyStatusInput>,
) -> S3Result<S3Response<GetBucketPolicyStatusOutput>> {
    let place = Place::of(&req)?;
    if place.spec.policy.is_empty() {
        return Err(failure::not_set("NoSuchBucketPolicy"));
    }
    let is_public = Document::of_resource(&place.spec.policy).is_ok_and(|document| document.is_public());
    let policy_status = Some(PolicyStatus { is_public: Some(is_public) });
    Ok(S3Response::new(GetBucketPolicyStatusOutput { policy_status }))
}

pub(crate) async fn public_access(
    _: &Operations,
    req: S3Request<GetPublicAccessBlockInput>,
) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
    let place = Place::of(&req)?;
    let block = place.spec.public_access_block.as_ref();
    let block = block.ok_or_else(|| failure::not_set("NoSuchPublicAccessBlockConfiguration"))?;
    let configuration = PublicAccessBlockConfiguration {
        block_public_acls: Some(block.block_public_acls),
        block_public_policy: Some(block.block_public_policy),
        ignore_public_acls: Some(block.ignore_public_acls),
        restrict_public_buckets: Some(block.restrict_public_buckets),
    };
    let public_access_block_configuration = Some(configuration);
    Ok(S3Response::new(GetPublicAccessBlockOutput { public_access_block_configuration }))
}

pub(crate) async fn set_public_access(
    s3: &Operations,
    req: S3Request<PutPublicAccessBlockInput>,
) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
    let place = Place::of(&req)?;
    let wanted = req.input.public_access_block_configuration;
    let block = PublicAccessBlock {
        block_public_acls: wanted.block_public_acls.unwrap_or(false),
        ignore_public_acls: wanted.ignore_public_acls.unwrap_or(false),
        block_public_policy: wanted.block_public_policy.unwrap_or(false),
        restrict_public_buckets: wanted.restrict_public_buckets.unwrap_or(false),
    };
    s3.change(&place, &req.input.bucket, |spec| {
        spec.public_access_block = Some(block.clone());
        Ok(())
    })
    .await?;
    Ok(S3Response::new(PutPublicAccessBlockOutput {}))
}

pub(crate) async fn delete_public_access(
    s3: &Operations,
    req: S3Request<DeletePublicAccessBlockInput>,
) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
    let place = Place::of(&req)?;
    s3.change(&place, &req.input.bucket, |spec| {
        spec.public_access_block = None;
        Ok(())
    })
    .await?;
    Ok(S3Response::new(DeletePublicAccessBlockOutput {}))
}

pub(crate) async fn cors(
    _: &Operations,
    req: S3Request<GetBucketCorsInput>,
) -> S3Result<S3Response<GetBucketCorsOutput>> {
    let place = Place::of(&req)?;
    if place.spec.cors.is_empty() {
        return Err(failure::not_set("NoSuchCORSConfiguration"));
    }
    let cors_rules = Some(place.spec.cors.iter().map(pages::written).collect());
    Ok(S3Response::new(GetBucketCorsOutput { cors_rules }))
}

pub(crate) async fn set_cors(
    s3: &Operations,
    req: S3Request<PutBucketCorsInput>,
) -> S3Result<S3Response<PutBucketCorsOutput>> {
    let place = Place::of(&req)?;
    let rules: Vec<_> = req.input.cors_configuration.cors_rules.into_iter().map(pages::read).collect();
    if rules.is_empty() {
        return Err(s3_error!(MalformedXML, "there must be at least one CORSRule"));
    }
    s3.change(&place, &req.input.bucket, |spec| {
        spec.cors.clone_from(&rules);
        Ok(())
    })
    .await?;
    Ok(S3Response::new(PutBucketCorsOutput {}))
}

pub(crate) async fn delete_cors(
    s3: &Operations,
    req: S3Request<DeleteBucketCorsInput>,
) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
    let place = Place::of(&req)?;
    s3.change(&place, &req.input.bucket, |spec| {
        spec.cors.clear();
        Ok(())
    })
    .await?;
    Ok(S3Response::new(DeleteBucketCorsOutput {}))
}

pub(crate) async fn lifecycle(
    _: &Operations,
    req: S3Request<GetBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
    let place = Place::of(&req)?;
    if place.spec.lifecycle.is_empty() {
        return Err(failure::not_set("NoSuchLifecycleConfiguration"));
    }
    Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
        rules: Some(place.spec.lifecycle.iter().map(rules::written).collect()),
        transition_default_minimum_object_size: Some(smallest_moved()),
    }))
}

pub(crate) async fn set_lifecycle(
    s3: &Operations,
    req: S3Request<PutBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
    let place = Place::of(&req)?;
    let smallest = req.input.transition_default_minimum_object_size.as_ref();
    if smallest.is_some_and(|smallest| *smallest != smallest_moved()) {
        return Err(s3_error!(
            NotImplemented,
            "TransitionDefaultMinimumObjectSize has one value here: {SMALLEST_MOVED}"
        ));
    }
    let given =
        req.input.lifecycle_configuration.map(|configuration| configuration.rules).unwrap_or_default();
    if given.is_empty() {
        return Err(s3_error!(MalformedXML, "there must be at least one Rule"));
    }
    let rules: Vec<_> = given.into_iter().map(rules::read).collect::<S3Result<_>>()?;
    s3.change(&place, &req.input.bucket, |spec: &mut BucketSpec| {
        spec.lifecycle.clone_from(&rules);
        Ok(())
    })
    .await?;
    Ok(S3Response::new(PutBucketLifecycleConfigurationOutput {
        transition_default_minimum_object_size: Some(smallest_moved()),
    }))
}

/// What AWS says of buckets that were not set otherwise. Nothing moves to another class here, so it holds of every one.
fn smallest_moved() -> TransitionDefaultMinimumObjectSize {
    TransitionDefaultMinimumObjectSize::from_static(SMALLEST_MOVED)
}

pub(crate) async fn delete_lifecycle(
    s3: &Operations,
    req: S3Request<DeleteBucketLifecycleInput>,
) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
    let place = Place::of(&req)?;
    s3.change(&place, &req.input.bucket, |spec| {
        spec.lifecycle.clear();
        Ok(())
    })
    .await?;
    Ok(S3Response::new(DeleteBucketLifecycleOutput {}))
}

pub(crate) async fn website(
    _: &Operations,
    req: S3Request<GetBucketWebsiteInput>,
) -> S3Result<S3Response<GetBucketWebsiteOutput>> {
    Place::of(&req)?;
    Err(failure::not_set("NoSuchWebsiteConfiguration"))
}

pub(crate) async fn replication(
    _: &Operations,
    req: S3Request<GetBucketReplicationInput>,
) -> S3Result<S3Response<GetBucketReplicationOutput>> {
    Place::of(&req)?;
    Err(failure::not_set("ReplicationConfigurationNotFoundError"))
}

pub(crate) async fn logging(
    _: &Operations,
    req: S3Request<GetBucketLoggingInput>,
) -> S3Result<S3Response<GetBucketLoggingOutput>> {
    Place::of(&req)?;
    Ok(S3Response::new(GetBucketLoggingOutput::default()))
}

pub(crate) async fn accelerate(
    _: &Operations,
    req: S3Request<GetBucketAccelerateConfigurationInput>,
) -> S3Result<S3Response<GetBucketAccelerateConfigurationOutput>> {
    Place::of(&req)?;
    Ok(S3Response::new(GetBucketAccelerateConfigurationOutput::default()))
}

pub(crate) async fn request_payment(
    _: &Operations,
    req: S3Request<GetBucketRequestPaymentInput>,
) -> S3Result<S3Response<GetBucketRequestPaymentOutput>> {
    Place::of(&req)?;
    let payer = Some(Payer::from_static(Payer::BUCKET_OWNER));
    Ok(S3Response::new(GetBucketRequestPaymentOutput { payer }))
}

pub(crate) async fn notification(
    _: &Operations,
    req: S3Request<GetBucketNotificationConfigurationInput>,
) -> S3Result<S3Response<GetBucketNotificationConfigurationOutput>> {
    Place::of(&req)?;
    Ok(S3Response::new(GetBucketNotificationConfigurationOutput::default()))
}

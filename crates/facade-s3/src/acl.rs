//! ACLs: everything in a bucket is its project's. What says so is taken, everything else refused.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::access::Place;
use crate::operations::Operations;
use crate::words;

/// What an owner may.
fn grants(project: &str) -> Vec<Grant> {
    let grantee = Grantee {
        id: Some(words::owner_id(project)),
        display_name: Some(project.to_owned()),
        email_address: None,
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    let permission = Some(Permission::from_static(Permission::FULL_CONTROL));
    vec![Grant { grantee: Some(grantee), permission }]
}

/// Whether a document grants everything to the owner and nothing to others.
fn check(project: &str, policy: Option<AccessControlPolicy>) -> S3Result<()> {
    let own = words::owner_id(project);
    let is_own = |grant: &Grant| {
        let grantee = grant.grantee.as_ref().and_then(|grantee| grantee.id.as_deref());
        let all = grant.permission.as_ref().map(Permission::as_str) == Some(Permission::FULL_CONTROL);
        grantee == Some(own.as_str()) && all
    };
    match policy.map(|policy| policy.grants.unwrap_or_default()) {
        Some(grants) if !grants.iter().all(is_own) => Err(words::no_acls()),
        _ => Ok(()),
    }
}

pub(crate) async fn of_bucket(
    _: &Operations,
    req: S3Request<GetBucketAclInput>,
) -> S3Result<S3Response<GetBucketAclOutput>> {
    let place = Place::of(&req)?;
    let (grants, owner) = (Some(grants(&place.project)), Some(words::owner(&place.project)));
    Ok(S3Response::new(GetBucketAclOutput { grants, owner }))
}

pub(crate) async fn set_of_bucket(
    _: &Operations,
    req: S3Request<PutBucketAclInput>,
) -> S3Result<S3Response<PutBucketAclOutput>> {
    let place = Place::of(&req)?;
    check(&place.project, req.input.access_control_policy)?;
    Ok(S3Response::new(PutBucketAclOutput {}))
}

pub(crate) async fn of_object(
    s3: &Operations,
    req: S3Request<GetObjectAclInput>,
) -> S3Result<S3Response<GetObjectAclOutput>> {
    let place = Place::of(&req)?;
    exists(s3, &place, &req.input.key, req.input.version_id).await?;
    let (grants, owner) = (Some(grants(&place.project)), Some(words::owner(&place.project)));
    Ok(S3Response::new(GetObjectAclOutput { grants, owner, request_charged: None }))
}

pub(crate) async fn set_of_object(
    s3: &Operations,
    req: S3Request<PutObjectAclInput>,
) -> S3Result<S3Response<PutObjectAclOutput>> {
    let place = Place::of(&req)?;
    check(&place.project, req.input.access_control_policy)?;
    exists(s3, &place, &req.input.key, req.input.version_id).await?;
    Ok(S3Response::new(PutObjectAclOutput::default()))
}

async fn exists(s3: &Operations, place: &Place, key: &str, version: Option<String>) -> S3Result<()> {
    s3.record(place, key, version).await.map(drop)
}

pub(crate) async fn ownership(
    _: &Operations,
    req: S3Request<GetBucketOwnershipControlsInput>,
) -> S3Result<S3Response<GetBucketOwnershipControlsOutput>> {
    Place::of(&req)?;
    let object_ownership = ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED);
    let ownership_controls = OwnershipControls { rules: vec![OwnershipControlsRule { object_ownership }] };
    Ok(S3Response::new(GetBucketOwnershipControlsOutput { ownership_controls: Some(ownership_controls) }))
}

pub(crate) async fn set_ownership(
    _: &Operations,
    req: S3Request<PutBucketOwnershipControlsInput>,
) -> S3Result<S3Response<PutBucketOwnershipControlsOutput>> {
    Place::of(&req)?;
    let is_enforced = |rule: &OwnershipControlsRule| {
        rule.object_ownership.as_str() == ObjectOwnership::BUCKET_OWNER_ENFORCED
    };
    if req.input.ownership_controls.rules.iter().all(is_enforced) {
        return Ok(S3Response::new(PutBucketOwnershipControlsOutput {}));
    }
    Err(s3_error!(NotImplemented, "objects always belong to the bucket's owner: BucketOwnerEnforced"))
}

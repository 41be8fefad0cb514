//! The table of S3's operations: which function answers which. What is not in it is answered with S3's own
//! `NotImplemented`.

use std::sync::Arc;

use ::objects::Objects;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::cloud::Cloud;
use crate::{acl, bucket, copying, listing, locks, multipart, reading, sealing, settings, tagging, writing};

#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) objects: Objects,
    pub(crate) cloud: Arc<dyn Cloud>,
}

macro_rules! operations {
    ($($name:ident($input:ty) -> $output:ty = $answer:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Operations {
            $(
                async fn $name(&self, req: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    $answer(self, req).await
                }
            )*
        }
    };
}

operations! {
    list_buckets(ListBucketsInput) -> ListBucketsOutput = bucket::list;
    create_bucket(CreateBucketInput) -> CreateBucketOutput = bucket::create;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = bucket::delete;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = bucket::head;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = bucket::location;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = bucket::versioning;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = bucket::set_versioning;

    list_objects(ListObjectsInput) -> ListObjectsOutput = listing::first;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = listing::second;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = listing::versions;

    get_object(GetObjectInput) -> GetObjectOutput = reading::get;
    head_object(HeadObjectInput) -> HeadObjectOutput = reading::head;
    get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput = reading::attributes;
    put_object(PutObjectInput) -> PutObjectOutput = writing::put;
    post_object(PostObjectInput) -> PostObjectOutput = writing::post;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = writing::delete;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = writing::delete_many;
    copy_object(CopyObjectInput) -> CopyObjectOutput = copying::object;

    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = multipart::create;
    upload_part(UploadPartInput) -> UploadPartOutput = multipart::part;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = copying::part;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput = multipart::complete;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = multipart::abort;
    list_parts(ListPartsInput) -> ListPartsOutput = multipart::parts;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = multipart::uploads;

    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = tagging::of_object;
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput = tagging::set_of_object;
    delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput = tagging::delete_of_object;
    get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput = tagging::of_bucket;
    put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput = tagging::set_of_bucket;
    delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput = tagging::delete_of_bucket;

    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput = locks::of_bucket;
    put_object_lock_configuration(PutObjectLockConfigurationInput) -> PutObjectLockConfigurationOutput = locks::set_of_bucket;
    get_object_retention(GetObjectRetentionInput) -> GetObjectRetentionOutput = locks::retention;
    put_object_retention(PutObjectRetentionInput) -> PutObjectRetentionOutput = locks::set_retention;
    get_object_legal_hold(GetObjectLegalHoldInput) -> GetObjectLegalHoldOutput = locks::legal_hold;
    put_object_legal_hold(PutObjectLegalHoldInput) -> PutObjectLegalHoldOutput = locks::set_legal_hold;

    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput = acl::of_bucket;
    put_bucket_acl(PutBucketAclInput) -> PutBucketAclOutput = acl::set_of_bucket;
    get_object_acl(GetObjectAclInput) -> GetObjectAclOutput = acl::of_object;
    put_object_acl(PutObjectAclInput) -> PutObjectAclOutput = acl::set_of_object;
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput = acl::ownership;
    put_bucket_ownership_controls(PutBucketOwnershipControlsInput) -> PutBucketOwnershipControlsOutput = acl::set_ownership;

    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput = settings::policy;
    put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput = settings::set_policy;
    delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput = settings::delete_policy;
    get_bucket_policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput = settings::policy_status;
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput = settings::public_access;
    put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput = settings::set_public_access;
    delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput = settings::delete_public_access;
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput = settings::cors;
    put_bucket_cors(PutBucketCorsInput) -> PutBucketCorsOutput = settings::set_cors;
    delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput = settings::delete_cors;
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput) -> GetBucketLifecycleConfigurationOutput = settings::lifecycle;
    put_bucket_lifecycle_configuration(PutBucketLifecycleConfigurationInput) -> PutBucketLifecycleConfigurationOutput = settings::set_lifecycle;
    delete_bucket_lifecycle(DeleteBucketLifecycleInput) -> DeleteBucketLifecycleOutput = settings::delete_lifecycle;
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput = sealing::of_bucket;
    put_bucket_encryption(PutBucketEncryptionInput) -> PutBucketEncryptionOutput = sealing::set_of_bucket;
    delete_bucket_encryption(DeleteBucketEncryptionInput) -> DeleteBucketEncryptionOutput = sealing::delete_of_bucket;
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput = settings::website;
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput = settings::replication;
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput = settings::logging;
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput) -> GetBucketAccelerateConfigurationOutput = settings::accelerate;
    get_bucket_request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput = settings::request_payment;
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput) -> GetBucketNotificationConfigurationOutput = settings::notification;
}

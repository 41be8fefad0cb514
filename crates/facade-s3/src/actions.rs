//! What operations are to policies and to roles.

use client::Verb;

/// What objects are to roles: `buckets/objects`.
pub(crate) const OBJECTS: &str = "objects";
/// Actions that are others when a version is named.
pub(crate) const VERSIONED: [&str; 7] = [
    "GetObject",
    "DeleteObject",
    "GetObjectTagging",
    "PutObjectTagging",
    "DeleteObjectTagging",
    "GetObjectAcl",
    "PutObjectAcl",
];

pub(crate) fn versioned(action: &str) -> String {
    match action.strip_suffix("Tagging").or_else(|| action.strip_suffix("Acl")) {
        Some(stem) => format!("{stem}Version{}", &action[stem.len()..]),
        None => format!("{action}Version"),
    }
}

/// What an operation is to policies and to roles.
pub(crate) fn action(operation: &str) -> (&str, (Verb, &'static str)) {
    match operation {
        "ListBuckets" => ("ListAllMyBuckets", (Verb::List, "")),
        "CreateBucket" => ("CreateBucket", (Verb::Create, "")),
        "DeleteBucket" => ("DeleteBucket", (Verb::Delete, "")),
        "HeadBucket" => ("ListBucket", (Verb::Get, "")),
        "ListObjects" | "ListObjectsV2" => ("ListBucket", (Verb::List, OBJECTS)),
        "ListObjectVersions" => ("ListBucketVersions", (Verb::List, OBJECTS)),
        "ListMultipartUploads" => ("ListBucketMultipartUploads", (Verb::List, OBJECTS)),
        "GetObject" | "HeadObject" | "GetObjectAttributes" => ("GetObject", (Verb::Get, OBJECTS)),
        "ListParts" => ("ListMultipartUploadParts", (Verb::Get, OBJECTS)),
        "GetObjectTagging" | "GetObjectAcl" | "GetObjectRetention" | "GetObjectLegalHold" => {
            (operation, (Verb::Get, OBJECTS))
        }
        "DeleteObject" | "DeleteObjects" => ("DeleteObject", (Verb::Delete, OBJECTS)),
        "AbortMultipartUpload"
        | "PutObjectTagging"
        | "DeleteObjectTagging"
        | "PutObjectAcl"
        | "PutObjectRetention"
        | "PutObjectLegalHold" => (operation, (Verb::Update, OBJECTS)),
        "PutObject"
        | "PostObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => ("PutObject", (Verb::Update, OBJECTS)),
        other => (setting(other), if is_read(other) { (Verb::Get, "") } else { (Verb::Update, "") }),
    }
}

fn is_read(operation: &str) -> bool {
    operation.starts_with("Get") || operation.starts_with("List") || operation.starts_with("Head")
}

/// The names of actions on a bucket's settings, where they are not those of the operations.
fn setting(operation: &str) -> &str {
    match operation {
        "GetBucketLifecycleConfiguration" => "GetLifecycleConfiguration",
        "PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle" => "PutLifecycleConfiguration",
        "GetBucketCors" => "GetBucketCORS",
        "PutBucketCors" | "DeleteBucketCors" => "PutBucketCORS",
        "DeleteBucketTagging" => "PutBucketTagging",
        "GetBucketEncryption" => "GetEncryptionConfiguration",
        "PutBucketEncryption" | "DeleteBucketEncryption" => "PutEncryptionConfiguration",
        "GetBucketReplication" => "GetReplicationConfiguration",
        "GetPublicAccessBlock" => "GetBucketPublicAccessBlock",
        "PutPublicAccessBlock" | "DeletePublicAccessBlock" => "PutBucketPublicAccessBlock",
        "GetObjectLockConfiguration" => "GetBucketObjectLockConfiguration",
        "PutObjectLockConfiguration" => "PutBucketObjectLockConfiguration",
        "DeleteBucketOwnershipControls" => "PutBucketOwnershipControls",
        "GetBucketAccelerateConfiguration" => "GetAccelerateConfiguration",
        "GetBucketNotificationConfiguration" => "GetBucketNotification",
        other => other,
    }
}

//! Who asks, of which bucket, and whether he may.

use std::collections::HashSet;
use std::sync::Mutex;

use client::{Request, Verb};
use identity::{Holder, Principal};
use model::Reason;
use model::storage::{Bucket, BucketSpec};
use model::{ApiError, Spec};
use s3s::access::{S3Access, S3AccessContext};
use s3s::path::S3Path;
use s3s::{S3Request, S3Result, s3_error};

use crate::failure;
use crate::operations::Operations;

/// What objects are to roles: `buckets/objects`.
pub(crate) const OBJECTS: &str = "objects";

/// A caller and the bucket he named, after he was found to be allowed what he asks.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) caller: Principal,
    pub(crate) project: String,
    /// The bucket's uid; empty where none is needed.
    pub(crate) bucket: String,
}

impl Place {
    pub(crate) fn of<T>(request: &S3Request<T>) -> S3Result<Self> {
        request.extensions.get::<Self>().cloned().ok_or_else(|| s3_error!(AccessDenied))
    }
}

pub(crate) struct Access {
    operations: Operations,
    /// Buckets that have their place in the object store.
    known: Mutex<HashSet<String>>,
}

impl Access {
    pub(crate) fn new(operations: Operations) -> Self {
        Self { operations, known: Mutex::default() }
    }

    /// Buckets that were made through the cloud's own API get their place here when they are first used. One that
    /// is being deleted does not get it again.
    async fn make_place(&self, uid: &str) -> S3Result<()> {
        let is_known = |known: &Mutex<HashSet<String>>| known.lock().is_ok_and(|known| known.contains(uid));
        if !is_known(&self.known) {
            self.operations.objects.create_bucket(uid).await.map_err(failure::of)?;
            if let Ok(mut known) = self.known.lock() {
                known.insert(uid.to_owned());
            }
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let key = cx.credentials().map(|credentials| credentials.access_key.clone());
        let key = key.ok_or_else(|| s3_error!(AccessDenied, "the request is not signed"))?;
        // Also after its signature was right a key may have gone.
        let holder = self.operations.cloud.holder(&key).ok_or_else(|| s3_error!(SignatureDoesNotMatch))?;
        let name = match cx.s3_path() {
            S3Path::Root => "",
            S3Path::Bucket { bucket } | S3Path::Object { bucket, .. } => bucket,
        };
        let operation = cx.s3_op().name();
        let (verb, subresource) = right(operation);
        self.operations.may(&holder.principal, &holder.project, verb, name, subresource)?;
        let bucket = if name.is_empty() || operation == "CreateBucket" {
            String::new()
        } else {
            let uid = self.operations.bucket(&holder, name).await?;
            self.make_place(&uid).await?;
            uid
        };
        let place = Place { caller: holder.principal, project: holder.project, bucket };
        cx.extensions_mut().insert(place);
        Ok(())
    }
}

impl Operations {
    pub(crate) fn may(
        &self,
        caller: &Principal,
        project: &str,
        verb: Verb,
        bucket: &str,
        subresource: &str,
    ) -> S3Result<()> {
        let kind = model::kind_by_resource(BucketSpec::KIND.group, BucketSpec::KIND.plural);
        let kind = kind.ok_or_else(|| s3_error!(InternalError))?;
        let call = Request::new(verb, kind, Some(project), bucket).subresource(subresource);
        self.cloud.authorize(caller, &call).map_err(refused)
    }

    /// The uid of a bucket of the key's project. Buckets of others are not there.
    pub(crate) async fn bucket(&self, holder: &Holder, name: &str) -> S3Result<String> {
        self.bucket_in(&holder.project, name).await
    }

    pub(crate) async fn bucket_in(&self, project: &str, name: &str) -> S3Result<String> {
        if !model::storage::is_bucket_name(name) {
            return Err(s3_error!(NoSuchBucket));
        }
        let client = self.cloud.client(&Principal::component("objects"));
        let found = client.project::<Bucket>(project).find(name).await.map_err(refused)?;
        let found = found.filter(|bucket| bucket.metadata.deletion_timestamp.is_none());
        let bucket =
            found.ok_or_else(|| s3_error!(NoSuchBucket, "there is no bucket {name:?} in this project"))?;
        Ok(bucket.metadata.uid.to_string())
    }
}

/// What an operation does, in the words of roles.
fn right(operation: &str) -> (Verb, &'static str) {
    match operation {
        "ListBuckets" => (Verb::List, ""),
        "CreateBucket" => (Verb::Create, ""),
        "DeleteBucket" => (Verb::Delete, ""),
        "ListObjects" | "ListObjectsV2" | "ListObjectVersions" | "ListMultipartUploads" => {
            (Verb::List, OBJECTS)
        }
        "GetObject"
        | "HeadObject"
        | "GetObjectTagging"
        | "GetObjectAttributes"
        | "GetObjectAcl"
        | "GetObjectRetention"
        | "GetObjectLegalHold"
        | "ListParts" => (Verb::Get, OBJECTS),
        "DeleteObject" | "DeleteObjects" => (Verb::Delete, OBJECTS),
        "PutObject"
        | "PostObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload"
        | "AbortMultipartUpload"
        | "PutObjectTagging"
        | "DeleteObjectTagging"
        | "PutObjectAcl"
        | "PutObjectRetention"
        | "PutObjectLegalHold" => (Verb::Update, OBJECTS),
        "HeadBucket" => (Verb::Get, ""),
        other if other.starts_with("Get") || other.starts_with("List") => (Verb::Get, ""),
        _ => (Verb::Update, ""),
    }
}

/// A refusal of the cloud in S3's words.
pub(crate) fn refused(e: ApiError) -> s3s::S3Error {
    match e.reason {
        Reason::Forbidden => s3_error!(AccessDenied, "{}", e.message),
        Reason::NotFound => s3_error!(NoSuchBucket),
        Reason::AlreadyExists => s3_error!(BucketAlreadyOwnedByYou),
        Reason::Conflict => s3_error!(OperationAborted, "{}", e.message),
        Reason::Invalid => s3_error!(InvalidBucketName, "{}", e.message),
        _ => s3_error!(InternalError, "{}", e.message),
    }
}

//! Errors of the object store and of the cloud in S3's words.

use ::objects::Error;
use http::{HeaderMap, HeaderValue, StatusCode};
use model::{ApiError, Reason};
use s3s::{S3Error, S3ErrorCode, s3_error};

pub(crate) fn of(error: Error) -> S3Error {
    match error {
        Error::NoBucket => s3_error!(NoSuchBucket),
        Error::NoKey => s3_error!(NoSuchKey, "The specified key does not exist."),
        Error::NoVersion => s3_error!(NoSuchVersion),
        Error::NoUpload => s3_error!(NoSuchUpload),
        Error::NotEmpty => {
            s3_error!(BucketNotEmpty, "the bucket is not empty: remove its objects, versions and markers")
        }
        Error::Precondition => s3_error!(PreconditionFailed),
        Error::Locked => s3_error!(AccessDenied, "the version is locked: its retention has not ended"),
        Error::InvalidPart(_) => s3_error!(InvalidPart, "{error}"),
        Error::Checksum(_) => s3_error!(BadDigest, "{error}"),
        Error::PartOrder => s3_error!(InvalidPartOrder),
        Error::PartTooSmall(_) => s3_error!(EntityTooSmall, "{error}"),
        Error::DeleteMarker { version } => marker(&version, S3ErrorCode::NoSuchKey),
        error => {
            tracing::error!(%error, "the object store failed");
            s3_error!(InternalError, "{error}")
        }
    }
}

/// There is only a marker, which is said in a header.
pub(crate) fn marker(version: &str, code: S3ErrorCode) -> S3Error {
    let mut error = S3Error::new(code);
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if let Ok(version) = HeaderValue::from_str(version) {
        headers.insert("x-amz-version-id", version);
    }
    error.set_headers(headers);
    error
}

/// What is wrong with a version that was named: a marker is not read.
pub(crate) fn of_version(error: Error, is_named: bool) -> S3Error {
    match error {
        Error::DeleteMarker { version } if is_named => marker(&version, S3ErrorCode::MethodNotAllowed),
        error => of(error),
    }
}

/// A refusal of the cloud in S3's words.
pub(crate) fn refused(e: ApiError) -> S3Error {
    match e.reason {
        Reason::Forbidden => s3_error!(AccessDenied, "{}", e.message),
        Reason::NotFound => s3_error!(NoSuchBucket),
        Reason::AlreadyExists => s3_error!(BucketAlreadyOwnedByYou),
        Reason::Conflict => s3_error!(OperationAborted, "{}", e.message),
        Reason::Invalid => s3_error!(InvalidArgument, "{}", e.message),
        _ => s3_error!(InternalError, "{}", e.message),
    }
}

/// A setting that a bucket does not have.
pub(crate) fn not_set(code: &str) -> S3Error {
    let mut error = named(code, "the bucket has none");
    error.set_status_code(StatusCode::NOT_FOUND);
    error
}

/// A refusal whose code only AWS's service knows by name.
pub(crate) fn named(code: &str, message: &'static str) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, message);
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
}

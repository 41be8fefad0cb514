//! Server-side encryption in S3's words: with the store's key (SSE-S3), or with one that comes with every request and is
//! not kept (SSE-C). There is no KMS, and nothing is taken for one.

use ::objects::{KEY_BYTES, Key, Sealed, Sealing};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use md5::{Digest, Md5};
use model::storage::{BucketEncryption, BucketSpec};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::access::Place;
use crate::failure;
use crate::operations::Operations;

pub(crate) const AES256: &str = "AES256";
const HEADER: &str = "x-amz-server-side-encryption";
const CUSTOMER: &str = "x-amz-server-side-encryption-customer-";
const SOURCE: &str = "x-amz-copy-source-server-side-encryption-customer-";

/// A key that came with a request, and its digest, which answers say again.
#[derive(Debug, Clone)]
pub(crate) struct CustomerKey {
    pub(crate) key: Key,
    pub(crate) md5: String,
}

/// The words that a key comes in.
#[derive(Debug, Default)]
pub(crate) struct Words<'a> {
    pub(crate) algorithm: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) md5: Option<&'a str>,
}

impl<'a> Words<'a> {
    fn of(headers: &'a HeaderMap, prefix: &str) -> Self {
        let text =
            |name: &str| headers.get(format!("{prefix}{name}")).map(|value| value.to_str().unwrap_or("?"));
        Self { algorithm: text("algorithm"), key: text("key"), md5: text("key-md5") }
    }

    pub(crate) fn read(&self) -> S3Result<Option<CustomerKey>> {
        let (algorithm, key) = match (self.algorithm, self.key, self.md5) {
            (None, None, None) => return Ok(None),
            (Some(algorithm), Some(key), _) => (algorithm, key),
            (None, ..) => {
                return Err(s3_error!(
                    InvalidArgument,
                    "Requests specifying Server Side Encryption with Customer provided keys must provide a valid \
                     encryption algorithm."
                ));
            }
            (Some(_), None, _) => {
                return Err(s3_error!(
                    InvalidArgument,
                    "Requests specifying Server Side Encryption with Customer provided keys must provide an \
                     appropriate secret key."
                ));
            }
        };
        if algorithm != AES256 {
            return Err(failure::named(
                "InvalidEncryptionAlgorithmError",
                "The encryption request that you specified is not valid. Supported value: AES256.",
            ));
        }
        let invalid =
            || s3_error!(InvalidArgument, "The secret key was invalid for the specified algorithm.");
        let bytes = STANDARD.decode(key).map_err(|_| invalid())?;
        let md5 = STANDARD.encode(Md5::digest(&bytes));
        let bytes = <[u8; KEY_BYTES]>::try_from(bytes).map_err(|_| invalid())?;
        match self.md5 {
            None => Err(s3_error!(
                InvalidArgument,
                "Requests specifying Server Side Encryption with Customer provided keys must provide the client \
                 calculated MD5 of the secret key."
            )),
            Some(said) if said != md5 => Err(s3_error!(
                InvalidArgument,
                "The calculated MD5 hash of the key did not match the hash that was provided."
            )),
            Some(_) => Ok(Some(CustomerKey { key: Key::new(bytes), md5 })),
        }
    }
}

/// The key that a request brings.
pub(crate) fn key(headers: &HeaderMap) -> S3Result<Option<CustomerKey>> {
    Words::of(headers, CUSTOMER).read()
}

/// The key that a request brings for what it copies.
pub(crate) fn source_key(headers: &HeaderMap) -> S3Result<Option<CustomerKey>> {
    Words::of(headers, SOURCE).read()
}

/// Refuses what is asked for and is not here.
pub(crate) fn supported(headers: &HeaderMap) -> S3Result<()> {
    let is_of_kms = |name: &str| {
        name.starts_with("x-amz-server-side-encryption-aws-kms") || name.ends_with("-encryption-context")
    };
    if headers.keys().any(|name| is_of_kms(name.as_str())) {
        return Err(no_kms());
    }
    method(headers.get(HEADER).map(|value| value.to_str().unwrap_or("?"))).map(drop)
}

fn no_kms() -> s3s::S3Error {
    s3_error!(NotImplemented, "there is no KMS here: use AES256, or keys of your own")
}

/// Whether the store's key is asked for.
pub(crate) fn method(asked: Option<&str>) -> S3Result<bool> {
    match asked {
        None | Some("") => Ok(false),
        Some(AES256) => Ok(true),
        Some(method) if method.starts_with("aws:kms") => Err(no_kms()),
        Some(_) => Err(s3_error!(InvalidArgument, "The encryption method specified is not supported")),
    }
}

/// How an object is kept of which nobody says how.
pub(crate) fn by_bucket(spec: &BucketSpec) -> Sealing {
    match spec.encryption {
        BucketEncryption::Off => Sealing::Clear,
        BucketEncryption::Aes256 => Sealing::Store,
    }
}

/// How a new object is to be kept.
pub(crate) fn of_new(
    spec: &BucketSpec,
    asked: Option<&str>,
    customer: Option<&CustomerKey>,
) -> S3Result<Sealing> {
    match (method(asked)?, customer) {
        (true, Some(_)) => Err(s3_error!(
            InvalidArgument,
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"
        )),
        (false, Some(customer)) => Ok(Sealing::Customer(customer.key.clone())),
        (true, None) => Ok(Sealing::Store),
        (false, None) => Ok(by_bucket(spec)),
    }
}

/// The same, of a request whose headers say it.
pub(crate) fn by_headers(
    spec: &BucketSpec,
    headers: &HeaderMap,
    customer: Option<&CustomerKey>,
) -> S3Result<Sealing> {
    of_new(spec, headers.get(HEADER).and_then(|value| value.to_str().ok()), customer)
}

/// How a part is to be kept: as its upload was begun.
pub(crate) fn of_part(upload: &Sealed, customer: Option<&CustomerKey>) -> S3Result<Sealing> {
    match (upload, customer) {
        (Sealed::Clear, None) => Ok(Sealing::Clear),
        (Sealed::Store, None) => Ok(Sealing::Store),
        (Sealed::Customer(proof), Some(customer)) if proof.admits(&customer.key) => {
            Ok(Sealing::Customer(customer.key.clone()))
        }
        (Sealed::Customer(_), Some(_)) => Err(s3_error!(
            InvalidRequest,
            "The provided encryption parameters did not match the ones used originally."
        )),
        (Sealed::Customer(_), None) => Err(s3_error!(
            InvalidRequest,
            "The multipart upload initiate requested encryption. Subsequent part requests must include the \
             appropriate encryption parameters."
        )),
        (_, Some(_)) => Err(s3_error!(
            InvalidRequest,
            "The multipart upload initiate requested no encryption with a customer's key: leave the key out."
        )),
    }
}

/// Whether an object may be read with what came with the request.
pub(crate) fn admitted(sealed: &Sealed, customer: Option<&CustomerKey>) -> S3Result<()> {
    match (sealed, customer) {
        (Sealed::Customer(proof), Some(customer)) if proof.admits(&customer.key) => Ok(()),
        (Sealed::Customer(_), Some(_)) => {
            Err(s3_error!(AccessDenied, "the key is not the one that the object was encrypted with"))
        }
        (Sealed::Customer(_), None) => Err(s3_error!(
            InvalidRequest,
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided \
             to retrieve the object."
        )),
        (_, Some(_)) => {
            Err(s3_error!(InvalidRequest, "The encryption parameters are not applicable to this object."))
        }
        (_, None) => Ok(()),
    }
}

/// Refuses on a read what only a write can be asked.
pub(crate) fn not_asked(headers: &HeaderMap) -> S3Result<()> {
    if headers.contains_key(HEADER) {
        return Err(s3_error!(
            InvalidArgument,
            "x-amz-server-side-encryption header is not supported for this operation."
        ));
    }
    Ok(())
}

/// Says in an answer how an object is kept.
macro_rules! with_sealing {
    ($output:expr, $sealed:expr, $customer:expr) => {{
        let (mut output, sealed, customer) = ($output, $sealed, $customer);
        let customer: Option<&crate::sealing::CustomerKey> = customer;
        if *sealed == ::objects::Sealed::Store {
            output.server_side_encryption =
                Some(ServerSideEncryption::from_static(ServerSideEncryption::AES256));
        }
        if let (::objects::Sealed::Customer(_), Some(customer)) = (sealed, customer) {
            output.sse_customer_algorithm = Some(crate::sealing::AES256.to_owned());
            output.sse_customer_key_md5 = Some(customer.md5.clone());
        }
        output
    }};
}
pub(crate) use with_sealing;

pub(crate) async fn of_bucket(
    _: &Operations,
    req: S3Request<GetBucketEncryptionInput>,
) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
    let place = Place::of(&req)?;
    if place.spec.encryption == BucketEncryption::Off {
        return Err(failure::not_set("ServerSideEncryptionConfigurationNotFoundError"));
    }
    let by_default = ServerSideEncryptionByDefault {
        kms_master_key_id: None,
        sse_algorithm: ServerSideEncryption::from_static(ServerSideEncryption::AES256),
    };
    let rule = ServerSideEncryptionRule {
        apply_server_side_encryption_by_default: Some(by_default),
        bucket_key_enabled: Some(false),
    };
    let server_side_encryption_configuration = Some(ServerSideEncryptionConfiguration { rules: vec![rule] });
    Ok(S3Response::new(GetBucketEncryptionOutput { server_side_encryption_configuration }))
}

pub(crate) async fn set_of_bucket(
    s3: &Operations,
    req: S3Request<PutBucketEncryptionInput>,
) -> S3Result<S3Response<PutBucketEncryptionOutput>> {
    let place = Place::of(&req)?;
    let rules = &req.input.server_side_encryption_configuration.rules;
    let [rule] = rules.as_slice() else {
        return Err(s3_error!(MalformedXML, "there must be one Rule"));
    };
    let by_default = rule.apply_server_side_encryption_by_default.as_ref();
    let by_default =
        by_default.ok_or_else(|| s3_error!(MalformedXML, "ApplyServerSideEncryptionByDefault is missing"))?;
    let is_of_kms = by_default.kms_master_key_id.is_some();
    if is_of_kms || !method(Some(by_default.sse_algorithm.as_str()))? {
        return Err(no_kms());
    }
    s3.encrypt(&place, &req.input.bucket, BucketEncryption::Aes256).await?;
    Ok(S3Response::new(PutBucketEncryptionOutput {}))
}

pub(crate) async fn delete_of_bucket(
    s3: &Operations,
    req: S3Request<DeleteBucketEncryptionInput>,
) -> S3Result<S3Response<DeleteBucketEncryptionOutput>> {
    let place = Place::of(&req)?;
    s3.encrypt(&place, &req.input.bucket, BucketEncryption::Off).await?;
    Ok(S3Response::new(DeleteBucketEncryptionOutput {}))
}

impl Operations {
    async fn encrypt(&self, place: &Place, name: &str, encryption: BucketEncryption) -> S3Result<()> {
        self.change(place, name, |spec| {
            spec.encryption = encryption;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(algorithm: Option<&str>, key: Option<&str>, md5: Option<&str>) -> Result<bool, String> {
        let read = Words { algorithm, key, md5 }.read();
        read.map(|key| key.is_some()).map_err(|e| e.code().as_str().to_owned())
    }

    #[test]
    fn keys_come_whole_or_not_at_all() {
        let (key, short) = (STANDARD.encode([7; 32]), STANDARD.encode([7; 16]));
        let (key, short) = (Some(key.as_str()), Some(short.as_str()));
        let md5 = STANDARD.encode(Md5::digest([7; 32]));
        let md5 = Some(md5.as_str());
        let aes = Some(AES256);
        let wrong = || Err("InvalidArgument".to_owned());
        assert_eq!(read(None, None, None), Ok(false));
        assert_eq!(read(aes, key, md5), Ok(true));
        assert_eq!(read(aes, key, None), wrong());
        assert_eq!(read(aes, None, md5), wrong());
        assert_eq!(read(None, key, md5), wrong());
        assert_eq!(read(aes, short, md5), wrong());
        assert_eq!(read(aes, Some("?"), md5), wrong());
        assert_eq!(read(aes, key, Some("AAAA")), wrong());
        assert_eq!(read(Some("AES128"), key, md5), Err("InvalidEncryptionAlgorithmError".to_owned()));
    }

    #[test]
    fn a_kms_is_refused_in_plain_words() {
        for (name, value) in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption", "aws:kms:dsse"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "a"),
            ("x-amz-server-side-encryption-context", "a"),
        ] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )]);
            let code = supported(&headers).map_err(|e| e.code().as_str().to_owned());
            assert_eq!(code, Err("NotImplemented".to_owned()), "{name}: {value}");
        }
    }
}

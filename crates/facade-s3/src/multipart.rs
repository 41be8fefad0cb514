//! Uploads in parts.

use std::collections::BTreeMap;

use ::objects::{CompletedPart as Named, Error, Meta, NewUpload, Part as Stored, Sealed, UploadQuery};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Sha1, Sha256};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::access::Place;
use crate::intake::{self, ALGORITHMS, Said};
use crate::listing::Encoding;
use crate::operations::Operations;
use crate::sealing::{self, with_sealing};
use crate::words::{self, named_checksums, with_checksums};
use crate::{failure, intake::DEFAULT_ALGORITHM};

const PARTS_MAX: i32 = 10_000;

/// A part's number, from 1 to 10,000.
pub(crate) fn part_number(number: i32) -> S3Result<u32> {
    let wrong = || s3_error!(InvalidArgument, "a part number must be 1 to {PARTS_MAX}");
    if (1..=PARTS_MAX).contains(&number) { u32::try_from(number).map_err(|_| wrong()) } else { Err(wrong()) }
}

/// A number after which a list goes on.
pub(crate) fn marker(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

pub(crate) async fn create(
    s3: &Operations,
    req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    let mut meta = words::meta(&req.headers, input.metadata, input.tagging.as_deref())?;
    place.lock(s3, &mut meta)?;
    let customer = sealing::key(&req.headers)?;
    let sealing = sealing::by_headers(&place.spec, &req.headers, customer.as_ref())?;
    meta.sealed = Sealed::by(&sealing).map_err(failure::of)?;
    let sealed = meta.sealed.clone();
    let algorithm = input.checksum_algorithm.as_ref().map(|name| name.as_str().to_ascii_lowercase());
    if let Some(algorithm) = &algorithm {
        if !ALGORITHMS.contains(&algorithm.as_str()) {
            return Err(s3_error!(InvalidRequest, "the checksum algorithm {algorithm:?} is not known"));
        }
        let kind = input.checksum_type.as_ref().map(ChecksumType::as_str);
        let is_sha = algorithm.starts_with("sha");
        meta.is_composite = match kind {
            Some(ChecksumType::COMPOSITE) => true,
            Some(_) => false,
            None => algorithm != DEFAULT_ALGORITHM,
        };
        let is_default = algorithm == DEFAULT_ALGORITHM;
        if (is_default && meta.is_composite) || (is_sha && !meta.is_composite) {
            let message = "crc64nvme is of the full object, sha1 and sha256 are of the parts";
            return Err(s3_error!(InvalidRequest, "{message}"));
        }
        meta.algorithm.clone_from(algorithm);
    }
    let checksum_type = meta.is_composite.then_some(ChecksumType::COMPOSITE);
    let checksum_type = checksum_type.or(algorithm.is_some().then_some(ChecksumType::FULL_OBJECT));
    let new = NewUpload { bucket: place.bucket, key: input.key.clone(), meta };
    let id = s3.objects.begin_upload(new).await.map_err(failure::of)?;
    let output = CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: checksum_type.map(ChecksumType::from_static),
        ..CreateMultipartUploadOutput::default()
    };
    Ok(S3Response::new(with_sealing!(output, &sealed, customer.as_ref())))
}

pub(crate) async fn part(
    s3: &Operations,
    req: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let place = Place::of(&req)?;
    let mut said = Said::new(&req.headers, req.trailing_headers.clone());
    let customer = sealing::key(&req.headers)?;
    let input = req.input;
    let number = part_number(input.part_number)?;
    let upload = s3.objects.upload(&place.bucket, &input.key, &input.upload_id).await.map_err(failure::of)?;
    let sealing = sealing::of_part(&upload.meta.sealed, customer.as_ref())?;
    let algorithm = upload.meta.algorithm;
    // What the whole is told by is kept of every part, whatever its sender says beside it.
    said.also.push(if algorithm.is_empty() { DEFAULT_ALGORITHM.to_owned() } else { algorithm });
    let (bytes, checksums) = intake::take(&s3.objects, input.body, said, &sealing).await?;
    let at = (place.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
    let part = s3.objects.put_part(at, number, bytes, checksums).await.map_err(failure::of)?;
    let output = UploadPartOutput { e_tag: Some(words::etag(&part.etag)), ..UploadPartOutput::default() };
    let output = with_sealing!(output, &upload.meta.sealed, customer.as_ref());
    Ok(S3Response::new(with_checksums!(output, &part.checksums)))
}

pub(crate) async fn complete(
    s3: &Operations,
    req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    let whole = named_checksums!(input);
    let size = input.mpu_object_size;
    let mut named = Vec::new();
    let mut sums = BTreeMap::new();
    for part in input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default() {
        let number = part_number(part.part_number.unwrap_or(0))?;
        sums.insert(number, named_checksums!(part));
        let etag = part.e_tag.as_ref().map(|etag| etag.value().to_owned()).unwrap_or_default();
        named.push(Named { number, etag });
    }
    if named.is_empty() {
        return Err(s3_error!(MalformedXML, "an upload is completed with at least one part"));
    }
    let at = (place.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
    let conditions = words::conditions(input.if_match.as_ref(), input.if_none_match.as_ref());
    let finished = move |meta: Meta, parts: &[Stored]| {
        for part in parts {
            let said = sums.get(&part.number).into_iter().flatten();
            let differs = |(name, sum): &(&String, &String)| part.checksums.get(*name) != Some(*sum);
            if said.into_iter().any(|said| differs(&said)) {
                return Err(Error::InvalidPart(part.number));
            }
        }
        if size.is_some_and(|size| size != words::number(parts.iter().map(|part| part.size).sum())) {
            return Err(Error::Checksum("x-amz-mp-object-size".to_owned()));
        }
        let checksums = of_whole(&meta, parts);
        if let Some((name, _)) = whole.iter().find(|(name, sum)| !is_same(checksums.get(*name), sum)) {
            return Err(Error::Checksum(name.clone()));
        }
        Ok(Meta { checksums, algorithm: String::new(), ..meta })
    };
    let record = s3.objects.complete_upload(at, named, conditions, finished).await.map_err(failure::of)?;
    let output = CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, client::percent_encode(&input.key))),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(words::etag(&record.etag)),
        checksum_type: words::checksum_type(&record.meta),
        version_id: words::version(&record),
        server_side_encryption: (record.meta.sealed == Sealed::Store)
            .then(|| ServerSideEncryption::from_static(ServerSideEncryption::AES256)),
        ..CompleteMultipartUploadOutput::default()
    };
    Ok(S3Response::new(with_checksums!(output, &record.meta.checksums)))
}

/// Clients say a composite checksum with or without the count of parts behind it.
fn is_same(computed: Option<&String>, said: &str) -> bool {
    computed.is_some_and(|sum| sum == said || sum.rsplit_once('-').is_some_and(|(sum, _)| sum == said))
}

/// The checksum of an object of these parts, of their checksums or of all the bytes; none when one of them has none.
fn of_whole(meta: &Meta, parts: &[Stored]) -> BTreeMap<String, String> {
    let name = if meta.algorithm.is_empty() { DEFAULT_ALGORITHM } else { &meta.algorithm };
    let mut sums = Vec::with_capacity(parts.len());
    for part in parts {
        match part.checksums.get(name).and_then(|sum| STANDARD.decode(sum).ok()) {
            Some(sum) => sums.push((sum, part.size)),
            None => return BTreeMap::new(),
        }
    }
    let sum = if meta.is_composite {
        let all: Vec<u8> = sums.iter().flat_map(|(sum, _)| sum.iter().copied()).collect();
        let digest = match name {
            "crc32" => Crc32::checksum(&all).to_vec(),
            "crc32c" => Crc32c::checksum(&all).to_vec(),
            "sha1" => Sha1::checksum(&all).to_vec(),
            _ => Sha256::checksum(&all).to_vec(),
        };
        format!("{}-{}", STANDARD.encode(digest), parts.len())
    } else {
        let (algorithm, width) = match name {
            "crc32" => (crc_fast::CrcAlgorithm::Crc32IsoHdlc, 4),
            "crc32c" => (crc_fast::CrcAlgorithm::Crc32Iscsi, 4),
            _ => (crc_fast::CrcAlgorithm::Crc64Nvme, 8),
        };
        let number = |sum: &[u8]| sum.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        let joined = sums.iter().fold(None, |joined, (sum, len)| match joined {
            None => Some(number(sum)),
            Some(before) => Some(crc_fast::checksum_combine(algorithm, before, number(sum), *len)),
        });
        STANDARD.encode(&joined.unwrap_or_default().to_be_bytes()[8 - width..])
    };
    BTreeMap::from([(name.to_owned(), sum)])
}

pub(crate) async fn abort(
    s3: &Operations,
    req: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    s3.objects.abort_upload(&place.bucket, &input.key, &input.upload_id).await.map_err(failure::of)?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub(crate) async fn parts(
    s3: &Operations,
    req: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    let at = (place.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
    let max = words::limit(input.max_parts)?;
    let upload = s3.objects.upload(at.0, at.1, at.2).await.map_err(failure::of)?;
    let after = input.part_number_marker.map_or(0, marker);
    let page = s3.objects.parts(at, after, max).await.map_err(failure::of)?;
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let last = page.parts.last().map(|part| number(part.number));
    let part = |part: Stored| {
        let listed = Part {
            part_number: Some(number(part.number)),
            e_tag: Some(words::etag(&part.etag)),
            last_modified: Some(words::time(part.modified_ms)),
            size: Some(words::number(part.size)),
            ..Part::default()
        };
        with_checksums!(listed, &part.checksums)
    };
    let owner = words::owner(&place.project);
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        is_truncated: Some(page.is_truncated),
        next_part_number_marker: last,
        part_number_marker: Some(number(after)),
        max_parts: Some(input.max_parts.unwrap_or(1000)),
        parts: Some(page.parts.into_iter().map(part).collect()),
        initiator: Some(Initiator { id: owner.id.clone(), display_name: owner.display_name.clone() }),
        owner: Some(owner),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        checksum_algorithm: algorithm(&upload.meta),
        checksum_type: kind(&upload.meta),
        ..ListPartsOutput::default()
    }))
}

fn algorithm(meta: &Meta) -> Option<ChecksumAlgorithm> {
    (!meta.algorithm.is_empty()).then(|| meta.algorithm.to_ascii_uppercase().into())
}

fn kind(meta: &Meta) -> Option<ChecksumType> {
    let name = if meta.is_composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
    (!meta.algorithm.is_empty()).then(|| ChecksumType::from_static(name))
}

pub(crate) async fn uploads(
    s3: &Operations,
    req: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let place = Place::of(&req)?;
    let input = req.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let max = words::limit(input.max_uploads)?;
    let (prefix, delimiter) =
        (input.prefix.clone().unwrap_or_default(), input.delimiter.clone().unwrap_or_default());
    let mut query = UploadQuery {
        prefix: prefix.clone(),
        after_key: input.key_marker.clone().filter(|key| !key.is_empty()),
        after_id: input.upload_id_marker.clone().filter(|id| !id.is_empty()),
        max: max + 1,
    };
    if query.after_key.is_none() {
        query.after_id = None;
    }
    let found = s3.objects.uploads(&place.bucket, query).await.map_err(failure::of)?;
    let is_truncated = found.len() > max;
    let owner = words::owner(&place.project);
    let (mut listed, mut prefixes, mut last): (Vec<MultipartUpload>, Vec<String>, _) = Default::default();
    for upload in found.into_iter().take(max) {
        last = Some((upload.key.clone(), upload.id.clone()));
        let rest = upload.key.get(prefix.len()..).unwrap_or_default();
        let end = if delimiter.is_empty() { None } else { rest.find(&delimiter) };
        if let Some(end) = end {
            let common = upload.key[..prefix.len() + end + delimiter.len()].to_owned();
            if prefixes.last() != Some(&common) {
                prefixes.push(common);
            }
            continue;
        }
        listed.push(MultipartUpload {
            key: Some(encoding.name(upload.key)),
            upload_id: Some(upload.id),
            initiated: Some(words::time(upload.started_ms)),
            initiator: Some(Initiator { id: owner.id.clone(), display_name: owner.display_name.clone() }),
            owner: Some(owner.clone()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            checksum_algorithm: algorithm(&upload.meta),
            checksum_type: kind(&upload.meta),
        });
    }
    let (next_key, next_id) = last.filter(|_| is_truncated).unzip();
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        is_truncated: Some(is_truncated),
        next_key_marker: next_key.map(|key| encoding.name(key)),
        next_upload_id_marker: next_id,
        uploads: Some(listed),
        common_prefixes: Some(encoding.prefixes(prefixes)),
        prefix: Some(encoding.name(prefix)),
        delimiter: input.delimiter.map(|delimiter| encoding.name(delimiter)),
        key_marker: Some(encoding.name(input.key_marker.unwrap_or_default())),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        max_uploads: Some(input.max_uploads.unwrap_or(1000)),
        encoding_type: input.encoding_type,
        ..ListMultipartUploadsOutput::default()
    }))
}

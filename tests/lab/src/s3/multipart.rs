//! Multipart uploads: begun, fed, completed or aborted.
//!
//! Parts are files of their own; a completed object is the list of them, so nothing is copied.

#![expect(
    clippy::wildcard_imports,
    reason = "the wire's names, an input and an output an action"
)]

use std::sync::Arc;

use http::HeaderMap;
use s3s::S3Request;
use s3s::dto::*;

use super::access::Exchange;
use super::conditions;
use super::copies;
use super::digest::{Algorithm, Checksum, Claim, Digests, Sums, composite, multipart_etag};
use super::encryption;
use super::objects::{self, LARGEST_WRITE, checksum_type, place, shown, stamp};
use super::state::{Content, PartRecord, State, Upload};
use super::{blob, versions};
use crate::Lab;
use crate::api::ApiError;

/// All parts but the last have at least this (S3 user guide, "Amazon S3 multipart upload limits").
const SMALLEST_PART: u64 = 5 << 20;
const MOST_PARTS: i32 = 10_000;

pub(super) fn no_such_upload() -> ApiError {
    ApiError::new(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    )
    .status(404)
}

/// An upload of this key.
pub(super) fn find<'a>(
    state: &'a State,
    bucket: &str,
    key: &str,
    id: &str,
) -> Result<&'a Upload, ApiError> {
    let upload = state.bucket(bucket)?.uploads.get(id);
    upload.filter(|it| it.key == key).ok_or_else(no_such_upload)
}

pub(super) fn create(
    exchange: &Arc<Exchange>,
    request: S3Request<CreateMultipartUploadInput>,
) -> Result<CreateMultipartUploadOutput, ApiError> {
    let (input, headers) = (request.input, request.headers);
    let (bucket, key) = (input.bucket, input.key);
    let mut about = objects::about(exchange, &bucket, &headers)?;
    about.metadata = input.metadata.unwrap_or_default().into_iter().collect();
    let algorithm = match &input.checksum_algorithm {
        Some(name) => Some(Algorithm::from_name(name.as_str())?),
        None => None,
    };
    let full_object = full_object(algorithm, input.checksum_type.as_ref())?;
    let lab = &exchange.lab;
    let caller = exchange.caller.as_ref();
    let sealed = encryption::seal(lab, caller, place(exchange, &bucket, &key), &headers)?;
    let id = lab.ids.hex(64);
    let initiator = caller.map(|it| it.arn.clone()).unwrap_or_default();
    let upload = Upload {
        key: key.clone(),
        made: lab.clock.now(),
        born: lab.s3.now(&lab.clock),
        about,
        sealed: sealed.clone(),
        algorithm,
        full_object,
        parts: std::collections::BTreeMap::new(),
        initiator,
    };
    let mut state = lab.s3.lock();
    state
        .bucket_mut(&bucket)?
        .uploads
        .insert(id.clone(), upload);
    Ok(CreateMultipartUploadOutput {
        bucket: Some(bucket),
        bucket_key_enabled: sealed.bucket_key_header(),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: algorithm.map(|_| checksum_type(full_object)),
        key: Some(key),
        server_side_encryption: Some(sealed.sse()),
        ssekms_key_id: sealed.key,
        upload_id: Some(id),
        ..CreateMultipartUploadOutput::default()
    })
}

/// Which kind of checksum an upload ends with (S3 user guide, "Checking object integrity"): CRC64NVME is of
/// the whole object, SHA of the parts, the other two of either.
fn full_object(
    algorithm: Option<Algorithm>,
    asked: Option<&ChecksumType>,
) -> Result<bool, ApiError> {
    let asked = asked.map(|it| it.as_str() == ChecksumType::FULL_OBJECT);
    let refused = |kind: &str, algorithm: Algorithm| {
        let name = algorithm.name();
        let message =
            format!("The {kind} checksum type cannot be used with the {name} checksum algorithm.");
        Err(ApiError::new("InvalidRequest", message))
    };
    match (algorithm, asked) {
        (Some(it @ Algorithm::Crc64Nvme), Some(false)) => refused("COMPOSITE", it),
        (Some(it @ (Algorithm::Sha1 | Algorithm::Sha256)), Some(true)) => {
            refused("FULL_OBJECT", it)
        }
        (None | Some(Algorithm::Crc64Nvme), _) => Ok(true),
        (Some(_), asked) => Ok(asked.unwrap_or(false)),
    }
}

fn check_number(number: i32) -> Result<(), ApiError> {
    if (1..=MOST_PARTS).contains(&number) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidArgument",
        format!("Part number must be an integer between 1 and {MOST_PARTS}, inclusive"),
    ))
}

/// The upload that a part is for; its caller may use its key.
fn prepare(
    exchange: &Exchange,
    bucket: &str,
    key: &str,
    (id, number): (&str, i32),
) -> Result<Upload, ApiError> {
    check_number(number)?;
    let upload = find(&exchange.lab.s3.lock(), bucket, key, id)?.clone();
    let caller = exchange.caller.as_ref();
    let place = place(exchange, bucket, key);
    encryption::unseal(&exchange.lab, caller, place, &upload.sealed)?;
    Ok(upload)
}

/// Puts a part that was written into its upload, which may have ended meanwhile.
fn record(
    lab: &Lab,
    (bucket, key): (&str, &str),
    (id, number): (&str, i32),
    part: PartRecord,
) -> Result<(), ApiError> {
    let mut state = lab.s3.lock();
    let upload = state.bucket_mut(bucket)?.uploads.get_mut(id);
    let upload = upload
        .filter(|it| it.key == key)
        .ok_or_else(no_such_upload)?;
    upload.parts.insert(number, part);
    Ok(())
}

pub(super) async fn upload_part(
    exchange: &Arc<Exchange>,
    request: S3Request<UploadPartInput>,
) -> Result<UploadPartOutput, ApiError> {
    let input = request.input;
    let (bucket, key) = (input.bucket, input.key);
    let target = (input.upload_id.as_str(), input.part_number);
    let upload = prepare(exchange, &bucket, &key, target)?;
    let claim = Claim::of(&request.headers)?;
    if let (Some(wanted), Some(sent)) = (upload.algorithm, claim.algorithm)
        && wanted != sent
    {
        return Err(ApiError::new(
            "InvalidRequest",
            format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                wanted.name(),
                sent.name()
            ),
        ));
    }
    let algorithm = upload.algorithm.or(claim.algorithm);
    let mut digests = Digests::new(Some(algorithm.unwrap_or(Algorithm::Crc64Nvme)));
    let lab = &exchange.lab;
    let name = lab.ids.hex(32);
    let blob = blob::write(&lab.s3.directory, &name, input.body, &mut digests).await?;
    let sums = digests.finish();
    let trailers = request.trailing_headers.and_then(|it| it.take());
    claim.check(&sums, trailers.as_ref())?;
    let part = part(lab, &upload, blob, sums);
    let checksum = part.checksum.as_ref().map(shown).unwrap_or_default();
    let output = UploadPartOutput {
        bucket_key_enabled: upload.sealed.bucket_key_header(),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        e_tag: Some(ETag::Strong(part.etag.clone())),
        server_side_encryption: Some(upload.sealed.sse()),
        ssekms_key_id: upload.sealed.key.clone(),
        ..UploadPartOutput::default()
    };
    record(lab, (&bucket, &key), target, part)?;
    Ok(output)
}

fn part(lab: &Lab, upload: &Upload, blob: Arc<blob::Blob>, sums: Sums) -> PartRecord {
    PartRecord {
        size: blob.size,
        blob,
        etag: objects::etag(&sums, &upload.sealed),
        checksum: sums.checksum,
        modified: lab.clock.now(),
    }
}

pub(super) async fn upload_part_copy(
    exchange: &Arc<Exchange>,
    request: S3Request<UploadPartCopyInput>,
) -> Result<UploadPartCopyOutput, ApiError> {
    let (input, headers) = (request.input, request.headers);
    let (bucket, key) = (input.bucket, input.key);
    let target = (input.upload_id.as_str(), input.part_number);
    let upload = prepare(exchange, &bucket, &key, target)?;
    let from = copies::source(exchange, input.copy_source, &headers)?;
    let size = from.found.content.size;
    let (start, end) = match &input.copy_source_range {
        None => (0, size),
        Some(text) => copied_range(text, size)?,
    };
    let lab = &exchange.lab;
    let mut digests = Digests::new(Some(upload.algorithm.unwrap_or(Algorithm::Crc64Nvme)));
    let body = blob::read(from.found.content.blobs.clone(), start, end);
    let name = lab.ids.hex(32);
    let blob = blob::write(&lab.s3.directory, &name, Some(body), &mut digests).await?;
    let part = part(lab, &upload, blob, digests.finish());
    let checksum = part.checksum.as_ref().map(shown).unwrap_or_default();
    let output = UploadPartCopyOutput {
        bucket_key_enabled: upload.sealed.bucket_key_header(),
        copy_part_result: Some(CopyPartResult {
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            e_tag: Some(ETag::Strong(part.etag.clone())),
            last_modified: Some(stamp(part.modified)),
        }),
        copy_source_version_id: from.found.shown_id,
        server_side_encryption: Some(upload.sealed.sse()),
        ssekms_key_id: upload.sealed.key.clone(),
        ..UploadPartCopyOutput::default()
    };
    record(lab, (&bucket, &key), target, part)?;
    Ok(output)
}

/// `bytes=first-last`, both given and inside of the source.
fn copied_range(text: &str, size: u64) -> Result<(u64, u64), ApiError> {
    match Range::parse(text) {
        Ok(Range::Int {
            first,
            last: Some(last),
        }) if last < size => Ok((first, last + 1)),
        _ => Err(ApiError::new(
            "InvalidArgument",
            format!("Range specified is not valid for source object of size: {size}"),
        )),
    }
}

pub(super) fn abort(
    exchange: &Arc<Exchange>,
    request: S3Request<AbortMultipartUploadInput>,
) -> Result<AbortMultipartUploadOutput, ApiError> {
    let input = request.input;
    let mut state = exchange.lab.s3.lock();
    find(&state, &input.bucket, &input.key, &input.upload_id)?;
    let bucket = state.bucket_mut(&input.bucket)?;
    let removed = bucket.uploads.remove(&input.upload_id);
    drop(state);
    drop(removed);
    Ok(AbortMultipartUploadOutput::default())
}

/// The parts that a completion names, in its order, as they were uploaded.
fn chosen(upload: &Upload, named: &[CompletedPart]) -> Result<Vec<PartRecord>, ApiError> {
    if named.is_empty() {
        return Err(super::xml_tree::malformed("no `Part`"));
    }
    let mut chosen = Vec::new();
    let mut before = 0;
    for (index, part) in named.iter().enumerate() {
        let number = part.part_number.unwrap_or_default();
        if number <= before {
            return Err(ApiError::new(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ));
        }
        before = number;
        let invalid = || {
            ApiError::new(
                "InvalidPart",
                format!(
                    "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag: {number}"
                ),
            )
        };
        let there = upload.parts.get(&number).ok_or_else(invalid)?;
        let etag = part.e_tag.as_ref().map(ETag::value);
        if etag != Some(there.etag.as_str()) || !says_same(part, there.checksum.as_ref()) {
            return Err(invalid());
        }
        if index + 1 < named.len() && there.size < SMALLEST_PART {
            return Err(ApiError::new(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            ));
        }
        chosen.push(there.clone());
    }
    Ok(chosen)
}

/// A checksum that a completion names for a part is the part's.
fn says_same(part: &CompletedPart, checksum: Option<&Checksum>) -> bool {
    let named = [
        (Algorithm::Crc32, &part.checksum_crc32),
        (Algorithm::Crc32c, &part.checksum_crc32c),
        (Algorithm::Crc64Nvme, &part.checksum_crc64nvme),
        (Algorithm::Sha1, &part.checksum_sha1),
        (Algorithm::Sha256, &part.checksum_sha256),
    ];
    named.into_iter().all(|(algorithm, value)| match value {
        None => true,
        Some(value) => checksum.is_some_and(|it| it.algorithm == algorithm && it.value == *value),
    })
}

pub(super) async fn complete(
    exchange: &Arc<Exchange>,
    request: S3Request<CompleteMultipartUploadInput>,
) -> Result<CompleteMultipartUploadOutput, ApiError> {
    let input = request.input;
    let (bucket_name, key, id) = (input.bucket, input.key, input.upload_id);
    let lab = &exchange.lab;
    let upload = find(&lab.s3.lock(), &bucket_name, &key, &id)?.clone();
    let caller = exchange.caller.as_ref();
    let place = place(exchange, &bucket_name, &key);
    encryption::unseal(lab, caller, place, &upload.sealed)?;
    let named = input.multipart_upload.and_then(|it| it.parts);
    let parts = chosen(&upload, &named.unwrap_or_default())?;
    let size: u64 = parts.iter().map(|part| part.size).sum();
    if size > 1024 * LARGEST_WRITE {
        return Err(ApiError::new(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed object size.",
        ));
    }
    let checksum = whole_checksum(&upload, &parts).await?;
    check_claim(&request.headers, checksum.as_ref())?;
    let etags: Vec<&str> = parts.iter().map(|part| part.etag.as_str()).collect();
    let content = Content {
        size,
        etag: multipart_etag(&etags),
        blobs: parts.iter().map(|part| Arc::clone(&part.blob)).collect(),
        checksum,
        about: upload.about,
        sealed: upload.sealed,
    };
    let checksum = content.checksum.as_ref().map(shown).unwrap_or_default();
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(bucket_name.clone()),
        bucket_key_enabled: content.sealed.bucket_key_header(),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        checksum_type: checksum.checksum_type,
        e_tag: Some(ETag::Strong(content.etag.clone())),
        key: Some(key.clone()),
        location: Some(format!(
            "https://{bucket_name}.s3.{}.amazonaws.com/{key}",
            exchange.region
        )),
        server_side_encryption: Some(content.sealed.sse()),
        ssekms_key_id: content.sealed.key.clone(),
        ..CompleteMultipartUploadOutput::default()
    };
    let mut state = lab.s3.lock();
    find(&state, &bucket_name, &key, &id)?;
    let bucket = state.bucket_mut(&bucket_name)?;
    conditions::check_write(
        bucket,
        &key,
        input.if_match.as_ref(),
        input.if_none_match.as_ref(),
    )?;
    bucket.uploads.remove(&id);
    output.version_id = versions::add(lab, bucket, &key, content);
    Ok(output)
}

async fn whole_checksum(
    upload: &Upload,
    parts: &[PartRecord],
) -> Result<Option<Checksum>, ApiError> {
    if upload.full_object {
        let blobs: Vec<_> = parts.iter().map(|part| Arc::clone(&part.blob)).collect();
        let mut digests = Digests::new(Some(upload.algorithm.unwrap_or(Algorithm::Crc64Nvme)));
        blob::digest(&blobs, &mut digests).await?;
        return Ok(digests.finish().checksum);
    }
    let values: Option<Vec<&str>> = parts
        .iter()
        .map(|part| part.checksum.as_ref().map(|it| it.value.as_str()))
        .collect();
    Ok(upload
        .algorithm
        .zip(values)
        .and_then(|(algorithm, values)| composite(algorithm, &values)))
}

/// What the completion says of the whole object must be so.
fn check_claim(headers: &HeaderMap, checksum: Option<&Checksum>) -> Result<(), ApiError> {
    let Some(checksum) = checksum else {
        return Ok(());
    };
    let sent = headers.get(checksum.algorithm.header().as_str());
    let sent = sent.and_then(|it| it.to_str().ok());
    // A composite checksum may be sent without its number of parts.
    let bare = checksum.value.split('-').next();
    match sent {
        Some(sent) if sent != checksum.value && Some(sent) != bare => Err(ApiError::new(
            "BadDigest",
            format!(
                "The {} you specified did not match the calculated checksum.",
                checksum.algorithm.name()
            ),
        )),
        _ => Ok(()),
    }
}

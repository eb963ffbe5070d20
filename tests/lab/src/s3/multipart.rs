//! Multipart uploads: begun, fed, aborted. [`super::complete`] ends them well.

#![cfg_attr(
    not(test),
    expect(
        clippy::wildcard_imports,
        reason = "the wire's names, an input and an output an action"
    )
)]

use std::sync::Arc;

use s3s::S3Request;
use s3s::dto::*;

use super::access::Exchange;
use super::blob;
use super::copies;
use super::digest::{Algorithm, Claim, Digests, Sums};
use super::encryption;
use super::objects::{self, checksum_type, place, shown, stamp};
use super::state::{PartRecord, State, Upload};
use crate::Lab;
use crate::api::ApiError;

/// Parts of one upload (S3 user guide, "Amazon S3 multipart upload limits").
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
        key: Some(exchange.spell(key)),
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

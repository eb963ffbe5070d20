//! `CompleteMultipartUpload`: the parts are checked and become an object.
//!
//! Parts are files of their own, and the object is the list of them: nothing is copied.

use std::sync::Arc;

use http::HeaderMap;
use s3s::S3Request;
use s3s::dto::{CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, ETag};

use super::access::Exchange;
use super::digest::{Algorithm, Checksum, Digests, composite, multipart_etag};
use super::multipart::find;
use super::objects::{LARGEST_WRITE, place, shown};
use super::state::{Content, PartRecord, Upload};
use super::{blob, conditions, encryption, versions};
use crate::api::ApiError;

/// All parts but the last have at least this (S3 user guide, "Amazon S3 multipart upload limits").
const SMALLEST_PART: u64 = 5 << 20;

/// The parts that a completion names, in its order, as they were uploaded.
fn chosen(upload: &Upload, named: &[CompletedPart]) -> Result<Vec<PartRecord>, ApiError> {
    if named.is_empty() {
        return Err(super::xml_tree::malformed("no `Part`"));
    }
    let numbers = named
        .iter()
        .map(|part| part.part_number.unwrap_or_default());
    if !numbers.is_sorted_by(|one, next| one < next) {
        return Err(ApiError::new(
            "InvalidPartOrder",
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
        ));
    }
    let mut chosen = Vec::new();
    for (index, part) in named.iter().enumerate() {
        let number = part.part_number.unwrap_or_default();
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
        key: Some(exchange.spell(key.clone())),
        location: Some(exchange.spell(format!(
            "https://{bucket_name}.s3.{}.amazonaws.com/{key}",
            exchange.region
        ))),
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

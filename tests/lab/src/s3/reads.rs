//! Objects: read, whole or in part, and looked at.

#![expect(
    clippy::wildcard_imports,
    reason = "the wire's names, an input and an output an action"
)]

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, S3Response};

use super::access::Exchange;
use super::conditions::Conditions;
use super::objects::{place, shown, stamp};
use super::state::{About, Content};
use super::{blob, encryption, versions};
use crate::api::ApiError;

/// The bytes of `content` that are asked for.
struct Extent {
    start: u64,
    end: u64,
    partial: bool,
    parts: Option<i32>,
}

fn extent(content: &Content, range: Option<Range>, part: Option<i32>) -> Result<Extent, ApiError> {
    let unsatisfiable =
        || ApiError::new("InvalidRange", "The requested range is not satisfiable").status(416);
    // What was written at once has one part.
    let multipart = content.etag.contains('-');
    let part = part.filter(|number| multipart || *number != 1);
    if let Some(number) = part {
        if !multipart {
            return Err(unsatisfiable());
        }
        let index = usize::try_from(number - 1).map_err(|_| unsatisfiable())?;
        let blob = content.blobs.get(index).ok_or_else(|| {
            ApiError::new(
                "InvalidPartNumber",
                "The requested partnumber is not satisfiable",
            )
            .status(416)
        })?;
        let before: u64 = content.blobs.iter().take(index).map(|blob| blob.size).sum();
        return Ok(Extent {
            start: before,
            end: before + blob.size,
            partial: true,
            parts: Some(content.blobs.len() as i32),
        });
    }
    let whole = Extent {
        start: 0,
        end: content.size,
        partial: false,
        parts: None,
    };
    let Some(range) = range else { return Ok(whole) };
    let bytes = range.check(content.size).map_err(|_| unsatisfiable())?;
    Ok(Extent {
        start: bytes.start,
        end: bytes.end,
        partial: true,
        parts: None,
    })
}

pub(super) fn get(
    exchange: &Arc<Exchange>,
    request: S3Request<GetObjectInput>,
) -> Result<S3Response<GetObjectOutput>, ApiError> {
    let input = request.input;
    let version = input.version_id.as_deref();
    let found = versions::find(exchange, &input.bucket, &input.key, version)?;
    let content = &found.content;
    Conditions::of(&request.headers).check_read(&content.etag, found.modified)?;
    let caller = exchange.caller.as_ref();
    let place = place(exchange, &input.bucket, &input.key);
    encryption::unseal(&exchange.lab, caller, place, &content.sealed)?;
    let extent = extent(content, input.range, input.part_number)?;
    let length = extent.end - extent.start;
    let mut output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        body: Some(blob::read(content.blobs.clone(), extent.start, extent.end)),
        bucket_key_enabled: content.sealed.bucket_key_header(),
        cache_control: content.about.cache_control.clone(),
        content_disposition: content.about.content_disposition.clone(),
        content_encoding: content.about.content_encoding.clone(),
        content_language: content.about.content_language.clone(),
        content_length: Some(length as i64),
        content_range: range_header(&extent, content.size),
        content_type: Some(content_type(&content.about)),
        e_tag: Some(ETag::Strong(content.etag.clone())),
        expires: content.about.expires.clone(),
        last_modified: Some(stamp(found.modified)),
        metadata: Some(content.about.metadata.clone().into_iter().collect()),
        parts_count: extent.parts,
        server_side_encryption: Some(content.sealed.sse()),
        ssekms_key_id: content.sealed.key.clone(),
        tag_count: tag_count(&content.about),
        version_id: found.shown_id,
        ..GetObjectOutput::default()
    };
    let wanted = input
        .checksum_mode
        .is_some_and(|it| it.as_str() == ChecksumMode::ENABLED);
    if let Some(checksum) = content
        .checksum
        .as_ref()
        .filter(|_| wanted && !extent.partial)
    {
        let shown = shown(checksum);
        output.checksum_crc32 = shown.checksum_crc32;
        output.checksum_crc32c = shown.checksum_crc32c;
        output.checksum_crc64nvme = shown.checksum_crc64nvme;
        output.checksum_sha1 = shown.checksum_sha1;
        output.checksum_sha256 = shown.checksum_sha256;
        output.checksum_type = shown.checksum_type;
    }
    Ok(answer(output, extent.partial))
}

fn answer<T>(output: T, partial: bool) -> S3Response<T> {
    if partial {
        S3Response::with_status(output, http::StatusCode::PARTIAL_CONTENT)
    } else {
        S3Response::new(output)
    }
}

fn range_header(extent: &Extent, size: u64) -> Option<String> {
    let last = extent.end.checked_sub(1)?;
    extent
        .partial
        .then(|| format!("bytes {}-{last}/{size}", extent.start))
}

fn content_type(about: &About) -> String {
    let known = about.content_type.clone();
    known.unwrap_or_else(|| "binary/octet-stream".to_owned())
}

fn tag_count(about: &About) -> Option<i32> {
    (!about.tags.is_empty()).then_some(about.tags.len() as i32)
}

pub(super) fn head(
    exchange: &Arc<Exchange>,
    request: S3Request<HeadObjectInput>,
) -> Result<S3Response<HeadObjectOutput>, ApiError> {
    let input = request.input;
    let version = input.version_id.as_deref();
    let found = versions::find(exchange, &input.bucket, &input.key, version)?;
    let content = &found.content;
    Conditions::of(&request.headers).check_read(&content.etag, found.modified)?;
    let caller = exchange.caller.as_ref();
    let place = place(exchange, &input.bucket, &input.key);
    encryption::unseal(&exchange.lab, caller, place, &content.sealed)?;
    let extent = extent(content, input.range, input.part_number)?;
    let mut output = HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        bucket_key_enabled: content.sealed.bucket_key_header(),
        cache_control: content.about.cache_control.clone(),
        content_disposition: content.about.content_disposition.clone(),
        content_encoding: content.about.content_encoding.clone(),
        content_language: content.about.content_language.clone(),
        content_length: Some((extent.end - extent.start) as i64),
        content_range: range_header(&extent, content.size),
        content_type: Some(content_type(&content.about)),
        e_tag: Some(ETag::Strong(content.etag.clone())),
        expires: content.about.expires.clone(),
        last_modified: Some(stamp(found.modified)),
        metadata: Some(content.about.metadata.clone().into_iter().collect()),
        parts_count: extent.parts,
        server_side_encryption: Some(content.sealed.sse()),
        ssekms_key_id: content.sealed.key.clone(),
        version_id: found.shown_id,
        ..HeadObjectOutput::default()
    };
    if let Some(count) = tag_count(&content.about) {
        exchange.head("x-amz-tagging-count", count.to_string());
    }
    let wanted = input
        .checksum_mode
        .is_some_and(|it| it.as_str() == ChecksumMode::ENABLED);
    if let Some(checksum) = content
        .checksum
        .as_ref()
        .filter(|_| wanted && !extent.partial)
    {
        let shown = shown(checksum);
        output.checksum_crc32 = shown.checksum_crc32;
        output.checksum_crc32c = shown.checksum_crc32c;
        output.checksum_crc64nvme = shown.checksum_crc64nvme;
        output.checksum_sha1 = shown.checksum_sha1;
        output.checksum_sha256 = shown.checksum_sha256;
        output.checksum_type = shown.checksum_type;
    }
    Ok(answer(output, extent.partial))
}

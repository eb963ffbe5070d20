//! `ListMultipartUploads`, `ListParts`.

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
use super::buckets::owner;
use super::listing::Spelling;
use super::multipart::find;
use super::objects::{checksum_type, shown, stamp};
use super::pages;
use super::state::Upload;
use crate::api::ApiError;

fn initiator(upload: &Upload) -> Initiator {
    Initiator {
        display_name: None,
        id: Some(upload.initiator.clone()),
    }
}

fn storage_class(upload: &Upload) -> StorageClass {
    let class = upload.about.storage_class.clone();
    StorageClass::from(class.unwrap_or_else(|| "STANDARD".to_owned()))
}

pub(super) fn list(
    exchange: &Arc<Exchange>,
    request: S3Request<ListMultipartUploadsInput>,
) -> Result<ListMultipartUploadsOutput, ApiError> {
    let input = request.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let most = pages::most(input.max_uploads)?;
    let prefix = input.prefix.unwrap_or_default();
    let state = exchange.lab.s3.lock();
    let bucket = state.bucket(&input.bucket)?;
    // By key, then by the time of their beginning, then by id.
    let mut all: Vec<(&String, &Upload)> = bucket.uploads.iter().collect();
    all.sort_by_key(|(id, upload)| (&upload.key, upload.made, *id));
    let key_marker = input.key_marker.as_deref().filter(|it| !it.is_empty());
    let id_marker = input
        .upload_id_marker
        .as_deref()
        .filter(|it| !it.is_empty());
    let at_marker = |(id, upload): &(&String, &Upload)| {
        Some(upload.key.as_str()) == key_marker && Some(id.as_str()) == id_marker
    };
    let all: Vec<(&String, &Upload)> = match all.iter().position(at_marker) {
        Some(at) => all.split_off(at + 1),
        None => all
            .into_iter()
            .filter(|(_, upload)| key_marker.is_none_or(|after| upload.key.as_str() > after))
            .collect(),
    };
    let delimiter = pages::delimiter(input.delimiter.as_ref());
    let (mut uploads, mut prefixes): (Vec<(&String, &Upload)>, Vec<String>) = Default::default();
    let mut truncated = false;
    for (id, upload) in all {
        let Some(rest) = upload.key.strip_prefix(prefix.as_str()) else {
            continue;
        };
        let common = delimiter.and_then(|delimiter| {
            let at = rest.find(delimiter)? + delimiter.len();
            Some(upload.key[..prefix.len() + at].to_owned())
        });
        if common.is_some()
            && (common.as_ref() == prefixes.last() || common.as_deref() == key_marker)
        {
            continue;
        }
        if uploads.len() + prefixes.len() >= most as usize {
            truncated = true;
            break;
        }
        match common {
            Some(common) => prefixes.push(common),
            None => uploads.push((id, upload)),
        }
    }
    let last = uploads
        .last()
        .map(|(id, upload)| (upload.key.clone(), (*id).clone()));
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        delimiter: input.delimiter.map(|it| spelling.of_text(&it)),
        encoding_type: input.encoding_type,
        is_truncated: Some(truncated),
        key_marker: Some(
            input
                .key_marker
                .map(|it| spelling.of_text(&it))
                .unwrap_or_default(),
        ),
        max_uploads: Some(most),
        next_key_marker: Some(
            last.as_ref()
                .map(|(key, _)| spelling.of_text(key))
                .unwrap_or_default(),
        ),
        next_upload_id_marker: Some(last.map(|(_, id)| id).unwrap_or_default()),
        prefix: Some(spelling.of_text(&prefix)),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        uploads: Some(uploads.into_iter().map(|it| entry(it, spelling)).collect()),
        common_prefixes: Some(spelling.prefixes(prefixes)),
        ..ListMultipartUploadsOutput::default()
    })
}

fn entry((id, upload): (&String, &Upload), spelling: Spelling) -> MultipartUpload {
    MultipartUpload {
        checksum_algorithm: upload
            .algorithm
            .map(|it| ChecksumAlgorithm::from_static(it.name())),
        checksum_type: upload.algorithm.map(|_| checksum_type(upload.full_object)),
        initiated: Some(stamp(upload.made)),
        initiator: Some(initiator(upload)),
        key: Some(spelling.of_text(&upload.key)),
        owner: Some(owner()),
        storage_class: Some(storage_class(upload)),
        upload_id: Some(id.clone()),
    }
}

pub(super) fn parts(
    exchange: &Arc<Exchange>,
    request: S3Request<ListPartsInput>,
) -> Result<ListPartsOutput, ApiError> {
    let input = request.input;
    let most = pages::most(input.max_parts)?;
    let after = input.part_number_marker.unwrap_or(0);
    let state = exchange.lab.s3.lock();
    let upload = find(&state, &input.bucket, &input.key, &input.upload_id)?;
    let behind: Vec<_> = upload.parts.range(after.saturating_add(1)..).collect();
    let truncated = behind.len() > most as usize;
    let shown_parts: Vec<Part> = behind
        .into_iter()
        .take(most as usize)
        .map(|(number, part)| {
            let checksum = part.checksum.as_ref().map(shown).unwrap_or_default();
            Part {
                checksum_crc32: checksum.checksum_crc32,
                checksum_crc32c: checksum.checksum_crc32c,
                checksum_crc64nvme: checksum.checksum_crc64nvme,
                checksum_sha1: checksum.checksum_sha1,
                checksum_sha256: checksum.checksum_sha256,
                e_tag: Some(ETag::Strong(part.etag.clone())),
                last_modified: Some(stamp(part.modified)),
                part_number: Some(*number),
                size: Some(part.size as i64),
            }
        })
        .collect();
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: upload
            .algorithm
            .map(|it| ChecksumAlgorithm::from_static(it.name())),
        checksum_type: upload.algorithm.map(|_| checksum_type(upload.full_object)),
        initiator: Some(initiator(upload)),
        is_truncated: Some(truncated),
        key: Some(exchange.spell(input.key)),
        max_parts: Some(most),
        next_part_number_marker: shown_parts.last().and_then(|it| it.part_number),
        owner: Some(owner()),
        part_number_marker: Some(after),
        parts: Some(shown_parts),
        storage_class: Some(storage_class(upload)),
        upload_id: Some(input.upload_id),
        ..ListPartsOutput::default()
    })
}

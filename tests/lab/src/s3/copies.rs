//! `CopyObject`, and what `UploadPartCopy` shares with it: where the bytes come from.

#![expect(
    clippy::wildcard_imports,
    reason = "the wire's names, an input and an output an action"
)]

use std::sync::Arc;

use http::HeaderMap;
use s3s::S3Request;
use s3s::dto::*;

use super::access::Exchange;
use super::conditions::Conditions;
use super::digest::{Algorithm, Digests};
use super::encryption;
use super::objects::{self, LARGEST_WRITE, place, shown, stamp};
use super::versions::{self, Found};
use super::{blob, tagging};
use crate::api::ApiError;

/// What is copied, looked up and judged.
pub(super) struct Source {
    pub bucket: String,
    pub key: String,
    pub found: Found,
    /// As the request named it.
    pub version: Option<String>,
}

/// Finds a copy's source and asks for its key. Its read permission was asked before the handler ran.
pub(super) fn source(
    exchange: &Exchange,
    source: CopySource,
    headers: &HeaderMap,
) -> Result<Source, ApiError> {
    let CopySource::Bucket {
        bucket,
        key,
        version_id,
    } = source
    else {
        return Err(super::not_implemented("a copy from an access point"));
    };
    let (bucket, key) = (String::from(bucket), String::from(key));
    let version = version_id.map(String::from);
    let found = versions::find(exchange, &bucket, &key, version.as_deref())?;
    Conditions::of_source(headers).check_source(&found.content.etag, found.modified)?;
    let caller = exchange.caller.as_ref();
    let from = place(exchange, &bucket, &key);
    encryption::unseal(&exchange.lab, caller, from, &found.content.sealed)?;
    Ok(Source {
        bucket,
        key,
        found,
        version,
    })
}

pub(super) async fn copy(
    exchange: &Arc<Exchange>,
    request: S3Request<CopyObjectInput>,
) -> Result<CopyObjectOutput, ApiError> {
    let (input, headers) = (request.input, request.headers);
    let (bucket, key) = (input.bucket, input.key);
    let from = source(exchange, input.copy_source, &headers)?;
    let mut content = from.found.content.clone();
    if content.size > LARGEST_WRITE {
        return Err(ApiError::new(
            "InvalidRequest",
            format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: {LARGEST_WRITE}"
            ),
        ));
    }
    let replaces = |directive: Option<&str>| directive == Some("REPLACE");
    let mut about = objects::about(exchange, &bucket, &headers)?;
    about.metadata = input.metadata.unwrap_or_default().into_iter().collect();
    let new_metadata = replaces(
        input
            .metadata_directive
            .as_ref()
            .map(MetadataDirective::as_str),
    );
    let new_tags = replaces(
        input
            .tagging_directive
            .as_ref()
            .map(TaggingDirective::as_str),
    );
    let same = from.bucket == bucket && from.key == key && from.version.is_none();
    if same && !new_metadata && headers.get("x-amz-server-side-encryption").is_none() {
        return Err(ApiError::new(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let tags = if new_tags {
        headers
            .get("x-amz-tagging")
            .and_then(|it| it.to_str().ok())
            .map_or_else(|| Ok(super::state::Tags::new()), tagging::from_header)?
    } else {
        content.about.tags.clone()
    };
    if new_metadata {
        content.about = about;
    }
    content.about.tags = tags;
    let caller = exchange.caller.as_ref();
    let to = place(exchange, &bucket, &key);
    content.sealed = encryption::seal(&exchange.lab, caller, to, &headers)?;
    // A copy is one object written at once, whatever its source was.
    let algorithm = match &input.checksum_algorithm {
        Some(name) => Algorithm::from_name(name.as_str())?,
        None => content
            .checksum
            .as_ref()
            .map_or(Algorithm::Crc64Nvme, |it| it.algorithm),
    };
    let mut digests = Digests::new(Some(algorithm));
    blob::digest(&content.blobs, &mut digests).await?;
    let sums = digests.finish();
    content.etag = objects::etag(&sums, &content.sealed);
    content.checksum = sums.checksum;
    let checksum = content.checksum.as_ref().map(shown).unwrap_or_default();
    let mut output = CopyObjectOutput {
        bucket_key_enabled: content.sealed.bucket_key_header(),
        copy_source_version_id: from.found.shown_id,
        server_side_encryption: Some(content.sealed.sse()),
        ssekms_key_id: content.sealed.key.clone(),
        copy_object_result: Some(CopyObjectResult {
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            checksum_type: checksum.checksum_type,
            e_tag: Some(ETag::Strong(content.etag.clone())),
            last_modified: Some(stamp(exchange.lab.clock.now())),
        }),
        ..CopyObjectOutput::default()
    };
    let mut state = exchange.lab.s3.lock();
    let bucket = state.bucket_mut(&bucket)?;
    output.version_id = versions::add(&exchange.lab, bucket, &key, content);
    Ok(output)
}

//! Objects: written and deleted. [`super::reads`] reads them.

#![expect(
    clippy::wildcard_imports,
    reason = "the wire's names, an input and an output an action"
)]

use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::*;
use s3s::{S3Request, S3Response};

use super::access::Exchange;
use super::blob;
use super::conditions;
use super::digest::{Algorithm, Checksum, Claim, Digests, Sums};
use super::encryption::{self, Place, Sealed};
use super::state::{About, Content};
use super::table::Question;
use super::{not_implemented, tagging, versions};
use crate::api::ApiError;

/// Objects of one write end here (S3 user guide, "Uploading objects").
pub(super) const LARGEST_WRITE: u64 = 5 << 30;
/// Keys of one `DeleteObjects`.
const MOST_DELETED: usize = 1000;

/// A time-stamp as the wire's crate writes it.
pub(super) fn stamp(at: jiff::Timestamp) -> Timestamp {
    // S3 has whole seconds in headers and `.000Z` in documents.
    let whole = jiff::Timestamp::from_second(at.as_second()).unwrap_or(at);
    Timestamp::from(std::time::SystemTime::from(whole))
}

pub(super) fn place<'a>(exchange: &'a Exchange, bucket: &'a str, key: &'a str) -> Place<'a> {
    Place {
        region: &exchange.region,
        bucket,
        key,
    }
}

/// What a write says of its object, and what the lab cannot do with it.
pub(super) fn about(
    exchange: &Exchange,
    bucket: &str,
    headers: &HeaderMap,
) -> Result<About, ApiError> {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    for unknown in [
        "x-amz-object-lock-mode",
        "x-amz-object-lock-legal-hold",
        "x-amz-website-redirect-location",
        "x-amz-write-offset-bytes",
    ] {
        if header(unknown).is_some() {
            return Err(not_implemented(unknown));
        }
    }
    refuse_acl(exchange, bucket, &header)?;
    Ok(About {
        content_type: header("content-type"),
        cache_control: header("cache-control"),
        content_disposition: header("content-disposition"),
        // The crate takes `aws-chunked` off the body, not off the header.
        content_encoding: header("content-encoding").and_then(|it| without_chunks(&it)),
        content_language: header("content-language"),
        expires: header("expires")
            .and_then(|it| Timestamp::parse(TimestampFormat::HttpDate, &it).ok()),
        storage_class: header("x-amz-storage-class"),
        metadata: std::collections::BTreeMap::new(),
        tags: match header("x-amz-tagging") {
            Some(text) => tagging::from_header(&text)?,
            None => std::collections::BTreeMap::new(),
        },
    })
}

fn without_chunks(encoding: &str) -> Option<String> {
    let rest: Vec<&str> = encoding
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty() && *it != "aws-chunked")
        .collect();
    (!rest.is_empty()).then(|| rest.join(","))
}

/// With the owner enforced there are no access control lists, but for the one that changes nothing.
fn refuse_acl(
    exchange: &Exchange,
    bucket: &str,
    header: &impl Fn(&str) -> Option<String>,
) -> Result<(), ApiError> {
    let grants = ["full-control", "read", "read-acp", "write-acp"];
    let granted = grants
        .iter()
        .any(|it| header(&format!("x-amz-grant-{it}")).is_some());
    let acl = header("x-amz-acl").filter(|it| it != "bucket-owner-full-control");
    if !granted && acl.is_none() {
        return Ok(());
    }
    let ownership = exchange.lab.s3.lock().bucket(bucket)?.ownership.clone();
    if ownership.as_deref() == Some("BucketOwnerEnforced") {
        return Err(ApiError::new(
            "AccessControlListNotSupported",
            "The bucket does not allow ACLs",
        ));
    }
    Err(not_implemented("access control lists"))
}

/// The ETag of bytes: their MD5, except where KMS keeps them.
pub(super) fn etag(sums: &Sums, sealed: &Sealed) -> String {
    let plain = hex::encode(sums.md5);
    match &sealed.key {
        None => plain,
        Some(key) => {
            let mut md5 = Digests::new(None);
            md5.update(plain.as_bytes());
            md5.update(key.as_bytes());
            hex::encode(md5.finish().md5)
        }
    }
}

pub(super) async fn put(
    exchange: &Arc<Exchange>,
    request: S3Request<PutObjectInput>,
) -> Result<S3Response<PutObjectOutput>, ApiError> {
    let input = request.input;
    let (bucket, key) = (input.bucket, input.key);
    let claim = Claim::of(&request.headers)?;
    let mut about = about(exchange, &bucket, &request.headers)?;
    about.metadata = input.metadata.unwrap_or_default().into_iter().collect();
    let caller = exchange.caller.as_ref();
    let sealed = encryption::seal(
        &exchange.lab,
        caller,
        place(exchange, &bucket, &key),
        &request.headers,
    )?;
    // What nobody asked for S3 computes by itself (S3 user guide, "Checking object integrity").
    let mut digests = Digests::new(Some(claim.algorithm.unwrap_or(Algorithm::Crc64Nvme)));
    let store = &exchange.lab.s3;
    let name = exchange.lab.ids.hex(32);
    let blob = blob::write(&store.directory, &name, input.body, &mut digests).await?;
    if blob.size > LARGEST_WRITE {
        return Err(ApiError::new(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed object size.",
        ));
    }
    let sums = digests.finish();
    let trailers = request.trailing_headers.and_then(|it| it.take());
    claim.check(&sums, trailers.as_ref())?;
    let content = Content {
        size: blob.size,
        blobs: vec![blob],
        etag: etag(&sums, &sealed),
        checksum: sums.checksum,
        about,
        sealed,
    };
    let mut output = PutObjectOutput {
        e_tag: Some(ETag::Strong(content.etag.clone())),
        bucket_key_enabled: content.sealed.bucket_key_header(),
        server_side_encryption: Some(content.sealed.sse()),
        ssekms_key_id: content.sealed.key.clone(),
        ..PutObjectOutput::default()
    };
    if let Some(checksum) = &content.checksum {
        let shown = shown(checksum);
        output.checksum_crc32 = shown.checksum_crc32;
        output.checksum_crc32c = shown.checksum_crc32c;
        output.checksum_crc64nvme = shown.checksum_crc64nvme;
        output.checksum_sha1 = shown.checksum_sha1;
        output.checksum_sha256 = shown.checksum_sha256;
        output.checksum_type = shown.checksum_type;
    }
    let mut state = store.lock();
    let bucket = state.bucket_mut(&bucket)?;
    conditions::check_write(
        bucket,
        &key,
        input.if_match.as_ref(),
        input.if_none_match.as_ref(),
    )?;
    output.version_id = versions::add(&exchange.lab, bucket, &key, content);
    Ok(S3Response::new(output))
}

/// A checksum in the members that answers have for it.
pub(super) fn shown(checksum: &Checksum) -> s3s::dto::Checksum {
    let mut shown = s3s::dto::Checksum::default();
    let value = Some(checksum.value.clone());
    match checksum.algorithm {
        Algorithm::Crc32 => shown.checksum_crc32 = value,
        Algorithm::Crc32c => shown.checksum_crc32c = value,
        Algorithm::Crc64Nvme => shown.checksum_crc64nvme = value,
        Algorithm::Sha1 => shown.checksum_sha1 = value,
        Algorithm::Sha256 => shown.checksum_sha256 = value,
    }
    shown.checksum_type = Some(checksum_type(checksum.full_object));
    shown
}

pub(super) fn checksum_type(full_object: bool) -> ChecksumType {
    ChecksumType::from_static(if full_object {
        ChecksumType::FULL_OBJECT
    } else {
        ChecksumType::COMPOSITE
    })
}

pub(super) fn delete(
    exchange: &Arc<Exchange>,
    request: S3Request<DeleteObjectInput>,
) -> Result<DeleteObjectOutput, ApiError> {
    let input = request.input;
    let mut state = exchange.lab.s3.lock();
    let bucket = state.bucket_mut(&input.bucket)?;
    conditions::check_write(bucket, &input.key, input.if_match.as_ref(), None)?;
    let version = input.version_id.as_deref();
    let deleted = versions::delete(&exchange.lab, bucket, &input.key, version);
    Ok(DeleteObjectOutput {
        delete_marker: deleted.marker.then_some(true),
        version_id: deleted.version_id,
        ..DeleteObjectOutput::default()
    })
}

/// `DeleteObjects`: each key is judged for itself, and told of for itself.
pub(super) fn delete_many(
    exchange: &Arc<Exchange>,
    request: S3Request<DeleteObjectsInput>,
) -> Result<DeleteObjectsOutput, ApiError> {
    let input = request.input;
    let quiet = input.delete.quiet.unwrap_or(false);
    if input.delete.objects.is_empty() || input.delete.objects.len() > MOST_DELETED {
        return Err(super::xml_tree::malformed("1 to 1000 objects can be named"));
    }
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    for object in input.delete.objects {
        let (key, version) = (object.key, object.version_id);
        let action = match version {
            Some(_) => "s3:DeleteObjectVersion",
            None => "s3:DeleteObject",
        };
        let judged = exchange.judge(Question::object(action, &input.bucket, &key));
        let deleted = judged.and_then(|()| {
            let mut state = exchange.lab.s3.lock();
            let bucket = state.bucket_mut(&input.bucket)?;
            Ok(versions::delete(
                &exchange.lab,
                bucket,
                &key,
                version.as_deref(),
            ))
        });
        match deleted {
            Err(error) => errors.push(Error {
                code: Some(error.code),
                key: Some(key),
                message: Some(error.message),
                version_id: version,
            }),
            Ok(deleted) => done.push(DeletedObject {
                delete_marker: deleted.marker.then_some(true),
                delete_marker_version_id: deleted.version_id.filter(|_| deleted.marker),
                key: Some(key),
                version_id: version,
            }),
        }
    }
    Ok(DeleteObjectsOutput {
        deleted: Some(if quiet { Vec::new() } else { done }),
        errors: Some(errors),
        request_charged: None,
    })
}

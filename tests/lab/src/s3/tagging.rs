//! Tags of buckets and objects.

use std::sync::Arc;

use s3s::S3Request;
use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput,
    GetObjectTaggingOutput, PutObjectTaggingInput, PutObjectTaggingOutput, Tag, TagSet, Tagging,
};

use super::access::Exchange;
use super::state::Tags;
use super::versions;
use crate::api::ApiError;

/// Most tags of an object.
const OF_AN_OBJECT: usize = 10;

fn invalid(message: &str) -> ApiError {
    ApiError::new("InvalidTag", message)
}

/// Tags by key, when there are no more than `most` and all are as S3 takes them.
pub(super) fn checked(pairs: Vec<(String, String)>, most: usize) -> Result<Tags, ApiError> {
    if pairs.len() > most {
        return Err(ApiError::new(
            "BadRequest",
            format!("Object tags cannot be greater than {most}"),
        ));
    }
    let mut tags = Tags::new();
    for (key, value) in pairs {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > 256 {
            return Err(invalid("The TagValue you have provided is invalid"));
        }
        if key.starts_with("aws:") {
            return Err(invalid("System tags cannot be added/updated by requester"));
        }
        if tags.insert(key, value).is_some() {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

/// From a request's document.
pub(super) fn read(tagging: Tagging, most: usize) -> Result<Tags, ApiError> {
    let pairs = tagging.tag_set.into_iter();
    let pairs = pairs.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
    checked(pairs.collect(), most)
}

/// From the header `x-amz-tagging`, which has the form of a query.
pub(super) fn from_header(text: &str) -> Result<Tags, ApiError> {
    let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
    checked(pairs.collect(), OF_AN_OBJECT)
}

pub(super) fn show(tags: &Tags) -> TagSet {
    tags.iter()
        .map(|(key, value)| Tag {
            key: Some(key.clone()),
            value: Some(value.clone()),
        })
        .collect()
}

pub(super) fn get(
    exchange: &Arc<Exchange>,
    request: S3Request<GetObjectTaggingInput>,
) -> Result<GetObjectTaggingOutput, ApiError> {
    let input = request.input;
    let found = versions::find(
        exchange,
        &input.bucket,
        &input.key,
        input.version_id.as_deref(),
    )?;
    Ok(GetObjectTaggingOutput {
        tag_set: show(&found.content.about.tags),
        version_id: found.shown_id,
    })
}

pub(super) fn put(
    exchange: &Arc<Exchange>,
    request: S3Request<PutObjectTaggingInput>,
) -> Result<PutObjectTaggingOutput, ApiError> {
    let input = request.input;
    let tags = read(input.tagging, OF_AN_OBJECT)?;
    let version_id = replace(
        exchange,
        &input.bucket,
        &input.key,
        input.version_id.as_deref(),
        tags,
    )?;
    Ok(PutObjectTaggingOutput { version_id })
}

pub(super) fn delete(
    exchange: &Arc<Exchange>,
    request: S3Request<DeleteObjectTaggingInput>,
) -> Result<DeleteObjectTaggingOutput, ApiError> {
    let input = request.input;
    let (bucket, key) = (&input.bucket, &input.key);
    let version_id = replace(
        exchange,
        bucket,
        key,
        input.version_id.as_deref(),
        Tags::new(),
    )?;
    Ok(DeleteObjectTaggingOutput { version_id })
}

fn replace(
    exchange: &Exchange,
    bucket: &str,
    key: &str,
    version: Option<&str>,
    tags: Tags,
) -> Result<Option<String>, ApiError> {
    let found = versions::find(exchange, bucket, key, version)?;
    let mut state = exchange.lab.s3.lock();
    let versions = state.bucket_mut(bucket)?.objects.get_mut(key);
    let version = versions
        .into_iter()
        .flatten()
        .find(|version| version.id == found.id);
    if let Some(content) = version.and_then(|it| it.content.as_mut()) {
        content.about.tags = tags;
    }
    Ok(found.shown_id)
}

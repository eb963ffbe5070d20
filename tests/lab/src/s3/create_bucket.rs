//! `CreateBucket`.

use std::sync::Arc;

use http::HeaderMap;

use super::access::Exchange;
use super::state::{Bucket, Tags};
use super::table::Question;
use super::xml_tree::{Element, malformed};
use super::{not_implemented, tagging};
use crate::api::ApiError;

const FIRST_REGION: &str = "us-east-1";

/// What the body asks for.
struct Wanted {
    constraint: Option<String>,
    tags: Tags,
}

/// Makes a bucket (S3 API reference, `CreateBucket`). One's own again is nothing in us-east-1, and refused
/// elsewhere.
pub(super) fn create(
    exchange: &Arc<Exchange>,
    name: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), ApiError> {
    let wanted = parse(body)?;
    judge(exchange, name, &wanted)?;
    let region = place(exchange, &wanted)?;
    let ownership = headers
        .get("x-amz-object-ownership")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("BucketOwnerEnforced")
        .to_owned();
    for unknown in [
        "x-amz-bucket-object-lock-enabled",
        "x-amz-acl",
        "x-amz-bucket-namespace",
    ] {
        let value = headers.get(unknown).and_then(|it| it.to_str().ok());
        if value.is_some_and(|value| !matches!(value, "false" | "private" | "global")) {
            return Err(not_implemented(unknown));
        }
    }
    let lab = &exchange.lab;
    let (made, now) = (lab.clock.now(), lab.clock.lab_time());
    let mut state = lab.s3.lock();
    if state.foreign.contains(name) {
        return Err(ApiError::new(
            "BucketAlreadyExists",
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
        )
        .status(409));
    }
    if let Some(there) = state.buckets.get(name) {
        if there.region == FIRST_REGION && region == FIRST_REGION {
            return Ok(());
        }
        return Err(ApiError::new(
            "BucketAlreadyOwnedByYou",
            "Your previous request to create the named bucket succeeded and you already own it.",
        )
        .status(409));
    }
    state.held.retain(|_, until| *until > now);
    if state.held.contains_key(name) {
        return Err(ApiError::new(
            "OperationAborted",
            "A conflicting conditional operation is currently in progress against this resource. Please try again.",
        )
        .status(409));
    }
    let bucket = Bucket::new(region, made, wanted.tags, ownership);
    state.buckets.insert(name.to_owned(), bucket);
    Ok(())
}

fn parse(body: &[u8]) -> Result<Wanted, ApiError> {
    let mut wanted = Wanted {
        constraint: None,
        tags: Tags::new(),
    };
    if body.is_empty() {
        return Ok(wanted);
    }
    let root = Element::parse(body, "CreateBucketConfiguration")?;
    root.only(&["LocationConstraint", "Tags"])?;
    wanted.constraint = root
        .child_text("LocationConstraint")
        .filter(|text| !text.is_empty())
        .map(str::to_owned);
    if let Some(tags) = root.child("Tags") {
        tags.only(&["Tag"])?;
        let pairs = tags.children.iter().map(|tag| {
            let key = tag
                .child_text("Key")
                .ok_or_else(|| malformed("a tag without `Key`"))?;
            let value = tag.child_text("Value").unwrap_or_default();
            Ok((key.to_owned(), value.to_owned()))
        });
        wanted.tags = tagging::checked(pairs.collect::<Result<Vec<_>, ApiError>>()?, 50)?;
    }
    Ok(wanted)
}

/// `s3:CreateBucket`, and with tags `s3:TagResource`.
fn judge(exchange: &Exchange, name: &str, wanted: &Wanted) -> Result<(), ApiError> {
    let tagged = |mut question: Question| {
        for (key, value) in &wanted.tags {
            question = question
                .with(&format!("aws:RequestTag/{key}"), value)
                .with("aws:TagKeys", key);
        }
        // There is no bucket yet, or none of ours, whose policy could say anything.
        question.bucket = None;
        question
    };
    let mut create = Question::bucket("s3:CreateBucket", name);
    if let Some(constraint) = &wanted.constraint {
        create = create.with("s3:LocationConstraint", constraint);
    }
    exchange.judge(tagged(create))?;
    if !wanted.tags.is_empty() {
        exchange.judge(tagged(Question::bucket("s3:TagResource", name)))?;
    }
    Ok(())
}

/// The region of the bucket: the one that was asked, except that us-east-1 makes buckets anywhere.
fn place(exchange: &Exchange, wanted: &Wanted) -> Result<String, ApiError> {
    let asked = exchange.region.as_str();
    match wanted.constraint.as_deref() {
        None if asked == FIRST_REGION => Ok(FIRST_REGION.to_owned()),
        None => Err(ApiError::new(
            "IllegalLocationConstraintException",
            "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.",
        )),
        Some(constraint) if constraint == FIRST_REGION || !exchange.lab.has_region(constraint) => {
            Err(ApiError::new(
                "InvalidLocationConstraint",
                format!("The specified location-constraint is not valid: {constraint}"),
            ))
        }
        Some(constraint) if constraint == asked || asked == FIRST_REGION => {
            Ok(constraint.to_owned())
        }
        Some(constraint) => Err(ApiError::new(
            "IllegalLocationConstraintException",
            format!(
                "The {constraint} location constraint is incompatible for the region specific endpoint this request was sent to."
            ),
        )),
    }
}

//! Buckets as such: deleted, looked at, listed. [`super::create_bucket`] makes them.

#![expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "the wire gives every action its request, and takes an error of each"
)]

use std::sync::Arc;

use s3s::S3Request;
use s3s::dto::{
    Bucket, BucketLocationConstraint, DeleteBucketInput, DeleteBucketOutput,
    GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput,
    ListBucketsInput, ListBucketsOutput, Owner,
};

use super::access::Exchange;
use super::objects::stamp;
use crate::api::ApiError;
use crate::iam::ACCOUNT;

/// The owner's canonical id: 64 hexadecimal digits, here with the account's number in them.
pub(super) fn owner() -> Owner {
    Owner {
        display_name: None,
        id: Some(format!("{ACCOUNT:0>64}")),
    }
}

/// `DeleteBucket`: refused while there is any version or marker in it. Unfinished uploads go with it.
pub(super) fn delete(
    exchange: &Arc<Exchange>,
    request: S3Request<DeleteBucketInput>,
) -> Result<DeleteBucketOutput, ApiError> {
    let name = request.input.bucket;
    let now = exchange.lab.clock.lab_time();
    let mut state = exchange.lab.s3.lock();
    if !state.bucket(&name)?.objects.is_empty() {
        return Err(ApiError::new(
            "BucketNotEmpty",
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
        )
        .status(409));
    }
    let removed = state.buckets.remove(&name);
    if !state.name_held_for.is_zero() {
        let until = now + state.name_held_for;
        state.held.insert(name, until);
    }
    drop(state);
    // Its files are removed outside of the lock.
    drop(removed);
    Ok(DeleteBucketOutput {})
}

pub(super) fn head(
    exchange: &Arc<Exchange>,
    request: S3Request<HeadBucketInput>,
) -> Result<HeadBucketOutput, ApiError> {
    let state = exchange.lab.s3.lock();
    let bucket = state.bucket(&request.input.bucket)?;
    Ok(HeadBucketOutput {
        bucket_region: Some(bucket.region.clone()),
        ..HeadBucketOutput::default()
    })
}

/// `GetBucketLocation`: empty for us-east-1.
pub(super) fn location(
    exchange: &Arc<Exchange>,
    request: S3Request<GetBucketLocationInput>,
) -> Result<GetBucketLocationOutput, ApiError> {
    let state = exchange.lab.s3.lock();
    let region = state.bucket(&request.input.bucket)?.region.clone();
    Ok(GetBucketLocationOutput {
        location_constraint: (region != "us-east-1")
            .then(|| BucketLocationConstraint::from(region)),
    })
}

/// `ListBuckets`: of every region, by name; pages only when a size is asked for.
pub(super) fn list(
    exchange: &Arc<Exchange>,
    request: S3Request<ListBucketsInput>,
) -> Result<ListBucketsOutput, ApiError> {
    let input = request.input;
    let most = input
        .max_buckets
        .map_or(usize::MAX, |it| it.max(0) as usize);
    let state = exchange.lab.s3.lock();
    let matching: Vec<Bucket> = state
        .buckets
        .iter()
        .filter(|(name, _)| input.prefix.as_ref().is_none_or(|it| name.starts_with(it)))
        .filter(|(_, it)| {
            input
                .bucket_region
                .as_ref()
                .is_none_or(|wanted| it.region == *wanted)
        })
        .filter(|(name, _)| {
            input
                .continuation_token
                .as_ref()
                .is_none_or(|after| *name > after)
        })
        .map(|(name, bucket)| Bucket {
            bucket_region: Some(bucket.region.clone()),
            creation_date: Some(stamp(bucket.made)),
            name: Some(name.clone()),
        })
        .collect();
    let truncated = matching.len() > most;
    let shown: Vec<Bucket> = matching.into_iter().take(most).collect();
    Ok(ListBucketsOutput {
        continuation_token: shown
            .last()
            .filter(|_| truncated)
            .and_then(|it| it.name.clone()),
        buckets: Some(shown),
        owner: Some(owner()),
        prefix: input.prefix,
    })
}

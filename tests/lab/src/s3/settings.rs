//! A bucket's settings: public access, ownership, versioning, life-cycle, policy, tags. What was never
//! configured answers an error of its own.

#![expect(
    clippy::wildcard_imports,
    reason = "the wire's names, an input and an output an action"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the wire gives every action its request"
)]

use std::sync::Arc;

use s3s::S3Request;
use s3s::dto::*;

use super::access::Exchange;
use super::state::{Policy, PublicAccessBlock, Versioning};
use super::{lifecycle, not_implemented, tagging};
use crate::api::ApiError;
use crate::authorize::{self, Of};

fn missing(code: &str, message: &str) -> ApiError {
    ApiError::new(code, message).status(404)
}

pub(super) fn get_public_access_block(
    exchange: &Arc<Exchange>,
    request: S3Request<GetPublicAccessBlockInput>,
) -> Result<GetPublicAccessBlockOutput, ApiError> {
    let state = exchange.lab.s3.lock();
    let block = state.bucket(&request.input.bucket)?.public_access_block;
    let block = block.ok_or_else(|| {
        missing(
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
        )
    })?;
    Ok(GetPublicAccessBlockOutput {
        public_access_block_configuration: Some(PublicAccessBlockConfiguration {
            block_public_acls: Some(block.block_acls),
            block_public_policy: Some(block.block_policy),
            ignore_public_acls: Some(block.ignore_acls),
            restrict_public_buckets: Some(block.restrict),
        }),
    })
}

pub(super) fn put_public_access_block(
    exchange: &Arc<Exchange>,
    request: S3Request<PutPublicAccessBlockInput>,
) -> Result<PutPublicAccessBlockOutput, ApiError> {
    let sent = request.input.public_access_block_configuration;
    let mut state = exchange.lab.s3.lock();
    let bucket = state.bucket_mut(&request.input.bucket)?;
    bucket.public_access_block = Some(PublicAccessBlock {
        block_acls: sent.block_public_acls.unwrap_or(false),
        ignore_acls: sent.ignore_public_acls.unwrap_or(false),
        block_policy: sent.block_public_policy.unwrap_or(false),
        restrict: sent.restrict_public_buckets.unwrap_or(false),
    });
    Ok(PutPublicAccessBlockOutput {})
}

pub(super) fn delete_public_access_block(
    exchange: &Arc<Exchange>,
    request: S3Request<DeletePublicAccessBlockInput>,
) -> Result<DeletePublicAccessBlockOutput, ApiError> {
    let mut state = exchange.lab.s3.lock();
    state.bucket_mut(&request.input.bucket)?.public_access_block = None;
    Ok(DeletePublicAccessBlockOutput {})
}

pub(super) fn get_ownership(
    exchange: &Arc<Exchange>,
    request: S3Request<GetBucketOwnershipControlsInput>,
) -> Result<GetBucketOwnershipControlsOutput, ApiError> {
    let state = exchange.lab.s3.lock();
    let ownership = state.bucket(&request.input.bucket)?.ownership.clone();
    let ownership = ownership.ok_or_else(|| {
        missing(
            "OwnershipControlsNotFoundError",
            "The bucket ownership controls were not found",
        )
    })?;
    let rule = OwnershipControlsRule {
        object_ownership: ObjectOwnership::from(ownership),
    };
    Ok(GetBucketOwnershipControlsOutput {
        ownership_controls: Some(OwnershipControls { rules: vec![rule] }),
    })
}

pub(super) fn put_ownership(
    exchange: &Arc<Exchange>,
    request: S3Request<PutBucketOwnershipControlsInput>,
) -> Result<PutBucketOwnershipControlsOutput, ApiError> {
    let rules = request.input.ownership_controls.rules;
    let known = [
        "BucketOwnerEnforced",
        "BucketOwnerPreferred",
        "ObjectWriter",
    ];
    let [rule] = rules.as_slice() else {
        return Err(super::xml_tree::malformed("there must be one `Rule`"));
    };
    let ownership = rule.object_ownership.as_str();
    if !known.contains(&ownership) {
        return Err(super::xml_tree::malformed(&format!(
            "ObjectOwnership `{ownership}`"
        )));
    }
    let mut state = exchange.lab.s3.lock();
    state.bucket_mut(&request.input.bucket)?.ownership = Some(ownership.to_owned());
    Ok(PutBucketOwnershipControlsOutput {})
}

pub(super) fn delete_ownership(
    exchange: &Arc<Exchange>,
    request: S3Request<DeleteBucketOwnershipControlsInput>,
) -> Result<DeleteBucketOwnershipControlsOutput, ApiError> {
    let mut state = exchange.lab.s3.lock();
    state.bucket_mut(&request.input.bucket)?.ownership = None;
    Ok(DeleteBucketOwnershipControlsOutput {})
}

pub(super) fn get_versioning(
    exchange: &Arc<Exchange>,
    request: S3Request<GetBucketVersioningInput>,
) -> Result<GetBucketVersioningOutput, ApiError> {
    let state = exchange.lab.s3.lock();
    let status = match state.bucket(&request.input.bucket)?.versioning {
        Versioning::Never => None,
        Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
        Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
    };
    Ok(GetBucketVersioningOutput {
        mfa_delete: None,
        status: status.map(BucketVersioningStatus::from_static),
    })
}

pub(super) fn put_versioning(
    exchange: &Arc<Exchange>,
    request: S3Request<PutBucketVersioningInput>,
) -> Result<PutBucketVersioningOutput, ApiError> {
    let sent = request.input.versioning_configuration;
    if sent
        .mfa_delete
        .is_some_and(|it| it.as_str() == MFADelete::ENABLED)
    {
        return Err(not_implemented("MfaDelete"));
    }
    let to = match sent.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
        other => {
            return Err(ApiError::new(
                "IllegalVersioningConfigurationException",
                format!("The Versioning element must be specified, not {other:?}"),
            ));
        }
    };
    let mut state = exchange.lab.s3.lock();
    state.bucket_mut(&request.input.bucket)?.versioning = to;
    Ok(PutBucketVersioningOutput {})
}

/// The size below which objects are not moved to other storage classes; the lab moves none.
fn smallest_moved() -> TransitionDefaultMinimumObjectSize {
    TransitionDefaultMinimumObjectSize::from_static("all_storage_classes_128K")
}

pub(super) fn get_lifecycle(
    exchange: &Arc<Exchange>,
    request: S3Request<GetBucketLifecycleConfigurationInput>,
) -> Result<GetBucketLifecycleConfigurationOutput, ApiError> {
    let state = exchange.lab.s3.lock();
    let rules = state.bucket(&request.input.bucket)?.lifecycle.clone();
    if rules.is_empty() {
        return Err(missing(
            "NoSuchLifecycleConfiguration",
            "The lifecycle configuration does not exist",
        ));
    }
    Ok(GetBucketLifecycleConfigurationOutput {
        rules: Some(rules),
        transition_default_minimum_object_size: Some(smallest_moved()),
    })
}

pub(super) fn put_lifecycle(
    exchange: &Arc<Exchange>,
    request: S3Request<PutBucketLifecycleConfigurationInput>,
) -> Result<PutBucketLifecycleConfigurationOutput, ApiError> {
    let sent = request.input.lifecycle_configuration;
    let rules = sent.map(|it| it.rules).unwrap_or_default();
    let rules = lifecycle::checked(&exchange.lab, rules)?;
    let mut state = exchange.lab.s3.lock();
    state.bucket_mut(&request.input.bucket)?.lifecycle = rules;
    Ok(PutBucketLifecycleConfigurationOutput {
        transition_default_minimum_object_size: Some(smallest_moved()),
    })
}

pub(super) fn delete_lifecycle(
    exchange: &Arc<Exchange>,
    request: S3Request<DeleteBucketLifecycleInput>,
) -> Result<DeleteBucketLifecycleOutput, ApiError> {
    let mut state = exchange.lab.s3.lock();
    state.bucket_mut(&request.input.bucket)?.lifecycle.clear();
    Ok(DeleteBucketLifecycleOutput {})
}

fn no_policy() -> ApiError {
    missing("NoSuchBucketPolicy", "The bucket policy does not exist")
}

pub(super) fn get_policy(
    exchange: &Arc<Exchange>,
    request: S3Request<GetBucketPolicyInput>,
) -> Result<GetBucketPolicyOutput, ApiError> {
    let state = exchange.lab.s3.lock();
    let policy = state.bucket(&request.input.bucket)?.policy.as_ref();
    let policy = policy.ok_or_else(no_policy)?;
    Ok(GetBucketPolicyOutput {
        policy: Some(policy.text.clone()),
    })
}

pub(super) fn get_policy_status(
    exchange: &Arc<Exchange>,
    request: S3Request<GetBucketPolicyStatusInput>,
) -> Result<GetBucketPolicyStatusOutput, ApiError> {
    let state = exchange.lab.s3.lock();
    let policy = state.bucket(&request.input.bucket)?.policy.as_ref();
    let policy = policy.ok_or_else(no_policy)?;
    Ok(GetBucketPolicyStatusOutput {
        policy_status: Some(PolicyStatus {
            is_public: Some(authorize::is_public(&policy.document)),
        }),
    })
}

/// `PutBucketPolicy`: read strictly, of this bucket only, and not public where that is blocked.
pub(super) fn put_policy(
    exchange: &Arc<Exchange>,
    request: S3Request<PutBucketPolicyInput>,
) -> Result<PutBucketPolicyOutput, ApiError> {
    let input = request.input;
    let malformed = |error: ApiError| ApiError::new("MalformedPolicy", error.message);
    if input.policy.len() > 20 * 1024 {
        return Err(ApiError::new(
            "MalformedPolicy",
            "Bucket policies are limited to 20 KB in size",
        ));
    }
    let document = authorize::parse(&input.policy, Of::Resource).map_err(malformed)?;
    let arn = format!("arn:aws:s3:::{}", input.bucket);
    let inside = |resource: &String| {
        resource
            .strip_prefix(&arn)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let strange = document
        .statements
        .iter()
        .flat_map(|statement| statement.resources.entries())
        .find(|resource| !inside(resource));
    if let Some(resource) = strange {
        return Err(ApiError::new(
            "MalformedPolicy",
            format!("Policy has invalid resource: `{resource}` is not of {arn}"),
        ));
    }
    let mut state = exchange.lab.s3.lock();
    let bucket = state.bucket_mut(&input.bucket)?;
    let blocked = bucket.public_access_block.is_some_and(|it| it.block_policy);
    if blocked && authorize::is_public(&document) {
        let message = "User is not authorized to perform: s3:PutBucketPolicy because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.";
        return Err(ApiError::new("AccessDenied", message).status(403));
    }
    bucket.policy = Some(Policy {
        text: input.policy,
        document: Arc::new(document),
    });
    Ok(PutBucketPolicyOutput {})
}

pub(super) fn delete_policy(
    exchange: &Arc<Exchange>,
    request: S3Request<DeleteBucketPolicyInput>,
) -> Result<DeleteBucketPolicyOutput, ApiError> {
    let mut state = exchange.lab.s3.lock();
    state.bucket_mut(&request.input.bucket)?.policy = None;
    Ok(DeleteBucketPolicyOutput {})
}

pub(super) fn get_tagging(
    exchange: &Arc<Exchange>,
    request: S3Request<GetBucketTaggingInput>,
) -> Result<GetBucketTaggingOutput, ApiError> {
    let state = exchange.lab.s3.lock();
    let tags = &state.bucket(&request.input.bucket)?.tags;
    if tags.is_empty() {
        return Err(missing("NoSuchTagSet", "The TagSet does not exist"));
    }
    Ok(GetBucketTaggingOutput {
        tag_set: tagging::show(tags),
    })
}

pub(super) fn put_tagging(
    exchange: &Arc<Exchange>,
    request: S3Request<PutBucketTaggingInput>,
) -> Result<PutBucketTaggingOutput, ApiError> {
    let tags = tagging::read(request.input.tagging, 50)?;
    let mut state = exchange.lab.s3.lock();
    state.bucket_mut(&request.input.bucket)?.tags = tags;
    Ok(PutBucketTaggingOutput {})
}

pub(super) fn delete_tagging(
    exchange: &Arc<Exchange>,
    request: S3Request<DeleteBucketTaggingInput>,
) -> Result<DeleteBucketTaggingOutput, ApiError> {
    let mut state = exchange.lab.s3.lock();
    state.bucket_mut(&request.input.bucket)?.tags.clear();
    Ok(DeleteBucketTaggingOutput {})
}

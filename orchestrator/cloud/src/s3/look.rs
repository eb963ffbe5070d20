//! Reads of one bucket: is it there, and each of its settings. What was never configured is an error
//! of its own in S3, and none here.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{
    EncodingType, EncryptionType, ExpirationStatus, LifecycleRule,
    TransitionDefaultMinimumObjectSize,
};
use plan::action::LIFECYCLE_RULE;
use plan::observed::{BucketEncryption, BucketLifecycle, Tags};

use super::Asked;
use crate::error::{Called, Failure};

/// The region that S3 means by no location, or by an empty one.
const CLASSIC: &str = "us-east-1";

/// Whether a bucket is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// No account has one of this name.
    Absent,
    /// 403: another account's, or we may not look.
    Denied,
    /// In this region.
    There { region: String },
}

/// The rules of a bucket's life-cycle, with what else is set beside them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<LifecycleRule>,
    pub(crate) transitions: Option<TransitionDefaultMinimumObjectSize>,
}

impl Rules {
    /// Our rule, when it is in force for the whole bucket.
    pub(crate) fn ours(&self) -> Option<BucketLifecycle> {
        let rule = self.rules.iter().find(|rule| is_ours(rule))?;
        let everything = rule.filter().is_none_or(|filter| {
            filter.prefix().is_none_or(str::is_empty)
                && filter.tag().is_none()
                && filter.and().is_none()
                && filter.object_size_greater_than().is_none()
                && filter.object_size_less_than().is_none()
        });
        let days = |days: Option<i32>| days.and_then(|days| u32::try_from(days).ok());
        (everything && *rule.status() == ExpirationStatus::Enabled).then(|| BucketLifecycle {
            old_versions_days: days(
                rule.noncurrent_version_expiration()
                    .and_then(|it| it.noncurrent_days()),
            ),
            unfinished_uploads_days: days(
                rule.abort_incomplete_multipart_upload()
                    .and_then(|it| it.days_after_initiation()),
            ),
            bare_markers: rule
                .expiration()
                .and_then(|it| it.expired_object_delete_marker())
                .unwrap_or(false),
        })
    }
}

pub(crate) fn is_ours(rule: &LifecycleRule) -> bool {
    rule.id() == Some(LIFECYCLE_RULE)
}

/// `Ok(None)` for an answer that says "never configured".
fn configured<T>(answer: Result<T, Failure>, never: &str) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.is(never) => Ok(None),
        Err(failure) => Err(failure),
    }
}

impl Asked<'_> {
    /// Whether it is there, and where. A bucket of another region answers with a redirection that names
    /// it, which counts as there.
    pub(crate) async fn head(&self) -> Result<Head, Failure> {
        const CALL: &str = "s3:ListBucket";
        let answer = self
            .client
            .head_bucket()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await;
        let elsewhere = match &answer {
            Err(SdkError::ServiceError(answer)) => answer
                .raw()
                .headers()
                .get("x-amz-bucket-region")
                .map(str::to_owned),
            _ => None,
        };
        match answer.called(CALL) {
            Ok(answer) => match answer.bucket_region() {
                Some(region) => Ok(Head::There {
                    region: region.to_owned(),
                }),
                None => self.location().await.map(|region| Head::There { region }),
            },
            Err(failure) if failure.is("NotFound") || failure.is("NoSuchBucket") => {
                Ok(Head::Absent)
            }
            // The answer to HEAD has no body, and so no code.
            Err(failure) if failure.is_denied() || failure.is("HTTP 403") => Ok(Head::Denied),
            Err(failure) if failure.is("HTTP 301") || failure.is("HTTP 400") => elsewhere
                .map(|region| Head::There { region })
                .ok_or(failure),
            Err(failure) => Err(failure),
        }
    }

    async fn location(&self) -> Result<String, Failure> {
        let answer = self
            .client
            .get_bucket_location()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await
            .called("s3:GetBucketLocation")?;
        let constraint = answer.location_constraint().map(|it| it.as_str());
        Ok(match constraint {
            None | Some("") => CLASSIC,
            // The name that Ireland had first.
            Some("EU") => "eu-west-1",
            Some(region) => region,
        }
        .to_owned())
    }

    pub(crate) async fn tags(&self) -> Result<Tags, Failure> {
        let answer = self
            .client
            .get_bucket_tagging()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await
            .called("s3:GetBucketTagging");
        let found = configured(answer, "NoSuchTagSet")?;
        Ok(found
            .iter()
            .flat_map(|answer| answer.tag_set())
            .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
            .collect())
    }

    /// Whether it holds nothing: no version, no deletion marker, no unfinished upload.
    pub(crate) async fn is_empty(&self) -> Result<bool, Failure> {
        let versions = self
            .client
            .list_object_versions()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .max_keys(1)
            // Keys are not read, but an answer with some of them cannot be read without.
            .encoding_type(EncodingType::Url)
            .send()
            .await
            .called("s3:ListBucketVersions")?;
        if !versions.versions().is_empty() || !versions.delete_markers().is_empty() {
            return Ok(false);
        }
        let uploads = self
            .client
            .list_multipart_uploads()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .max_uploads(1)
            .encoding_type(EncodingType::Url)
            .send()
            .await
            .called("s3:ListBucketMultipartUploads")?;
        Ok(uploads.uploads().is_empty())
    }

    /// Whether all four parts of the public access block are on.
    pub(crate) async fn public_access_blocked(&self) -> Result<bool, Failure> {
        let answer = self
            .client
            .get_public_access_block()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await
            .called("s3:GetBucketPublicAccessBlock");
        let found = configured(answer, "NoSuchPublicAccessBlockConfiguration")?;
        Ok(found
            .as_ref()
            .and_then(|answer| answer.public_access_block_configuration())
            .is_some_and(|block| {
                [
                    block.block_public_acls(),
                    block.ignore_public_acls(),
                    block.block_public_policy(),
                    block.restrict_public_buckets(),
                ]
                .iter()
                .all(|part| *part == Some(true))
            }))
    }

    pub(crate) async fn ownership(&self) -> Result<Option<String>, Failure> {
        let answer = self
            .client
            .get_bucket_ownership_controls()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await
            .called("s3:GetBucketOwnershipControls");
        let found = configured(answer, "OwnershipControlsNotFoundError")?;
        Ok(found
            .as_ref()
            .and_then(|answer| answer.ownership_controls())
            .and_then(|controls| controls.rules().first())
            .map(|rule| rule.object_ownership().as_str().to_owned()))
    }

    pub(crate) async fn encryption(&self) -> Result<Option<BucketEncryption>, Failure> {
        let answer = self
            .client
            .get_bucket_encryption()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await
            .called("s3:GetEncryptionConfiguration");
        let found = configured(answer, "ServerSideEncryptionConfigurationNotFoundError")?;
        let rule = found
            .as_ref()
            .and_then(|answer| answer.server_side_encryption_configuration())
            .and_then(|configuration| configuration.rules().first());
        Ok(rule.and_then(|rule| {
            let default = rule.apply_server_side_encryption_by_default()?;
            Some(BucketEncryption {
                algorithm: default.sse_algorithm().as_str().to_owned(),
                kms_key: default.kms_master_key_id().map(str::to_owned),
                bucket_key: rule.bucket_key_enabled().unwrap_or(false),
                client_keys_blocked: rule.blocked_encryption_types().is_some_and(|blocked| {
                    blocked.encryption_type().contains(&EncryptionType::SseC)
                }),
            })
        }))
    }

    pub(crate) async fn versioning(&self) -> Result<Option<String>, Failure> {
        let answer = self
            .client
            .get_bucket_versioning()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await
            .called("s3:GetBucketVersioning")?;
        Ok(answer.status().map(|status| status.as_str().to_owned()))
    }

    pub(crate) async fn rules(&self) -> Result<Rules, Failure> {
        let answer = self
            .client
            .get_bucket_lifecycle_configuration()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await
            .called("s3:GetLifecycleConfiguration");
        let found = configured(answer, "NoSuchLifecycleConfiguration")?;
        Ok(found.map_or_else(Rules::default, |answer| Rules {
            rules: answer.rules().to_vec(),
            transitions: answer.transition_default_minimum_object_size().cloned(),
        }))
    }

    pub(crate) async fn policy(&self) -> Result<Option<String>, Failure> {
        let answer = self
            .client
            .get_bucket_policy()
            .bucket(self.name)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await
            .called("s3:GetBucketPolicy");
        let found = configured(answer, "NoSuchBucketPolicy")?;
        Ok(found.and_then(|answer| answer.policy().map(str::to_owned)))
    }
}

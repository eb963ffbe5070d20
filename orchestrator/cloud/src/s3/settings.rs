//! One setting of a bucket of ours: read, compared, put when it differs.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BlockedEncryptionTypes, BucketLifecycleConfiguration,
    BucketVersioningStatus, EncryptionType, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter, NoncurrentVersionExpiration, ObjectOwnership, OwnershipControls,
    OwnershipControlsRule, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    Tag, Tagging, VersioningConfiguration,
};
use plan::action::{
    BucketRef, BucketSetting, LIFECYCLE_RULE, OLD_VERSIONS_DAYS, UNFINISHED_UPLOADS_DAYS,
};
use plan::files::key_tag;
use plan::observed::{BucketEncryption, BucketLifecycle, KMS_KEY_TAG};
use serde_json::Value;

use super::Asked;
use super::look::is_ours;
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError};

/// A structure of the SDK that lacks what we did not give it: a mistake of ours, said and not swallowed.
fn not_built(call: &'static str) -> impl FnOnce(BuildError) -> EffectError {
    move |error| EffectError::refused(call, "RequestNotBuilt", error.to_string())
}

impl Cloud {
    /// Gives a bucket of ours one setting.
    pub(crate) async fn set_bucket(
        &self,
        bucket: &BucketRef,
        setting: &BucketSetting,
    ) -> Result<Outcome, EffectError> {
        self.check_our_bucket(bucket).await?;
        let asked = self.asked(bucket);
        let put = Put {
            client: self.s3_act(bucket),
            bucket,
        };
        match setting {
            BucketSetting::PublicAccessBlock => put.public_access_block(asked).await,
            BucketSetting::Ownership => put.ownership(asked).await,
            BucketSetting::Encryption { kms_key } => {
                let key = kms_key.as_deref();
                let encryption = put.encryption(asked, key).await?;
                // The tag comes after it: a bucket whose tag names another key is mended at once.
                let remembered = put.tag(asked, KMS_KEY_TAG, key_tag(key)).await?;
                Ok(encryption.and(remembered))
            }
            BucketSetting::Versioning => put.versioning(asked).await,
            BucketSetting::Lifecycle => put.lifecycle(asked).await,
            BucketSetting::Policy { document } => put.policy(asked, document).await,
        }
    }
}

struct Put<'a> {
    client: &'a Client,
    bucket: &'a BucketRef,
}

impl Put<'_> {
    async fn public_access_block(&self, asked: Asked<'_>) -> Result<Outcome, EffectError> {
        if asked.public_access_blocked().await? {
            return Ok(Outcome::Unchanged);
        }
        let block = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        self.client
            .put_public_access_block()
            .bucket(&self.bucket.name)
            .expected_bucket_owner(&self.bucket.owner)
            .public_access_block_configuration(block)
            .send()
            .await
            .called("s3:PutBucketPublicAccessBlock")?;
        Ok(Outcome::Changed)
    }

    async fn ownership(&self, asked: Asked<'_>) -> Result<Outcome, EffectError> {
        const CALL: &str = "s3:PutBucketOwnershipControls";
        let wanted = ObjectOwnership::BucketOwnerEnforced;
        if asked.ownership().await?.as_deref() == Some(wanted.as_str()) {
            return Ok(Outcome::Unchanged);
        }
        let rule = OwnershipControlsRule::builder()
            .object_ownership(wanted)
            .build()
            .map_err(not_built(CALL))?;
        let controls = OwnershipControls::builder()
            .rules(rule)
            .build()
            .map_err(not_built(CALL))?;
        self.client
            .put_bucket_ownership_controls()
            .bucket(&self.bucket.name)
            .expected_bucket_owner(&self.bucket.owner)
            .ownership_controls(controls)
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    async fn encryption(
        &self,
        asked: Asked<'_>,
        kms_key: Option<&str>,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "s3:PutEncryptionConfiguration";
        let wanted = BucketEncryption {
            algorithm: kms_key.map_or("AES256", |_| "aws:kms").to_owned(),
            kms_key: kms_key.map(str::to_owned),
            bucket_key: kms_key.is_some(),
            client_keys_blocked: true,
        };
        if asked.encryption().await?.as_ref() == Some(&wanted) {
            return Ok(Outcome::Unchanged);
        }
        let default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(ServerSideEncryption::from(wanted.algorithm.as_str()))
            .set_kms_master_key_id(wanted.kms_key)
            .build()
            .map_err(not_built(CALL))?;
        let rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default)
            .bucket_key_enabled(wanted.bucket_key)
            .blocked_encryption_types(
                BlockedEncryptionTypes::builder()
                    .encryption_type(EncryptionType::SseC)
                    .build(),
            )
            .build();
        let configuration = ServerSideEncryptionConfiguration::builder()
            .rules(rule)
            .build()
            .map_err(not_built(CALL))?;
        self.client
            .put_bucket_encryption()
            .bucket(&self.bucket.name)
            .expected_bucket_owner(&self.bucket.owner)
            .server_side_encryption_configuration(configuration)
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// One tag among the others, which stay; AWS's own cannot be put.
    async fn tag(&self, asked: Asked<'_>, key: &str, value: &str) -> Result<Outcome, EffectError> {
        const CALL: &str = "s3:PutBucketTagging";
        let mut tags = asked.tags().await?;
        if tags.get(key).map(String::as_str) == Some(value) {
            return Ok(Outcome::Unchanged);
        }
        tags.retain(|key, _| !key.starts_with("aws:"));
        tags.insert(key.to_owned(), value.to_owned());
        let tags: Result<Vec<Tag>, BuildError> = tags
            .into_iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect();
        let tagging = Tagging::builder()
            .set_tag_set(Some(tags.map_err(not_built(CALL))?))
            .build()
            .map_err(not_built(CALL))?;
        self.client
            .put_bucket_tagging()
            .bucket(&self.bucket.name)
            .expected_bucket_owner(&self.bucket.owner)
            .tagging(tagging)
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    async fn versioning(&self, asked: Asked<'_>) -> Result<Outcome, EffectError> {
        let wanted = BucketVersioningStatus::Enabled;
        if asked.versioning().await?.as_deref() == Some(wanted.as_str()) {
            return Ok(Outcome::Unchanged);
        }
        self.client
            .put_bucket_versioning()
            .bucket(&self.bucket.name)
            .expected_bucket_owner(&self.bucket.owner)
            .versioning_configuration(VersioningConfiguration::builder().status(wanted).build())
            .send()
            .await
            .called("s3:PutBucketVersioning")?;
        Ok(Outcome::Changed)
    }

    /// Our rule among those of others, which stay as they are.
    async fn lifecycle(&self, asked: Asked<'_>) -> Result<Outcome, EffectError> {
        const CALL: &str = "s3:PutLifecycleConfiguration";
        let seen = asked.rules().await?;
        let wanted = BucketLifecycle {
            old_versions_days: Some(OLD_VERSIONS_DAYS),
            unfinished_uploads_days: Some(UNFINISHED_UPLOADS_DAYS),
            bare_markers: true,
        };
        if seen.ours() == Some(wanted) {
            return Ok(Outcome::Unchanged);
        }
        let mut rules = seen.rules;
        rules.retain(|rule| !is_ours(rule));
        rules.push(our_rule().map_err(not_built(CALL))?);
        let configuration = BucketLifecycleConfiguration::builder()
            .set_rules(Some(rules))
            .build()
            .map_err(not_built(CALL))?;
        self.client
            .put_bucket_lifecycle_configuration()
            .bucket(&self.bucket.name)
            .expected_bucket_owner(&self.bucket.owner)
            .set_transition_default_minimum_object_size(seen.transitions)
            .lifecycle_configuration(configuration)
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    async fn policy(&self, asked: Asked<'_>, document: &str) -> Result<Outcome, EffectError> {
        let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
        let seen = asked.policy().await?;
        if seen.is_some() && seen.as_deref().and_then(parsed) == parsed(document) {
            return Ok(Outcome::Unchanged);
        }
        self.client
            .put_bucket_policy()
            .bucket(&self.bucket.name)
            .expected_bucket_owner(&self.bucket.owner)
            .policy(document)
            .send()
            .await
            .called("s3:PutBucketPolicy")?;
        Ok(Outcome::Changed)
    }
}

fn our_rule() -> Result<LifecycleRule, BuildError> {
    LifecycleRule::builder()
        .id(LIFECYCLE_RULE)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .noncurrent_version_expiration(
            NoncurrentVersionExpiration::builder()
                .noncurrent_days(OLD_VERSIONS_DAYS.cast_signed())
                .build(),
        )
        .expiration(
            LifecycleExpiration::builder()
                .expired_object_delete_marker(true)
                .build(),
        )
        .abort_incomplete_multipart_upload(
            AbortIncompleteMultipartUpload::builder()
                .days_after_initiation(UNFINISHED_UPLOADS_DAYS.cast_signed())
                .build(),
        )
        .build()
}

//! The bucket is made, with our tags from its first moment.

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, Tag, Tagging};
use jiff::Timestamp;
use plan::action::BucketRef;
use plan::observed::{MADE_ANEW_TAG, PART_TAG};

use super::look::Head;
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

/// The one region whose name S3 refuses as a location.
const CLASSIC: &str = "us-east-1";

impl Cloud {
    /// Makes it, once. One that is there keeps everything; an empty one of our account without tags, as a
    /// crash may leave it, becomes ours. `made_anew` becomes a tag of what is made or becomes ours.
    pub(crate) async fn ensure_bucket(
        &self,
        bucket: &BucketRef,
        made_anew: Option<Timestamp>,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "s3:CreateBucket";
        match self.asked(bucket).head().await? {
            Head::There { .. } => return self.adopt_bucket(bucket, made_anew).await,
            Head::Denied => {
                return Err(EffectError::refused(
                    "s3:ListBucket",
                    "AccessDenied",
                    format!(
                        "bucket `{}` answers 403: another account owns it, or this role may not look",
                        bucket.name
                    ),
                ));
            }
            Head::Absent => {}
        }
        let constraint = (bucket.region != CLASSIC)
            .then(|| BucketLocationConstraint::from(bucket.region.as_str()));
        let configuration = CreateBucketConfiguration::builder()
            .set_location_constraint(constraint)
            .set_tags(Some(self.bucket_tags(made_anew)))
            .build();
        let answer = self
            .s3_act(bucket)
            .create_bucket()
            .bucket(&bucket.name)
            .create_bucket_configuration(configuration)
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(_) => Ok(Outcome::Changed),
            // Made by another executor meanwhile.
            Err(failure) if failure.is("BucketAlreadyOwnedByYou") => {
                self.adopt_bucket(bucket, made_anew).await
            }
            Err(failure) if failure.is("BucketAlreadyExists") => Err(EffectError::refused(
                CALL,
                "BucketAlreadyExists",
                format!(
                    "another AWS account has a bucket named `{}`: choose another stack name, or name a bucket in `files.bucket`",
                    bucket.name
                ),
            )),
            Err(failure) if failure.is("OperationAborted") => Err(EffectError::refused(
                CALL,
                "OperationAborted",
                format!(
                    "S3 still holds the name `{}` of a bucket that was deleted a while ago; it is free again within minutes, up to an hour",
                    bucket.name
                ),
            )),
            Err(failure) => Err(failure.into()),
        }
    }

    /// One of our own account: ours by its tag, or untouched by anybody.
    async fn adopt_bucket(
        &self,
        bucket: &BucketRef,
        made_anew: Option<Timestamp>,
    ) -> Result<Outcome, EffectError> {
        let asked = self.asked(bucket);
        let tags = asked.tags().await?;
        if self.owns(&tags) {
            return Ok(Outcome::Unchanged);
        }
        if !tags.is_empty() || !asked.is_empty().await? {
            self.check_ours(&bucket.name, &tags)?;
        }
        let tagging = Tagging::builder()
            .set_tag_set(Some(self.bucket_tags(made_anew)))
            .build()
            .map_err(|_| Failure::incomplete("s3:PutBucketTagging", "tags"))?;
        self.s3_act(bucket)
            .put_bucket_tagging()
            .bucket(&bucket.name)
            .expected_bucket_owner(&bucket.owner)
            .tagging(tagging)
            .send()
            .await
            .called("s3:PutBucketTagging")?;
        Ok(Outcome::Changed)
    }

    fn bucket_tags(&self, made_anew: Option<Timestamp>) -> Vec<Tag> {
        let at = made_anew.map(|at| at.to_string());
        let anew = at.as_deref().map(|at| (MADE_ANEW_TAG, at));
        self.our_tags([(PART_TAG, "files")])
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .chain(anew)
            .map(|(key, value)| {
                Tag::builder()
                    .key(key)
                    .value(value)
                    .build()
                    .expect("key and value are given")
            })
            .collect()
    }
}

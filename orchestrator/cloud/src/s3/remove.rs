//! The end of a bucket of ours: unfinished uploads, versions and deletion markers, page by page, then
//! the bucket. Begun again it goes on with what is left.

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures_util::{StreamExt, TryStreamExt};
use plan::action::BucketRef;

use super::look::Head;
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

/// Pages of one effect: each is a list and a deletion of up to 1000, one to two seconds together, and
/// an effect must end well before the lease does that is renewed beside it.
const PAGES: usize = 8;
/// Uploads that are ended at once.
const AT_ONCE: usize = 8;

impl Cloud {
    /// Deletes some pages of what lies in a bucket of ours. Unchanged: it was empty.
    pub(crate) async fn delete_bucket_contents(
        &self,
        bucket: &BucketRef,
    ) -> Result<Outcome, EffectError> {
        if self.asked(bucket).head().await? == Head::Absent {
            return Ok(Outcome::Unchanged);
        }
        self.check_our_bucket(bucket).await?;
        let mut outcome = Outcome::Unchanged;
        for _ in 0..PAGES {
            let uploads = self.end_uploads(bucket).await?;
            let versions = self.delete_versions(bucket).await?;
            if uploads + versions == 0 {
                break;
            }
            let deleted = self.count_deleted(versions);
            log::info!(
                bucket = bucket.name.as_str(), deleted, uploads;
                "a page of the bucket is deleted"
            );
            outcome = Outcome::Changed;
        }
        Ok(outcome)
    }

    /// Ends a page of unfinished uploads; how many.
    async fn end_uploads(&self, bucket: &BucketRef) -> Result<u64, EffectError> {
        let asked = self.asked(bucket);
        let page = asked
            .client
            .list_multipart_uploads()
            .bucket(asked.name)
            .set_expected_bucket_owner(asked.owner())
            .send()
            .await
            .called("s3:ListBucketMultipartUploads")?;
        let client = self.s3_act(bucket);
        let uploads: Vec<_> = page.uploads().to_vec();
        let ends = uploads.into_iter().map(|upload| async move {
            let answer = client
                .abort_multipart_upload()
                .bucket(&bucket.name)
                .expected_bucket_owner(&bucket.owner)
                .set_key(upload.key().map(str::to_owned))
                .set_upload_id(upload.upload_id().map(str::to_owned))
                .send()
                .await
                .called("s3:AbortMultipartUpload");
            Outcome::gone(answer.map(drop), &["NoSuchUpload"])
        });
        let ended: Vec<Outcome> = futures_util::stream::iter(ends)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(ended.len() as u64)
    }

    /// Deletes a page of versions and markers; how many.
    async fn delete_versions(&self, bucket: &BucketRef) -> Result<u64, EffectError> {
        const CALL: &str = "s3:DeleteObjectVersion";
        let asked = self.asked(bucket);
        let page = asked
            .client
            .list_object_versions()
            .bucket(asked.name)
            .set_expected_bucket_owner(asked.owner())
            .send()
            .await
            .called("s3:ListBucketVersions")?;
        let versions = page.versions().iter().map(|it| (it.key(), it.version_id()));
        let markers = page
            .delete_markers()
            .iter()
            .map(|it| (it.key(), it.version_id()));
        let objects: Vec<ObjectIdentifier> = versions
            .chain(markers)
            .filter_map(|(key, version)| {
                ObjectIdentifier::builder()
                    .set_key(key.map(str::to_owned))
                    .set_version_id(version.map(str::to_owned))
                    .build()
                    .ok()
            })
            .collect();
        let count = objects.len() as u64;
        if count == 0 {
            return Ok(0);
        }
        let delete = Delete::builder()
            .set_objects(Some(objects))
            .quiet(true)
            .build()
            .map_err(|_| Failure::incomplete(CALL, "objects"))?;
        let answer = self
            .s3_act(bucket)
            .delete_objects()
            .bucket(&bucket.name)
            .expected_bucket_owner(&bucket.owner)
            .delete(delete)
            .send()
            .await
            .called(CALL)?;
        // The names of files are users' own and stand in no message.
        match answer.errors() {
            [] => Ok(count),
            [first, ..] => Err(EffectError::refused(
                CALL,
                first.code().unwrap_or("Unknown"),
                format!(
                    "{} of {count} versions in bucket `{}` could not be deleted: {}",
                    answer.errors().len(),
                    bucket.name,
                    first.message().unwrap_or("no message")
                ),
            )),
        }
    }

    /// Deletes an empty bucket of ours.
    pub(crate) async fn delete_bucket(&self, bucket: &BucketRef) -> Result<Outcome, EffectError> {
        if self.asked(bucket).head().await? == Head::Absent {
            return Ok(Outcome::Unchanged);
        }
        self.check_our_bucket(bucket).await?;
        let answer = self
            .s3_act(bucket)
            .delete_bucket()
            .bucket(&bucket.name)
            .expected_bucket_owner(&bucket.owner)
            .send()
            .await
            .called("s3:DeleteBucket");
        Outcome::gone(answer.map(drop), &["NoSuchBucket"])
    }
}

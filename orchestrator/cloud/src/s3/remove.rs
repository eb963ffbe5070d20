//! The end of a bucket of ours: unfinished uploads, versions and deletion markers, page by page, then
//! the bucket. Begun again it goes on with what is left.

use aws_sdk_s3::types::{Delete, EncodingType, ObjectIdentifier};
use plan::action::BucketRef;

use super::look::Head;
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

/// Pages of one effect: each is a list and a deletion of up to 1000, one to two seconds together, and
/// an effect must end well before the lease does that is renewed beside it.
const PAGES: usize = 8;
/// Uploads that are ended in one page, one after the other: there are few, for the life-cycle ends them.
const UPLOADS: i32 = 50;

/// A key as it is, of an answer with `EncodingType=url`: a name of a file may have characters that XML has not, and
/// such an answer cannot be read without.
fn decoded(key: &str) -> String {
    let pair = format!("key={}", key.replace('&', "%26"));
    let mut pairs = url::form_urlencoded::parse(pair.as_bytes());
    pairs
        .next()
        .map_or_else(String::new, |(_, key)| key.into_owned())
}

/// XML 1.0, "Characters", but for the carriage return, which its readers turn into a line feed.
fn is_of_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..)
}

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
            .max_uploads(UPLOADS)
            .encoding_type(EncodingType::Url)
            .send()
            .await
            .called("s3:ListBucketMultipartUploads")?;
        let client = self.s3_act(bucket);
        for upload in page.uploads() {
            let answer = client
                .abort_multipart_upload()
                .bucket(&bucket.name)
                .expected_bucket_owner(&bucket.owner)
                .set_key(upload.key().map(decoded))
                .set_upload_id(upload.upload_id().map(str::to_owned))
                .send()
                .await
                .called("s3:AbortMultipartUpload");
            Outcome::gone(answer.map(drop), &["NoSuchUpload"])?;
        }
        Ok(page.uploads().len() as u64)
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
            .encoding_type(EncodingType::Url)
            .send()
            .await
            .called("s3:ListBucketVersions")?;
        let versions = page.versions().iter().map(|it| (it.key(), it.version_id()));
        let markers = page
            .delete_markers()
            .iter()
            .map(|it| (it.key(), it.version_id()));
        let (plain, odd): (Vec<_>, Vec<_>) = versions
            .chain(markers)
            .filter_map(|(key, version)| Some((decoded(key?), version?.to_owned())))
            .partition(|(key, _)| key.chars().all(is_of_xml));
        let odd = self.delete_odd(bucket, odd).await?;
        let objects: Vec<ObjectIdentifier> = plain
            .into_iter()
            .filter_map(|(key, version)| {
                ObjectIdentifier::builder()
                    .key(key)
                    .version_id(version)
                    .build()
                    .ok()
            })
            .collect();
        let count = objects.len() as u64;
        if count == 0 {
            return Ok(odd);
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
            [] => Ok(count + odd),
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

    /// Deletes versions whose keys no XML can carry, one by one; how many.
    async fn delete_odd(
        &self,
        bucket: &BucketRef,
        versions: Vec<(String, String)>,
    ) -> Result<u64, EffectError> {
        let count = versions.len() as u64;
        let client = self.s3_act(bucket);
        for (key, version) in versions {
            let answer = client
                .delete_object()
                .bucket(&bucket.name)
                .expected_bucket_owner(&bucket.owner)
                .key(key)
                .version_id(version)
                .send()
                .await
                .called("s3:DeleteObjectVersion");
            Outcome::gone(answer.map(drop), &["NoSuchKey", "NoSuchVersion"])?;
        }
        Ok(count)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_written() {
        for (written, key) in [
            ("20260101/a.txt", "20260101/a.txt"),
            ("a+b%2Bc%20d", "a b+c d"),
            ("%01%0D%C3%A9%26&=", "\u{1}\ré&&="),
        ] {
            assert_eq!(decoded(written), key);
        }
        for (key, fits) in [
            ("é \t\n😀", true),
            ("\u{1}", false),
            ("\r", false),
            ("\u{FFFE}", false),
        ] {
            assert_eq!(key.chars().all(is_of_xml), fits, "{key:?}");
        }
    }
}

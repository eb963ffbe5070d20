//! The bucket of users' files.

use super::{Judge, Verdict};
use crate::action::{Action, BucketRef, BucketSetting};
use crate::files::{unnamed_key, unnamed_key_stays};
use crate::kms_key::judge_kms_key;
use crate::observed::FilesBucket;

impl Judge<'_> {
    pub(super) fn bucket(&self, action: &Action) -> Verdict {
        match action {
            Action::EnsureBucket { bucket, .. } => {
                self.own_bucket(bucket)?;
                match self.seen_bucket(bucket) {
                    // Nobody's yet, or left without its tag.
                    None => Ok(()),
                    Some(seen) if seen.tags.is_empty() && seen.empty == Some(true) => Ok(()),
                    Some(seen) => self.tagged(Some(&seen.tags), &bucket.name),
                }
            }
            Action::SetBucket { bucket, setting } => {
                self.own_bucket(bucket)?;
                self.key(bucket, setting)?;
                self.tagged(
                    self.seen_bucket(bucket).map(|seen| &seen.tags),
                    &bucket.name,
                )
            }
            Action::DeleteBucketContents { bucket } | Action::DeleteBucket { bucket } => {
                self.own_bucket(bucket)?;
                self.tagged(
                    self.seen_bucket(bucket).map(|seen| &seen.tags),
                    &bucket.name,
                )?;
                if !self.intent.want.deletes_files() {
                    return Err((
                        "keeps_files",
                        "users' files are deleted by `down --delete-files` only".to_owned(),
                    ));
                }
                if self
                    .observed
                    .groups
                    .values()
                    .any(|group| self.tagged(Some(&group.tags), &group.name).is_ok())
                {
                    return Err(("keeps_files", "nodes may still use the bucket".to_owned()));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// With a key that S3 cannot use every upload fails; without one that it was given, whatever lies under it.
    fn key(&self, bucket: &BucketRef, setting: &BucketSetting) -> Verdict {
        let BucketSetting::Encryption { kms_key } = setting else {
            return Ok(());
        };
        let seen = self.seen_bucket(bucket);
        if let Some(key) = seen.and_then(|seen| unnamed_key(&self.intent.spec.files, seen)) {
            return Err(("keeps_key", unnamed_key_stays(&bucket.name, key)));
        }
        let Some(arn) = kms_key else { return Ok(()) };
        match judge_kms_key(arn, &self.observed.files_key).problem() {
            None => Ok(()),
            Some(why) => Err(("unread_key", why.to_owned())),
        }
    }

    fn seen_bucket(&self, bucket: &BucketRef) -> Option<&FilesBucket> {
        let seen = self.observed.files_bucket.as_ref();
        seen.filter(|seen| seen.name == bucket.name)
    }

    /// The one bucket that the stack makes: not one that the specification names.
    fn own_bucket(&self, bucket: &BucketRef) -> Verdict {
        let spec = &self.intent.spec;
        let own = spec
            .names()
            .files_bucket(&bucket.owner, &spec.home_region());
        let named = spec.files.bucket.as_deref() == Some(&*bucket.name);
        if bucket.name == own && !named && self.observed.account.as_ref() == Some(&bucket.owner) {
            Ok(())
        } else {
            Err((
                "not_our_bucket",
                format!("`{}` is not the bucket that the stack makes", bucket.name),
            ))
        }
    }
}

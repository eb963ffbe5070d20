//! The bucket of users' files in the model.

use super::World;
use crate::action::{Action, BucketRef, BucketSetting, OLD_VERSIONS_DAYS, UNFINISHED_UPLOADS_DAYS};
use crate::files::key_tag;
use crate::observed::{BucketEncryption, BucketLifecycle, FilesBucket, KMS_KEY_TAG, MADE_ANEW_TAG};

impl World {
    pub(super) fn apply_bucket(&mut self, action: &Action) -> Result<Result<(), String>, ()> {
        match action {
            Action::EnsureBucket { bucket, made_anew } => {
                let mut tags = self.tags("files");
                if let Some(at) = made_anew {
                    tags.insert(MADE_ANEW_TAG.to_owned(), at.to_string());
                }
                let seen = self
                    .observed
                    .files_bucket
                    .get_or_insert_with(|| FilesBucket {
                        name: bucket.name.clone(),
                        region: bucket.region.clone(),
                        ..FilesBucket::default()
                    });
                if seen.denied {
                    return Ok(Err("BucketAlreadyExists".to_owned()));
                }
                seen.tags = tags;
                seen.empty = None;
            }
            Action::SetBucket { bucket, setting } => match self.bucket(bucket) {
                Ok(seen) => set(seen, setting),
                Err(error) => return Ok(Err(error)),
            },
            Action::DeleteBucketContents { bucket } => {
                self.bucket_pages = self.bucket_pages.saturating_sub(1);
                let empty = self.bucket_pages == 0;
                match self.bucket(bucket) {
                    Ok(seen) => {
                        seen.deleted += 1;
                        seen.empty = Some(empty);
                    }
                    Err(error) => return Ok(Err(error)),
                }
            }
            Action::DeleteBucket { bucket } => {
                if let Ok(seen) = self.bucket(bucket)
                    && seen.empty != Some(true)
                {
                    return Ok(Err("BucketNotEmpty".to_owned()));
                }
                self.observed.files_bucket = None;
            }
            _ => return Err(()),
        }
        Ok(Ok(()))
    }

    fn bucket(&mut self, bucket: &BucketRef) -> Result<&mut FilesBucket, String> {
        self.observed
            .files_bucket
            .as_mut()
            .filter(|seen| seen.name == bucket.name)
            .ok_or_else(|| "NoSuchBucket".to_owned())
    }
}

fn set(seen: &mut FilesBucket, setting: &BucketSetting) {
    match setting {
        BucketSetting::PublicAccessBlock => seen.public_access_blocked = true,
        BucketSetting::Ownership => seen.ownership = Some("BucketOwnerEnforced".to_owned()),
        BucketSetting::Encryption { kms_key } => {
            let tag = key_tag(kms_key.as_deref()).to_owned();
            seen.tags.insert(KMS_KEY_TAG.to_owned(), tag);
            seen.encryption = Some(BucketEncryption {
                algorithm: kms_key.as_ref().map_or("AES256", |_| "aws:kms").to_owned(),
                bucket_key: kms_key.is_some(),
                kms_key: kms_key.clone(),
                client_keys_blocked: true,
            });
        }
        BucketSetting::Versioning => seen.versioning = Some("Enabled".to_owned()),
        BucketSetting::Lifecycle => {
            seen.lifecycle = Some(BucketLifecycle {
                old_versions_days: Some(OLD_VERSIONS_DAYS),
                unfinished_uploads_days: Some(UNFINISHED_UPLOADS_DAYS),
                bare_markers: true,
            });
        }
        BucketSetting::Policy { document } => seen.policy = Some(document.clone()),
    }
}

//! One look at the bucket of users' files.

use std::collections::BTreeMap;

use futures_util::{FutureExt, join};
use plan::action::BucketRef;
use plan::observed::FilesBucket;

use super::Asked;
use super::look::Head;
use crate::connect::Cloud;
use crate::error::{Failure, ReadError};
use crate::scope::Scope;

/// What was seen of the bucket, and what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesSeen {
    /// Our account.
    pub account: Option<String>,
    /// The bucket; none: no account has one of this name.
    pub bucket: Option<FilesBucket>,
    /// `files_bucket`, or `files_bucket/<setting>`, with why.
    pub unknown: BTreeMap<String, String>,
}

impl FilesSeen {
    fn note<T: Default>(&mut self, setting: &str, read: Result<T, Failure>) -> T {
        read.unwrap_or_else(|failure| {
            self.miss(&format!("/{setting}"), &failure.into());
            T::default()
        })
    }

    fn miss(&mut self, what: &str, error: &ReadError) {
        log::warn!("files_bucket{what} could not be read: {error}");
        self.unknown
            .insert(format!("files_bucket{what}"), error.to_string());
    }
}

impl Cloud {
    /// The bucket that the specification means. One that it names is asked where it lies, no more.
    pub(crate) async fn observe_files(&self, scope: &Scope) -> FilesSeen {
        let files = &scope.spec.files;
        let mut seen = FilesSeen::default();
        let own = files.is_own_bucket();
        match self.account().await {
            Ok(account) => seen.account = Some(account),
            Err(error) if own => {
                seen.miss("", &error);
                return seen;
            }
            Err(_) => {}
        }
        let Some(name) = scope
            .spec
            .files_bucket(seen.account.as_deref().unwrap_or_default())
            .filter(|_| !files.own_keys())
        else {
            return seen;
        };
        let region = scope.spec.files_region();
        if own {
            let bucket = BucketRef {
                name,
                region,
                owner: seen.account.clone().unwrap_or_default(),
            };
            let asked = self.asked(&bucket);
            self.look_at(asked, &mut seen, true, scope.deletes_files)
                .await;
        } else {
            let client = self.s3_in(&region);
            let asked = Asked {
                client: &client,
                name: &name,
                owner: None,
            };
            self.look_at(asked, &mut seen, false, false).await;
        }
        seen
    }

    /// A bucket with every setting, whoever owns it: for `doctor`.
    pub async fn look_at_bucket(&self, name: &str, region: &str) -> FilesSeen {
        let mut seen = FilesSeen::default();
        let client = self.s3_in(region);
        let asked = Asked {
            client: &client,
            name,
            owner: None,
        };
        self.look_at(asked, &mut seen, true, false).await;
        seen
    }

    /// Whether this account owns a bucket that is there.
    pub async fn bucket_is_owned_by(
        &self,
        name: &str,
        region: &str,
        account: &str,
    ) -> Result<bool, ReadError> {
        let client = self.s3_in(region);
        let asked = Asked {
            client: &client,
            name,
            owner: Some(account),
        };
        match asked.head().boxed().await {
            Ok(Head::There { .. }) => Ok(true),
            Ok(Head::Absent | Head::Denied) => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn look_at(
        &self,
        asked: Asked<'_>,
        seen: &mut FilesSeen,
        settings: bool,
        contents: bool,
    ) {
        let mut bucket = FilesBucket {
            name: asked.name.to_owned(),
            deleted: self.deleted_versions(),
            ..FilesBucket::default()
        };
        match asked.head().boxed().await {
            Err(failure) => return seen.miss("", &failure.into()),
            Ok(Head::Absent) => return,
            Ok(Head::Denied) => bucket.denied = true,
            Ok(Head::There { region }) => {
                // S3 tells the settings of a bucket in its own region only.
                let named_elsewhere = asked.owner.is_none() && asked.region() != Some(&*region);
                bucket.region = region;
                if settings && !named_elsewhere {
                    read_settings(asked, &mut bucket, seen).await;
                    let tagged = self.owns(&bucket.tags);
                    if contents || (asked.owner.is_some() && !tagged) {
                        let empty = asked.is_empty().boxed().await.map(Some);
                        bucket.empty = seen.note("empty", empty);
                    }
                }
            }
        }
        seen.bucket = Some(bucket);
    }
}

/// Every setting at once, each on its own; boxed, for the SDK's futures are large.
async fn read_settings(asked: Asked<'_>, bucket: &mut FilesBucket, seen: &mut FilesSeen) {
    let (tags, access, ownership, encryption, versioning, rules, policy) = join!(
        asked.tags().boxed(),
        asked.public_access_blocked().boxed(),
        asked.ownership().boxed(),
        asked.encryption().boxed(),
        asked.versioning().boxed(),
        asked.rules().boxed(),
        asked.policy().boxed(),
    );
    bucket.tags = seen.note("tags", tags);
    bucket.public_access_blocked = seen.note("public_access_blocked", access);
    bucket.ownership = seen.note("ownership", ownership);
    bucket.encryption = seen.note("encryption", encryption);
    bucket.versioning = seen.note("versioning", versioning);
    bucket.lifecycle = seen.note("lifecycle", rules).ours();
    bucket.policy = seen.note("policy", policy);
}

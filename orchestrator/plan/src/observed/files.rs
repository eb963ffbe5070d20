//! The bucket of users' files as S3 says it.

use serde::{Deserialize, Serialize};

use super::Tags;

/// The bucket that the specification names, or that the stack makes. What S3 could not be asked is in
/// `Observed::unknown`: `files_bucket` for the whole, `files_bucket/<setting>` for one setting, by
/// the names of the fields below.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesBucket {
    /// Name.
    pub name: String,
    /// S3 answers 403 for it: another account owns it, or we may not look. Nothing else is known then.
    pub denied: bool,
    /// Region.
    pub region: String,
    /// Tags.
    pub tags: Tags,
    /// Whether it holds no version, no deletion marker and no unfinished upload. None: not asked; it is
    /// asked of a bucket without our tag, and of one that is to be deleted.
    pub empty: Option<bool>,
    /// Versions and markers that this process has deleted from it.
    pub deleted: u64,
    /// All four parts of the public access block are on.
    pub public_access_blocked: bool,
    /// `ObjectOwnership`, as S3 says.
    pub ownership: Option<String>,
    /// Default encryption.
    pub encryption: Option<BucketEncryption>,
    /// `Enabled`, `Suspended`; none: never switched on.
    pub versioning: Option<String>,
    /// Our rule of its life-cycle, by its id, when it is enabled and covers the whole bucket.
    pub lifecycle: Option<BucketLifecycle>,
    /// The bucket policy, JSON as S3 has it.
    pub policy: Option<String>,
}

/// Default encryption of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketEncryption {
    /// `AES256`, `aws:kms`, …
    pub algorithm: String,
    /// ARN of the KMS key.
    pub kms_key: Option<String>,
    /// Whether S3 asks KMS once for many objects.
    pub bucket_key: bool,
    /// Whether objects encrypted with keys that the client sends (SSE-C) are refused.
    pub client_keys_blocked: bool,
}

/// What a life-cycle rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketLifecycle {
    /// Days after which a version that is not the newest goes.
    pub old_versions_days: Option<u32>,
    /// Days after which an upload that was never finished goes.
    pub unfinished_uploads_days: Option<u32>,
    /// Whether a deletion marker goes once nothing lies below it.
    pub bare_markers: bool,
}

//! What can be done to a bucket.

use serde::{Deserialize, Serialize};

/// Days for which a version that is not the newest is kept: a restored database of that age still
/// finds its files.
pub const OLD_VERSIONS_DAYS: u32 = 30;
/// Days after which an upload that was never finished goes: longer than any upload lasts.
pub const UNFINISHED_UPLOADS_DAYS: u32 = 7;
/// Id of our rule in a bucket's life-cycle; rules with other ids are left as they are.
pub const LIFECYCLE_RULE: &str = "mattermost-old-versions";

/// A bucket of the stack's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRef {
    /// Name.
    pub name: String,
    /// Region.
    pub region: String,
    /// The account that must own it: named in every call, so that a bucket that another account made
    /// under this name is never touched.
    pub owner: String,
}

/// One setting of a bucket, as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "setting", rename_all = "snake_case")]
pub enum BucketSetting {
    /// All four parts of the public access block.
    PublicAccessBlock,
    /// `BucketOwnerEnforced`: access lists count for nothing.
    Ownership,
    /// Default encryption: with this KMS key and a bucket key, or `AES256`; SSE-C is refused.
    Encryption {
        /// ARN.
        kms_key: Option<String>,
    },
    /// Versioning on.
    Versioning,
    /// Our rule among the others: see the constants above.
    Lifecycle,
    /// The whole policy, JSON.
    Policy {
        /// The document.
        document: String,
    },
}

impl BucketSetting {
    /// Stable word: the field of [`crate::observed::FilesBucket`] that shows it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::PublicAccessBlock => "public_access_blocked",
            Self::Ownership => "ownership",
            Self::Encryption { .. } => "encryption",
            Self::Versioning => "versioning",
            Self::Lifecycle => "lifecycle",
            Self::Policy { .. } => "policy",
        }
    }
}

//! The KMS key of `files.kms_key` as KMS says it.

use serde::{Deserialize, Serialize};

/// What KMS answered to `DescribeKey`. Only [`KmsAnswer::Described`] says anything of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum KmsAnswer {
    /// KMS was not asked (yet).
    #[default]
    NotAsked,
    /// It was asked and did not say.
    None {
        /// The error.
        why: String,
    },
    /// There is no such key in its account and region.
    NoSuchKey {
        /// ARN that was asked for.
        arn: String,
    },
    /// There is one.
    Described(KmsKey),
}

/// A key's metadata, in KMS's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsKey {
    /// ARN.
    pub arn: String,
    /// `KeyState`: `Enabled`, `Disabled`, `PendingDeletion`, …
    pub state: String,
    /// `KeyUsage`: `ENCRYPT_DECRYPT`, `SIGN_VERIFY`, …
    pub usage: String,
    /// `KeySpec`: `SYMMETRIC_DEFAULT`, `RSA_2048`, …
    pub spec: String,
}

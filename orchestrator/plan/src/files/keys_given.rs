//! KMS keys that the stack gave its bucket: what users uploaded meanwhile lies under them.
//!
//! The bucket remembers by a tag which key it was given last. A key that somebody set by hand differs from it. One
//! that the stack gave is not taken away while the file does not name it: the nodes' policy, which is printed from
//! the file, would deny it, and older files would answer 404.

use crate::observed::{BucketEncryption, FilesBucket, KMS_KEY_TAG};
use crate::spec::Files;

/// What the tag says of a bucket that encrypts with S3's own keys.
const S3_KEYS: &str = "AES256";

/// Value of the tag [`KMS_KEY_TAG`] of a bucket that was given this key; none: S3's own.
pub fn key_tag(kms_key: Option<&str>) -> &str {
    kms_key.unwrap_or(S3_KEYS)
}

/// The KMS key that the bucket encrypts with, when the stack gave it (its tag says so, or it has none: an earlier
/// version gave it) and `files` names it neither as the key nor as a former one.
pub fn unnamed_key<'a>(files: &Files, seen: &'a FilesBucket) -> Option<&'a str> {
    let key = kms_key(seen.encryption.as_ref()?)?;
    let ours = match seen.tags.get(KMS_KEY_TAG) {
        Some(given) => given == key,
        // The stack gives keys by their ARN, and nothing else.
        None => key.starts_with("arn:") && key.contains(":key/"),
    };
    (ours && !files.names_key(key)).then_some(key)
}

/// Why such a key stays, and what lets it go.
pub fn unnamed_key_stays(bucket: &str, key: &str) -> String {
    format!(
        "bucket `{bucket}` keeps KMS key `{key}`, which it was given and `[files]` names no more: what users uploaded lies under it, and nodes with the policy of this file could not read it. Add it to `former_kms_keys` in `[files]`, and give the nodes' role what `orchestrator iam-policy` prints then"
    )
}

/// An encryption in a few words, for people.
pub(crate) fn encryption_words(encryption: Option<&BucketEncryption>) -> String {
    match encryption {
        None => "none".to_owned(),
        Some(it) => match kms_key(it) {
            Some(key) => format!("KMS key `{key}`"),
            None => it.algorithm.clone(),
        },
    }
}

/// The same of what is to be set.
pub(crate) fn wanted_words(kms_key: Option<&str>) -> String {
    kms_key.map_or_else(|| S3_KEYS.to_owned(), |key| format!("KMS key `{key}`"))
}

fn kms_key(encryption: &BucketEncryption) -> Option<&str> {
    let key = encryption.kms_key.as_deref()?;
    encryption.algorithm.starts_with("aws:kms").then_some(key)
}

//! Whether a bucket may encrypt with a KMS key: said by what KMS answered, and by nothing else.

use crate::observed::{KmsAnswer, KmsKey};

/// What is known of the key that `files.kms_key` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyVerdict {
    /// KMS described it, and S3 can encrypt with it.
    Usable,
    /// KMS said that S3 cannot: the key, its state, and what would be right.
    Unusable(String),
    /// KMS did not say: the key, why, and what would be right.
    Unread(String),
}

impl KeyVerdict {
    /// Why it is not known to be usable; none: it is.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Usable => None,
            Self::Unusable(why) | Self::Unread(why) => Some(why),
        }
    }
}

/// Judges the key with this ARN. S3 encrypts with symmetric keys that are enabled, only.
pub fn judge_kms_key(arn: &str, answer: &KmsAnswer) -> KeyVerdict {
    let what = format!("KMS key `{arn}` of `files.kms_key`");
    match answer {
        KmsAnswer::NotAsked => KeyVerdict::Unread(format!("{what} was not read yet")),
        KmsAnswer::None { why } => KeyVerdict::Unread(format!(
            "{what} could not be read: {why}. The orchestrator's policy (`orchestrator iam-policy`) and the key's own must allow `kms:DescribeKey`"
        )),
        KmsAnswer::NoSuchKey { arn: asked } if asked == arn => KeyVerdict::Unusable(format!(
            "{what} does not exist in `{}`: write the ARN of one that does",
            region_of_arn(arn)
        )),
        KmsAnswer::Described(key) if key.arn == arn => described(&what, key),
        KmsAnswer::NoSuchKey { arn: other } | KmsAnswer::Described(KmsKey { arn: other, .. }) => {
            KeyVerdict::Unread(format!("{what}: KMS answered for `{other}`"))
        }
    }
}

fn described(what: &str, key: &KmsKey) -> KeyVerdict {
    if (&*key.usage, &*key.spec) != ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT") {
        return KeyVerdict::Unusable(format!(
            "{what} is for `{}` with `{}`: S3 encrypts with symmetric keys (`ENCRYPT_DECRYPT`, `SYMMETRIC_DEFAULT`) only. Name such a key",
            key.usage, key.spec
        ));
    }
    let region = region_of_arn(&key.arn);
    let right = match &*key.state {
        "Enabled" => return KeyVerdict::Usable,
        "Disabled" => format!(
            "`aws kms enable-key --region {region} --key-id {}` enables it",
            key.arn
        ),
        "PendingDeletion" => format!(
            "`aws kms cancel-key-deletion --region {region} --key-id {}` keeps it, and `aws kms enable-key` enables it then",
            key.arn
        ),
        _ => "S3 encrypts with a key that is `Enabled`".to_owned(),
    };
    KeyVerdict::Unusable(format!(
        "{what} is `{}`: {right}; or name another key",
        key.state
    ))
}

fn region_of_arn(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/1-2";

    fn described(state: &str, usage: &str, spec: &str) -> KmsAnswer {
        KmsAnswer::Described(KmsKey {
            arn: ARN.to_owned(),
            state: state.to_owned(),
            usage: usage.to_owned(),
            spec: spec.to_owned(),
        })
    }

    #[test]
    fn only_a_key_that_was_read_as_usable_is_usable() {
        let symmetric = |state| described(state, "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT");
        assert_eq!(
            judge_kms_key(ARN, &symmetric("Enabled")),
            KeyVerdict::Usable
        );
        let arn = ARN.to_owned();
        for (answer, says) in [
            (symmetric("Disabled"), "is `Disabled`: `aws kms enable-key"),
            (symmetric("PendingDeletion"), "cancel-key-deletion"),
            (symmetric("Unavailable"), "a key that is `Enabled`"),
            (
                described("Enabled", "SIGN_VERIFY", "RSA_2048"),
                "is for `SIGN_VERIFY` with `RSA_2048`",
            ),
            (
                described("Enabled", "ENCRYPT_DECRYPT", "RSA_2048"),
                "symmetric keys",
            ),
            (
                KmsAnswer::NoSuchKey { arn },
                "does not exist in `us-east-1`",
            ),
        ] {
            let verdict = judge_kms_key(ARN, &answer);
            let KeyVerdict::Unusable(why) = &verdict else {
                panic!("{answer:?}: {verdict:?}");
            };
            assert!(why.contains(says) && why.contains(ARN), "{why}");
        }
        let why = "AccessDeniedException".to_owned();
        let other = KmsAnswer::NoSuchKey {
            arn: format!("{ARN}-3"),
        };
        for answer in [KmsAnswer::NotAsked, KmsAnswer::None { why }, other] {
            let verdict = judge_kms_key(ARN, &answer);
            assert!(matches!(verdict, KeyVerdict::Unread(_)), "{verdict:?}");
            assert!(verdict.problem().is_some_and(|why| why.contains(ARN)));
        }
    }
}

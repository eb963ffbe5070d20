//! KMS: whether the key of `files.kms_key` is there, and for what. No key is ever used or changed.

use plan::Spec;
use plan::observed::{KmsAnswer, KmsKey};

use crate::connect::Cloud;
use crate::error::{Called, Failure, ReadError};

/// The permission, and the call.
const CALL: &str = "kms:DescribeKey";

impl Cloud {
    /// What KMS says of the key that the specification names for the bucket of users' files. Asked at every look:
    /// a key may be disabled while the stack serves.
    pub async fn files_key(&self, spec: &Spec) -> KmsAnswer {
        match &spec.files.kms_key {
            Some(arn) if !spec.files.own_keys() => self.kms_key(arn, &spec.files_region()).await,
            _ => KmsAnswer::NotAsked,
        }
    }

    async fn kms_key(&self, arn: &str, region: &str) -> KmsAnswer {
        let answer = self
            .kms_in(region)
            .describe_key()
            .key_id(arn)
            .send()
            .await
            .called(CALL);
        let failure = match answer {
            Ok(answer) => match answer.key_metadata {
                Some(key) => return described(&key),
                None => Failure::incomplete(CALL, "KeyMetadata"),
            },
            Err(failure) if failure.is("NotFound") => {
                return KmsAnswer::NoSuchKey {
                    arn: arn.to_owned(),
                };
            }
            Err(failure) => failure,
        };
        let error = ReadError::from(failure);
        log::warn!("KMS key `{arn}` could not be read: {error}");
        KmsAnswer::None {
            why: error.to_string(),
        }
    }

    /// The bucket's region need be none of the stack's.
    pub(crate) fn kms_in(&self, region: &str) -> aws_sdk_kms::Client {
        if let Some(known) = self.region(region) {
            return known.look.kms.clone();
        }
        self.kms_elsewhere(region)
    }
}

fn described(key: &aws_sdk_kms::types::KeyMetadata) -> KmsAnswer {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    KmsAnswer::Described(KmsKey {
        arn: text(key.arn()),
        state: text(key.key_state().map(|it| it.as_str())),
        usage: text(key.key_usage().map(|it| it.as_str())),
        spec: text(key.key_spec().map(|it| it.as_str())),
    })
}

//! A secret by reference: which secret of Secrets Manager, and which member of it.
//!
//! ```text
//!   chat/smtp#password        member `password` of the JSON secret `chat/smtp`
//!   chat/smtp                 the secret's whole text; `smtp` alone could be a password, and is refused
//!   arn:aws:secretsmanager:us-east-1:123456789012:secret:chat/smtp-AbCdEf#password
//! ```
//!
//! A reference is no secret and may be shown. What does not parse may be the secret itself, typed into
//! the wrong place: its error never repeats it, and the reader of the file does not show it either.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Format of the JSON schema by which the reader of the file knows a reference.
pub(super) const FORMAT: &str = "secret-reference";

/// Secrets Manager's limit for a name.
const NAME_LENGTH: usize = 512;
/// Of a member's name. JSON has no limit; this one keeps messages readable.
const KEY_LENGTH: usize = 256;
/// What Secrets Manager puts behind a name in an ARN: a hyphen and six letters or digits.
const SUFFIX_LENGTH: usize = 7;

/// `name#key`, `a/name`, `arn:…`, or `arn:…#key`. Valid once it exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    /// Name or ARN.
    secret: String,
    key: Option<String>,
}

/// Why a text is no reference. The text itself is not in it: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretRefError {
    /// The name.
    #[error(
        "is not a reference to a secret: give the name or the ARN of a Secrets Manager secret (letters, digits and `/_+=.@-`, at most 512), and `#key` for a member of a JSON secret, for example \"chat/smtp#password\""
    )]
    Name,
    /// A name that could as well be a password.
    #[error(
        "is not a reference to a secret: a name without `/` and without `#key` behind it has the form of a password. Write `#key` for a member of a JSON secret (\"smtp#password\"), name the secret with a `/` in it (\"chat/smtp\"), or give its ARN"
    )]
    Bare,
    /// A key of AWS.
    #[error(
        "has the form of an access key of AWS itself, not of a reference to a secret: put the key into Secrets Manager (and make a new one, if this file was ever shared), and name it here, for example \"chat/files#secret_key\""
    )]
    AccessKey,
    /// The ARN.
    #[error(
        "is not the ARN of a secret: `arn:aws:secretsmanager:<region>:<account>:secret:<name>-<six characters>`, whole, as `aws secretsmanager describe-secret` prints it"
    )]
    Arn,
    /// What stands behind `#`.
    #[error(
        "names no member behind `#`: give the key of the JSON secret without blanks, for example \"chat/smtp#password\", or leave `#` out for the secret's whole text"
    )]
    Key,
}

impl SecretRef {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, SecretRefError> {
        // A name cannot contain `#`, so the first one divides.
        let (secret, key) = match text.split_once('#') {
            Some((secret, key)) => (secret, Some(key)),
            None => (text, None),
        };
        if secret.starts_with("arn:") {
            check_arn(secret)?;
        } else if is_access_key(secret) {
            return Err(SecretRefError::AccessKey);
        } else if !is_name(secret) {
            return Err(SecretRefError::Name);
        } else if key.is_none() && !secret.contains('/') {
            return Err(SecretRefError::Bare);
        }
        if key.is_some_and(|key| !is_key(key)) {
            return Err(SecretRefError::Key);
        }
        Ok(Self {
            secret: secret.to_owned(),
            key: key.map(str::to_owned),
        })
    }

    /// Name or ARN, as `GetSecretValue` takes it (`SecretId`).
    pub fn secret_id(&self) -> &str {
        &self.secret
    }

    /// Member of the JSON secret; `None`: the whole text.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The ARN, when one was given: it stands for itself in a policy. A name needs the account, the
    /// region and `-??????` behind it.
    pub fn arn(&self) -> Option<&str> {
        self.secret.starts_with("arn:").then_some(&*self.secret)
    }

    /// The secret's name, taken out of the ARN when one was given.
    pub fn name(&self) -> &str {
        let Some(arn) = self.arn() else {
            return &self.secret;
        };
        let name = arn.rsplit(':').next().unwrap_or_default();
        &name[..name.len().saturating_sub(SUFFIX_LENGTH)]
    }

    /// The region that the ARN names; a name means the home region.
    pub fn region(&self) -> Option<&str> {
        self.arn()?.split(':').nth(3)
    }
}

fn is_name(text: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
    (1..=NAME_LENGTH).contains(&text.len()) && text.bytes().all(letters)
}

/// An access key id (`AKIA…`, for a while `ASIA…`), or its secret half: 40 characters of base64.
fn is_access_key(text: &str) -> bool {
    let id = text.len() == 20
        && (text.starts_with("AKIA") || text.starts_with("ASIA"))
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let half = text.len() == 40
        && text.contains(['/', '+'])
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/+".contains(&byte))
        // A name in words has no capitals, or no small letters.
        && text.contains(|c: char| c.is_ascii_uppercase())
        && text.contains(|c: char| c.is_ascii_lowercase());
    id || half
}

fn is_key(text: &str) -> bool {
    (1..=KEY_LENGTH).contains(&text.len())
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
}

/// Whole, with its six characters: a part of it would find nothing in a policy.
fn check_arn(text: &str) -> Result<(), SecretRefError> {
    let parts: Vec<&str> = text.split(':').collect();
    let [
        _,
        partition,
        "secretsmanager",
        region,
        account,
        "secret",
        name,
    ] = parts.as_slice()
    else {
        return Err(SecretRefError::Arn);
    };
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let place = partition.starts_with("aws")
        && partition.bytes().all(lower)
        && !region.is_empty()
        && region.bytes().all(lower)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit());
    let suffixed = is_name(name)
        && name.len() > SUFFIX_LENGTH
        && name
            .bytes()
            .rev()
            .take(SUFFIX_LENGTH - 1)
            .all(|byte| byte.is_ascii_alphanumeric())
        && name.as_bytes()[name.len() - SUFFIX_LENGTH] == b'-';
    if place && suffixed {
        Ok(())
    } else {
        Err(SecretRefError::Arn)
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.secret)?;
        self.key.iter().try_for_each(|key| write!(f, "#{key}"))
    }
}

impl FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for SecretRef {
    fn schema_name() -> Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": FORMAT,
            "description": "A secret of Secrets Manager, by name or ARN; `#key` names a member of a JSON secret. Never the secret itself.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{SecretRef, SecretRefError};

    const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:chat/smtp-AbCdEf";

    #[test]
    fn what_is_a_reference_is_read_and_shown_as_it_was() {
        for (text, id, key) in [
            ("chat/smtp#password", "chat/smtp", Some("password")),
            ("chat/smtp", "chat/smtp", None),
            ("a_+=.@-/b#x.y-z", "a_+=.@-/b", Some("x.y-z")),
            ("smtp#password", "smtp", Some("password")),
        ] {
            let read = SecretRef::parse(text).expect(text);
            assert_eq!((read.secret_id(), read.key(), read.arn()), (id, key, None));
            assert_eq!(read.to_string(), text);
        }
        let read = SecretRef::parse(&format!("{ARN}#key")).expect("an ARN");
        assert_eq!(
            (read.arn(), read.region(), read.key()),
            (Some(ARN), Some("us-east-1"), Some("key"))
        );
        let json = serde_json::to_string(&read).expect("text");
        assert_eq!(
            serde_json::from_str::<SecretRef>(&json).expect("text"),
            read
        );
    }

    #[test]
    fn what_is_none_is_refused_by_what_is_wrong_with_it() {
        let long = "x".repeat(513);
        for (text, error) in [
            ("", SecretRefError::Name),
            ("#password", SecretRefError::Name),
            ("hunter 2", SecretRefError::Name),
            ("pass!word", SecretRefError::Name),
            (&long, SecretRefError::Name),
            ("hunter2-MyRealPassword", SecretRefError::Bare),
            ("smtp", SecretRefError::Bare),
            ("AKIAIOSFODNN7EXAMPLE", SecretRefError::AccessKey),
            ("AKIAIOSFODNN7EXAMPLE#a", SecretRefError::AccessKey),
            (
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                SecretRefError::AccessKey,
            ),
            ("chat/smtp#", SecretRefError::Key),
            ("chat/smtp#a b", SecretRefError::Key),
            ("chat/smtp#a#b", SecretRefError::Key),
            ("arn:aws:s3:::bucket", SecretRefError::Arn),
            (&ARN[..ARN.len() - 7], SecretRefError::Arn),
            (&ARN.replace("123456789012", "1234"), SecretRefError::Arn),
        ] {
            assert_eq!(SecretRef::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_what_may_be_a_secret() {
        for text in ["s3cr3t! typed here", "s3cr3t", "AKIAS3CR3T0000000000"] {
            let error = SecretRef::parse(text).expect_err("no reference");
            let shown = error.to_string().to_lowercase();
            assert!(!shown.contains("s3cr3t"), "{error}");
        }
    }
}

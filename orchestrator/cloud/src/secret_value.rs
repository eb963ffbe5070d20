//! The value of a secret that the specification names, and which version of it that is.
//!
//! A value shows itself in no Debug, no error and no log: what is wrong with one is said by its name.

use plan::spec::SecretRef;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::connect::Cloud;
use crate::error::{Called, Failure, ReadError};

/// The value that is in force (`AWSCURRENT`).
#[derive(Clone, Debug)]
pub struct SecretValue {
    /// The whole text.
    pub text: SecretString,
    /// Changes when the value does; no secret.
    pub version_id: String,
}

/// Why a secret holds no value for a setting. The value is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A member is asked for, and the text is none that has members.
    #[error("is no JSON object: leave `#key` out, or store {{\"key\": \"value\"}}")]
    NotJson,
    /// The object has no such member.
    #[error("has no such key")]
    NoSuchKey,
    /// The member is an object, a list or null.
    #[error("holds no text at that key")]
    NotText,
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// An environment file takes one line.
    #[error(
        "has a line break: a setting takes one line (`aws … --secret-string file://…` keeps the one at the file's end)"
    )]
    LineBreak,
}

impl SecretValue {
    /// The value that a reference means: the member that it names, or the whole text.
    pub fn of(&self, reference: &SecretRef) -> Result<SecretString, ValueError> {
        let text = self.text.expose_secret();
        let value = match reference.key() {
            None => Zeroizing::new(text.to_owned()),
            Some(key) => member(text, key)?,
        };
        if value.is_empty() {
            return Err(ValueError::Empty);
        }
        if value.contains(['\n', '\r', '\0']) {
            return Err(ValueError::LineBreak);
        }
        Ok(SecretString::from(value.as_str()))
    }
}

/// A member as text. Secrets Manager's console stores texts; a number or a truth value reads the same.
fn member(text: &str, key: &str) -> Result<Zeroizing<String>, ValueError> {
    // The parser's error is not passed on: it may quote the value.
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| ValueError::NotJson)?;
    match object.get(key) {
        None => Err(ValueError::NoSuchKey),
        Some(serde_json::Value::String(value)) => Ok(Zeroizing::new(value.clone())),
        Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
            Ok(Zeroizing::new(value.to_string()))
        }
        Some(_) => Err(ValueError::NotText),
    }
}

impl Cloud {
    /// The value in force of the secret with this name or ARN, in the home region.
    pub async fn secret_value(&self, secret_id: &str) -> Result<SecretValue, ReadError> {
        const CALL: &str = "secretsmanager:GetSecretValue";
        let answer = self
            .look()
            .secrets
            .get_secret_value()
            .secret_id(secret_id)
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(mut answer) => {
                let text = answer
                    .secret_string
                    .take()
                    .ok_or_else(|| Failure::incomplete(CALL, "SecretString"))?;
                let version_id = answer
                    .version_id
                    .take()
                    .ok_or_else(|| Failure::incomplete(CALL, "VersionId"))?;
                Ok(SecretValue {
                    text: text.into(),
                    version_id,
                })
            }
            Err(failure) if failure.is("ResourceNotFound") => Err(ReadError::NotFound {
                what: format!("secret `{secret_id}`"),
            }),
            Err(failure) => Err(failure.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, reference: &str) -> Result<String, ValueError> {
        let value = SecretValue {
            text: text.to_owned().into(),
            version_id: "v1".to_owned(),
        };
        let reference = SecretRef::parse(reference).expect("a reference");
        value
            .of(&reference)
            .map(|found| found.expose_secret().to_owned())
    }

    #[test]
    fn a_reference_means_the_whole_text_or_one_member_of_it() {
        let json = r#"{"password":"p ä#1","port":587,"tls":true,"deep":{"a":1},"none":null,"void":"","two":"a\nb"}"#;
        for (text, reference, expected) in [
            ("plain", "chat/smtp", Ok("plain")),
            (json, "chat/smtp#password", Ok("p ä#1")),
            (json, "chat/smtp#port", Ok("587")),
            (json, "chat/smtp#tls", Ok("true")),
            (json, "chat/smtp", Ok(json)),
            (json, "chat/smtp#user", Err(ValueError::NoSuchKey)),
            (json, "chat/smtp#deep", Err(ValueError::NotText)),
            (json, "chat/smtp#none", Err(ValueError::NotText)),
            (json, "chat/smtp#void", Err(ValueError::Empty)),
            (json, "chat/smtp#two", Err(ValueError::LineBreak)),
            ("plain", "chat/smtp#password", Err(ValueError::NotJson)),
            ("[1]", "chat/smtp#password", Err(ValueError::NotJson)),
            ("", "chat/smtp", Err(ValueError::Empty)),
            ("plain\n", "chat/smtp", Err(ValueError::LineBreak)),
        ] {
            assert_eq!(
                value(text, reference),
                expected.map(str::to_owned),
                "{text} {reference}"
            );
        }
    }

    #[test]
    fn a_value_shows_itself_nowhere() {
        let value = SecretValue {
            text: "hunter2".to_owned().into(),
            version_id: "v1".to_owned(),
        };
        assert!(!format!("{value:?}").contains("hunter2"));
        let reference = SecretRef::parse("chat/smtp#password").expect("a reference");
        let error = value.of(&reference).expect_err("no JSON");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

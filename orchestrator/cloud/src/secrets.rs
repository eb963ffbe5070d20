//! Secrets Manager: generated logins, and content that the orchestrator makes.
//!
//! A secret's value is in memory as long as it is needed, in types that overwrite it when they are
//! dropped; it is in no error and in no log.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::operation::list_secrets::ListSecretsOutput;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretListEntry, Tag};
use plan::observed::{Secret, Tags};
use rand::RngExt;
use rand::distr::Alphanumeric;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure, ReadError};
use crate::token::client_token;

/// Characters of a generated password: 190 bits, and nothing that RDS, a connection string or a shell
/// treats specially.
const PASSWORD_LENGTH: usize = 32;
/// The label of the version that is in force.
const CURRENT: &str = "AWSCURRENT";

/// A name and a password, as a secret of kind `password` holds them.
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: SecretString,
}

/// How a login lies in Secrets Manager: RDS's own rotation functions use the same fields.
#[derive(Serialize, Deserialize)]
struct LoginJson<'a> {
    username: String,
    #[serde(borrow)]
    password: std::borrow::Cow<'a, str>,
}

impl Cloud {
    /// Metadata of every secret whose name begins with `<stack>/`.
    pub(crate) async fn observe_secrets(&self) -> Result<BTreeMap<String, Secret>, ReadError> {
        let prefix = format!("{}/", self.stack());
        let found = self
            .look()
            .secrets
            .list_secrets()
            .include_planned_deletion(true)
            .filters(
                Filter::builder()
                    .key(FilterNameStringType::Name)
                    .values(&prefix)
                    .build(),
            )
            .into_paginator()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("secretsmanager:ListSecrets")?;
        Ok(found
            .iter()
            .flat_map(ListSecretsOutput::secret_list)
            .filter_map(|secret| Some((secret.name()?.to_owned(), seen(secret))))
            // The filter matches words of a name in any case; what is meant is the name's beginning.
            .filter(|(name, _)| name.starts_with(&prefix))
            .collect())
    }

    /// A secret with a generated login, named after the last part of the secret's name. One that is
    /// there keeps its value; one that waits for deletion is restored with it.
    pub(crate) async fn ensure_password(&self, name: &str) -> Result<Outcome, EffectError> {
        if let Some(there) = self.secret_there(name).await? {
            return Ok(there);
        }
        let username = name.rsplit('/').next().unwrap_or(name).replace('-', "_");
        let value = generated(username);
        let token = client_token(&[self.stack(), "password", name]);
        self.put_new_secret(name, &value, &token).await
    }

    /// Creates a secret of ours with this value, once: one that is there keeps the value that it has,
    /// and one that waits for deletion is restored with it. `token` says which creation this is: the
    /// same token with another value is refused by AWS.
    pub async fn create_secret(
        &self,
        name: &str,
        value: &SecretString,
        token: &str,
    ) -> Result<Outcome, EffectError> {
        if let Some(there) = self.secret_there(name).await? {
            return Ok(there);
        }
        let token = client_token(&[self.stack(), name, token]);
        self.put_new_secret(name, value, &token).await
    }

    /// Gives a secret of ours another value. `token` says which change this is: made twice it is made
    /// once, and the same token with another value is refused by AWS, so that of two who make the
    /// same change at once one loses.
    pub async fn replace_secret(
        &self,
        name: &str,
        value: &SecretString,
        token: &str,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "secretsmanager:PutSecretValue";
        if self.secret_there(name).await?.is_none() {
            return Err(EffectError::refused(
                CALL,
                "ResourceNotFoundException",
                format!("secret `{name}` does not exist"),
            ));
        }
        self.act()
            .secrets
            .put_secret_value()
            .secret_id(name)
            .secret_string(value.expose_secret())
            .client_request_token(client_token(&[self.stack(), name, token]))
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    async fn put_new_secret(
        &self,
        name: &str,
        value: &SecretString,
        token: &str,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "secretsmanager:CreateSecret";
        let answer = self
            .act()
            .secrets
            .create_secret()
            .name(name)
            .description(format!("Mattermost stack {}", self.stack()))
            .secret_string(value.expose_secret())
            .client_request_token(token)
            .set_tags(Some(tag_list(&self.our_tags([]))))
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(_) => Ok(Outcome::Changed),
            Err(failure) if failure.is("ResourceExists") => self
                .secret_there(name)
                .await?
                .ok_or_else(|| EffectError::invisible(CALL, name)),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Whether the secret is there and ours; restored when it waits for deletion.
    async fn secret_there(&self, name: &str) -> Result<Option<Outcome>, EffectError> {
        let Some((tags, deleting)) = self.describe_secret(name).await? else {
            return Ok(None);
        };
        self.check_ours(name, &tags)?;
        if !deleting {
            return Ok(Some(Outcome::Unchanged));
        }
        self.act()
            .secrets
            .restore_secret()
            .secret_id(name)
            .send()
            .await
            .called("secretsmanager:RestoreSecret")?;
        Ok(Some(Outcome::Changed))
    }

    async fn describe_secret(&self, name: &str) -> Result<Option<(Tags, bool)>, Failure> {
        let answer = self
            .look()
            .secrets
            .describe_secret()
            .secret_id(name)
            .send()
            .await
            .called("secretsmanager:DescribeSecret");
        match answer {
            Ok(answer) => Ok(Some((
                tags_of(answer.tags()),
                answer.deleted_date().is_some(),
            ))),
            Err(failure) if failure.is("ResourceNotFound") => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The value of a secret that is in force.
    pub async fn read_secret(&self, name: &str) -> Result<SecretString, ReadError> {
        const CALL: &str = "secretsmanager:GetSecretValue";
        let answer = self
            .look()
            .secrets
            .get_secret_value()
            .secret_id(name)
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(mut answer) => answer
                .secret_string
                .take()
                .map(SecretString::from)
                .ok_or_else(|| Failure::incomplete(CALL, "SecretString").into()),
            Err(failure) if failure.is("ResourceNotFound") => Err(ReadError::NotFound {
                what: format!("secret `{name}`"),
            }),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The login that a secret of kind `password` holds.
    pub(crate) async fn login(&self, name: &str) -> Result<Login, EffectError> {
        const CALL: &str = "secretsmanager:GetSecretValue";
        let value = match self.read_secret(name).await {
            Ok(value) => value,
            Err(ReadError::NotFound { what }) => {
                return Err(EffectError::refused(
                    CALL,
                    "ResourceNotFoundException",
                    format!("{what} does not exist"),
                ));
            }
            Err(ReadError::Denied {
                call,
                code,
                message,
                request_id,
            }) => {
                return Err(EffectError::Denied {
                    call,
                    code,
                    message,
                    request_id,
                });
            }
            Err(ReadError::Failed {
                call,
                reason,
                request_id,
                source,
            }) => {
                return Err(EffectError::Unknown {
                    call,
                    reason,
                    request_id,
                    source,
                });
            }
        };
        // The parser's error is not passed on: it may quote the value.
        serde_json::from_str::<LoginJson>(value.expose_secret())
            .map(|login| Login {
                username: login.username,
                password: SecretString::from(login.password.into_owned()),
            })
            .map_err(|_| {
                EffectError::refused(
                    CALL,
                    "NoLogin",
                    format!(
                        "secret `{name}` is not of the form {{\"username\": …, \"password\": …}}"
                    ),
                )
            })
    }

    /// Deletes a secret of ours, with Secrets Manager's recovery window (30 days).
    pub(crate) async fn delete_secret(&self, name: &str) -> Result<Outcome, EffectError> {
        let Some((tags, deleting)) = self.describe_secret(name).await? else {
            return Ok(Outcome::Unchanged);
        };
        self.check_ours(name, &tags)?;
        if deleting {
            return Ok(Outcome::Unchanged);
        }
        let answer = self
            .act()
            .secrets
            .delete_secret()
            .secret_id(name)
            .send()
            .await
            .called("secretsmanager:DeleteSecret");
        Outcome::gone(answer.map(drop), &["ResourceNotFound"])
    }
}

/// A login with a password from the operating system's generator.
fn generated(username: String) -> SecretString {
    let password: Zeroizing<String> = Zeroizing::new(
        rand::rng()
            .sample_iter(Alphanumeric)
            .take(PASSWORD_LENGTH)
            .map(char::from)
            .collect(),
    );
    let login = LoginJson {
        username,
        password: password.as_str().into(),
    };
    SecretString::from(serde_json::to_string(&login).expect("two strings make JSON"))
}

fn seen(secret: &SecretListEntry) -> Secret {
    let current = secret
        .secret_versions_to_stages()
        .into_iter()
        .flatten()
        .find(|(_, stages)| stages.iter().any(|stage| stage == CURRENT));
    Secret {
        arn: secret.arn().unwrap_or("").to_owned(),
        deleting: secret.deleted_date().is_some(),
        version_id: current.map(|(id, _)| id.clone()).unwrap_or_default(),
        tags: tags_of(secret.tags()),
    }
}

fn tags_of(tags: &[Tag]) -> Tags {
    tags.iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or("").to_owned())))
        .collect()
}

fn tag_list(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::{LoginJson, PASSWORD_LENGTH, generated};

    #[test]
    fn a_generated_login_reads_back_and_is_new_every_time() {
        let (one, other) = (
            generated("master".to_owned()),
            generated("master".to_owned()),
        );
        let login: LoginJson = serde_json::from_str(one.expose_secret()).expect("JSON");
        assert_eq!(login.username, "master");
        assert_eq!(login.password.len(), PASSWORD_LENGTH);
        assert!(
            login
                .password
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric())
        );
        assert_ne!(one.expose_secret(), other.expose_secret());
    }
}

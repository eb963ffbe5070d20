//! Versions of a secret that is the operator's: the licence's. Its texts are read, and which of them is in
//! force may be put back; nothing else of it is touched.

use secrecy::SecretString;

use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure, ReadError};

/// The label of the version that is in force.
const CURRENT: &str = "AWSCURRENT";

/// One version of a secret's text.
#[derive(Clone, Debug)]
pub struct SecretVersion {
    /// Its id: another text has another one.
    pub id: String,
    /// The text.
    pub text: SecretString,
}

impl Cloud {
    /// A version of a secret's text: the one with this id, or the one in force. `secret` is its name or
    /// ARN. `NotFound`: there is no such secret, or no such version of it any more.
    pub async fn read_secret_version(
        &self,
        secret: &str,
        id: Option<&str>,
    ) -> Result<SecretVersion, ReadError> {
        const CALL: &str = "secretsmanager:GetSecretValue";
        let answer = self
            .look()
            .secrets
            .get_secret_value()
            .secret_id(secret)
            .set_version_id(id.map(str::to_owned))
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(mut answer) => {
                let missing = |what| ReadError::from(Failure::incomplete(CALL, what));
                let text = answer.secret_string.take();
                Ok(SecretVersion {
                    text: text.ok_or_else(|| missing("SecretString"))?.into(),
                    id: answer.version_id.ok_or_else(|| missing("VersionId"))?,
                })
            }
            Err(failure) if failure.is("ResourceNotFound") => Err(ReadError::NotFound {
                what: match id {
                    Some(id) => format!("version {id} of secret `{secret}`"),
                    None => format!("secret `{secret}`"),
                },
            }),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The version `to` is in force. AWS moves the label only away from `from`: where a third version is
    /// in force by now it refuses, and nothing changes.
    pub(crate) async fn restore_secret_version(
        &self,
        secret: &str,
        from: &str,
        to: &str,
    ) -> Result<Outcome, EffectError> {
        let answer = self
            .look()
            .secrets
            .describe_secret()
            .secret_id(secret)
            .send()
            .await
            .called("secretsmanager:DescribeSecret")?;
        let is_in_force = answer
            .version_ids_to_stages()
            .and_then(|versions| versions.get(to))
            .is_some_and(|stages| stages.iter().any(|stage| stage == CURRENT));
        if is_in_force {
            return Ok(Outcome::Unchanged);
        }
        self.act()
            .secrets
            .update_secret_version_stage()
            .secret_id(secret)
            .version_stage(CURRENT)
            .remove_from_version_id(from)
            .move_to_version_id(to)
            .send()
            .await
            .called("secretsmanager:UpdateSecretVersionStage")?;
        Ok(Outcome::Changed)
    }
}

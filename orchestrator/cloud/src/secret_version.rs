//! Versions of a secret that is the operator's: the licence's. Its texts are read, and which of them is in
//! force may be put back; nothing else of it is touched.

use std::fmt::Write as _;

use plan::observed::NoText;
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
    /// ARN.
    pub async fn read_secret_version(
        &self,
        secret: &str,
        id: Option<&str>,
    ) -> Result<SecretVersion, NoText> {
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
        let mut answer = answer.map_err(no_text)?;
        let text = answer.secret_string.take().ok_or(NoText::Bytes)?;
        let id = answer.version_id.take();
        Ok(SecretVersion {
            text: text.into(),
            id: id.ok_or_else(|| no_text(Failure::incomplete(CALL, "VersionId")))?,
        })
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

/// Why a read gave no text. AWS answers `InvalidRequest` to a read of a secret that was deleted, and to no
/// other one of a secret's own account.
fn no_text(failure: Failure) -> NoText {
    if failure.is("ResourceNotFound") {
        return NoText::Missing;
    }
    if failure.is("InvalidRequest") && failure.message().contains("deletion") {
        return NoText::Deleting;
    }
    let is_denied = failure.is_denied();
    let error = ReadError::from(failure);
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let _ = write!(words, ": {cause}");
        source = cause.source();
    }
    if is_denied {
        NoText::Denied(words)
    } else {
        NoText::Unanswered(words)
    }
}

//! The licence: what its secret holds, and what servers say of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a running server answers of its licence without a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerLicence {
    /// It runs on a licence.
    pub licensed: bool,
    /// That licence allows a cluster.
    pub cluster: bool,
}

impl ServerLicence {
    /// Whether this is what is wanted: a licence, and one for a cluster where there is to be one.
    pub fn is_taken(self, cluster: bool) -> bool {
        self.licensed && (self.cluster || !cluster)
    }
}

/// The licence's secret in Secrets Manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licence {
    /// Id of the version that is in force there (`AWSCURRENT`).
    pub current: String,
    /// Ids of the versions whose text could be read: these alone can be given to nodes.
    pub readable: BTreeSet<String>,
    /// What the text of each of them says. Not in it: a text that is no licence of the known form.
    pub terms: BTreeMap<String, Term>,
}

/// The licence's secret gives no text of its version in force now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadLicence {
    /// Why.
    pub why: NoText,
    /// Ids of the versions whose text is at hand all the same: read before, or still to be read by their id.
    pub readable: BTreeSet<String>,
}

/// Why a secret gives no text. To be read after the secret's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NoText {
    /// AWS knows no secret of this name, or no such version of it.
    #[error("does not exist, or has no version in force")]
    Missing,
    /// Somebody deleted it: it is in its recovery window, and nothing of it can be read.
    #[error("is scheduled for deletion")]
    Deleting,
    /// It was put with `--secret-binary`.
    #[error("holds bytes, not text")]
    Bytes,
    /// The right is missing; AWS's words.
    #[error("may not be read: {0}")]
    Denied(String),
    /// No usable answer; AWS's or the transport's words.
    #[error("could not be read: {0}")]
    Unanswered(String),
}

impl NoText {
    /// What is wrong with this secret, and what would be right.
    pub fn words(&self, secret: &str) -> String {
        let remedy = match self {
            Self::Missing => format!(
                "; `aws secretsmanager create-secret --name {secret} --secret-string file://…` makes it in the home region"
            ),
            Self::Deleting => {
                format!("; `aws secretsmanager restore-secret --secret-id {secret}` brings it back")
            }
            Self::Bytes => {
                "; put the licence's text into it with `--secret-string`, not `--secret-binary`"
                    .to_owned()
            }
            Self::Denied(_) => {
                "; `orchestrator iam-policy` prints the statement `ReadNamedSecrets`; a secret that a key of your own encrypts needs `kms:Decrypt` on that key, too".to_owned()
            }
            Self::Unanswered(_) => String::new(),
        };
        format!("secret `{secret}` {self}{remedy}")
    }
}

/// What a licence's text says of itself. Nothing of it is proven: the signature is the server's affair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The licence's own id.
    pub id: String,
    /// Valid from.
    pub starts: Timestamp,
    /// Valid until.
    pub expires: Timestamp,
    /// It allows a cluster.
    pub cluster: bool,
    /// `professional`, `enterprise`, …; empty when it does not say.
    pub sku: String,
    /// To whom it was given; empty when it does not say.
    pub customer: String,
}

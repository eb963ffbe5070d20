//! `doctor`'s look at the secrets that the specification names: whether each may be read and holds what its
//! reference says. Values stay unseen.

use std::collections::BTreeMap;

use cloud::{ReadError, SecretValue};

use crate::core::Core;

/// A check's name and what was found, for each setting.
pub(super) async fn read(core: &Core) -> Vec<(String, Result<String, String>)> {
    let mut read: BTreeMap<&str, Result<SecretValue, String>> = BTreeMap::new();
    let mut checks = Vec::new();
    for (setting, reference) in core.spec.secret_settings() {
        let id = reference.secret_id();
        if !read.contains_key(id) {
            let value = core.cloud.secret_value(id).await;
            read.insert(id, value.map_err(|error| refused(id, &error)));
        }
        let found = match read.get(id) {
            Some(Ok(secret)) => secret
                .of(reference)
                .map(|_| format!("`{reference}`, version {}", secret.version_id))
                .map_err(|error| format!("secret `{reference}` {error}")),
            Some(Err(why)) => Err(why.clone()),
            None => continue,
        };
        checks.push((format!("secret for {setting}"), found));
    }
    checks
}

/// With what would help.
fn refused(id: &str, error: &ReadError) -> String {
    let hint = match error {
        ReadError::NotFound { .. } => {
            "\nhint: `aws secretsmanager create-secret --name …` makes it, in the home region"
        }
        ReadError::Denied { .. } => {
            "\nhint: `orchestrator iam-policy` prints the statement `ReadNamedSecrets`; a secret that a key of your own encrypts needs `kms:Decrypt` on that key, too"
        }
        ReadError::Failed { .. } => "",
    };
    let what = match error {
        ReadError::NotFound { .. } => String::new(),
        ReadError::Denied { .. } | ReadError::Failed { .. } => format!("secret `{id}`: "),
    };
    format!("{what}{}{hint}", crate::chain(error))
}

//! A role of the database and its password, as they lie in Secrets Manager: in the form that RDS itself uses.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::core::Core;
use crate::store::Access;

/// Who logs in.
pub(super) struct Login {
    /// The role.
    pub username: String,
    /// Its password.
    pub password: SecretString,
}

/// A secret that is something else. The text does not quote the value.
#[derive(Debug, thiserror::Error)]
#[error("secret `{name}` is not `{{\"username\", \"password\"}}` in JSON")]
pub(super) struct NotALogin {
    name: String,
}

impl Login {
    /// Reads the value of the secret `name`.
    pub(super) fn parse(name: &str, value: &SecretString) -> Result<Self, NotALogin> {
        #[derive(Deserialize)]
        struct Stored {
            username: String,
            password: String,
        }
        serde_json::from_str(value.expose_secret())
            .map(|stored: Stored| Self {
                username: stored.username,
                password: stored.password.into(),
            })
            .map_err(|_| NotALogin {
                name: name.to_owned(),
            })
    }

    /// How this role reaches a database at an endpoint.
    pub(super) fn access(self, core: &Core, endpoint: (String, u16), database: &str) -> Access {
        let (host, port) = endpoint;
        Access {
            host,
            port,
            database: database.to_owned(),
            user: self.username,
            password: self.password,
            trust_pem: Arc::clone(&core.database_trust),
        }
    }
}

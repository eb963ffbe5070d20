//! The server's `config.json`: which values tell that it arrived in the database, and the server's own way
//! to bring it there.
//!
//! Values leave this module as SHA-256 only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::error::MoveError;
use crate::disk::at;

/// What must be the same in the active row: salts and keys, without which links and sealed data are lost,
/// and a value that people see.
const PROVING: [(&str, &str); 4] = [
    ("FileSettings", "PublicLinkSalt"),
    ("SqlSettings", "AtRestEncryptKey"),
    ("EmailSettings", "InviteSalt"),
    ("TeamSettings", "SiteName"),
];
/// Of these, what every server that ran once has written.
const NEEDED: [&str; 2] = [
    "FileSettings.PublicLinkSalt",
    "SqlSettings.AtRestEncryptKey",
];
/// The server reads its file, makes two tables and writes two rows.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of a server's `config.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationFile {
    path: PathBuf,
    /// SHA-256 (hex) by `Section.Name`, of the values that prove a move.
    pub digests: BTreeMap<String, String>,
    /// `FileSettings.Directory`; empty: the default.
    pub directory: String,
    /// The bucket and what its keys begin with (empty, or with a slash at its end), where
    /// `FileSettings.DriverName` is `amazons3`.
    pub bucket: Option<(String, String)>,
}

impl ConfigurationFile {
    /// Reads it. A file that no server has written yet has no digests.
    pub fn read(path: &Path) -> Result<Self, MoveError> {
        let bytes = zeroize::Zeroizing::new(std::fs::read(path).map_err(at("read", path))?);
        let document: Value =
            serde_json::from_slice(&bytes).map_err(|error| MoveError::Configuration {
                path: path.to_owned(),
                reason: format!("no JSON in line {}", error.line()),
            })?;
        let text = |section: &str, name: &str| document[section][name].as_str().unwrap_or_default();
        let digests = PROVING
            .iter()
            .map(|(section, name)| (format!("{section}.{name}"), text(section, name)))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name, hex::encode(Sha256::digest(value))))
            .collect();
        let in_bucket = text("FileSettings", "DriverName") == "amazons3";
        let prefix = match text("FileSettings", "AmazonS3PathPrefix").trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self {
            path: path.to_owned(),
            digests,
            directory: text("FileSettings", "Directory").to_owned(),
            bucket: in_bucket.then(|| (text("FileSettings", "AmazonS3Bucket").to_owned(), prefix)),
        })
    }

    /// Whether there is something to move: a server wrote its salts.
    pub fn check(&self) -> Result<(), MoveError> {
        match NEEDED
            .iter()
            .find(|name| !self.digests.contains_key(**name))
        {
            None => Ok(()),
            Some(name) => Err(MoveError::Configuration {
                path: self.path.clone(),
                reason: format!("it has no `{name}`, which every server writes at its first start"),
            }),
        }
    }

    /// Whether it still says what it said.
    pub fn unchanged(&self, before: &Self) -> Result<(), MoveError> {
        for (name, digest) in &before.digests {
            if self.digests.get(name) != Some(digest) {
                return Err(MoveError::Unstable {
                    name: name.clone(),
                    path: self.path.clone(),
                });
            }
        }
        Ok(())
    }

    /// The server's folder of files: relative names begin at its working directory.
    pub fn files(&self, working: &Path) -> PathBuf {
        if self.directory.is_empty() {
            working.join("data")
        } else {
            working.join(&self.directory)
        }
    }
}

/// Asks the running server to copy its configuration from `from` into the database `to`. The data source
/// is in the request's body and nowhere else.
pub async fn migrate(socket: &Path, from: &Path, to: &SecretString) -> Result<(), MoveError> {
    let failed = |source| MoveError::Socket {
        path: socket.to_owned(),
        source,
    };
    let client = reqwest::Client::builder()
        .unix_socket(socket)
        .tls_certs_only([])
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .map_err(failed)?;
    let answer = client
        .post("http://localhost/api/v4/config/migrate")
        .json(&json!({ "from": from.to_string_lossy(), "to": to.expose_secret() }))
        .send()
        .await
        .map_err(failed)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let document: Value = answer.json().await.unwrap_or_default();
    // Its own name of the error; never its sentence, which may hold the data source.
    let plain = |text: &&str| {
        text.len() <= 100
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte))
    };
    let id = document["id"].as_str().filter(plain).unwrap_or_default();
    Err(MoveError::Refused {
        status: status.as_u16(),
        id: id.to_owned(),
    })
}

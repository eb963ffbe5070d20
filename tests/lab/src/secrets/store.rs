//! Secrets, their versions and staging labels.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{invalid_parameter, invalid_request};
use crate::api::ApiError;

/// The label of the version to use.
pub const CURRENT: &str = "AWSCURRENT";
/// The label of the version before it.
pub const PREVIOUS: &str = "AWSPREVIOUS";
/// "The secret value … maximum length of 65536 bytes."
const LONGEST: usize = 65_536;
/// Secrets Manager keeps about this many versions; unlabelled older ones go.
const KEPT_VERSIONS: usize = 100;

/// Seconds since 1970 with milliseconds, as awsJson writes time-stamps.
pub fn seconds(at: Timestamp) -> Value {
    json!(at.as_millisecond() as f64 / 1000.0)
}

/// A secret's value.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// `SecretString`.
    Text(String),
    /// `SecretBinary`, as base64.
    Binary(String),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

impl Content {
    /// A string of 1 to 65536 bytes.
    pub fn text(text: String) -> Result<Self, ApiError> {
        check_length(text.len())?;
        Ok(Self::Text(text))
    }

    /// Bytes in base64, 1 to 65536 of them.
    pub fn binary(text: String) -> Result<Self, ApiError> {
        let bytes = STANDARD
            .decode(&text)
            .map_err(|_| invalid_parameter("SecretBinary is not base64."))?;
        check_length(bytes.len())?;
        Ok(Self::Binary(text))
    }

    /// The member it is answered in, and its text.
    pub fn member(&self) -> (&'static str, &str) {
        match self {
            Self::Text(text) => ("SecretString", text),
            Self::Binary(text) => ("SecretBinary", text),
        }
    }
}

fn check_length(length: usize) -> Result<(), ApiError> {
    if (1..=LONGEST).contains(&length) {
        Ok(())
    } else {
        Err(invalid_parameter(format!(
            "The secret value must have 1 to {LONGEST} bytes, not {length}."
        )))
    }
}

/// A name that a user may give: never a service's own (`rds!…`).
pub fn check_name(name: &str) -> Result<String, ApiError> {
    let good = (1..=512).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c));
    if good {
        Ok(name.to_owned())
    } else {
        Err(invalid_parameter(format!(
            "Invalid name: `{name}`. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@, at most 512."
        )))
    }
}

/// Any use of a secret that is marked for deletion.
pub fn marked() -> ApiError {
    invalid_request(
        "You can't perform this operation on the secret because it was marked for deletion.",
    )
}

/// A version.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its value.
    pub content: Content,
    /// When it was put.
    pub created: Timestamp,
    /// When it was last read.
    pub accessed: Option<Timestamp>,
    /// Its staging labels.
    pub stages: Vec<String>,
}

/// A secret.
#[derive(Clone, Debug)]
pub struct Secret {
    pub name: String,
    pub arn: String,
    pub description: Option<String>,
    pub kms_key: Option<String>,
    pub tags: Vec<(String, String)>,
    /// By version id.
    pub versions: BTreeMap<String, Version>,
    /// When it will be gone, once marked.
    pub deleted: Option<Timestamp>,
    pub created: Timestamp,
    pub changed: Timestamp,
    pub accessed: Option<Timestamp>,
    /// The service that manages it.
    pub owner: Option<String>,
}

/// One region's secrets, by name.
#[derive(Debug, Default)]
pub struct Region {
    pub secrets: BTreeMap<String, Secret>,
}

impl Region {
    /// By name, ARN, or ARN without the six random characters.
    pub fn find(&mut self, id: &str) -> Result<&mut Secret, ApiError> {
        let is_arn = id.starts_with("arn:");
        self.secrets
            .values_mut()
            .find(|secret| {
                if is_arn {
                    secret.arn == id || secret.arn.rsplit_once('-').is_some_and(|(a, _)| a == id)
                } else {
                    secret.name == id
                }
            })
            .ok_or_else(|| {
                ApiError::new(
                    "ResourceNotFoundException",
                    "Secrets Manager can't find the specified secret.",
                )
            })
    }

    /// The same, and not marked for deletion.
    pub fn usable(&mut self, id: &str) -> Result<&mut Secret, ApiError> {
        let secret = self.find(id)?;
        if secret.deleted.is_some() {
            return Err(marked());
        }
        Ok(secret)
    }
}

impl Secret {
    /// Without a version yet.
    pub fn new(name: String, arn: String, now: Timestamp) -> Self {
        Self {
            name,
            arn,
            description: None,
            kms_key: None,
            tags: Vec::new(),
            versions: BTreeMap::new(),
            deleted: None,
            created: now,
            changed: now,
            accessed: None,
            owner: None,
        }
    }

    /// Whether this version exists with this very value: a repeated request.
    pub fn has_version(&self, id: &str, content: &Content) -> bool {
        self.versions
            .get(id)
            .is_some_and(|version| version.content == *content)
    }

    /// What another service manages is changed by that service only.
    pub fn refuse_owned(&self) -> Result<(), ApiError> {
        match &self.owner {
            None => Ok(()),
            Some(owner) => Err(invalid_request(format!(
                "You can't change the secret {}: it is managed by {owner}.",
                self.name
            ))),
        }
    }

    /// Adds a version with labels; the same again is no change.
    pub fn put(
        &mut self,
        id: &str,
        content: Content,
        stages: &[String],
        now: Timestamp,
    ) -> Result<(), ApiError> {
        if self.has_version(id, &content) {
            return Ok(());
        }
        if self.versions.contains_key(id) {
            return Err(ApiError::new(
                "ResourceExistsException",
                format!(
                    "You can't use ClientRequestToken {id} because that value is already in use for a version of secret {}.",
                    self.arn
                ),
            ));
        }
        self.versions.insert(
            id.to_owned(),
            Version {
                content,
                created: now,
                accessed: None,
                stages: Vec::new(),
            },
        );
        for stage in stages {
            self.attach(stage, id);
        }
        self.changed = now;
        self.drop_old();
        Ok(())
    }

    /// Gives a label to a version and takes it from whoever had it; the one that had `AWSCURRENT`
    /// becomes `AWSPREVIOUS`.
    fn attach(&mut self, stage: &str, id: &str) {
        let before = self.detach(stage);
        if stage == CURRENT
            && let Some(before) = before.filter(|before| before != id)
        {
            self.detach(PREVIOUS);
            if let Some(version) = self.versions.get_mut(&before) {
                version.stages.push(PREVIOUS.to_owned());
            }
        }
        if let Some(version) = self.versions.get_mut(id) {
            version.stages.push(stage.to_owned());
        }
    }

    fn detach(&mut self, stage: &str) -> Option<String> {
        let (id, version) = self
            .versions
            .iter_mut()
            .find(|(_, version)| version.stages.iter().any(|known| known == stage))?;
        version.stages.retain(|known| known != stage);
        Some(id.clone())
    }

    fn drop_old(&mut self) {
        while self.versions.len() > KEPT_VERSIONS {
            let oldest = self
                .versions
                .iter()
                .filter(|(_, version)| version.stages.is_empty())
                .min_by_key(|(_, version)| version.created)
                .map(|(id, _)| id.clone());
            match oldest {
                Some(id) => self.versions.remove(&id),
                None => return,
            };
        }
    }

    /// `UpdateSecretVersionStage`.
    pub fn move_stage(
        &mut self,
        stage: &str,
        from: Option<&str>,
        to: Option<&str>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let holder = self
            .versions
            .iter()
            .find(|(_, version)| version.stages.iter().any(|known| known == stage))
            .map(|(id, _)| id.clone());
        if holder.as_deref() != from
            && (holder.is_some() || from.is_some())
            && holder.as_deref() != to
        {
            return Err(invalid_parameter(format!(
                "The parameter RemoveFromVersionId can't be {}: the staging label {stage} is attached to version {}.",
                from.unwrap_or("empty"),
                holder.as_deref().unwrap_or("none")
            )));
        }
        if stage == CURRENT && to.is_none() {
            return Err(invalid_parameter(
                "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.",
            ));
        }
        match to {
            Some(to) if !self.versions.contains_key(to) => Err(ApiError::new(
                "ResourceNotFoundException",
                format!("Secrets Manager can't find the specified secret version: {to}"),
            )),
            Some(to) => {
                self.attach(stage, to);
                self.changed = now;
                Ok(())
            }
            None => {
                self.detach(stage);
                self.changed = now;
                Ok(())
            }
        }
    }

    /// The version by id, label, or both; by default the current one.
    pub fn read(
        &mut self,
        id: Option<&str>,
        stage: Option<&str>,
        now: Timestamp,
    ) -> Result<(String, Version), ApiError> {
        let missing = |what: String| {
            ApiError::new(
                "ResourceNotFoundException",
                format!("Secrets Manager can't find the specified secret value for {what}"),
            )
        };
        let wanted = stage.unwrap_or(CURRENT);
        let (found, version) = match id {
            Some(id) => {
                let version = self
                    .versions
                    .get_mut(id)
                    .ok_or_else(|| missing(format!("VersionId: {id}")))?;
                if stage.is_some_and(|stage| !version.stages.iter().any(|known| known == stage)) {
                    return Err(invalid_request(
                        "You provided a VersionStage that is not associated to the provided VersionId.",
                    ));
                }
                (id.to_owned(), version)
            }
            None => self
                .versions
                .iter_mut()
                .find(|(_, version)| version.stages.iter().any(|known| known == wanted))
                .map(|(id, version)| (id.clone(), version))
                .ok_or_else(|| missing(format!("staging label: {wanted}")))?,
        };
        version.accessed = Some(now);
        let version = version.clone();
        self.accessed = Some(now);
        Ok((found, version))
    }

    /// The labels of a version.
    pub fn stages(&self, id: &str) -> Vec<String> {
        self.versions
            .get(id)
            .map(|version| version.stages.clone())
            .unwrap_or_default()
    }

    /// `VersionIdsToStages`: labelled versions only.
    pub fn stages_by_version(&self) -> Value {
        self.versions
            .iter()
            .filter(|(_, version)| !version.stages.is_empty())
            .map(|(id, version)| (id.clone(), json!(version.stages)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

//! The desired state as the worker uses it: checked once, typed from then on.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_proto::v1::{self, Desired, Goal, MigrationRole};
use reqwest::Url;

use crate::coded::Coded;
use value::shorten;

pub use file_store::FileStore;
pub use value::{Digest, Fingerprint, SitePath, Version};

/// Where the manifest sets no limit: about twice what the newest release unpacks to.
const DEFAULT_MAX_BYTES: u64 = 4 << 30;
/// As above: a release has about 30,000 files.
const DEFAULT_MAX_FILES: u64 = 100_000;

/// The orchestrator sent something that no node can do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("desired state {generation}: `{field}` is unusable: {reason}")]
pub struct WantedError {
    generation: u64,
    field: &'static str,
    reason: String,
}

impl Coded for WantedError {
    fn code(&self) -> &'static str {
        "desired_invalid"
    }

    fn permanent(&self) -> bool {
        true
    }
}

/// The release to install.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// What `mattermost version` must print.
    pub version: Version,
    /// Where it comes from when the image holds no copy.
    pub url: Url,
    /// Of the tarball.
    pub sha256: Digest,
    /// Of the unpacked tree.
    pub max_bytes: u64,
    /// Files, directories and links in it.
    pub max_files: u64,
    /// Extra roots for the mirror's TLS, PEM; empty: the system's alone.
    pub trust_pem: String,
    /// The detached signature, when one is asked for.
    pub signature: Option<Signature>,
}

/// What a detached signature must satisfy.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Where it is.
    pub url: Url,
    /// Of the key that must have made it, or whose signing subkey did.
    pub fingerprint: Fingerprint,
    /// The key itself, armoured.
    pub key: String,
}

/// The database to check before a start.
#[derive(Clone, Debug)]
pub struct Database {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database name.
    pub name: String,
    /// Mattermost's own role.
    pub user: String,
    /// Roots, PEM.
    pub trust_pem: String,
    /// Major version.
    pub minimum_version: u32,
    /// Connections that must be free.
    pub connections_needed: u32,
}

/// This node's part in the migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// None ordered: the schema is read and reported.
    Unordered,
    /// This node alone migrates.
    Migrate,
    /// Another does: wait for at least so many applied migrations (at least one).
    Wait(u32),
}

/// Where the server keeps what the System Console sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationStore {
    /// `config.json` on the node.
    File,
    /// The database: MM_CONFIG is its data source.
    Database,
}

/// What the running server must say of its licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LicenceWanted {
    /// That it allows a cluster, too.
    pub cluster: bool,
}

/// When a server counts as verified.
#[derive(Clone, Copy, Debug)]
pub struct Verification {
    /// Full pings in a row.
    pub consecutive: u32,
    /// Between pings.
    pub interval: Duration,
    /// From the start of the service.
    pub start_timeout: Duration,
}

/// How to leave.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// Connections closed at once.
    pub batch: u32,
    /// Between batches.
    pub interval: Duration,
    /// For all batches.
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            batch: 100,
            interval: Duration::from_secs(1),
            deadline: Duration::from_secs(300),
        }
    }
}

/// What is wanted of this node, and every part of it usable.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Installed, not started.
    Prepared(Box<Serving>),
    /// Serving, verified.
    Serving(Box<Serving>),
    /// Stopped, and what lives here on its way to where it lasts.
    Moving(Box<Moving>),
    /// Gone from the load balancer, stopped.
    Drained {
        /// Of Desired.
        generation: u64,
        /// The pace.
        drain: Drain,
    },
}

/// What is to be brought to where it lasts.
#[derive(Clone, Debug)]
pub struct Moving {
    /// The server as it ran until now.
    pub server: Serving,
    /// Where files go; absent: they stay.
    pub files: Option<Copying>,
    /// The server brings its `config.json` into the database.
    pub configuration: bool,
}

/// A copy of this node's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copying {
    /// Where.
    pub to: FileStore,
    /// No other node copies into it.
    pub alone: bool,
}

/// The whole of a serving node.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Of Desired.
    pub generation: u64,
    /// The release.
    pub artefact: Artefact,
    /// MM_* without secrets.
    pub settings: BTreeMap<String, String>,
    /// Opaque to the node: equal means nothing to change.
    pub configuration_digest: String,
    /// Absent: nothing is checked.
    pub database: Option<Database>,
    /// The part in the migration.
    pub migration: Migration,
    /// When it is verified.
    pub verification: Verification,
    /// How clients of a server that must be restarted are handed over.
    pub pace: Drain,
    /// Where users' files live; absent: on this node.
    pub file_store: Option<FileStore>,
    /// Where the server's settings live.
    pub configuration_store: ConfigurationStore,
    /// Below which the server answers.
    pub site_path: SitePath,
    /// Absent: the server may run without one.
    pub licence: Option<LicenceWanted>,
    /// Files are copied beside the server.
    pub copy: Option<Copying>,
}

impl Wanted {
    /// Checks every field that this goal uses.
    pub fn parse(desired: &Desired) -> Result<Self, WantedError> {
        let generation = desired.generation;
        match desired.goal() {
            Goal::Prepare => Ok(Self::Prepared(Box::new(serving(desired)?))),
            Goal::Serve => Ok(Self::Serving(Box::new(serving(desired)?))),
            Goal::Move => Ok(Self::Moving(Box::new(moving(desired)?))),
            Goal::Drain => Ok(Self::Drained {
                generation,
                drain: drain(desired),
            }),
            Goal::Unspecified => Err(WantedError {
                generation,
                field: "goal",
                reason: format!("{} is not a goal that this agent knows", desired.goal),
            }),
        }
    }
}

fn or(value: u64, default: u64) -> u64 {
    if value == 0 { default } else { value }
}

/// The pace that a desired state names, whatever its goal.
pub fn drain(desired: &Desired) -> Drain {
    let wire = desired.drain.unwrap_or_default();
    let default = Drain::default();
    Drain {
        batch: or(wire.batch.into(), default.batch.into()) as u32,
        interval: Duration::from_millis(or(
            wire.interval_ms.into(),
            default.interval.as_millis() as u64,
        )),
        deadline: Duration::from_secs(or(wire.deadline_s.into(), default.deadline.as_secs())),
    }
}

fn serving(desired: &Desired) -> Result<Serving, WantedError> {
    let error = |field: &'static str| {
        move |reason: String| WantedError {
            generation: desired.generation,
            field,
            reason,
        }
    };
    let artefact = desired
        .artefact
        .as_ref()
        .ok_or_else(|| error("artefact")("it is missing".to_owned()))?;
    let signature = if artefact.signature_url.is_empty() {
        None
    } else {
        Some(Signature {
            url: https(&artefact.signature_url).map_err(error("artefact.signature_url"))?,
            fingerprint: artefact
                .signature_fingerprint
                .parse()
                .map_err(error("artefact.signature_fingerprint"))?,
            key: artefact.signature_key.clone(),
        })
    };
    if desired.configuration_digest.is_empty() {
        return Err(error("configuration_digest")("it is empty".to_owned()));
    }
    let verification = desired.verification.unwrap_or_default();
    Ok(Serving {
        generation: desired.generation,
        artefact: Artefact {
            version: artefact
                .version
                .parse()
                .map_err(error("artefact.version"))?,
            url: https(&artefact.url).map_err(error("artefact.url"))?,
            sha256: artefact.sha256.parse().map_err(error("artefact.sha256"))?,
            max_bytes: or(artefact.max_bytes, DEFAULT_MAX_BYTES),
            max_files: or(artefact.max_files, DEFAULT_MAX_FILES),
            trust_pem: artefact.trust_pem.clone(),
            signature,
        },
        settings: desired.settings.clone().into_iter().collect(),
        configuration_digest: desired.configuration_digest.clone(),
        database: database(desired).map_err(error("database"))?,
        migration: migration(desired),
        verification: Verification {
            consecutive: or(verification.consecutive.into(), 3) as u32,
            interval: Duration::from_millis(or(verification.interval_ms.into(), 2000)),
            start_timeout: Duration::from_secs(or(verification.start_timeout_s.into(), 600)),
        },
        pace: drain(desired),
        file_store: desired
            .file_store
            .as_ref()
            .map(FileStore::parse)
            .transpose()
            .map_err(error("file_store"))?,
        configuration_store: configuration_store(desired).map_err(error("configuration_store"))?,
        site_path: desired.site_path.parse().map_err(error("site_path"))?,
        licence: desired.licence.map(|wire| LicenceWanted {
            cluster: wire.cluster,
        }),
        copy: copying(desired).map_err(error("move.to"))?,
    })
}

fn copying(desired: &Desired) -> Result<Option<Copying>, String> {
    let Some(wire) = &desired.r#move else {
        return Ok(None);
    };
    let to = wire.to.as_ref().map(FileStore::parse).transpose()?;
    let alone = wire.alone;
    Ok(to.map(|to| Copying { to, alone }))
}

fn moving(desired: &Desired) -> Result<Moving, WantedError> {
    let mut server = serving(desired)?;
    Ok(Moving {
        files: server.copy.take(),
        configuration: desired
            .r#move
            .as_ref()
            .is_some_and(|wire| wire.configuration),
        server,
    })
}

fn configuration_store(desired: &Desired) -> Result<ConfigurationStore, String> {
    match v1::ConfigurationStore::try_from(desired.configuration_store) {
        Ok(v1::ConfigurationStore::Unspecified) => Ok(ConfigurationStore::File),
        // Whether another node has written the first row is asked of the database itself.
        Ok(v1::ConfigurationStore::Database) if desired.database.is_none() => {
            Err("it is the database, and `database` is missing".to_owned())
        }
        Ok(v1::ConfigurationStore::Database) => Ok(ConfigurationStore::Database),
        Err(_) => Err(format!(
            "{} is not a store that this agent knows",
            desired.configuration_store
        )),
    }
}

fn https(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{}`: {error}", shorten(text)))?;
    if url.scheme() != "https" {
        return Err(format!("`{}` is not an https:// address", shorten(text)));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name or password".to_owned());
    }
    Ok(url)
}

fn database(desired: &Desired) -> Result<Option<Database>, String> {
    let Some(wire) = &desired.database else {
        return Ok(None);
    };
    for (name, value) in [
        ("host", &wire.host),
        ("name", &wire.name),
        ("user", &wire.user),
    ] {
        if value.is_empty() {
            return Err(format!("`{name}` is empty"));
        }
    }
    Ok(Some(Database {
        host: wire.host.clone(),
        port: u16::try_from(or(wire.port.into(), 5432))
            .map_err(|_| format!("{} is not a port", wire.port))?,
        name: wire.name.clone(),
        user: wire.user.clone(),
        trust_pem: wire.trust_pem.clone(),
        minimum_version: wire.minimum_version,
        connections_needed: wire.connections_needed,
    }))
}

fn migration(desired: &Desired) -> Migration {
    let wire = desired.migration.unwrap_or_default();
    match wire.role() {
        MigrationRole::Unspecified => Migration::Unordered,
        MigrationRole::Migrate => Migration::Migrate,
        MigrationRole::Wait => Migration::Wait(wire.expected_applied.max(1)),
    }
}

mod file_store;
mod value;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

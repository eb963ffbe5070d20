//! The server's environment: all settings with the secrets, in one root-only file that systemd reads.
//!
//! The first line names the configuration digest that the file belongs to; the agent needs nothing
//! else to know whether the file is current. The database password stands in a file of its own,
//! for the checks that must also work when no orchestrator can be asked.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use aws_credential_types::Credentials;
use fleet_proto::v1::SecretsReply;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::boot::Instance;
use crate::coded::Coded;
use crate::disk::{DiskError, ensure_directory, read_if_there, write_atomically};
use crate::layout::Layout;
use crate::steps::{Step, reached};
use crate::verify;
use crate::wanted::{ConfigurationStore, Serving};

const HEADER: &str = "# Written by mattermost-agent; configuration ";
const DATA_SOURCE: &str = "MM_SQLSETTINGS_DATASOURCE";
const SOURCES: [&str; 2] = [DATA_SOURCE, "MM_SQLSETTINGS_DATASOURCEREPLICAS"];
/// Where the server keeps its settings.
const CONFIGURATION: &str = "MM_CONFIG";
/// Decided here, or not at all: custom defaults would be written into the stack's first configuration by
/// one node, and change nothing afterwards.
const RESERVED: [&str; 2] = [CONFIGURATION, "MM_CUSTOM_DEFAULTS_PATH"];
/// What the one start in local mode keeps; `*` stands for any end. They say where things are, and what the
/// server needs to start as it did: a site URL, without which it refuses some settings of `config.json`,
/// whether plugins run, and the licence, which is no setting.
const KEPT_IN_LOCAL_MODE: [&str; 8] = [
    "MM_LICENSE",
    "MM_SQLSETTINGS_*",
    "MM_FILESETTINGS_DRIVERNAME",
    "MM_FILESETTINGS_DIRECTORY",
    "MM_FILESETTINGS_AMAZONS3*",
    "MM_SERVICESETTINGS_LISTENADDRESS",
    "MM_SERVICESETTINGS_SITEURL",
    "MM_PLUGINSETTINGS_ENABLE",
];
/// The one key among these: the file's is to reach the database.
const LEFT_TO_THE_FILE: &str = "MM_SQLSETTINGS_ATRESTENCRYPTKEY";
/// Of a file store with keys of its own.
const FILE_STORE_KEYS: [&str; 2] = [
    "MM_FILESETTINGS_AMAZONS3ACCESSKEYID",
    "MM_FILESETTINGS_AMAZONS3SECRETACCESSKEY",
];

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Not a Mattermost setting.
    #[error("setting `{0}` is not of the form MM_<SECTION>_<KEY>")]
    Name(String),
    /// A value that no environment can hold. The value may be secret and is not shown.
    #[error("the value of setting `{0}` holds a NUL character")]
    Value(String),
    /// A data source that is no URL. The value is secret and is not shown.
    #[error("the value of setting `{0}` is not a postgres:// URL")]
    DataSource(String),
    /// A variable that the node makes itself.
    #[error(
        "setting `{0}` is not for the settings or secrets: the node decides where the configuration lives"
    )]
    Reserved(&'static str),
    /// The configuration is to live in the database, and nothing says how to reach it.
    #[error(
        "setting `{DATA_SOURCE}` is missing, which says in which database the configuration lives"
    )]
    NoDataSource,
    /// Reading or writing.
    #[error("the environment file cannot be kept")]
    Disk(#[from] DiskError),
}

impl Coded for EnvironmentError {
    fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "setting_name",
            Self::Value(_) => "setting_value",
            Self::DataSource(_) => "data_source_invalid",
            Self::Reserved(_) => "setting_reserved",
            Self::NoDataSource => "data_source_missing",
            Self::Disk(error) => error.code(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Reserved(name) => {
                format!("remove `{name}` from the specification and its secrets")
            }
            Self::NoDataSource => "the orchestrator sends it with the secrets".to_owned(),
            Self::Disk(error) => error.hint(),
            Self::Name(_) | Self::Value(_) | Self::DataSource(_) => String::new(),
        }
    }

    fn permanent(&self) -> bool {
        !matches!(self, Self::Disk(_))
    }
}

/// Variables and password. `Debug` shows names only.
pub struct Environment {
    digest: String,
    variables: BTreeMap<String, SecretString>,
    database_password: SecretString,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("digest", &self.digest)
            .field("variables", &self.variables.keys())
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// Settings, secrets (they win over settings), and what only the node knows (it wins over both).
    pub fn compose(
        wanted: &Serving,
        secrets: SecretsReply,
        instance: &Instance,
        layout: &Layout,
    ) -> Result<Self, EnvironmentError> {
        let mut variables: BTreeMap<String, SecretString> = wanted
            .settings
            .iter()
            .map(|(name, value)| (name.clone(), SecretString::from(value.clone())))
            .collect();
        for (name, value) in secrets.settings {
            variables.insert(name, SecretString::from(value));
        }
        if let Some(name) = RESERVED.iter().find(|name| variables.contains_key(**name)) {
            return Err(EnvironmentError::Reserved(name));
        }
        variables.insert(
            "MM_SERVICESETTINGS_LISTENADDRESS".to_owned(),
            SecretString::from(format!("{}:{}", instance.address, verify::PORT)),
        );
        let clustered = variables
            .get("MM_CLUSTERSETTINGS_ENABLE")
            .is_some_and(|value| value.expose_secret().eq_ignore_ascii_case("true"));
        if clustered {
            variables.insert(
                "MM_CLUSTERSETTINGS_OVERRIDEHOSTNAME".to_owned(),
                SecretString::from(instance.address.to_string()),
            );
        }
        for (name, value) in &variables {
            check(name, value)?;
        }
        point_at_database(&mut variables, wanted, layout)?;
        Ok(Self {
            digest: wanted.configuration_digest.clone(),
            variables,
            database_password: SecretString::from(secrets.database_password),
        })
    }

    /// The configuration that this is.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Composed for exactly this: also an older agent may have written it, which knew no MM_CONFIG.
    pub fn is_of(&self, wanted: &Serving) -> bool {
        let in_database = wanted.configuration_store == ConfigurationStore::Database;
        self.digest == wanted.configuration_digest
            && self.variables.contains_key(CONFIGURATION) == in_database
    }

    /// For the one start of a server that brings its configuration into the database: an administrator's
    /// socket, no jobs and no cluster. It belongs to no configuration, so that no node serves with it.
    ///
    /// Of what an environment overrides, Mattermost writes into the database what the *database* had before
    /// (a default), not what the file has. So the specification's settings are left out of this start, or
    /// the values that the file has beneath them would be lost.
    #[must_use]
    pub fn for_local_mode(mut self, socket: &Path) -> Self {
        self.variables.retain(|name, _| is_kept_in_local_mode(name));
        for (name, value) in [
            ("MM_SERVICESETTINGS_ENABLELOCALMODE", "true".to_owned()),
            (
                "MM_SERVICESETTINGS_LOCALMODESOCKETLOCATION",
                socket.to_string_lossy().into_owned(),
            ),
            ("MM_JOBSETTINGS_RUNSCHEDULER", "false".to_owned()),
            ("MM_CLUSTERSETTINGS_ENABLE", "false".to_owned()),
        ] {
            self.variables
                .insert(name.to_owned(), SecretString::from(value));
        }
        "local mode".clone_into(&mut self.digest);
        self
    }

    /// The database that the server's data lives in, as the server reaches it.
    pub fn data_source(&self) -> Option<&SecretString> {
        self.variables.get(DATA_SOURCE)
    }

    /// For a child process.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
    }

    /// The keys of a file store that has its own; the name of the variable that is missing otherwise.
    pub fn file_store_keys(&self) -> Result<Credentials, &'static str> {
        let [id, secret] = FILE_STORE_KEYS.map(|name| {
            let value = self.variables.get(name).map(ExposeSecret::expose_secret);
            value.filter(|value| !value.is_empty()).ok_or(name)
        });
        Ok(Credentials::new(id?, secret?, None, None, "secrets"))
    }

    /// Of Mattermost's own role.
    pub fn database_password(&self) -> &SecretString {
        &self.database_password
    }

    /// Both files, 0600, each whole or not at all; the environment file, which carries the digest, last.
    pub fn write(&self, layout: &Layout) -> Result<(), EnvironmentError> {
        ensure_directory(&layout.configuration(), 0o755)?;
        let password = self.database_password.expose_secret().as_bytes();
        write_atomically(&layout.database_password_file(), password, 0o600)?;
        reached(Step::PasswordWritten);
        let text = self.to_text();
        write_atomically(&layout.environment_file(), text.as_bytes(), 0o600)?;
        reached(Step::EnvironmentWritten);
        Ok(())
    }

    /// What is on disk; `None` when nothing usable is.
    pub fn read(layout: &Layout) -> Result<Option<Self>, EnvironmentError> {
        let (Some(text), Some(password)) = (
            read_if_there(&layout.environment_file())?.map(Zeroizing::new),
            read_if_there(&layout.database_password_file())?.map(Zeroizing::new),
        ) else {
            return Ok(None);
        };
        let (Ok(text), Ok(password)) = (std::str::from_utf8(&text), std::str::from_utf8(&password))
        else {
            return Ok(None);
        };
        Ok(parse(text).map(|(digest, variables)| Self {
            digest,
            variables,
            database_password: SecretString::from(password),
        }))
    }

    /// As systemd's EnvironmentFile= reads it: every value in double quotes, with `"`, `\`, `` ` ``
    /// and `$` escaped; line breaks stand for themselves.
    fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{HEADER}{}\n", self.digest));
        for (name, value) in &self.variables {
            let _ = write!(text, "{name}=\"");
            for character in value.expose_secret().chars() {
                if matches!(character, '"' | '\\' | '`' | '$') {
                    text.push('\\');
                }
                text.push(character);
            }
            text.push_str("\"\n");
        }
        text
    }
}

/// See [`KEPT_IN_LOCAL_MODE`].
fn is_kept_in_local_mode(name: &str) -> bool {
    let kept = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *pattern,
    };
    name != LEFT_TO_THE_FILE && KEPT_IN_LOCAL_MODE.iter().any(kept)
}

fn check(name: &str, value: &SecretString) -> Result<(), EnvironmentError> {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let good = name
        .strip_prefix("MM_")
        .is_some_and(|rest| !rest.is_empty())
        && name.len() <= 200
        && name.bytes().all(plain);
    if !good {
        return Err(EnvironmentError::Name(name.chars().take(80).collect()));
    }
    if value.expose_secret().contains('\0') {
        return Err(EnvironmentError::Value(name.to_owned()));
    }
    Ok(())
}

/// The node's roots in every data source; and the settings in the database itself, where they are wanted
/// there: reached exactly as the data.
fn point_at_database(
    variables: &mut BTreeMap<String, SecretString>,
    wanted: &Serving,
    layout: &Layout,
) -> Result<(), EnvironmentError> {
    let roots = wanted.database.as_ref().map(|one| &one.trust_pem);
    if roots.is_some_and(|pem| !pem.is_empty()) {
        let path = layout.database_ca_file();
        for name in SOURCES {
            if let Some(value) = variables.get_mut(name) {
                *value = with_root(name, value, &path.to_string_lossy())?;
            }
        }
    }
    if wanted.configuration_store == ConfigurationStore::Database {
        let source = variables
            .get(DATA_SOURCE)
            .ok_or(EnvironmentError::NoDataSource)?;
        check_source(source)?;
        variables.insert(CONFIGURATION.to_owned(), source.clone());
    }
    Ok(())
}

/// The server takes for a file's name what is no such URL, and keeps its settings there.
fn check_source(source: &SecretString) -> Result<(), EnvironmentError> {
    let text = source.expose_secret();
    let one = !text.contains(char::is_whitespace)
        && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"));
    if one {
        Ok(())
    } else {
        Err(EnvironmentError::DataSource(DATA_SOURCE.to_owned()))
    }
}

/// The data sources with `sslrootcert` set to this node's file, whatever it was: only the node
/// knows where the file is.
fn with_root(
    name: &str,
    value: &SecretString,
    path: &str,
) -> Result<SecretString, EnvironmentError> {
    let mut all = Vec::new();
    for source in value.expose_secret().split_whitespace() {
        let mut url = Url::parse(source)
            .ok()
            .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
            .ok_or_else(|| EnvironmentError::DataSource(name.to_owned()))?;
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(key, _)| key != "sslrootcert")
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect();
        url.query_pairs_mut()
            .clear()
            .extend_pairs(kept)
            .append_pair("sslrootcert", path);
        all.push(url.to_string());
    }
    Ok(SecretString::from(all.join(" ")))
}

/// The form of [`Environment::to_text`], and nothing else.
fn parse(text: &str) -> Option<(String, BTreeMap<String, SecretString>)> {
    let (digest, mut rest) = text.strip_prefix(HEADER)?.split_once('\n')?;
    let mut variables = BTreeMap::new();
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(characters.next()?.1),
                (_, character) => value.push(character),
            }
        };
        variables.insert(name.to_owned(), SecretString::from(value));
        rest = quoted[end + 1..].strip_prefix('\n')?;
    }
    Some((digest.to_owned(), variables))
}

#[cfg(test)]
mod tests;

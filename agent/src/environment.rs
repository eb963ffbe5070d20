//! The server's environment: all settings with the secrets, in one root-only file that systemd reads.
//!
//! The first line names the configuration digest that the file belongs to; the agent needs nothing
//! else to know whether the file is current. The database password stands in a file of its own,
//! for the checks that must also work when no orchestrator can be asked.

use std::collections::BTreeMap;
use std::fmt::Write;

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
use crate::wanted::Serving;

const HEADER: &str = "# Written by mattermost-agent; configuration ";
const SOURCES: [&str; 2] = [
    "MM_SQLSETTINGS_DATASOURCE",
    "MM_SQLSETTINGS_DATASOURCEREPLICAS",
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
            Self::Disk(_) => "disk",
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
        if wanted
            .database
            .as_ref()
            .is_some_and(|one| !one.trust_pem.is_empty())
        {
            let path = layout.database_ca_file();
            for name in SOURCES {
                if let Some(value) = variables.get_mut(name) {
                    *value = with_root(name, value, &path.to_string_lossy())?;
                }
            }
        }
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

    /// For a child process.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(variables: BTreeMap<String, String>) -> Environment {
        Environment {
            digest: "d".repeat(64),
            variables: variables
                .into_iter()
                .map(|(name, value)| (name, SecretString::from(value)))
                .collect(),
            database_password: SecretString::from("pw"),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            variables in proptest::collection::btree_map("MM_[A-Z0-9_]{1,20}", "[^\0]{0,40}", 0..6)
        ) {
            let written = environment(variables.clone());
            let (digest, read) = parse(&written.to_text()).unwrap();
            prop_assert_eq!(digest, written.digest);
            let read: BTreeMap<String, String> = read
                .into_iter()
                .map(|(name, value)| (name, value.expose_secret().to_owned()))
                .collect();
            prop_assert_eq!(read, variables);
        }
    }

    #[test]
    fn root_certificate_is_the_nodes_file() {
        let source = SecretString::from(
            "postgres://m:p%40ss@db:5432/mattermost?sslmode=verify-full&sslrootcert=/old&connect_timeout=10",
        );
        let changed = with_root("X", &source, "/etc/ca.pem").unwrap();
        assert_eq!(
            changed.expose_secret(),
            "postgres://m:p%40ss@db:5432/mattermost?sslmode=verify-full&connect_timeout=10&sslrootcert=%2Fetc%2Fca.pem"
        );
        assert!(with_root("X", &SecretString::from("secret-not-a-url"), "/x").is_err());
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!(
            "{:?}",
            environment(BTreeMap::from([("MM_A".into(), "hidden".into())]))
        );
        assert!(shown.contains("MM_A") && !shown.contains("hidden") && !shown.contains("pw"));
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        let cases = ["PATH", "MM_", "MM_lower", "MM_A=B", "LD_PRELOAD", "MM_A\nB"];
        for name in cases {
            assert!(check(name, &SecretString::from("x")).is_err(), "{name}");
        }
        let error = check("MM_A", &SecretString::from("se\0cret")).unwrap_err();
        assert!(!error.to_string().contains("cret"));
    }
}

//! Settings: `MM_<SECTION>_<KEY>` in the environment over `config/config.json` over the defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::dsn::{Dsn, DsnError};
use crate::release::Manifest;

/// A licence text that begins so makes a cluster; any other text is refused, as a forged licence is.
pub const CLUSTER_LICENCE: &str = "LAB-CLUSTER-LICENCE";

/// What the server runs with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data source.
    pub dsn: Dsn,
    /// `SqlSettings.MaxOpenConns`.
    pub max_open_connections: usize,
    /// `SqlSettings.MaxIdleConns`.
    pub max_idle_connections: usize,
    /// `ServiceSettings.ListenAddress`, `host:port` or `:port`.
    pub listen_address: String,
    /// `ServiceSettings.SiteURL`.
    pub site_url: String,
    /// `TeamSettings.EnableOpenServer`: whether anybody may sign up.
    pub open_server: bool,
    /// Whether `MM_LICENSE` holds a licence that the stand-in accepts.
    pub licensed: bool,
    /// The cluster, when enabled *and* licensed.
    pub cluster: Option<ClusterSettings>,
    /// Where files go.
    pub files: FileSettings,
    /// The effective configuration's hash, 32 hexadecimal digits: equal on nodes configured alike.
    pub config_hash: String,
}

/// `ClusterSettings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Nodes with the same name join.
    pub name: String,
    /// Where the gossip port is bound; empty: the host of the listen address.
    pub bind_address: String,
    /// What other nodes connect to; empty: the bind address, or the own address towards the database.
    pub advertise_address: String,
    /// 8074.
    pub gossip_port: u16,
    /// Whether members recognise each other's `pending_post_id`s. The real server keeps them in a
    /// cache of each node unless `CacheSettings.CacheType` is `redis`; the stand-in shares them,
    /// too, as long as that setting is not spelled out as `lru`.
    pub share_pending: bool,
}

/// `FileSettings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSettings {
    /// `local`: a directory, relative ones from the working directory.
    Local(PathBuf),
    /// `amazons3`: a bucket. The stand-in stores no files; a bucket's name is all it wants.
    S3(String),
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{path}`")]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error("the configuration `{path}` is not a JSON object")]
    Json {
        /// Its path.
        path: PathBuf,
        /// Why, if it is not even JSON.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The configuration lies in the database.
    #[error(
        "a configuration in the database (`MM_CONFIG=postgres://…`) is not something the stand-in has: use a file"
    )]
    InDatabase,
    /// A driver that is no longer supported.
    #[error("`{setting}` is `{value}`: wanted is {wanted}")]
    Value {
        /// `Section.Key`.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The data source.
    #[error("`SqlSettings.DataSource` is not usable")]
    Dsn(#[from] DsnError),
}

impl Settings {
    /// From a configuration file and the environment.
    pub fn load(
        file: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
        manifest: &Manifest,
    ) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(file).map_err(|source| SettingsError::Read {
            path: file.to_owned(),
            source,
        })?;
        let value: Value = serde_json::from_str(&text).map_err(|source| SettingsError::Json {
            path: file.to_owned(),
            source: Some(source),
        })?;
        let Value::Object(object) = value else {
            return Err(SettingsError::Json {
                path: file.to_owned(),
                source: None,
            });
        };
        Self::effective(&object, environment, manifest)
    }

    fn effective(
        file: &Map<String, Value>,
        environment: impl IntoIterator<Item = (String, String)>,
        manifest: &Manifest,
    ) -> Result<Self, SettingsError> {
        let environment: BTreeMap<String, String> = environment
            .into_iter()
            .filter(|(key, _)| key.starts_with("MM_"))
            .collect();
        let look = Look { file, environment };

        let driver = look.text("SqlSettings", "DriverName", "postgres");
        if driver != "postgres" {
            return Err(SettingsError::Value {
                setting: "SqlSettings.DriverName",
                value: driver,
                wanted: "`postgres`",
            });
        }
        let licence = look
            .environment
            .get("MM_LICENSE")
            .map_or("", String::as_str)
            .trim();
        let licensed = licence.starts_with(CLUSTER_LICENCE);
        if !licensed && !licence.is_empty() {
            log::error!("Failed to read license from the environment: it is not valid");
        }
        let enabled = look.boolean("ClusterSettings", "Enable", false);
        if enabled && !licensed {
            log::warn!("ClusterSettings.Enable has no effect without a licence");
        }
        let files = match look.text("FileSettings", "DriverName", "local").as_str() {
            "local" => {
                FileSettings::Local(look.text("FileSettings", "Directory", "./data/").into())
            }
            "amazons3" => FileSettings::S3(look.text("FileSettings", "AmazonS3Bucket", "")),
            other => {
                return Err(SettingsError::Value {
                    setting: "FileSettings.DriverName",
                    value: other.to_owned(),
                    wanted: "`local` or `amazons3`",
                });
            }
        };
        let mut settings = Self {
            dsn: Dsn::parse(&look.text("SqlSettings", "DataSource", ""))?,
            max_open_connections: look.number("SqlSettings", "MaxOpenConns", 100) as usize,
            max_idle_connections: look.number("SqlSettings", "MaxIdleConns", 50) as usize,
            listen_address: look.text("ServiceSettings", "ListenAddress", ":8065"),
            site_url: look.text("ServiceSettings", "SiteURL", ""),
            open_server: look.boolean("TeamSettings", "EnableOpenServer", false),
            licensed,
            cluster: (enabled && licensed).then(|| ClusterSettings {
                name: look.text("ClusterSettings", "ClusterName", ""),
                bind_address: look.text("ClusterSettings", "BindAddress", ""),
                advertise_address: look.text("ClusterSettings", "AdvertiseAddress", ""),
                gossip_port: look.number("ClusterSettings", "GossipPort", 8074) as u16,
                share_pending: look.text("CacheSettings", "CacheType", "") != "lru",
            }),
            files,
            config_hash: String::new(),
        };
        let client = settings.client_config(manifest).to_string();
        settings.config_hash = hex::encode(&Sha256::digest(client)[..16]);
        Ok(settings)
    }

    /// What `GET /api/v4/config/client?format=old` tells anybody; the configuration hash of
    /// `X-Version-Id` is taken over it, as the real server does.
    pub fn client_config(&self, manifest: &Manifest) -> Value {
        json!({
            "Version": manifest.reported().to_string(),
            "BuildNumber": manifest.build_number(),
            "BuildHash": manifest.build_hash(),
            "BuildEnterpriseReady": "true",
            "SiteURL": self.site_url,
            "SiteName": "Mattermost",
            "EnableOpenServer": self.open_server.to_string(),
            "SQLDriverName": "postgres",
        })
    }

    /// `X-Version-Id`: `<version>.<build>.<configuration hash>.<licensed>`.
    pub fn version_id(&self, manifest: &Manifest) -> String {
        format!(
            "{}.{}.{}.{}",
            manifest.reported(),
            manifest.build_number(),
            self.config_hash,
            self.licensed
        )
    }
}

/// Looks a setting up: environment, file, default.
struct Look<'a> {
    file: &'a Map<String, Value>,
    environment: BTreeMap<String, String>,
}

impl Look<'_> {
    fn find(&self, section: &str, key: &str) -> Option<String> {
        let name = format!(
            "MM_{}_{}",
            section.to_ascii_uppercase(),
            key.to_ascii_uppercase()
        );
        if let Some(value) = self.environment.get(&name) {
            return Some(value.clone());
        }
        match self.file.get(section)?.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    fn text(&self, section: &str, key: &str, default: &str) -> String {
        self.find(section, key)
            .unwrap_or_else(|| default.to_owned())
    }

    /// A value of the wrong kind is ignored, as the real server ignores it.
    fn boolean(&self, section: &str, key: &str, default: bool) -> bool {
        match self.find(section, key).as_deref() {
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            _ => default,
        }
    }

    fn number(&self, section: &str, key: &str, default: u32) -> u32 {
        self.find(section, key)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{Behaviour, Version};

    fn load(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let file = json!({
            "ServiceSettings": { "ListenAddress": ":8065" },
            "SqlSettings": { "DataSource": "postgres://file@h/db", "MaxOpenConns": 7 },
            "TeamSettings": { "EnableOpenServer": true },
        });
        let Value::Object(file) = file else {
            unreachable!("an object was written above")
        };
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Settings::effective(&file, pairs, &manifest())
    }

    fn manifest() -> Manifest {
        Manifest {
            version: Version::new(11, 10, 0),
            behaviour: Behaviour::Good,
        }
    }

    #[test]
    fn the_environment_wins_over_the_file_over_the_default() {
        let plain = load(&[]).unwrap();
        assert_eq!(plain.dsn.user, "file");
        assert_eq!(plain.max_open_connections, 7);
        assert_eq!(plain.max_idle_connections, 50);
        assert!(plain.open_server && !plain.licensed && plain.cluster.is_none());
        let over = load(&[
            ("MM_SQLSETTINGS_DATASOURCE", "postgres://env@h/db"),
            ("MM_SQLSETTINGS_MAXOPENCONNS", "9"),
            ("MM_TEAMSETTINGS_ENABLEOPENSERVER", "false"),
            ("MM_SERVICESETTINGS_SITEURL", "https://chat.example"),
            ("MM_FILESETTINGS_DRIVERNAME", "amazons3"),
            ("MM_FILESETTINGS_AMAZONS3BUCKET", "files"),
        ])
        .unwrap();
        assert_eq!(over.dsn.user, "env");
        assert_eq!(over.max_open_connections, 9);
        assert!(!over.open_server);
        assert_eq!(over.files, FileSettings::S3("files".to_owned()));
        assert_ne!(over.config_hash, plain.config_hash);
        assert_eq!(load(&[]).unwrap().config_hash, plain.config_hash);
    }

    #[test]
    fn a_cluster_needs_both_the_switch_and_the_licence() {
        let on = ("MM_CLUSTERSETTINGS_ENABLE", "true");
        let name = ("MM_CLUSTERSETTINGS_CLUSTERNAME", "blue");
        for (licence, clustered) in [
            ("", false),
            ("forged", false),
            ("LAB-CLUSTER-LICENCE", true),
            ("LAB-CLUSTER-LICENCE until 2030", true),
        ] {
            let settings = load(&[on, name, ("MM_LICENSE", licence)]).unwrap();
            assert_eq!(settings.licensed, clustered, "`{licence}`");
            assert_eq!(settings.cluster.is_some(), clustered, "`{licence}`");
        }
        let off = load(&[("MM_LICENSE", CLUSTER_LICENCE)]).unwrap();
        assert!(off.licensed && off.cluster.is_none());
    }

    #[test]
    fn the_version_id_has_four_parts_after_the_version() {
        let settings = load(&[("MM_LICENSE", CLUSTER_LICENCE)]).unwrap();
        let id = settings.version_id(&manifest());
        let rest = id.strip_prefix("11.10.0.").unwrap();
        let parts: Vec<&str> = rest.split('.').collect();
        assert_eq!(parts.len(), 3, "{id}");
        assert_eq!(parts[2], "true");
        assert_eq!(parts[1].len(), 32);
    }

    #[test]
    fn refusals_name_the_setting() {
        for (key, value, part) in [
            (
                "MM_SQLSETTINGS_DRIVERNAME",
                "mysql",
                "SqlSettings.DriverName",
            ),
            ("MM_SQLSETTINGS_DATASOURCE", "", "SqlSettings.DataSource"),
            (
                "MM_FILESETTINGS_DRIVERNAME",
                "tape",
                "FileSettings.DriverName",
            ),
        ] {
            let error = load(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(part), "{key}: {error}");
        }
    }
}

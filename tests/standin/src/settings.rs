//! What the server makes of its configuration: typed, checked once.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::clock;
use crate::config::defaults::{Document, get, number, switch, text};
use crate::dsn::{Dsn, DsnError};
use crate::licence::Licence;
use crate::release::Manifest;

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
    /// `ServiceSettings.SiteURL`, without a slash at its end.
    pub site_url: String,
    /// The path of the site URL, `/chat`; empty when there is none.
    pub subpath: String,
    /// `ServiceSettings.LocalModeSocketLocation`, when `EnableLocalMode` is on.
    pub local_socket: Option<PathBuf>,
    /// `TeamSettings.EnableOpenServer`: whether anybody may sign up.
    pub open_server: bool,
    /// The licence of `MM_LICENSE`, when the stand-in accepts it.
    pub licence: Option<Licence>,
    /// The cluster, when enabled *and* licensed.
    pub cluster: Option<ClusterSettings>,
    /// Where files go.
    pub files: FileSettings,
    /// `FileSettings.EnableFileAttachments`.
    pub attachments: bool,
    /// `FileSettings.MaxFileSize`, in bytes.
    pub max_file_size: u64,
    /// The salt of public links; none when `FileSettings.EnablePublicLink` is off.
    pub public_link_salt: Option<Salt>,
    /// `PluginSettings`.
    pub plugins: PluginSettings,
    /// What `GET /api/v4/config/client?format=old` tells anybody.
    pub client: Value,
    /// The hash of what clients get, 32 hexadecimal digits: equal on nodes configured alike.
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
    /// `amazons3`: a bucket.
    S3(Box<S3Settings>),
}

/// `FileSettings.AmazonS3…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// Its region; empty: `us-east-1`.
    pub region: String,
    /// What every key begins with; empty or ending in a slash.
    pub prefix: String,
    /// Host and port, without a scheme.
    pub endpoint: String,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Key id and key; none: the role's.
    pub keys: Option<(String, Salt)>,
    /// Whether `AES256` is asked for.
    pub encrypt: bool,
    /// Bytes of one part of an upload.
    pub part_size: usize,
    /// How long one request may take.
    pub timeout: Duration,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt(String);

impl Salt {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(…)")
    }
}

/// `PluginSettings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSettings {
    /// Whether there are plugins at all.
    pub enable: bool,
    /// Whether bundles may be uploaded. The API cannot switch it on.
    pub uploads: bool,
    /// Where bundles are unpacked, relative to the working directory.
    pub directory: PathBuf,
    /// Where their web parts are unpacked.
    pub client_directory: PathBuf,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value that is not supported.
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
    /// From an effective configuration and the text of `MM_LICENSE`.
    pub(crate) fn new(
        document: &Document,
        licence: Option<&str>,
        manifest: &Manifest,
    ) -> Result<Self, SettingsError> {
        let driver = text(document, "SqlSettings", "DriverName");
        if driver != "postgres" {
            return Err(SettingsError::Value {
                setting: "SqlSettings.DriverName",
                value: driver,
                wanted: "`postgres`",
            });
        }
        let licence = accept(licence.unwrap_or_default());
        let site_url = text(document, "ServiceSettings", "SiteURL");
        let local_mode = switch(document, "ServiceSettings", "EnableLocalMode");
        let public_links = switch(document, "FileSettings", "EnablePublicLink");
        let client = client_config(document, licence.as_ref(), manifest);
        Ok(Self {
            dsn: Dsn::parse(&text(document, "SqlSettings", "DataSource"))?,
            max_open_connections: number(document, "SqlSettings", "MaxOpenConns") as usize,
            max_idle_connections: number(document, "SqlSettings", "MaxIdleConns") as usize,
            listen_address: text(document, "ServiceSettings", "ListenAddress"),
            subpath: subpath(&site_url)?,
            site_url,
            local_socket: local_mode
                .then(|| text(document, "ServiceSettings", "LocalModeSocketLocation").into()),
            open_server: switch(document, "TeamSettings", "EnableOpenServer"),
            cluster: cluster(document, licence.as_ref()),
            licence,
            files: file_settings(document)?,
            attachments: switch(document, "FileSettings", "EnableFileAttachments"),
            max_file_size: number(document, "FileSettings", "MaxFileSize") as u64,
            public_link_salt: public_links
                .then(|| Salt(text(document, "FileSettings", "PublicLinkSalt"))),
            plugins: PluginSettings {
                enable: switch(document, "PluginSettings", "Enable"),
                uploads: switch(document, "PluginSettings", "EnableUploads"),
                directory: text(document, "PluginSettings", "Directory").into(),
                client_directory: text(document, "PluginSettings", "ClientDirectory").into(),
            },
            config_hash: hex::encode(&Sha256::digest(client.to_string())[..16]),
            client,
        })
    }

    /// `X-Version-Id`: `<version>.<build>.<configuration hash>.<licensed>`.
    pub fn version_id(&self, manifest: &Manifest) -> String {
        format!(
            "{}.{}.{}.{}",
            manifest.reported(),
            manifest.build_number(),
            self.config_hash,
            self.licence.is_some()
        )
    }
}

/// A text that is not accepted leaves the server unlicensed, with a line in the log.
fn accept(text: &str) -> Option<Licence> {
    if text.trim().is_empty() {
        return None;
    }
    match Licence::accept(text, clock::now_ms()) {
        Ok(licence) => Some(licence),
        Err(error) => {
            log::error!("Failed to read license set in environment: {error}");
            None
        }
    }
}

fn cluster(document: &Document, licence: Option<&Licence>) -> Option<ClusterSettings> {
    if !switch(document, "ClusterSettings", "Enable") {
        return None;
    }
    if !licence.is_some_and(|licence| licence.features.cluster) {
        log::warn!("ClusterSettings.Enable has no effect without a licence for a cluster");
        return None;
    }
    Some(ClusterSettings {
        name: text(document, "ClusterSettings", "ClusterName"),
        bind_address: text(document, "ClusterSettings", "BindAddress"),
        advertise_address: text(document, "ClusterSettings", "AdvertiseAddress"),
        gossip_port: number(document, "ClusterSettings", "GossipPort") as u16,
        share_pending: text(document, "CacheSettings", "CacheType") != "lru",
    })
}

fn file_settings(document: &Document) -> Result<FileSettings, SettingsError> {
    let of = |key: &str| text(document, "FileSettings", key);
    match of("DriverName").as_str() {
        "local" => Ok(FileSettings::Local(of("Directory").into())),
        "amazons3" => {
            let (id, key) = (of("AmazonS3AccessKeyId"), of("AmazonS3SecretAccessKey"));
            let prefix = of("AmazonS3PathPrefix");
            let prefix = prefix.trim_matches('/');
            let timeout = number(
                document,
                "FileSettings",
                "AmazonS3RequestTimeoutMilliseconds",
            );
            Ok(FileSettings::S3(Box::new(S3Settings {
                bucket: of("AmazonS3Bucket"),
                region: of("AmazonS3Region"),
                prefix: if prefix.is_empty() {
                    String::new()
                } else {
                    format!("{prefix}/")
                },
                endpoint: of("AmazonS3Endpoint"),
                tls: switch(document, "FileSettings", "AmazonS3SSL"),
                keys: (!id.is_empty() || !key.is_empty()).then_some((id, Salt(key))),
                encrypt: switch(document, "FileSettings", "AmazonS3SSE"),
                part_size: number(document, "FileSettings", "AmazonS3UploadPartSizeBytes")
                    .max(5 << 20) as usize,
                timeout: Duration::from_millis(timeout.max(1) as u64),
            })))
        }
        other => Err(SettingsError::Value {
            setting: "FileSettings.DriverName",
            value: other.to_owned(),
            wanted: "`local` or `amazons3`",
        }),
    }
}

fn subpath(site_url: &str) -> Result<String, SettingsError> {
    if site_url.is_empty() {
        return Ok(String::new());
    }
    let url = url::Url::parse(site_url).map_err(|_| SettingsError::Value {
        setting: "ServiceSettings.SiteURL",
        value: site_url.to_owned(),
        wanted: "a URL as in `https://chat.example.com`",
    })?;
    Ok(url.path().trim_end_matches('/').to_owned())
}

/// What anybody is told. The hash of `X-Version-Id` is taken over it, as the real server does: it knows
/// of settings, build and licence, and nothing of salts, mail or plugins' states.
fn client_config(document: &Document, licence: Option<&Licence>, manifest: &Manifest) -> Value {
    let mut client = json!({
        "Version": manifest.reported().to_string(),
        "BuildNumber": manifest.build_number(),
        "BuildHash": manifest.build_hash(),
        "BuildEnterpriseReady": "true",
        "SQLDriverName": "postgres",
    });
    for (section, key, name) in [
        ("ServiceSettings", "SiteURL", "SiteURL"),
        ("TeamSettings", "SiteName", "SiteName"),
        ("TeamSettings", "EnableOpenServer", "EnableOpenServer"),
        ("TeamSettings", "EnableUserCreation", "EnableUserCreation"),
        (
            "TeamSettings",
            "CustomDescriptionText",
            "CustomDescriptionText",
        ),
        (
            "EmailSettings",
            "EnableSignUpWithEmail",
            "EnableSignUpWithEmail",
        ),
        (
            "EmailSettings",
            "SendEmailNotifications",
            "SendEmailNotifications",
        ),
        ("SupportSettings", "HelpLink", "HelpLink"),
        ("SupportSettings", "SupportEmail", "SupportEmail"),
        (
            "FileSettings",
            "EnableFileAttachments",
            "EnableFileAttachments",
        ),
        ("FileSettings", "EnablePublicLink", "EnablePublicLink"),
        ("FileSettings", "MaxFileSize", "MaxFileSize"),
        ("PluginSettings", "Enable", "PluginsEnabled"),
        ("PasswordSettings", "MinimumLength", "PasswordMinimumLength"),
    ] {
        client[name] = text(document, section, key).into();
    }
    if licence.is_some() {
        client["EnableCluster"] = text(document, "ClusterSettings", "Enable").into();
    }
    client
}

/// Which plugins are enabled: `PluginSettings.PluginStates`.
pub(crate) fn enabled_plugins(document: &Document) -> Vec<String> {
    let Some(Value::Object(states)) = get(document, "PluginSettings", "PluginStates") else {
        return Vec::new();
    };
    states
        .iter()
        .filter(|(_, state)| state["Enable"] == Value::Bool(true))
        .map(|(id, _)| id.clone())
        .collect()
}

#[cfg(test)]
mod tests;

//! The configuration: what is stored, what the environment puts over it, and what the server runs with.
//!
//! ```text
//!   Store (file or database) ── complete ──> stored ── environment ──> effective ──> Settings
//!          ^                                   │
//!          └──────── at every start, at every change through the API ────────┘
//! ```
//!
//! * Whatever the environment overrides is never stored: a change through the API keeps the stored value.
//! * A server loads at its start and when it changes something itself. Nobody watches the database.
//! * Salts and keys are made by whoever stores the first configuration.

pub(crate) mod defaults;
pub(crate) mod environment;
pub(crate) mod sanitize;
mod store;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::database::DatabaseError;
use crate::dsn::DsnError;
use crate::release::Manifest;
use crate::settings::{Settings, SettingsError};
use defaults::{Document, switch};
use environment::Environment;
use store::Store;

pub(crate) use store::is_database;

/// Why a configuration cannot be loaded or stored.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{path}`")]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be written. The server writes it at every start and does not run otherwise.
    #[error(
        "failed to persist: failed to write file: `{path}` must be writable by the server's user"
    )]
    Write {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What is stored is not a JSON object.
    #[error("the configuration `{place}` is not a JSON object")]
    Json {
        /// The file, or the table.
        place: String,
        /// Why, if it is not even JSON.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// A file of a cluster's node, whose `ClusterSettings.ReadOnlyConfig` is on.
    #[error("configuration is read-only")]
    ReadOnly,
    /// The data source that holds the configuration.
    #[error("the configuration's data source is not usable")]
    Dsn(#[from] DsnError),
    /// The database that holds the configuration.
    #[error("failed to load configuration from the database")]
    Database(#[from] DatabaseError),
    /// The settings are not valid.
    #[error("invalid config")]
    Settings(#[from] SettingsError),
}

impl ConfigError {
    fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }
}

/// A configuration as it is at one moment.
pub(crate) struct View {
    /// What is stored, completed.
    pub(crate) stored: Document,
    /// The same with the environment's overrides.
    pub(crate) effective: Document,
    /// What the server makes of it.
    pub(crate) settings: Settings,
}

/// A configuration in use.
pub(crate) struct Configuration {
    store: Store,
    environment: Environment,
    manifest: Manifest,
    view: RwLock<Arc<View>>,
}

/// Whether the stored configuration may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The server and `db init`: it is written when it is loaded.
    Write,
    /// `db migrate`, `db version`: tables are made, no row is written.
    Read,
}

impl Configuration {
    /// Loads from a path or a data source name.
    pub(crate) async fn open(
        place: &str,
        environment: Environment,
        manifest: Manifest,
        access: Access,
    ) -> Result<Self, ConfigError> {
        let store = Store::open(place).await?;
        let view = load(&store, &environment, &manifest, access).await?;
        Ok(Self {
            store,
            environment,
            manifest,
            view: RwLock::new(Arc::new(view)),
        })
    }

    /// The configuration at this moment.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// `{"Section": {"Key": true}}` for each setting that the environment decides.
    pub(crate) fn overridden(&self) -> serde_json::Value {
        self.environment.map(&self.view().effective)
    }

    /// Replaces the whole configuration: stores it and uses it from now on.
    pub(crate) async fn set(&self, new: &Document) -> Result<Arc<View>, ConfigError> {
        let now = self.view();
        let mut new = defaults::complete(new, self.manifest.version);
        sanitize::restore(&mut new, &now.effective);
        let new = self.environment.apply(&new);
        let stored = self.environment.remove(&new, &now.stored);
        let view = View::new(stored, &self.environment, &self.manifest)?;
        if read_only(&self.store, &view.stored) {
            return Err(ConfigError::ReadOnly);
        }
        self.store.save(&view.stored).await?;
        Ok(self.exchange(view))
    }

    /// Reads what is stored again, as after a message of the cluster.
    pub(crate) async fn reload(&self) -> Result<Arc<View>, ConfigError> {
        let view = load(
            &self.store,
            &self.environment,
            &self.manifest,
            Access::Write,
        )
        .await?;
        Ok(self.exchange(view))
    }

    fn exchange(&self, view: View) -> Arc<View> {
        let view = Arc::new(view);
        let mut held = self.view.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::clone(&view);
        view
    }

    /// Copies a configuration from one place to another, with its files. This server's own stays.
    pub(crate) async fn migrate(&self, from: &str, to: &str) -> Result<(), ConfigError> {
        let open = async |place| {
            let environment = self.environment.clone();
            Self::open(place, environment, self.manifest.clone(), Access::Write).await
        };
        let (source, destination) = (open(from).await?, open(to).await?);
        let given = source.view();
        destination.set(&given.effective).await?;
        for (section, key) in [
            ("SamlSettings", "IdpCertificateFile"),
            ("SamlSettings", "PublicCertificateFile"),
            ("SamlSettings", "PrivateKeyFile"),
        ] {
            let name = defaults::text(&given.effective, section, key);
            if name.is_empty() {
                continue;
            }
            if let Some(data) = source.store.file(&name).await? {
                destination.store.save_file(&name, &data).await?;
            }
        }
        Ok(())
    }
}

impl View {
    fn new(
        stored: Document,
        environment: &Environment,
        manifest: &Manifest,
    ) -> Result<Self, SettingsError> {
        let effective = environment.apply(&stored);
        let licence = environment.variable("MM_LICENSE");
        Ok(Self {
            settings: Settings::new(&effective, licence, manifest)?,
            effective,
            stored,
        })
    }
}

async fn load(
    store: &Store,
    environment: &Environment,
    manifest: &Manifest,
    access: Access,
) -> Result<View, ConfigError> {
    let loaded = store.load().await?.unwrap_or_default();
    let stored = defaults::complete(&loaded, manifest.version);
    let view = View::new(stored, environment, manifest)?;
    if access == Access::Write && !read_only(store, &view.stored) {
        store.save(&view.stored).await?;
    }
    Ok(view)
}

/// Whether a file is not to be written: that of a cluster's node, unless `ReadOnlyConfig` is off.
fn read_only(store: &Store, stored: &Document) -> bool {
    store.is_file()
        && switch(stored, "ClusterSettings", "Enable")
        && switch(stored, "ClusterSettings", "ReadOnlyConfig")
}

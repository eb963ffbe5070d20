//! Plugins of this node: unpacked from the file store at every start, running where they are enabled.
//!
//! ```text
//!   file store plugins/<id>.tar.gz ──┐                               PluginStates says "enabled"
//!                                    ├── unpacked: plugins/<id> ──────────────> running
//!   prepackaged_plugins/*.tar.gz ────┘   (only when it was enabled before)
//! ```
//!
//! A plugin with a web part only is running as soon as that is unpacked, as in the real server. One with a
//! program is said to run when the program is there; the stand-in starts no programs.

mod activate;
mod bundle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};

pub(crate) use bundle::{BundleError, Manifest};

use activate::{State, web_file};

use crate::files::{FileError, FileStore};
use crate::release::Version;
use crate::settings::PluginSettings;

/// The folder of bundles in the file store.
const STORE_FOLDER: &str = "plugins";
/// Marks an unpacked plugin that came from the file store.
const MANAGED: &str = ".filestore";

/// Why a plugin is not installed or does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Another one of that id is installed, and replacing it was not asked for.
    #[error("unable to install plugin: a plugin with the same id is already installed")]
    Installed,
    /// None of that id is installed.
    #[error("plugin is not installed")]
    Unknown,
    /// The node's folder.
    #[error("unable to use the plugins' folder `{path}`")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file store.
    #[error("unable to keep the plugin in the file store")]
    Store(#[from] FileError),
}

/// One that is unpacked.
#[derive(Clone, Debug)]
struct Plugin {
    manifest: Manifest,
    state: State,
}

/// This node's plugins.
#[derive(Debug)]
pub(crate) struct Plugins {
    settings: PluginSettings,
    prepackaged: PathBuf,
    server: Version,
    known: Mutex<BTreeMap<String, Plugin>>,
}

/// Whether an unpacked plugin is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replace {
    Never,
    WhenNewer,
    Always,
}

impl Plugins {
    /// For a release's tree; nothing is read yet.
    pub(crate) fn new(settings: PluginSettings, tree: &Path, server: Version) -> Self {
        Self {
            settings,
            prepackaged: tree.join("prepackaged_plugins"),
            server,
            known: Mutex::default(),
        }
    }

    /// At a start: the folders, what lies in them, what the file store holds, what the release brings.
    pub(crate) async fn start(&self, files: &FileStore, enabled: &[String]) {
        for folder in [&self.settings.directory, &self.settings.client_directory] {
            if let Err(error) = std::fs::create_dir_all(folder) {
                log::error!(
                    "Failed to start up plugins: `{}`: {error}",
                    folder.display()
                );
                return;
            }
        }
        self.read_folder();
        self.sync(files).await;
        self.take_prepackaged(enabled);
        self.settle(enabled);
    }

    /// Unpacks every bundle of the file store; unpacked ones that it no longer holds go.
    async fn sync(&self, files: &FileStore) {
        let paths = match files.list(STORE_FOLDER).await {
            Ok(paths) => paths,
            Err(error) => {
                log::error!("Failed to sync plugins from the file store: {error}");
                return;
            }
        };
        let bundles: Vec<String> = paths
            .into_iter()
            .filter(|path| path.ends_with(".tar.gz"))
            .collect();
        for id in self.managed() {
            if !bundles.contains(&store_path(&id)) {
                drop(self.remove_here(&id));
            }
        }
        for path in bundles {
            let unpacked = match files.read(&path).await {
                Ok(bytes) => self.unpack(&bytes, Replace::Always).map(drop),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = unpacked {
                log::error!("Failed to sync plugin from file store `{path}`: {error}");
            }
        }
    }

    /// A bundle of the release is taken when it was enabled before and nothing newer is there.
    fn take_prepackaged(&self, enabled: &[String]) {
        for bytes in self.prepackaged_bundles() {
            let Ok(folder) = tempfile::tempdir() else {
                return;
            };
            let id = bundle::unpack(&bytes, folder.path()).map(|(_, manifest)| {
                let id = manifest.id().to_owned();
                enabled.contains(&id).then_some(id)
            });
            let taken = match id {
                Ok(None) => continue,
                Ok(Some(_)) => self.unpack(&bytes, Replace::WhenNewer).map(drop),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = taken {
                log::error!("Failed to install a prepackaged plugin: {error}");
            }
        }
    }

    /// The release's bundles that are signed: the real server does not touch others.
    fn prepackaged_bundles(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = std::fs::read_dir(&self.prepackaged) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
            .into_iter()
            .filter(|path| path.to_string_lossy().ends_with(".tar.gz"))
            .filter(|path| Path::new(&format!("{}.sig", path.display())).is_file())
            .filter_map(|path| std::fs::read(path).ok())
            .collect()
    }

    /// Installs an uploaded bundle: unpacks it here, keeps it in the file store, starts it if it is enabled.
    pub(crate) async fn install(
        &self,
        bytes: Bytes,
        replace: Replace,
        files: &FileStore,
        enabled: &[String],
    ) -> Result<Manifest, PluginError> {
        let manifest = self.unpack(&bytes, replace)?;
        files.write(&store_path(manifest.id()), bytes).await?;
        self.settle(enabled);
        Ok(manifest)
    }

    /// As told by another node of the cluster: the file store's bundle is unpacked here, too.
    pub(crate) async fn follow(&self, id: &str, files: &FileStore, enabled: &[String]) {
        match files.read(&store_path(id)).await {
            Ok(bytes) => match self.unpack(&bytes, Replace::Always) {
                Ok(_) => self.settle(enabled),
                Err(error) => log::error!("Failed to sync plugin from file store `{id}`: {error}"),
            },
            Err(FileError::Missing(_)) => drop(self.remove_here(id)),
            Err(error) => {
                log::error!("Failed to open plugin bundle from file store `{id}`: {error}");
            }
        }
    }

    /// Removes a plugin here and its bundle from the file store.
    pub(crate) async fn remove(&self, id: &str, files: &FileStore) -> Result<(), PluginError> {
        self.remove_here(id)?;
        Ok(files.remove(&store_path(id)).await?)
    }

    /// Whether a plugin of that id is unpacked here.
    pub(crate) fn is_installed(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// Starts what is enabled and does not run, stops what runs and is not enabled.
    pub(crate) fn settle(&self, enabled: &[String]) {
        let mut known = self.lock();
        for (id, plugin) in known.iter_mut() {
            match (enabled.contains(id), plugin.state == State::Running) {
                (true, false) => plugin.state = self.activate(&mut plugin.manifest),
                (false, _) => plugin.state = State::NotRunning,
                (true, true) => {}
            }
        }
    }

    /// `{"active": […], "inactive": […]}`: the manifests.
    pub(crate) fn list(&self) -> Value {
        let (mut active, mut inactive) = (Vec::new(), Vec::new());
        for plugin in self.lock().values() {
            if plugin.state == State::Running {
                active.push(plugin.manifest.json());
            } else {
                inactive.push(plugin.manifest.json());
            }
        }
        json!({ "active": active, "inactive": inactive })
    }

    /// The state of each plugin on this node.
    pub(crate) fn statuses(&self) -> Value {
        let known = self.lock();
        let statuses = known.iter().map(|(id, plugin)| {
            let error = match &plugin.state {
                State::FailedToStart(error) => error.as_str(),
                _ => "",
            };
            json!({
                "plugin_id": id,
                "cluster_id": "",
                "plugin_path": self.folder(id).display().to_string(),
                "state": plugin.state.number(),
                "error": error,
                "name": plugin.manifest.text("name"),
                "description": plugin.manifest.text("description"),
                "version": plugin.manifest.text("version"),
            })
        });
        statuses.collect()
    }

    /// The running plugins' web parts.
    pub(crate) fn web_parts(&self) -> Value {
        let known = self.lock();
        let running = known.values().filter(|plugin| {
            plugin.state == State::Running && plugin.manifest.web_bundle().is_some()
        });
        running
            .map(|plugin| {
                let manifest = plugin.manifest.json();
                json!({
                    "id": manifest["id"],
                    "version": manifest["version"],
                    "min_server_version": manifest["min_server_version"],
                    "webapp": { "bundle_path": format!(
                        "/static/{}/{}",
                        plugin.manifest.id(),
                        web_file(&plugin.manifest)
                    ) },
                })
            })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Plugin>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.settings.directory.join(id)
    }

    fn managed(&self) -> Vec<String> {
        let known = self.lock();
        let managed = known
            .keys()
            .filter(|id| self.folder(id).join(MANAGED).is_file());
        managed.cloned().collect()
    }

    fn read_folder(&self) {
        let Ok(entries) = std::fs::read_dir(&self.settings.directory) else {
            return;
        };
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            match Manifest::read(&entry.path()) {
                Ok(manifest) => self.remember(&manifest),
                Err(error) => log::warn!("`{}` is no plugin: {error}", entry.path().display()),
            }
        }
    }

    fn remember(&self, manifest: &Manifest) {
        let plugin = Plugin {
            manifest: manifest.clone(),
            state: State::NotRunning,
        };
        self.lock().insert(manifest.id().to_owned(), plugin);
    }

    fn unpack(&self, bytes: &[u8], replace: Replace) -> Result<Manifest, PluginError> {
        let failed = |path: &Path, source| PluginError::Folder {
            path: path.to_owned(),
            source,
        };
        let scratch = tempfile::tempdir().map_err(|error| failed(&std::env::temp_dir(), error))?;
        let (from, manifest) = bundle::unpack(bytes, scratch.path())?;
        let present = self
            .lock()
            .get(manifest.id())
            .map(|plugin| plugin.manifest.clone());
        match (present, replace) {
            (None, _) | (Some(_), Replace::Always) => {}
            (Some(_), Replace::Never) => return Err(PluginError::Installed),
            (Some(present), Replace::WhenNewer) => {
                if manifest.version() <= present.version() {
                    return Ok(present);
                }
            }
        }
        let folder = self.folder(manifest.id());
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        }
        bundle::copy_folder(&from, &folder)
            .and_then(|()| std::fs::write(folder.join(MANAGED), b""))
            .map_err(|error| failed(&folder, error))?;
        self.remember(&manifest);
        Ok(manifest)
    }

    fn remove_here(&self, id: &str) -> Result<(), PluginError> {
        if self.lock().remove(id).is_none() {
            return Err(PluginError::Unknown);
        }
        let folder = self.folder(id);
        std::fs::remove_dir_all(&folder).map_err(|source| PluginError::Folder {
            path: folder,
            source,
        })
    }
}

fn store_path(id: &str) -> String {
    format!("{STORE_FOLDER}/{id}.tar.gz")
}

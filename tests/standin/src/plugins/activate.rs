//! Starting a plugin on this node.

use super::Plugins;
use super::bundle::{self, Manifest};

/// Whether a plugin runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    NotRunning,
    Running,
    FailedToStart(String),
}

impl State {
    /// The number that the API gives.
    pub(super) fn number(&self) -> u8 {
        match self {
            Self::NotRunning => 0,
            Self::Running => 2,
            Self::FailedToStart(_) => 3,
        }
    }
}

impl Plugins {
    /// Starts a plugin, as far as the stand-in does.
    pub(super) fn activate(&self, manifest: &mut Manifest) -> State {
        if let Some(wanted) = manifest.wanted_server()
            && wanted > self.server
        {
            return State::FailedToStart(format!(
                "plugin requires Mattermost version: `{wanted}` or newer"
            ));
        }
        let mut parts = 0;
        if manifest.web_bundle().is_some() {
            if let Err(error) = self.unpack_web(manifest) {
                return State::FailedToStart(format!("unable to generate webapp bundle: {error}"));
            }
            parts += 1;
        }
        if let Some(program) = manifest.program() {
            if !self.folder(manifest.id()).join(program).is_file() {
                return State::FailedToStart(format!("`{program}` is not in the bundle"));
            }
            parts += 1;
        }
        if parts == 0 {
            return State::FailedToStart(
                "unable to start plugin: must at least have a web app or server component"
                    .to_owned(),
            );
        }
        State::Running
    }

    /// Copies the web part to where clients load it from, named after its content.
    fn unpack_web(&self, manifest: &mut Manifest) -> std::io::Result<()> {
        let bundle = self
            .folder(manifest.id())
            .join(manifest.web_bundle().unwrap_or_default());
        let hash = bundle::content_hash(&std::fs::read(&bundle)?);
        let to = self.settings.client_directory.join(manifest.id());
        if to.exists() {
            std::fs::remove_dir_all(&to)?;
        }
        bundle::copy_folder(bundle.parent().unwrap_or(&bundle), &to)?;
        let name = bundle.file_name().unwrap_or_default();
        manifest.set_web_hash(&hash);
        std::fs::rename(to.join(name), to.join(web_file(manifest)))
    }
}

/// The web part's file name, by its content.
pub(super) fn web_file(manifest: &Manifest) -> String {
    let json = manifest.json();
    let hash = json["webapp"]["bundle_hash"].as_str().unwrap_or_default();
    format!("{}_{hash}_bundle.js", manifest.id())
}

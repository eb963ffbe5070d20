//! Bundles: a `.tar.gz` with a `plugin.json`, at its top or in its only folder.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::release::Version;

/// Bytes that a bundle may hold unpacked; more is no plugin.
const LIMIT: u64 = 1 << 30;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// Not a `.tar.gz`, or one that leads outside.
    #[error("unable to extract the plugin bundle")]
    Extract(#[source] std::io::Error),
    /// No `plugin.json`, or none that can be read.
    #[error("unable to find manifest for extracted plugin")]
    Manifest(#[source] std::io::Error),
    /// The id is not one.
    #[error("the plugin's id must be 3 to 190 letters, digits, `.`, `-` or `_`")]
    Id,
}

/// What stands in `plugin.json`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest(Value);

impl Manifest {
    /// Reads `plugin.json` of an unpacked bundle.
    pub(crate) fn read(folder: &Path) -> Result<Self, BundleError> {
        let text = std::fs::read(folder.join("plugin.json")).map_err(BundleError::Manifest)?;
        let value =
            serde_json::from_slice(&text).map_err(|error| BundleError::Manifest(error.into()))?;
        let manifest = Self(value);
        let id = manifest.id();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(3..=190).contains(&id.len()) || !id.bytes().all(plain) || id.contains("..") {
            return Err(BundleError::Id);
        }
        Ok(manifest)
    }

    pub(crate) fn json(&self) -> Value {
        self.0.clone()
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &str {
        self.text("id")
    }

    /// None when it is not three numbers; such a bundle never replaces another by being newer.
    pub(crate) fn version(&self) -> Option<Version> {
        self.text("version").parse().ok()
    }

    /// The first server that it runs on; none when any will do.
    pub(crate) fn wanted_server(&self) -> Option<Version> {
        self.text("min_server_version").parse().ok()
    }

    /// The web part's file, relative to the bundle.
    pub(crate) fn web_bundle(&self) -> Option<&str> {
        self.0["webapp"]["bundle_path"].as_str()
    }

    /// The server part's program for this machine, relative to the bundle.
    pub(crate) fn program(&self) -> Option<&str> {
        let server = &self.0["server"];
        server["executables"]["linux-amd64"]
            .as_str()
            .or_else(|| server["executable"].as_str())
            .filter(|program| !program.is_empty())
    }

    /// Says which content the web part has.
    pub(crate) fn set_web_hash(&mut self, hash: &str) {
        self.0["webapp"]["bundle_hash"] = hash.into();
    }
}

/// Unpacks into an empty folder; returns where the plugin lies in it, and its manifest.
pub(crate) fn unpack(bytes: &[u8], folder: &Path) -> Result<(PathBuf, Manifest), BundleError> {
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(LIMIT));
    archive.set_preserve_ownerships(false);
    archive.unpack(folder).map_err(BundleError::Extract)?;
    let mut entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(BundleError::Extract)?;
    let inner = match (entries.pop(), entries.is_empty()) {
        (Some(only), true) if only.path().is_dir() => only.path(),
        _ => folder.to_owned(),
    };
    let manifest = Manifest::read(&inner)?;
    Ok((inner, manifest))
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// FNV-1a with 64 bits, in hexadecimal digits: how the web part's file is named after its content.
pub(crate) fn content_hash(bytes: &[u8]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

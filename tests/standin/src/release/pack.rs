//! Tarballs, laid out like the real ones.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::manifest::{Behaviour, Manifest, Version};
use crate::config::defaults::defaults;

/// A tarball that was made.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Packed {
    /// `X.Y.Z`.
    pub version: String,
    /// Where it lies: `<out>/X.Y.Z/mattermost-X.Y.Z-linux-amd64.tar.gz`, the path it is served at.
    pub file: PathBuf,
    /// Of the tarball, 64 hexadecimal digits.
    pub sha256: String,
    /// Of the tarball, in bytes.
    pub size: u64,
    /// As [`Behaviour`] writes it.
    pub behaviour: String,
}

/// Why a tarball could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The server binary cannot be read.
    #[error("cannot read the server binary `{path}`")]
    Binary {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The tarball cannot be written.
    #[error("cannot write the tarball `{path}`")]
    Write {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Folders of the real tarball; `data`, `plugins` and `client/plugins` are not in it.
const FOLDERS: [&str; 9] = [
    "",
    "bin",
    "client",
    "config",
    "fonts",
    "i18n",
    "logs",
    "prepackaged_plugins",
    "templates",
];

/// The id of the plugin that every release brings.
const PLUGIN_ID: &str = "com.example.standin";
/// Its bundle's name, as the real tarball names its bundles.
const PLUGIN: &str = "mattermost-plugin-standin-v1.0.0-linux-amd64";

/// Entry times: the same input gives the same digest.
const MODIFIED: u64 = 1_767_225_600;

/// Packs `binary` as one version. The same binary, version and behaviour give the same bytes. The
/// file appears under its name only when it is whole.
pub fn pack(
    binary: &Path,
    version: Version,
    behaviour: Behaviour,
    out_dir: &Path,
) -> Result<Packed, PackError> {
    let server = std::fs::read(binary).map_err(|source| PackError::Binary {
        path: binary.to_owned(),
        source,
    })?;
    let manifest = Manifest { version, behaviour };
    let folder = out_dir.join(version.to_string());
    let file = folder.join(format!("mattermost-{version}-linux-amd64.tar.gz"));
    let failed = |source| PackError::Write {
        path: file.clone(),
        source,
    };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let partial = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
    let hashed = Hashed {
        inner: io::BufWriter::new(partial),
        digest: Sha256::new(),
        size: 0,
    };
    let hashed = write(hashed, &server, &manifest).map_err(failed)?;
    let partial = hashed
        .inner
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    partial
        .persist(&file)
        .map_err(|error| failed(error.error))?;
    Ok(Packed {
        version: version.to_string(),
        sha256: hex::encode(hashed.digest.finalize()),
        size: hashed.size,
        behaviour: behaviour.to_string(),
        file,
    })
}

fn write<W: Write>(out: W, server: &[u8], manifest: &Manifest) -> io::Result<W> {
    let mut tar = Builder::new(GzEncoder::new(out, Compression::fast()));
    for folder in FOLDERS {
        let mut header = header(EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, format!("mattermost/{folder}"), io::empty())?;
    }
    for (name, mode, content) in files(manifest) {
        let mut header = header(EntryType::Regular, mode, content.len());
        tar.append_data(
            &mut header,
            format!("mattermost/{name}"),
            content.as_bytes(),
        )?;
    }
    for (name, content) in [
        (format!("{PLUGIN}.tar.gz"), plugin_bundle()?),
        (
            format!("{PLUGIN}.tar.gz.sig"),
            b"not a signature\n".to_vec(),
        ),
    ] {
        let mut header = header(EntryType::Regular, 0o644, content.len());
        let path = format!("mattermost/prepackaged_plugins/{name}");
        tar.append_data(&mut header, path, &content[..])?;
    }
    let mut header = header(EntryType::Regular, 0o755, server.len());
    tar.append_data(&mut header, "mattermost/bin/mattermost", server)?;
    tar.into_inner()?.finish()
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(2000);
    header.set_gid(2000);
    header.set_mtime(MODIFIED);
    header.set_size(size as u64);
    header
}

fn files(manifest: &Manifest) -> Vec<(&'static str, u32, String)> {
    let reported = manifest.reported();
    let mmctl = format!(
        "#!/bin/sh\n# The stand-in's mmctl knows its version only.\n\
         if [ \"$1\" = version ]; then printf 'MMCTL:\\nVersion: %s\\n' '{reported}'; exit 0; fi\n\
         echo \"Error: unknown command \\\"$1\\\" for \\\"mmctl\\\"\" >&2; exit 1\n"
    );
    vec![
        ("bin/mmctl", 0o755, mmctl),
        ("config/config.json", 0o600, default_config(manifest.version)),
        ("config/README.md", 0o644, "Defaults lie in config.json; MM_* variables override them.\n".to_owned()),
        ("client/root.html", 0o644, format!("<!DOCTYPE html>\n<html lang=\"en\"><head><title>Mattermost</title><style></style><script defer=\"defer\" src=\"/static/main.js\"></script></head><body><div id=\"root\">Mattermost {reported}</div></body></html>\n")),
        ("client/main.js", 0o644, format!("document.title = 'Mattermost {reported}';\n")),
        ("fonts/README.md", 0o644, "Fonts of the web application.\n".to_owned()),
        ("i18n/en.json", 0o644, "[\n  {\"id\": \"api.context.session_expired.app_error\", \"translation\": \"Invalid or expired session, please login again.\"}\n]\n".to_owned()),
        ("logs/.keep", 0o644, String::new()),
        ("templates/welcome_body.html", 0o644, "<p>Welcome</p>\n".to_owned()),
        ("manifest.txt", 0o644, manifest.render()),
        ("NOTICE.txt", 0o644, "A stand-in for Mattermost, for tests.\n".to_owned()),
        ("README.md", 0o644, "A stand-in for Mattermost, for tests. Not the real server.\n".to_owned()),
    ]
}

/// The real file has every setting; its salts and keys are empty until the first start.
fn default_config(version: Version) -> String {
    let config = serde_json::Value::Object(defaults(version));
    format!("{config:#}\n")
}

/// The plugin that every release brings: a web part and nothing to run.
fn plugin_bundle() -> io::Result<Vec<u8>> {
    let manifest = json!({
        "id": PLUGIN_ID,
        "name": "Stand-in",
        "description": "A web part that says hello.",
        "version": "1.0.0",
        "min_server_version": "6.0.0",
        "webapp": { "bundle_path": "webapp/dist/main.js" },
    });
    let manifest = format!("{manifest:#}\n");
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in [
        ("plugin.json", manifest.as_str()),
        ("webapp/dist/main.js", "console.log('hello');\n"),
    ] {
        let mut header = header(EntryType::Regular, 0o644, content.len());
        tar.append_data(
            &mut header,
            format!("{PLUGIN_ID}/{name}"),
            content.as_bytes(),
        )?;
    }
    tar.into_inner()?.finish()
}

struct Hashed<W> {
    inner: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_tarball_looks_like_the_real_one() {
        let directory = tempfile::tempdir().unwrap();
        let binary = directory.path().join("server");
        std::fs::write(&binary, b"#!/bin/true\n").unwrap();
        let version = Version::new(11, 10, 0);
        let packed = pack(&binary, version, Behaviour::Good, directory.path()).unwrap();
        let bytes = std::fs::read(&packed.file).unwrap();
        assert_eq!(packed.size, bytes.len() as u64);
        assert_eq!(packed.sha256, hex::encode(Sha256::digest(&bytes)));
        assert!(
            packed
                .file
                .ends_with("11.10.0/mattermost-11.10.0-linux-amd64.tar.gz")
        );

        let mut modes = BTreeMap::new();
        for entry in tar::Archive::new(GzDecoder::new(&bytes[..]))
            .entries()
            .unwrap()
        {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            assert!(path.starts_with("mattermost"), "{path}");
            modes.insert(path, entry.header().mode().unwrap());
        }
        for (name, mode) in [
            ("mattermost/bin/mattermost", 0o755),
            ("mattermost/bin/mmctl", 0o755),
            ("mattermost/config/config.json", 0o600),
            ("mattermost/manifest.txt", 0o644),
            (
                "mattermost/prepackaged_plugins/mattermost-plugin-standin-v1.0.0-linux-amd64.tar.gz",
                0o644,
            ),
        ] {
            assert_eq!(modes.get(name), Some(&mode), "{name}");
        }
        for absent in ["data", "plugins", "client/plugins"] {
            let prefix = format!("mattermost/{absent}");
            assert!(
                !modes.keys().any(|path| path.starts_with(&prefix)),
                "{absent}"
            );
        }

        let again = pack(&binary, version, Behaviour::Good, directory.path()).unwrap();
        assert_eq!(again, packed, "packing is reproducible");
        let bad = pack(&binary, version, Behaviour::Unhealthy, directory.path()).unwrap();
        assert_ne!(bad.sha256, packed.sha256);
    }

    #[test]
    fn a_missing_binary_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("absent");
        let error = pack(
            &missing,
            Version::new(11, 10, 0),
            Behaviour::Good,
            directory.path(),
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("absent"), "{error}");
    }
}

//! A node with an old release in use, and an archive builder that knows no scruples.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::coded::Coded;
use crate::install::{Installed, Installer, Patience, activate};
use crate::layout::Layout;
use crate::service::{Service, ServiceError, Status};
use crate::wanted::{Artefact, Digest, Version};

pub const OLD: &str = "1.0.0";
pub const NEW: &str = "2.0.0";
pub const MAX_BYTES: u64 = 1 << 20;
pub const MAX_FILES: u64 = 50;

/// Runs nothing; prints what the file `bin/mattermost` holds.
struct Printing;

#[async_trait]
impl Service for Printing {
    async fn start(&self) -> Result<(), ServiceError> {
        Ok(())
    }
    async fn restart(&self) -> Result<(), ServiceError> {
        Ok(())
    }
    async fn stop(&self) -> Result<(), ServiceError> {
        Ok(())
    }
    async fn migrate(&self, _: &Version) -> Result<(), ServiceError> {
        Ok(())
    }
    fn status(&self) -> watch::Receiver<Status> {
        watch::channel(Status::default()).1
    }
    async fn journal(&self, _: usize) -> Vec<String> {
        Vec::new()
    }
    async fn version(&self, release: &Path) -> Result<String, ServiceError> {
        Ok(std::fs::read_to_string(release.join("bin/mattermost")).unwrap())
    }
    fn own_account(&self) -> bool {
        false
    }
}

pub struct Node {
    pub layout: Layout,
    pub installer: Installer,
    _root: TempDir,
}

impl Node {
    /// With release [`OLD`] installed and current.
    pub async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let patience = Patience {
            stall: Duration::from_secs(3),
            attempts: 3,
            pause: Duration::from_millis(10),
            // A loaded machine may stand still for a second.
            window: Duration::from_secs(4),
            floor: 1000,
            part: 64 << 10,
            streams: 3,
        };
        let node = Self {
            installer: Installer::new(&layout, Arc::new(Printing)).with_patience(patience),
            layout,
            _root: root,
        };
        node.install_bytes(OLD, &release(OLD)).await.unwrap();
        activate(&node.layout, &OLD.parse().unwrap()).unwrap();
        node
    }

    /// Puts the tarball into the image's cache and installs it from there.
    pub async fn install_bytes(&self, version: &str, bytes: &[u8]) -> Result<Installed, String> {
        let artefact = artefact(version, bytes);
        let name = format!("mattermost-{}.tar.gz", artefact.sha256);
        std::fs::create_dir_all(self.layout.cache()).unwrap();
        std::fs::write(self.layout.cache().join(name), bytes).unwrap();
        self.install(&artefact).await
    }

    /// The error is its code.
    pub async fn install(&self, artefact: &Artefact) -> Result<Installed, String> {
        self.installer
            .ensure_installed(artefact, |_| {})
            .await
            .map_err(|error| {
                let text = crate::coded::chain(&error);
                format!("{}: {text}", error.code())
            })
    }

    /// Nothing but the old release is there, and it is current.
    pub fn assert_untouched(&self, case: &str) {
        let names: Vec<_> = std::fs::read_dir(self.layout.releases())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, [OLD], "{case}");
        let current = std::fs::read_link(self.layout.current()).unwrap();
        assert_eq!(current, Path::new("releases").join(OLD), "{case}");
    }
}

pub fn artefact(version: &str, bytes: &[u8]) -> Artefact {
    Artefact {
        version: version.parse().unwrap(),
        url: "https://127.0.0.1:1/m.tar.gz".parse().unwrap(),
        sha256: Digest::new(Sha256::digest(bytes).into()),
        max_bytes: MAX_BYTES,
        max_files: MAX_FILES,
        trust_pem: String::new(),
        signature: None,
    }
}

/// A tar stream under construction; every field can be a lie.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// What every release has.
    pub fn good(version: &str) -> Self {
        Self::default()
            .file(
                "mattermost/bin/mattermost",
                format!("Version: {version}\n").as_bytes(),
            )
            .file("mattermost/i18n/en.json", b"[]")
            .file("mattermost/templates/mail.html", b"<p>")
            .file("mattermost/config/config.json", b"{}")
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name.as_bytes(), EntryType::Regular, 0o644, "", content)
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Symlink, 0o777, target, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Link, 0o644, target, b"")
    }

    pub fn kind(self, name: &str, kind: EntryType) -> Self {
        self.entry(name.as_bytes(), kind, 0o644, "", b"")
    }

    pub fn mode(self, name: &str, mode: u32) -> Self {
        self.entry(name.as_bytes(), EntryType::Regular, mode, "", b"x")
    }

    pub fn entry(
        mut self,
        name: &[u8],
        kind: EntryType,
        mode: u32,
        target: &str,
        content: &[u8],
    ) -> Self {
        let header = header(name, kind, mode, target, content.len() as u64);
        self.0.extend_from_slice(header.as_bytes());
        self.content(content)
    }

    /// A header that announces more than follows.
    pub fn announcing(mut self, name: &str, size: u64) -> Self {
        let header = header(name.as_bytes(), EntryType::Regular, 0o644, "", size);
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    /// A pax header for the next entry.
    pub fn pax(self, kind: EntryType, records: &[(&str, &str)]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length.to_string().len() + rest != length {
                length += 1;
            }
            text.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
        }
        self.entry(b"pax", kind, 0o644, "", &text)
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// With the two final blocks.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    pub fn packed(self) -> Vec<u8> {
        gzip(&self.end())
    }
}

fn header(name: &[u8], kind: EntryType, mode: u32, target: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    let fields = header.as_gnu_mut().unwrap();
    fields.name[..name.len()].copy_from_slice(name);
    fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_cksum();
    header
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn release(version: &str) -> Vec<u8> {
    Tar::good(version).packed()
}

//! Releases behind HTTPS: the stand-in packed as several versions, or tarballs from disk.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sha2::{Digest, Sha256};
use standin::release::{Behaviour, Version, pack, serve_releases, tls_from_files};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A release that can be installed.
#[derive(Clone, Debug)]
pub struct Release {
    /// Version.
    pub version: String,
    /// Digest.
    pub sha256: String,
    /// Where it is served.
    pub url: String,
    /// The tarball on disk.
    pub file: PathBuf,
    /// What is wrong with it.
    pub behaviour: String,
}

/// A running release server.
#[derive(Debug)]
pub struct Releases {
    /// By version.
    pub all: BTreeMap<String, Release>,
    /// Where a release lies, with `{version}` in its place.
    pub url: String,
    /// The mirror's root certificate, PEM file.
    pub trust_file: PathBuf,
    server: JoinHandle<()>,
}

impl Drop for Releases {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Releases {
    /// Packs the stand-in as these versions and serves them at an address of this machine.
    pub async fn stand_in(
        binary: &Path,
        versions: &[(&str, Behaviour)],
        directory: &Path,
        address: Ipv4Addr,
    ) -> anyhow::Result<Self> {
        let served = directory.join("releases");
        let mut packed = Vec::new();
        for (version, behaviour) in versions {
            let (binary, served, behaviour) = (binary.to_owned(), served.clone(), *behaviour);
            let version: Version = version.parse()?;
            packed.push(
                tokio::task::spawn_blocking(move || pack(&binary, version, behaviour, &served))
                    .await??,
            );
        }
        let found = packed
            .into_iter()
            .map(|packed| (packed.version, packed.sha256, packed.file, packed.behaviour))
            .collect();
        Self::serve(found, &served, directory, address).await
    }

    /// Serves real tarballs; their version is asked of the program inside.
    pub async fn from_files(
        files: &[PathBuf],
        directory: &Path,
        address: Ipv4Addr,
    ) -> anyhow::Result<Self> {
        let served = directory.join("releases");
        let mut found = Vec::new();
        for file in files {
            let version = version_of(file, &directory.join("peek")).await?;
            let folder = served.join(&version);
            std::fs::create_dir_all(&folder)?;
            let copy = folder.join(format!("mattermost-{version}-linux-amd64.tar.gz"));
            std::fs::copy(file, &copy).with_context(|| file.display().to_string())?;
            found.push((version, digest(&copy)?, copy, "good".to_owned()));
        }
        Self::serve(found, &served, directory, address).await
    }

    async fn serve(
        found: Vec<(String, String, PathBuf, String)>,
        served: &Path,
        directory: &Path,
        address: Ipv4Addr,
    ) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec![address.to_string()])?.signed_by(&key, &root)?;
        let (trust_file, chain, secret) = (
            directory.join("mirror-ca.pem"),
            directory.join("mirror.pem"),
            directory.join("mirror.key"),
        );
        std::fs::write(&trust_file, root.pem())?;
        std::fs::write(&chain, leaf.pem())?;
        std::fs::write(&secret, key.serialize_pem())?;
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let tls = tls_from_files(&chain, &secret)?;
        let server = tokio::spawn(serve_releases(served.to_owned(), listener, tls));
        let all = found
            .into_iter()
            .map(|(version, sha256, file, behaviour)| {
                let path = file
                    .strip_prefix(served)
                    .unwrap_or(&file)
                    .display()
                    .to_string();
                (
                    version.clone(),
                    Release {
                        version,
                        sha256,
                        url: format!("https://{address}/{path}"),
                        file,
                        behaviour,
                    },
                )
            })
            .collect();
        let url =
            format!("https://{address}/{{version}}/mattermost-{{version}}-linux-amd64.tar.gz");
        Ok(Self {
            all,
            url,
            trust_file,
            server,
        })
    }

    /// The versions, oldest first: 11.9.0 before 11.10.0.
    pub fn in_order(&self) -> Vec<String> {
        let mut versions: Vec<String> = self.all.keys().cloned().collect();
        versions.sort_by_key(|version| {
            let numbers = version
                .split(['.', '-'])
                .map(|part| part.parse::<u64>().ok());
            numbers.collect::<Vec<Option<u64>>>()
        });
        versions
    }

    /// A release by version.
    pub fn get(&self, version: &str) -> anyhow::Result<&Release> {
        self.all
            .get(version)
            .with_context(|| format!("no release {version}"))
    }
}

fn digest(file: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut input = std::fs::File::open(file)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut input, &mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

async fn version_of(file: &Path, scratch: &Path) -> anyhow::Result<String> {
    std::fs::create_dir_all(scratch)?;
    let tar = tokio::process::Command::new("tar")
        .args([
            "-xzf".as_ref(),
            file.as_os_str(),
            "-C".as_ref(),
            scratch.as_os_str(),
        ])
        // The bulk of a release, which `mattermost version` does not need.
        .args([
            "--exclude=mattermost/client",
            "--exclude=mattermost/prepackaged_plugins",
        ])
        .status()
        .await?;
    let program = scratch.join("mattermost/bin/mattermost");
    if !tar.success() || !program.exists() {
        bail!(
            "`{}` is not a Mattermost tarball: it has no mattermost/bin/mattermost",
            file.display()
        );
    }
    let output = tokio::process::Command::new(program)
        .arg("version")
        .output()
        .await?;
    std::fs::remove_dir_all(scratch)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("Version:"))
        .map(str::trim);
    version.map(str::to_owned).with_context(|| {
        format!(
            "`{}` does not say its version: {}{}",
            file.display(),
            text.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        )
    })
}

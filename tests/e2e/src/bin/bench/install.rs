//! The install: one pass over the bytes, against one tool after another on the same tarball from
//! the same server.

use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use mattermost_agent::install::Installer;
use mattermost_agent::layout::Layout;
use mattermost_agent::service::child::Child;
use mattermost_agent::wanted::{Artefact, Digest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use sha2::{Digest as _, Sha256};
use standin::release::{serve_releases, tls_from_pem};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::proc::MB;
use super::table::{Table, median, progress};

/// Both ways take turns this often; the middle one counts.
const ROUNDS: usize = 3;
/// Files of the fixture; a release has about as many.
const FILES: usize = 30_000;
/// Bytes a file, one in two not compressible: a release packs about as well.
const FILE_BYTES: usize = 18_000;
/// What it must be at least.
const PACKED_MB: f64 = 250.0;
/// What its server says it is.
const VERSION: &str = "99.0.0";
/// Rises when the fixture's content changes.
const FIXTURE: u32 = 1;

pub async fn measure(cache: &Path, table: &mut Table) -> anyhow::Result<()> {
    std::fs::create_dir_all(cache).with_context(|| cache.display().to_string())?;
    let name = format!("install-{FIXTURE}.tar.gz");
    let tarball = cache.join(&name);
    if !tarball.is_file() {
        progress(&format!("install: generating `{}` once", tarball.display()));
        let to = tarball.clone();
        tokio::task::spawn_blocking(move || generate(&to)).await??;
    }
    // Read once: its digest, and so that both ways find it in the page cache.
    let bytes = std::fs::read(&tarball)?;
    let (sha256, packed) = (
        Digest::new(Sha256::digest(&bytes).into()),
        bytes.len() as f64 / MB,
    );
    drop(bytes);
    ensure!(packed >= PACKED_MB, "the fixture has only {packed:.0} MB");

    let scratch = tempfile::Builder::new().prefix("run-").tempdir_in(cache)?;
    let server = Server::start(cache).await?;
    let trust_file = scratch.path().join("ca.pem");
    std::fs::write(&trust_file, &server.trust)?;
    let url = format!("https://{}/{name}", server.address);

    // Every tree stays until all is measured (5 GB): ext4 makes new files slowly, several times so, for
    // minutes after as many were removed.
    let mut passes = Vec::new();
    let mut stages: [Vec<f64>; 4] = Default::default();
    for round in 0..ROUNDS {
        progress(&format!("install: round {} of {ROUNDS}", round + 1));
        let root = scratch.path().join(format!("pass-{round}"));
        passes.push(timed(one_pass(&root, &url, sha256, &server.trust)).await?);
        let root = scratch.path().join(format!("tools-{round}"));
        let seconds = one_after_another(&root, &url, &trust_file).await?;
        for (stage, seconds) in stages.iter_mut().zip(seconds) {
            stage.push(seconds);
        }
    }
    drop(server);

    let pass = median(passes);
    let stages = stages.map(median);
    let slowest = stages.iter().copied().fold(0.0, f64::max);
    let names = ["curl", "sha256sum", "tar xzf", "sync"];
    for (name, seconds) in names.iter().zip(stages) {
        table.value(&format!("install: `{name}` alone"), "s", seconds);
    }
    table.compare(
        "install: the agent's one pass (goal: <= 0.50 of it)",
        "s",
        pass,
        ("one after another", stages.iter().sum()),
    );
    table.compare(
        "install: the same (goal: <= 1.25 of it)",
        "s",
        pass,
        ("slowest single stage", slowest),
    );
    table.note(format!(
        "install: {packed:.0} MB packed, {:.0} MB in {FILES} files unpacked, HTTPS over loopback from one server \
         that shares the cores; both ways end with the file system synced; the pass also runs `mattermost version`",
        FILES as f64 * FILE_BYTES as f64 / MB,
    ));
    Ok(())
}

async fn timed(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<f64> {
    let began = Instant::now();
    work.await?;
    Ok(began.elapsed().as_secs_f64())
}

async fn one_pass(root: &Path, url: &str, sha256: Digest, trust: &str) -> anyhow::Result<()> {
    let artefact = Artefact {
        version: VERSION.parse().map_err(anyhow::Error::msg)?,
        url: url.parse()?,
        sha256,
        max_bytes: 4 << 30,
        max_files: 100_000,
        trust_pem: trust.to_owned(),
        signature: None,
    };
    let layout = Layout::new(root);
    // Asked for the release's version, never started.
    let service = Arc::new(Child::new(&layout).await?);
    Installer::new(&layout, service)
        .ensure_installed(&artefact, |_| {})
        .await?;
    Ok(())
}

/// What an operator would type; seconds of each stage.
async fn one_after_another(root: &Path, url: &str, trust: &Path) -> anyhow::Result<[f64; 4]> {
    std::fs::create_dir_all(root)?;
    let file = root.join("release.tar.gz");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*"])
        .arg("--cacert")
        .arg(trust)
        .arg("--output")
        .arg(&file)
        .arg(url);
    let mut sum = Command::new("sha256sum");
    sum.arg(&file);
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(&file).arg("-C").arg(root);
    let mut sync = Command::new("sync");
    sync.arg("-f").arg(root);
    Ok([
        timed(run(curl)).await?,
        timed(run(sum)).await?,
        timed(run(tar)).await?,
        timed(run(sync)).await?,
    ])
}

async fn run(mut command: Command) -> anyhow::Result<()> {
    let name = command.as_std().get_program().display().to_string();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("running `{name}`"))?;
    ensure!(status.success(), "`{name}` ended with {status}");
    Ok(())
}

/// The release server, with a root of its own.
struct Server {
    address: std::net::SocketAddr,
    trust: String,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        // Not the root's name: OpenSSL would take the leaf for self-signed.
        params
            .distinguished_name
            .push(DnType::CommonName, "release server");
        let leaf = params.signed_by(&key, &root)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let tls = tls_from_pem(&leaf.pem(), &key.serialize_pem())?;
        Ok(Self {
            address,
            trust: root.pem(),
            task: tokio::spawn(serve_releases(folder.to_owned(), listener, tls)),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A release-shaped tarball, the same bytes on every machine.
fn generate(to: &PathBuf) -> anyhow::Result<()> {
    let folder = to.parent().context("the cache is a folder")?;
    let partial = tempfile::NamedTempFile::new_in(folder)?;
    let out = std::io::BufWriter::with_capacity(1 << 20, partial);
    let mut tar = tar::Builder::new(GzEncoder::new(out, Compression::fast()));
    let mut add = |path: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(1_767_225_600);
        tar.append_data(&mut header, format!("mattermost/{path}"), content)
    };
    let server = format!("#!/bin/sh\necho 'Version: {VERSION}'\n");
    add("bin/mattermost", 0o755, server.as_bytes())?;
    add("i18n/en.json", 0o644, b"[]\n")?;
    add("templates/welcome.html", 0o644, b"<p>\n")?;
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut content = vec![0_u8; FILE_BYTES];
    for number in 0..FILES {
        let (random, text) = content.split_at_mut(FILE_BYTES / 2);
        noise.fill(random);
        for (at, byte) in text.iter_mut().enumerate() {
            *byte = b"const message = (id) => translate(id);\n"[at % 39];
        }
        let path = format!("client/{:03}/{number:05}.js", number / 100);
        add(&path, 0o644, &content)?;
    }
    let out = tar.into_inner()?.finish()?;
    let partial = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    partial.as_file().sync_all()?;
    partial.persist(to)?;
    std::io::stderr().flush()?;
    Ok(())
}

/// xorshift64: bytes that do not compress, fast and the same everywhere.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

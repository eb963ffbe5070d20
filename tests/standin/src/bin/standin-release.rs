//! Packs stand-in releases and serves them over HTTPS.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use standin::release::{Behaviour, ManifestError, Version, pack, serve_releases, tls_from_files};
use tokio::net::TcpListener;

/// Packs stand-in releases and serves them over HTTPS
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Packs one tarball for each `VERSION[:BEHAVIOUR]`, prints one JSON line for each
    Pack {
        /// The server binary; `mattermost` beside this program by default
        #[arg(long)]
        binary: Option<PathBuf>,
        /// Where the tarballs go, as `X.Y.Z/mattermost-X.Y.Z-linux-amd64.tar.gz`
        #[arg(long)]
        out: PathBuf,
        /// For example `11.10.0` or `11.10.1:unhealthy`
        #[arg(required = true)]
        releases: Vec<Release>,
    },
    /// Serves a directory of tarballs; prints one JSON line when it is ready
    Serve {
        /// The directory that `pack` wrote
        #[arg(long)]
        directory: PathBuf,
        /// Where to listen; port 0 picks one
        #[arg(long)]
        listen: SocketAddr,
        /// The certificate (chain), PEM
        #[arg(long)]
        certificate: PathBuf,
        /// Its key, PEM
        #[arg(long)]
        key: PathBuf,
    },
}

#[derive(Clone, Debug)]
struct Release {
    version: Version,
    behaviour: Behaviour,
}

impl FromStr for Release {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (version, behaviour) = text.split_once(':').unwrap_or((text, "good"));
        Ok(Self {
            version: version.parse()?,
            behaviour: behaviour.parse()?,
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Pack {
            binary,
            out,
            releases,
        } => pack_all(binary, &out, &releases),
        Command::Serve {
            directory,
            listen,
            certificate,
            key,
        } => {
            ensure!(
                directory.is_dir(),
                "`{}` is not a directory",
                directory.display()
            );
            let tls = tls_from_files(&certificate, &key)?;
            let listener = TcpListener::bind(listen)
                .await
                .with_context(|| format!("cannot listen on {listen}"))?;
            let url = format!("https://{}", listener.local_addr()?);
            print(&serde_json::json!({ "url": url }).to_string())?;
            serve_releases(directory, listener, tls).await;
            Ok(())
        }
    }
}

fn pack_all(
    binary: Option<PathBuf>,
    out: &std::path::Path,
    releases: &[Release],
) -> anyhow::Result<()> {
    let binary = match binary {
        Some(binary) => binary,
        None => std::env::current_exe()
            .context("cannot tell where this program lies; name `--binary`")?
            .with_file_name("mattermost"),
    };
    let mut seen = BTreeSet::new();
    for Release { version, .. } in releases {
        ensure!(
            seen.insert(*version),
            "{version} is named twice: a version has one tarball"
        );
    }
    for release in releases {
        let packed = pack(&binary, release.version, release.behaviour, out)?;
        print(&serde_json::to_string(&packed)?)?;
    }
    Ok(())
}

fn print(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("cannot write to stdout")
}

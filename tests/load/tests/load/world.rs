//! Nodes of a stand-in in this process, and a load balancer before them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use load::{Backoff, Options};
use standin::release::{Behaviour, Manifest, Version, pack};
use standin::scratch_postgres::{ScratchPostgres, loopback};
use standin::server::{Pace, Server};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// An unpacked release without a binary: the server runs in this process.
pub struct Tree {
    folder: TempDir,
    tarball: PathBuf,
    manifest: Manifest,
}

impl Tree {
    pub fn new(behaviour: Behaviour) -> Self {
        Self::of(Version::new(11, 10, 0), behaviour)
    }

    pub fn of(version: Version, behaviour: Behaviour) -> Self {
        let folder = TempDir::new().unwrap();
        let binary = folder.path().join("binary");
        std::fs::write(&binary, b"none").unwrap();
        let packed = pack(&binary, version, behaviour, folder.path()).unwrap();
        let status = std::process::Command::new("tar")
            .args(["-xzf"])
            .arg(&packed.file)
            .arg("-C")
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(status.success());
        let manifest = Manifest { version, behaviour };
        Self {
            folder,
            tarball: packed.file,
            manifest,
        }
    }

    pub fn tarball(&self) -> PathBuf {
        self.tarball.clone()
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mattermost")
    }

    /// A node on an address of its own; `cluster` names its cluster, with a licence.
    pub async fn start(&self, dsn: &str, cluster: Option<&str>) -> Server {
        self.start_on(dsn, cluster, &self.folder.path().join("data"))
            .await
    }

    /// With its files in a folder that other nodes may use too, as they use a bucket. Settings live in
    /// the database; plugins are unpacked into a folder that is the node's own.
    pub async fn start_on(&self, dsn: &str, cluster: Option<&str>, data: &Path) -> Server {
        let address = format!("{}:8065", loopback());
        let own = self.folder.path().join(&address);
        let plugins = |name: &str| own.join(name).display().to_string();
        let mut environment = vec![
            ("MM_SQLSETTINGS_DATASOURCE", dsn.to_owned()),
            ("MM_FILESETTINGS_DIRECTORY", data.display().to_string()),
            ("MM_FILESETTINGS_ENABLEPUBLICLINK", "true".to_owned()),
            ("MM_PLUGINSETTINGS_ENABLEUPLOADS", "true".to_owned()),
            ("MM_PLUGINSETTINGS_DIRECTORY", plugins("plugins")),
            ("MM_PLUGINSETTINGS_CLIENTDIRECTORY", plugins("client")),
            (
                "MM_SERVICESETTINGS_SITEURL",
                "https://chat.example.com".to_owned(),
            ),
            ("MM_SERVICESETTINGS_LISTENADDRESS", address),
            ("MM_TEAMSETTINGS_ENABLEOPENSERVER", "true".to_owned()),
        ];
        if let Some(name) = cluster {
            environment.extend([
                ("MM_LICENSE", "LAB-CLUSTER-LICENCE".to_owned()),
                ("MM_CLUSTERSETTINGS_ENABLE", "true".to_owned()),
                ("MM_CLUSTERSETTINGS_CLUSTERNAME", name.to_owned()),
            ]);
        }
        let environment = environment
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        let pace = Pace {
            gone_after: Duration::from_millis(1300),
            ..Pace::default()
        };
        let manifest = self.manifest.clone();
        Server::open(manifest, dsn, environment, self.path(), pace)
            .await
            .unwrap()
    }
}

pub fn url(server: &Server) -> String {
    format!("http://{}", server.address())
}

/// The least load balancer: bytes to whichever node is set, by turns; TLS ends at it if it has any.
pub struct Balancer {
    pub url: String,
    targets: watch::Sender<Vec<std::net::SocketAddr>>,
    task: JoinHandle<()>,
}

impl Balancer {
    pub async fn new(nodes: &[&Server]) -> Self {
        Self::with(nodes, loopback(), None).await
    }

    pub async fn with(nodes: &[&Server], address: IpAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (targets, watched) = watch::channel(Self::addresses(nodes));
        let task = tokio::spawn(async move {
            for turn in 0_usize.. {
                let (mut client, _) = listener.accept().await.unwrap();
                let target = {
                    let targets = watched.borrow();
                    targets[turn % targets.len()]
                };
                let tls = tls.clone();
                tokio::spawn(async move {
                    let Ok(mut node) = TcpStream::connect(target).await else {
                        return;
                    };
                    let _ = match tls {
                        None => tokio::io::copy_bidirectional(&mut client, &mut node).await,
                        Some(tls) => {
                            let Ok(mut client) = tls.accept(client).await else {
                                return;
                            };
                            tokio::io::copy_bidirectional(&mut client, &mut node).await
                        }
                    };
                });
            }
        });
        Self { url, targets, task }
    }

    fn addresses(nodes: &[&Server]) -> Vec<std::net::SocketAddr> {
        nodes.iter().map(|node| node.address()).collect()
    }

    pub fn point_at(&self, nodes: &[&Server]) {
        self.targets.send_replace(Self::addresses(nodes));
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn options(url: &str, dsn: &str) -> Options {
    Options {
        clients: 12,
        users: 4,
        rate: 40.0,
        get_rate: 20.0,
        database_url: Some(dsn.to_owned()),
        settle: Duration::from_secs(5),
        backoff: Backoff {
            minimum: Duration::from_millis(100),
            jitter: Duration::from_millis(100),
            ..Backoff::default()
        },
        ..Options::new(url)
    }
}

pub async fn dsn() -> String {
    ScratchPostgres::shared_dsn().await.unwrap()
}

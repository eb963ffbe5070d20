//! Start and stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, Peer};
use super::failure::chain;
use super::follow::{Notice, follow};
use super::http::{self, Limits};
use super::hub::Hub;
use super::listen::{bind, split_address};
use super::local::Socket;
use super::node::Node;
use super::pace::Pace;
use super::pending::Pending;
use super::reach::{reach, require_version, reset_statuses};
use super::session::Sessions;
use super::web;
use crate::config::environment::Environment;
use crate::config::{Access, ConfigError, Configuration};
use crate::database::{Database, DatabaseError};
use crate::files::FileStore;
use crate::ids;
use crate::plugins::Plugins;
use crate::release::{Behaviour, Manifest};
use crate::schema::{self, MigrateError, MigrateOptions};
use crate::settings::{Settings, enabled_plugins};

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder of the release is missing.
    #[error("unable to find the folder `{0}` of the release: the server does not start without it")]
    Missing(PathBuf),
    /// A bad release.
    #[error("panic: runtime error: invalid memory address or nil pointer dereference")]
    Crash,
    /// The database's set-up is wrong.
    #[error("the database cannot be used")]
    Database(#[from] DatabaseError),
    /// Postgres is older than the release supports.
    #[error("minimum Postgres version requirements not met: found {found}, wanted is {wanted}")]
    TooOld {
        /// The server's major version.
        found: i32,
        /// The least that the release supports.
        wanted: i32,
    },
    /// No try reached it.
    #[error("failed to ping the database {attempts} times; giving up")]
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// The last try's error.
        #[source]
        source: DatabaseError,
    },
    /// The schema is not right.
    #[error("failed to apply database migrations")]
    Migrate(#[from] MigrateError),
    /// The configuration.
    #[error("failed to load configuration")]
    Configuration(#[from] ConfigError),
    /// The cluster.
    #[error("failed to join the cluster: {0}")]
    Cluster(String),
    /// The file store cannot be set up.
    #[error("failed to initialize the file store: {0}")]
    Files(String),
    /// The socket of local mode.
    #[error("unable to listen on the local mode socket `{path}`")]
    Local {
        /// `ServiceSettings.LocalModeSocketLocation`.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The port.
    #[error("failed to listen on `{address}`")]
    Listen {
        /// `ServiceSettings.ListenAddress`.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A server that serves.
pub struct Server {
    node: Arc<Node>,
    address: SocketAddr,
    limits: Limits,
    serving: JoinHandle<()>,
    pace: Pace,
    begun: Instant,
    local: Option<JoinHandle<()>>,
    following: JoinHandle<()>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Loads the configuration from a path or a data source name, with these variables over it as a
    /// process has them in its environment, and starts; for servers that run in a test's process.
    pub async fn open(
        manifest: Manifest,
        config: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        tree: PathBuf,
        pace: Pace,
    ) -> Result<Self, StartError> {
        let environment = Environment::new(environment);
        let config = Configuration::open(config, environment, manifest.clone(), Access::Write);
        Self::start(manifest, config.await?, tree, pace).await
    }

    /// Starts in the real server's order. On return the port is bound and everything is migrated:
    /// the moment for `READY=1`.
    pub(crate) async fn start(
        manifest: Manifest,
        config: Configuration,
        tree: PathBuf,
        pace: Pace,
    ) -> Result<Self, StartError> {
        if manifest.behaviour == Behaviour::CrashAtStart {
            return Err(StartError::Crash);
        }
        for folder in ["i18n", "templates"] {
            let path = tree.join(folder);
            if !path.is_dir() {
                return Err(StartError::Missing(path));
            }
        }
        let settings = config.view().settings.clone();
        let database = Arc::new(Database::new(
            &settings.dsn,
            settings.max_open_connections,
            settings.max_idle_connections,
        )?);
        reach(&database, &pace).await?;
        require_version(&database, manifest.version).await?;
        schema::migrate(&database, &manifest, MigrateOptions::default()).await?;
        reset_statuses(&database).await?;
        if manifest.behaviour == Behaviour::NeverReady {
            log::info!("Starting plugins");
            std::future::pending::<()>().await;
        }
        // As many as may wait while one is followed; one more makes its sender wait.
        let (notices, followed) = mpsc::channel(64);
        let parts = Parts {
            manifest,
            settings,
            config,
            tree,
        };
        let node = Arc::new(assemble(parts, database, notices).await?);
        prepare(&node).await;
        let limits = Limits::default();
        let local = local_mode(&node, &limits)?;
        let (listener, address) = bind(&node.settings.listen_address).await?;
        let router = http::router(Arc::clone(&node));
        let serving = tokio::spawn(http::serve(listener, router, limits.clone()));
        if let Behaviour::MemoryLeak(mib) = node.manifest.behaviour {
            tokio::spawn(leak(mib, node.cut.clone()));
        }
        log::info!("Server is listening on {address}");
        Ok(Self {
            following: tokio::spawn(follow(Arc::clone(&node), followed)),
            begun: Instant::now(),
            node,
            address,
            limits,
            serving,
            local,
            pace,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The members of its cluster, itself first; empty without one.
    pub fn members(&self) -> Vec<Peer> {
        let cluster = self.node.cluster.as_ref();
        cluster.map_or_else(Vec::new, |cluster| cluster.members())
    }

    /// What SIGTERM does. Nothing is drained; the ping stays 200 to the end.
    pub async fn stop(mut self) {
        let begun = Instant::now();
        let takes = self.stop_takes();
        log::info!("Stopping Server...");
        sleep(self.pace.cut_after).await;
        self.node.cut.cancel();
        sleep_until(begun + self.pace.refuse_after).await;
        self.limits.refuse.cancel();
        sleep(self.pace.http_grace).await;
        self.limits.abort.cancel();
        drop((&mut self.serving).await);
        self.end_tasks();
        sleep_until(begun + takes).await;
        if let Some(cluster) = &self.node.cluster {
            cluster.leave().await;
        }
        log::info!("Server stopped");
    }

    /// As a killed process goes: everything at once, nothing tidied up.
    pub async fn kill(mut self) {
        self.node.cut.cancel();
        self.limits.refuse.cancel();
        self.limits.abort.cancel();
        drop((&mut self.serving).await);
        self.end_tasks();
        if let Some(cluster) = &self.node.cluster {
            cluster.vanish().await;
        }
    }

    fn end_tasks(&self) {
        self.following.abort();
        if let Some(local) = &self.local {
            local.abort();
        }
    }

    /// From SIGTERM until the process is gone. The real server takes much longer right after its start.
    fn stop_takes(&self) -> Duration {
        match self.node.manifest.behaviour {
            Behaviour::SlowEarlyStop(seconds) if self.begun.elapsed() < self.pace.early => {
                Duration::from_secs(seconds.into())
            }
            _ => self.pace.gone_after,
        }
    }
}

/// The file store, the plugins and the page. None of them keeps the server from starting.
async fn prepare(node: &Node) {
    if let Err(error) = node.files.prepare().await {
        log::error!("Problem with file storage settings: {}", chain(&error));
    }
    if node.settings.plugins.enable {
        let enabled = enabled_plugins(&node.config.view().effective);
        node.plugins.start(&node.files, &enabled).await;
    }
    if let Err(error) = web::rewrite_page(&node.tree, &node.settings.subpath) {
        log::error!("Failed to update assets subpath: {error}");
    }
}

fn local_mode(node: &Arc<Node>, limits: &Limits) -> Result<Option<JoinHandle<()>>, StartError> {
    let Some(path) = &node.settings.local_socket else {
        return Ok(None);
    };
    let socket = Socket::bind(path).map_err(|source| StartError::Local {
        path: path.clone(),
        source,
    })?;
    let serving = socket.serve(Arc::clone(node), limits.refuse.clone());
    Ok(Some(tokio::spawn(serving)))
}

/// What a node is put together from.
struct Parts {
    manifest: Manifest,
    settings: Settings,
    config: Configuration,
    tree: PathBuf,
}

async fn assemble(
    parts: Parts,
    database: Arc<Database>,
    notices: mpsc::Sender<Notice>,
) -> Result<Node, StartError> {
    let Parts {
        manifest,
        settings,
        config,
        tree,
    } = parts;
    let (hub, pending) = (Arc::new(Hub::default()), Arc::new(Pending::default()));
    let cluster = match &settings.cluster {
        None => None,
        Some(cluster) => {
            let me = Peer {
                id: ids::new_id(),
                cluster_name: String::new(),
                version: manifest.reported().to_string(),
                config_hash: settings.config_hash.clone(),
                ipaddress: String::new(),
                hostname: String::new(),
            };
            let (host, _) = split_address(&settings.listen_address);
            let joined = Cluster::join(
                cluster,
                host,
                me,
                Arc::clone(&database),
                Arc::clone(&hub),
                Arc::clone(&pending),
                notices,
            );
            let joined = joined.await;
            Some(joined.map_err(|error| StartError::Cluster(format!("{error:#}")))?)
        }
    };
    Ok(Node {
        files: FileStore::new(&settings.files).map_err(|error| StartError::Files(chain(&error)))?,
        plugins: Plugins::new(settings.plugins.clone(), &tree, manifest.version),
        config,
        sessions: Sessions::default(),
        cut: CancellationToken::new(),
        manifest,
        settings,
        tree,
        database,
        hub,
        pending,
        cluster,
    })
}

/// Grows until it is killed. Each piece is written to, so that it is really resident.
async fn leak(mib_a_second: u32, cut: CancellationToken) {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    let piece = (mib_a_second as usize) << 20;
    while !cut.is_cancelled() {
        hoard.push(vec![
            u8::try_from(hoard.len() % 255).unwrap_or_default() | 1;
            piece
        ]);
        sleep(Duration::from_secs(1)).await;
    }
}

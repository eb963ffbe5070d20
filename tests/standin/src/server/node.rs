//! What every handler shares.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, Message};
use super::failure::Failure;
use super::hub::{Event, Hub};
use super::pending::Pending;
use super::session::Sessions;
use crate::config::Configuration;
use crate::database::{Connection, Database};
use crate::files::FileStore;
use crate::plugins::Plugins;
use crate::release::Manifest;
use crate::settings::Settings;

/// A running node.
pub(super) struct Node {
    pub(super) manifest: Manifest,
    /// The settings that it was started with: whatever takes a restart to change.
    pub(super) settings: Settings,
    /// The configuration, which the API changes.
    pub(super) config: Configuration,
    pub(super) files: FileStore,
    pub(super) plugins: Plugins,
    /// The release tree, for the web application's files.
    pub(super) tree: PathBuf,
    pub(super) database: Arc<Database>,
    pub(super) hub: Arc<Hub>,
    pub(super) sessions: Sessions,
    pub(super) pending: Arc<Pending>,
    pub(super) cluster: Option<Arc<Cluster>>,
    /// Cancelled: every WebSocket ends, without a close frame.
    pub(super) cut: CancellationToken,
}

impl Node {
    /// A database connection, or the API's 500.
    pub(super) async fn connection(&self) -> Result<Connection, Failure> {
        self.database.connection().await.map_err(Failure::from)
    }

    /// `X-Version-Id`: of the configuration at this moment.
    pub(super) fn version_id(&self) -> String {
        self.config.view().settings.version_id(&self.manifest)
    }

    /// Publishes an event here and, in a cluster, on every other node.
    pub(super) async fn publish(&self, event: Event) {
        if let Some(cluster) = &self.cluster {
            cluster.broadcast(&Message::Event(event.clone()));
        }
        self.hub.deliver(&self.database, &event).await;
    }
}

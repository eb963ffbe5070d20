//! The Mattermost server as a supervised service: one trait, two service managers.
//!
//! Starting and stopping are orders that return once they are taken; what became of them is seen in
//! the status, which is watched, not polled.

pub mod child;
pub mod output;
pub mod systemd;

use std::path::Path;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::coded::Coded;
use crate::disk::DiskError;
use crate::wanted::Version;

/// What the service manager says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Stopped, as ordered or never started.
    #[default]
    Inactive,
    /// Started, not ready yet; or between a crash and the next start.
    Activating,
    /// Ready.
    Active,
    /// Asked to stop, not gone yet.
    Deactivating,
    /// Ended, and the manager will not start it again by itself.
    Failed,
}

/// State and history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Now.
    pub state: State,
    /// How often the manager started it again by itself.
    pub restarts: u32,
    /// Which process: another text for each start; empty when there never was one.
    pub process: String,
    /// How the last process ended, in words; empty when none did.
    pub ended: String,
}

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// D-Bus said no.
    #[error("systemd refused to {verb} `{unit}`")]
    Systemd {
        /// The order.
        verb: &'static str,
        /// Of which unit.
        unit: String,
        /// D-Bus's words.
        #[source]
        source: zbus::Error,
    },
    /// A process cannot be started.
    #[error("cannot run `{program}`")]
    Spawn {
        /// Its path.
        program: String,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The supervisor's files.
    #[error("the supervisor's files cannot be kept")]
    Disk(#[from] DiskError),
    /// No environment file, so nothing to start with.
    #[error("there is no environment file to start the server with")]
    NoEnvironment,
    /// The migration ran and failed.
    #[error("`mattermost db migrate` failed: {ended}")]
    Migration {
        /// Exit status in words.
        ended: String,
        /// Its last lines.
        lines: Vec<String>,
    },
    /// `mattermost version` ran and failed.
    #[error("`mattermost version` failed: {ended}: {last_line}")]
    Version {
        /// Exit status in words.
        ended: String,
        /// What it said last.
        last_line: String,
    },
    /// The supervisor is gone: the agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
}

impl Coded for ServiceError {
    fn code(&self) -> &'static str {
        match self {
            Self::Systemd { .. } => "systemd_refused",
            Self::Spawn { .. } => "spawn",
            Self::Disk(error) => error.code(),
            Self::NoEnvironment => "no_environment",
            Self::Migration { .. } => "migration_failed",
            Self::Version { .. } => "version_failed",
            Self::Stopping => "stopping",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Systemd { unit, .. } => format!("systemctl status {unit}"),
            Self::Migration { .. } => {
                "the schema is as the report says; an interrupted migration may be half done".into()
            }
            Self::Version { .. } => "the release may be for another architecture".into(),
            Self::Disk(error) => error.hint(),
            Self::Spawn { .. } | Self::NoEnvironment | Self::Stopping => String::new(),
        }
    }

    fn permanent(&self) -> bool {
        // A migration that failed is not repeated unasked: some are not transactional.
        matches!(self, Self::Migration { .. })
    }
}

/// Supervises the one server of this node.
#[async_trait]
pub trait Service: Send + Sync {
    /// Ensures that it runs; nothing happens when it does. The status is of the new process when this
    /// returns.
    async fn start(&self) -> Result<(), ServiceError>;

    /// Ensures that a new process runs, with the environment file as it is now; the status is of that
    /// process when this returns.
    async fn restart(&self) -> Result<(), ServiceError>;

    /// Ensures that it is stopped: SIGTERM, then patience. Returns when it is gone.
    async fn stop(&self) -> Result<(), ServiceError>;

    /// Runs `mattermost db migrate` of an installed release to its end, however long. One at a time;
    /// dropping the call does not stop the migration, and a second call waits for the first.
    async fn migrate(&self, version: &Version) -> Result<(), ServiceError>;

    /// Follows the state.
    fn status(&self) -> watch::Receiver<Status>;

    /// The server's last lines, oldest first.
    async fn journal(&self, lines: usize) -> Vec<String>;

    /// What `bin/mattermost version` of a release tree prints. The tree is verified, but not yet
    /// anything's current release.
    async fn version(&self, release: &Path) -> Result<String, ServiceError>;

    /// The server runs under an account of its own: its folders were made for it beforehand, and
    /// what the agent writes it can only read.
    fn own_account(&self) -> bool;
}

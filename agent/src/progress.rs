//! What must survive a restart of the agent: the last accepted Desired, and how far it was applied.

use std::path::PathBuf;

use fleet_proto::v1::Desired;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::disk::{DiskError, read_if_there, write_atomically};
use crate::layout::Layout;

/// Facts about effects that cannot be read back from the world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Configuration digest of the server process that was started last.
    pub running_digest: String,
    /// Its version.
    pub running_version: String,
    /// The generation whose migration this node finished.
    pub migrated_generation: u64,
    /// The migration that failed here last.
    pub failed_migration: Option<FailedMigration>,
}

/// What is reported again instead of migrating again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedMigration {
    /// Of the order; a newer one may try again.
    pub generation: u64,
    /// Exit status in words.
    pub ended: String,
    /// Its last lines.
    pub lines: Vec<String>,
}

/// The files in the state directory.
#[derive(Clone, Debug)]
pub struct Store {
    desired: PathBuf,
    progress: PathBuf,
}

impl Store {
    /// In `/var/lib/mattermost-agent`, which exists.
    pub fn new(layout: &Layout) -> Self {
        Self {
            desired: layout.state().join("desired"),
            progress: layout.state().join("progress.json"),
        }
    }

    /// The last accepted desired state. A damaged file counts as none: the orchestrator sends it again.
    pub fn desired(&self) -> Result<Option<Desired>, DiskError> {
        Ok(read_if_there(&self.desired)?
            .and_then(|bytes| Desired::decode(bytes.as_slice()).ok())
            .filter(|desired| desired.generation > 0))
    }

    /// Keeps an accepted one.
    pub fn set_desired(&self, desired: &Desired) -> Result<(), DiskError> {
        write_atomically(&self.desired, &desired.encode_to_vec(), 0o600)
    }

    /// How far. A damaged file counts as nothing done: every step may be done twice.
    pub fn progress(&self) -> Result<Progress, DiskError> {
        Ok(read_if_there(&self.progress)?
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default())
    }

    /// Keeps it.
    pub fn set_progress(&self, progress: &Progress) -> Result<(), DiskError> {
        let text = serde_json::to_vec_pretty(progress).expect("strings and numbers are JSON");
        write_atomically(&self.progress, &text, 0o600)
    }
}

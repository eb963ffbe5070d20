//! What the planner answers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::configuration::ConfigurationHome;
use crate::files::FilesHome;
use crate::intent::Phase;
use crate::moving::MoveOrder;

/// The next step, and why it is that one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The phase that the rollout (or the stack) is in after this decision.
    pub next: Phase,
    /// Effects, in the order in which they may be made; all of them may be made now.
    pub actions: Vec<Action>,
    /// What each node should become, by instance id. Nodes that are not named keep what they have.
    pub nodes: BTreeMap<String, NodeGoal>,
    /// No server may be restarted yet, for another goal or for new facts: Auto Scaling would replace its node.
    #[serde(default)]
    pub restarts_held: bool,
    /// When to look again at the latest.
    pub requeue: Requeue,
    /// Why it waits: the one unmet gate first, with its numbers and its deadline.
    pub reasons: Vec<Reason>,
    /// Facts to keep for good once the effects are journalled (see [`crate::intent::Record`]).
    pub record: Option<crate::intent::Record>,
    /// Facts to keep in the rollout's row.
    pub rollout: Option<crate::intent::RolloutIntent>,
}

/// A gate that is not met, or a thing that people should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable word: `primary_not_available`, `green_not_verified`, …
    pub gate: String,
    /// The sentence, with numbers.
    pub text: String,
    /// Until when it may last.
    pub deadline: Option<Timestamp>,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requeue {
    /// At once: the decision changed the phase, and the next one may already be due.
    Now,
    /// After this many milliseconds, or on an event.
    After(u64),
}

/// What a node should become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "goal", rename_all = "snake_case")]
pub enum NodeGoal {
    /// Run this release.
    Serve {
        /// Version.
        version: String,
        /// Digest of the tarball.
        sha256: String,
        /// Where it lies.
        url: String,
        /// This node, and no other, migrates the schema.
        migrate: bool,
        /// Migrations that must be applied before a node that does not migrate may start.
        expected_migrations: u32,
        /// Cluster name (quarantine or the stack's), or none without a cluster.
        cluster: Option<String>,
        /// Whether its job scheduler runs.
        scheduler: bool,
        /// The rollout that it serves.
        rollout: Option<String>,
        /// `MM_…` settings from the specification that this target was made with.
        #[serde(default)]
        settings: BTreeMap<String, String>,
        /// Where users' files live. None: a target from before that was said.
        #[serde(default)]
        files: Option<FilesHome>,
        /// Where the server keeps its own settings.
        #[serde(default)]
        configuration: ConfigurationHome,
        /// Version id of the licence's secret whose text its server gets; none without a licence.
        #[serde(default)]
        licence: Option<String>,
        /// Its server must have started after this: the active configuration row is of then, and the
        /// server that ran before had read an older one.
        #[serde(default)]
        started_after: Option<Timestamp>,
        /// Files are copied beside the server.
        #[serde(default)]
        copy: Option<MoveOrder>,
    },
    /// Install this release, verified, but do not start it: a cutover, or a first migration by another.
    Prepare {
        /// Version.
        version: String,
        /// Digest of the tarball.
        sha256: String,
        /// Where it lies.
        url: String,
        /// The rollout that it serves.
        rollout: Option<String>,
        /// `MM_…` settings from the specification that this target was made with.
        #[serde(default)]
        settings: BTreeMap<String, String>,
        /// Where users' files live. None: a target from before that was said.
        #[serde(default)]
        files: Option<FilesHome>,
        /// Where the server keeps its own settings.
        #[serde(default)]
        configuration: ConfigurationHome,
        /// Version id of the licence's secret whose text its server will get; none without a licence.
        #[serde(default)]
        licence: Option<String>,
    },
    /// Close connections in batches, stop, report.
    Drain,
    /// Stop, and bring what lives on the node to where it lasts; no server runs afterwards.
    Move {
        /// Version that serves there.
        version: String,
        /// Digest of the tarball.
        sha256: String,
        /// Where it lies.
        url: String,
        /// The rollout that it serves.
        rollout: Option<String>,
        /// `MM_…` settings from the specification that this target was made with.
        #[serde(default)]
        settings: BTreeMap<String, String>,
        /// Where users' files live until then.
        #[serde(default)]
        files: Option<FilesHome>,
        /// What goes where.
        order: MoveOrder,
    },
}

impl NodeGoal {
    /// Version id of the licence's secret.
    pub fn licence(&self) -> Option<&str> {
        match self {
            Self::Serve { licence, .. } | Self::Prepare { licence, .. } => licence.as_deref(),
            Self::Drain | Self::Move { .. } => None,
        }
    }
}

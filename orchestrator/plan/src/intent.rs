//! What is wanted, and what the store remembers.

mod probe;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::configuration::ConfigurationHome;
use crate::files::FilesHome;
use crate::spec::Spec;

pub use probe::RolloutProbe;
pub use window::Window;

/// Everything that is wanted of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The specification.
    pub spec: Spec,
    /// Up, or down.
    pub want: Want,
    /// What was proven and recorded.
    pub record: Record,
    /// The last rollout that was asked for, live or ended.
    pub rollout: Option<RolloutIntent>,
    /// Effects already made or under way, by action key.
    pub journal: BTreeMap<String, Entry>,
    /// SHA-256 (hex) of the node CA's certificate, for user data. None before it exists.
    pub ca_sha256: Option<String>,
}

impl Intent {
    /// The rollout that is under way: not one that has ended.
    pub fn live_rollout(&self) -> Option<&RolloutIntent> {
        let rollout = self.rollout.as_ref();
        rollout.filter(|rollout| !rollout.phase.ends_a_rollout())
    }
}

/// Up, or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// The stack should exist as specified.
    Up,
    /// The stack should be gone; the database only when said so.
    Down {
        /// With a final snapshot, deletion protection lifted.
        delete_database: bool,
        /// The stack's own bucket with every version in it.
        #[serde(default)]
        delete_files: bool,
    },
}

impl Want {
    /// Whether the stack's own bucket is to be deleted.
    pub fn deletes_files(self) -> bool {
        matches!(
            self,
            Self::Down {
                delete_files: true,
                ..
            }
        )
    }
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was first intended.
    pub intended: Timestamp,
    /// When it was last tried, if not at `intended`.
    #[serde(default)]
    pub attempted: Option<Timestamp>,
    /// When it was last known to be done.
    pub done: Option<Timestamp>,
    /// Why it last failed.
    pub error: Option<String>,
    /// Failures in a row.
    pub failures: u32,
}

/// What the store knows of the stack beyond what AWS shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What serves: the last target that was proven. None before the first node served.
    pub proven: Option<Target>,
    /// Which slot owns the traffic: `a` or `b`. The first is `a`.
    pub slot: Slot,
    /// Name of the group that owns the traffic.
    pub group: Option<String>,
    /// The specification's image name, resolved once to an id.
    pub image_id: Option<String>,
    /// Rises by one with every rollout.
    pub generation: u64,
    /// The one node that migrates an empty database at the first `up`.
    #[serde(default)]
    pub migrator: Option<String>,
    /// Applied migrations of the proven target, read back by SQL.
    #[serde(default)]
    pub migrations: Option<u32>,
    /// Where the servers' own settings live, once a node was told; see [`Record::configuration`].
    #[serde(default)]
    pub configuration: Option<ConfigurationHome>,
    /// SHA-256 (hex) of each salt and key of the active row, by its name, as SQL showed it last.
    #[serde(default)]
    pub salts: BTreeMap<String, String>,
    /// Colours that left, kept for their retention window.
    #[serde(default)]
    pub retained: Vec<Retained>,
    /// What servers said of the licence's versions.
    #[serde(default)]
    pub licence: LicenceRecord,
}

/// What is known of the versions of the licence's secret, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenceRecord {
    /// The newest one that a server took.
    pub proven: Option<String>,
    /// One that a server did not take; kept until another one is taken.
    pub refused: Option<RefusedLicence>,
}

/// A version of the licence that a server did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedLicence {
    /// Version id.
    pub version: String,
    /// The node whose server it was.
    pub instance: String,
    /// What that server says.
    pub says: crate::observed::ServerLicence,
}

/// A colour that left: an empty group and a template version, for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// The group, at size 0.
    pub group: String,
    /// What it ran.
    pub target: Target,
    /// When both may go.
    pub until: Timestamp,
}

/// One of the two target groups behind the listener. Blue is what serves, whichever slot it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// `<stack>-a`.
    #[default]
    A,
    /// `<stack>-b`.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`.
    pub fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

/// What a rollout goes to or comes from, named by number, never "latest".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// AMI in the home region.
    pub image_id: String,
    /// Template version; none until it was made.
    pub template_version: Option<u64>,
    /// Mattermost version.
    pub version: String,
    /// Digest of the tarball.
    pub sha256: String,
    /// Where it lies.
    pub url: String,
    /// `MM_…` settings that its nodes get.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Where its nodes keep users' files. None: made before `[files]`; see [`FilesHome::of`].
    #[serde(default)]
    pub files: Option<FilesHome>,
}

/// A rollout as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutIntent {
    /// Id, `r-<generation>`.
    pub id: String,
    /// The generation that it makes.
    pub generation: u64,
    /// Blue.
    pub from: Target,
    /// Green.
    pub to: Target,
    /// Where it stands.
    pub phase: Phase,
    /// When that phase was entered.
    pub entered: Timestamp,
    /// Which way it goes.
    #[serde(default)]
    pub mode: Mode,
    /// When it was asked for.
    pub requested: Timestamp,
    /// Hold before the next phase.
    pub paused: bool,
    /// Since when it is held in the present phase; none while it is not.
    #[serde(default)]
    pub paused_since: Option<Timestamp>,
    /// How long it was held in the present phase before that: seconds that its deadline does not count.
    #[serde(default)]
    pub paused_seconds: u32,
    /// End the bake early.
    pub promote: bool,
    /// Turn back.
    pub abort: bool,
    /// Why it was turned back.
    pub failure: Vec<String>,
    /// The node that may migrate, once chosen.
    pub migrator: Option<String>,
    /// Migrations applied after the migration, read back by SQL.
    pub migrations: Option<u32>,
    /// Blue's size before the pin: min, max, desired.
    pub pinned: Option<(u32, u32, u32)>,
    /// Evaluation windows of the present step that were bad.
    pub bad_windows: u32,
    /// Evaluation windows of the present step, all.
    pub windows: u32,
    /// Green nodes verified once: the loss of one turns the rollout back.
    pub verified: BTreeSet<String>,
    /// Green nodes that may be members of blue's cluster.
    #[serde(default)]
    pub joined: BTreeSet<String>,
    /// Blue's group; none until the first look at the request.
    #[serde(default)]
    pub blue_group: Option<String>,
    /// Blue's slot; green takes the other one.
    #[serde(default)]
    pub blue_slot: Slot,
    /// Green nodes that failed before they served.
    #[serde(default)]
    pub failed: BTreeSet<String>,
    /// Why each of them failed, with its last lines: the reason outlives the instance.
    #[serde(default)]
    pub failures: BTreeMap<String, Vec<String>>,
    /// Applied migrations before the rollout.
    #[serde(default)]
    pub migrations_before: Option<u32>,
    /// The last three evaluation windows, oldest first: true is bad.
    #[serde(default)]
    pub history: Vec<bool>,
    /// The present evaluation window.
    #[serde(default)]
    pub watch: Option<Window>,
    /// A move: since when SQL shows other settings than the node's file, although every node is done.
    #[serde(default)]
    pub unproven: Option<Timestamp>,
    /// What the database is brought back to if the migration has to be undone.
    #[serde(default)]
    pub restore: RestorePoint,
    /// How green is asked through the load balancer. None: a move, or a row from before there was such a thing.
    #[serde(default)]
    pub probe: Option<RolloutProbe>,
}

impl RolloutIntent {
    /// Users, or the next phase, wait for what SQL says: it is asked at every observation.
    pub fn waits_for_sql(&self) -> bool {
        match self.phase {
            Phase::GreenCreated | Phase::Closed => {
                matches!(self.restore, RestorePoint::Log { .. })
            }
            Phase::Canary => self.mode == Mode::Cutover,
            _ => false,
        }
    }
}

/// What the database is brought back to if a migration has to be undone. Chosen before blue is touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum RestorePoint {
    /// The rollout's snapshot. In a cutover it is taken while no server runs.
    #[default]
    Snapshot,
    /// A second in the log that RDS keeps with automated backups; the rollout's snapshot is older.
    Log {
        /// In a cutover after the last write of blue, in an overlap before the migration; always before the
        /// migration's first write. `None`: not known yet.
        second: Option<Timestamp>,
    },
}

/// Which way a rollout goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Both colours run at once, green joins blue's cluster, weights move step by step.
    #[default]
    Overlap,
    /// Without a cluster licence: blue is stopped before green starts, with an announced pause.
    Cutover,
    /// The same nodes: what lives on them is brought to where it lasts.
    Move,
}

/// Where a stack or a rollout stands: a noun for what is true. Arrows live in `plan` alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// `up`: something is still missing.
    Converging,
    /// `up`: everything is as specified, observed.
    Ready,
    /// `down`: something is still there.
    Removing,
    /// `down`: nothing of ours is left (but what was to be kept).
    Gone,
    /// The request is a row.
    Requested,
    /// Lease held, checks run.
    Preflight,
    /// A move: every node copies its files while its server runs.
    Copying,
    /// A move: no server runs; the rest of the files is copied, and the settings go into the database.
    Moving,
    /// A move: servers run on what lasts; the listener still answers itself.
    Moved,
    /// A move: users are let in again.
    Reopened,
    /// Copies of the image run.
    Imaging,
    /// A DB snapshot is under way.
    Snapshot,
    /// Blue cannot shrink or grow by itself.
    Pinned,
    /// Green's group exists, empty, its target group at weight 0.
    GreenCreated,
    /// Cutover: green's nodes have the release installed and wait, none started.
    Prepared,
    /// Cutover: the listener answers 503 with the maintenance page, blue's servers are stopped.
    Closed,
    /// One green node boots; it alone may migrate.
    Canary,
    /// Green has blue's size, in quarantine.
    Full,
    /// Green nodes are members of blue's cluster.
    Joined,
    /// Green has this share.
    Shifting {
        /// Percent.
        weight: u8,
    },
    /// Green serves all; blue is whole and warm.
    Baking,
    /// The point of no return by ourselves.
    Promoted,
    /// Blue leaves node by node.
    Draining,
    /// Blue's group at size 0, template kept.
    Retained,
    /// Unpinned, originals restored.
    Done,
    /// The way back: weights to blue.
    ReturningTraffic,
    /// The way back: green is removed.
    RemovingGreen,
    /// One colour owns; what was is.
    RolledBack,
    /// A person is needed.
    Stuck {
        /// What it needs.
        reason: String,
    },
}

impl Phase {
    /// Whether nothing is left to do in a rollout, however it went.
    pub fn ends_a_rollout(&self) -> bool {
        matches!(self, Self::Done | Self::RolledBack)
    }
}

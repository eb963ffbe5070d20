//! RDS as AWS says it, and what SQL says of the primary.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DbStatus, Tags};

/// A DB subnet group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbSubnetGroup {
    /// Name.
    pub name: String,
    /// Subnet ids.
    pub subnets: BTreeSet<String>,
}

/// A DB parameter group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbParameterGroup {
    /// Name.
    pub name: String,
    /// For example `postgres16`.
    pub family: String,
    /// Values of the parameters that we care for, whoever set them: one that is set to what its family has
    /// anyway is not shown as a user's.
    pub parameters: BTreeMap<String, String>,
    /// Names of those among them that RDS shows as set by a user.
    #[serde(default)]
    pub set_by_user: BTreeSet<String>,
}

/// A DB instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbInstance {
    /// Identifier.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// As RDS says.
    pub status: DbStatus,
    /// Host, once RDS shows it.
    pub endpoint: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Class.
    pub class: String,
    /// Engine version.
    pub engine_version: String,
    /// Name of the master's role.
    #[serde(default)]
    pub master: String,
    /// GiB.
    pub storage_gib: u32,
    /// `gp3` as we make it.
    #[serde(default)]
    pub storage_type: String,
    /// I/O operations a second of its volume, as RDS shows them.
    #[serde(default)]
    pub iops: Option<u32>,
    /// Multi-AZ.
    pub multi_az: bool,
    /// Days.
    pub backup_days: u32,
    /// Deletion protection.
    pub deletion_protection: bool,
    /// Publicly accessible.
    pub public: bool,
    /// Encrypted at rest.
    pub encrypted: bool,
    /// The source's identifier when this is a replica.
    pub replica_of: Option<String>,
    /// Parameter group and whether it is `in-sync`, `pending-reboot`, `applying`.
    pub parameter_group: Option<(String, String)>,
    /// VPC security groups.
    pub security_groups: BTreeSet<String>,
    /// CA of the server certificate.
    pub ca: Option<String>,
    /// DB subnet group.
    #[serde(default)]
    pub subnet_group: String,
    /// Whether RDS installs minor versions by itself.
    #[serde(default)]
    pub auto_minor: bool,
    /// Whether its snapshots get its tags.
    #[serde(default)]
    pub copy_tags: bool,
    /// Whether it is enrolled in RDS Extended Support. `None`: RDS did not say.
    #[serde(default)]
    pub extended_support: Option<bool>,
    /// `LatestRestorableTime`: to each second until then RDS can restore from its automated backups. `None`:
    /// backups are off, or the first one is not whole yet.
    #[serde(default)]
    pub latest_restorable: Option<Timestamp>,
    /// Whether RDS holds pending modified values.
    pub pending: bool,
    /// Tags.
    pub tags: Tags,
}

/// A DB snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbSnapshot {
    /// Identifier.
    pub id: String,
    /// `creating`, `available`, …
    pub status: String,
    /// Percent.
    pub progress: u32,
    /// The instance it is of.
    pub instance: String,
    /// Tags.
    pub tags: Tags,
}

/// What SQL says about the primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Databases {
    /// Databases that exist, with their owner.
    pub owners: BTreeMap<String, String>,
    /// Roles of ours that exist and can log in with the password that Secrets Manager holds.
    pub roles: BTreeSet<String>,
    /// Owner of schema `public` in database `mattermost`.
    pub schema_owner: Option<String>,
    /// `max_connections` of the server.
    pub max_connections: u32,
    /// Connections in use.
    pub connections: u32,
    /// Applied Mattermost migrations (rows of `db_migrations`); 0 when there are none yet. `None`:
    /// Mattermost's own role, which alone may look, could not log in.
    #[serde(default)]
    pub migrations_applied: Option<u32>,
    /// Server version, for example 160004.
    pub server_version: u32,
    /// The server's own clock, read after the nodes' reports of the same observation. `None`: all of this is of
    /// an earlier one.
    #[serde(default)]
    pub clock: Option<Timestamp>,
    /// The active row of Mattermost's table `configurations`. `None`: there is none, or Mattermost's own
    /// role could not look.
    #[serde(default)]
    pub configuration: Option<Configuration>,
}

/// The servers' own settings, as far as SQL tells them apart: never a value of theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Id of the active row: every change in the System Console makes a new row.
    pub id: String,
    /// When that row was written, milliseconds since 1970.
    pub created_at_ms: i64,
    /// SHA-256 (hex) of each salt and key that has a value, by `Section.Name`.
    pub salts: BTreeMap<String, String>,
    /// SHA-256 (hex) of `TeamSettings.SiteName`.
    #[serde(default)]
    pub site_name: Option<String>,
}

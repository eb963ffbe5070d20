//! What is said of RDS, and by SQL of the databases in it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The primary as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbPrimary {
    /// Identifier.
    pub id: String,
    /// Class.
    pub class: String,
    /// Engine version.
    pub engine_version: String,
    /// GiB.
    pub storage_gib: u32,
    /// Multi-AZ.
    pub multi_az: bool,
    /// Days.
    pub backup_days: u32,
    /// Deletion protection.
    pub deletion_protection: bool,
    /// Name of the secret with the master's name and password.
    pub master_secret: String,
    /// Subnet group.
    pub subnet_group: String,
    /// Parameter group.
    pub parameter_group: String,
    /// Security groups.
    pub security_groups: BTreeSet<String>,
}

/// RDS's certificate authority whose root is valid until 2061; named, so that an account's old default does
/// not count.
pub const DB_CERTIFICATE_AUTHORITY: &str = "rds-ca-rsa2048-g1";
/// General purpose, with a throughput that does not depend on the size.
pub const DB_STORAGE_TYPE: &str = "gp3";
/// Parameters of the DB parameter group that we care for. All others are whoever's set them.
pub const DB_PARAMETERS: [&str; 2] = ["max_connections", "rds.force_ssl"];

/// Changes of a DB instance; `None` leaves a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbChange {
    /// Class.
    pub class: Option<String>,
    /// Multi-AZ.
    pub multi_az: Option<bool>,
    /// Days.
    pub backup_days: Option<u32>,
    /// Deletion protection.
    pub deletion_protection: Option<bool>,
    /// Parameter group.
    pub parameter_group: Option<String>,
    /// Security groups.
    pub security_groups: Option<BTreeSet<String>>,
    /// Publicly accessible.
    pub public: Option<bool>,
    /// Whether RDS installs minor versions by itself.
    pub auto_minor: Option<bool>,
    /// Whether snapshots get the instance's tags.
    pub copy_tags: Option<bool>,
    /// CA of the server certificate.
    pub ca: Option<String>,
}

/// A database with its own role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseWanted {
    /// Database, for example `mattermost`.
    pub name: String,
    /// Role that owns it and its schema `public`.
    pub owner: String,
    /// Secret with the role's password.
    pub secret: String,
}

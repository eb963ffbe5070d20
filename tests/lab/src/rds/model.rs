//! What RDS knows of each region.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::engine::EngineError;
use super::postgres::Node;

/// A secret in memory that no log or error can show.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

/// Key and value.
pub type Tags = Vec<(String, String)>;

/// One region.
#[derive(Debug, Default)]
pub struct Region {
    /// By identifier.
    pub instances: BTreeMap<String, Instance>,
    /// By identifier.
    pub snapshots: BTreeMap<String, Snapshot>,
    /// By name.
    pub subnet_groups: BTreeMap<String, SubnetGroup>,
    /// By name.
    pub parameter_groups: BTreeMap<String, ParameterGroup>,
    /// Oldest first.
    pub events: VecDeque<Event>,
}

/// The real side of an instance: its nodes. Locked across awaits, by one operation at a time.
#[derive(Debug, Default)]
pub struct Machine {
    /// Serves the endpoint.
    pub primary: Option<Node>,
    /// The hidden standby of a Multi-AZ instance.
    pub standby: Option<Node>,
    /// For names of folders.
    pub made: u32,
    /// The server certificate, the same on both nodes.
    pub certificate: Option<crate::ca::Issued>,
}

impl Machine {
    /// The serving node; an instance that is being made, or failed, has none.
    pub fn primary(&mut self) -> Result<&mut Node, EngineError> {
        self.primary
            .as_mut()
            .ok_or_else(|| EngineError::NotStarted("the instance has no server".to_owned()))
    }
}

/// What `ModifyDBInstance` has promised and not yet done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pending {
    pub class: Option<String>,
    pub storage: Option<i64>,
    pub storage_type: Option<String>,
    pub iops: Option<i64>,
    pub password: Option<Hidden>,
    pub port: Option<u16>,
    pub retention: Option<i64>,
    pub multi_az: Option<bool>,
    pub certificate_authority: Option<String>,
}

impl Pending {
    /// Whether something is promised that may wait for the maintenance window.
    pub fn has_deferrable(&self) -> bool {
        let urgent = Self {
            password: self.password.clone(),
            port: self.port,
            ..Self::default()
        };
        *self != urgent
    }

    /// Nothing promised.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A DB instance. Fields are named after the API's members.
#[derive(Clone, Debug)]
pub struct Instance {
    pub id: String,
    pub resource_id: String,
    pub class: String,
    pub status: &'static str,
    pub engine_version: String,
    pub master: String,
    pub database: Option<String>,
    pub address: Ipv4Addr,
    pub port: u16,
    /// AWS shows no endpoint before the instance was made.
    pub endpoint_shown: bool,
    pub storage: i64,
    pub storage_type: String,
    pub iops: Option<i64>,
    pub created: Option<Timestamp>,
    pub backup_window: String,
    pub maintenance_window: String,
    pub retention: i64,
    pub security_groups: Vec<String>,
    pub parameter_group: String,
    /// `in-sync`, `applying` or `pending-reboot`.
    pub parameter_status: &'static str,
    /// The group that the server runs with: another one than `parameter_group` until the reboot.
    pub running_group: String,
    pub zone: String,
    pub secondary_zone: Option<String>,
    pub subnet_group: String,
    pub multi_az: bool,
    pub auto_minor: bool,
    pub source: Option<String>,
    /// For replicas: whether replication is normal, its status and a message.
    pub replication: Option<Replication>,
    pub public: bool,
    pub encrypted: bool,
    pub kms_key: Option<String>,
    pub certificate_authority: String,
    pub copy_tags: bool,
    pub monitoring_interval: i64,
    pub insights: bool,
    pub deletion_protection: bool,
    pub log_exports: Vec<String>,
    pub max_storage: Option<i64>,
    pub tags: Tags,
    /// The managed master secret's ARN.
    pub secret: Option<String>,
    pub pending: Pending,
    pub latest_restorable: Option<Timestamp>,
    /// When the last change of storage was made; the next one is refused for six hours.
    pub storage_changed_at: Option<Timestamp>,
    /// Until when the storage is optimised after it.
    pub optimised_at: Option<Timestamp>,
    /// Whether it is enrolled in RDS Extended Support.
    pub extended_support: bool,
    /// A task waits to carry out what is pending.
    pub applying: bool,
    /// Ends every task of this instance (it is being deleted).
    pub cancel: CancellationToken,
    pub machine: Arc<tokio::sync::Mutex<Machine>>,
}

/// `StatusInfos` of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    pub normal: bool,
    /// `replicating`, `error`, `terminated`.
    pub status: &'static str,
    pub message: String,
}

impl Replication {
    /// As it should be.
    pub fn replicating() -> Self {
        Self {
            normal: true,
            status: "replicating",
            message: String::new(),
        }
    }
}

impl Instance {
    /// The slot on the source that keeps this instance's write-ahead log (RDS's naming).
    pub fn slot(&self, region: &str) -> String {
        format!("rds_{region}_{}", self.resource_id)
            .to_lowercase()
            .replace('-', "_")
    }

    /// The slot of the hidden standby.
    pub fn standby_slot(&self) -> String {
        format!("standby_{}", self.resource_id)
            .to_lowercase()
            .replace('-', "_")
    }
}

/// A DB snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub id: String,
    /// `manual` or `automated`.
    pub kind: &'static str,
    /// `creating`, `available`, `copying`, `deleting`, `failed`.
    pub status: &'static str,
    /// Percent.
    pub progress: u8,
    pub created: Option<Timestamp>,
    /// When its files were whole: no second before that can be reached from it.
    pub whole: Option<Timestamp>,
    /// The instance as it was: identifier, class, master, storage and so on.
    pub instance: Instance,
    pub vpc: String,
    pub tags: Tags,
    pub copied_from: Option<String>,
    /// The cluster's files.
    pub directory: std::path::PathBuf,
}

/// A DB subnet group.
#[derive(Clone, Debug)]
pub struct SubnetGroup {
    pub name: String,
    pub description: String,
    pub vpc: String,
    /// Subnet id and zone.
    pub subnets: Vec<(String, String)>,
    pub tags: Tags,
}

impl SubnetGroup {
    /// The distinct zones, sorted.
    pub fn zones(&self) -> Vec<String> {
        let mut zones: Vec<String> = self.subnets.iter().map(|(_, zone)| zone.clone()).collect();
        zones.sort();
        zones.dedup();
        zones
    }
}

/// A DB parameter group.
#[derive(Clone, Debug)]
pub struct ParameterGroup {
    pub name: String,
    pub family: String,
    pub description: String,
    /// What a user set: value and apply method, by parameter.
    pub values: BTreeMap<String, (String, String)>,
    pub tags: Tags,
}

impl ParameterGroup {
    /// The values alone.
    pub fn plain(&self) -> BTreeMap<String, String> {
        self.values
            .iter()
            .map(|(name, (value, _))| (name.clone(), value.clone()))
            .collect()
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    pub at: Timestamp,
    /// `db-instance`, `db-snapshot`, `db-parameter-group`.
    pub source_type: &'static str,
    pub source: String,
    pub arn: String,
    pub categories: Vec<&'static str>,
    pub message: String,
}

//! What EC2 knows in one region: plain data, no behaviour that takes time.

mod instance;
mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use jiff::Timestamp;

use super::ebs_defaults::EbsDefaults;
use super::launch_data::LaunchData;
use crate::api::ApiError;
use crate::runtime::Tree;

pub(crate) use instance::{Instance, InstanceState, Profile, Role};

/// Tags of one resource.
pub(crate) type Tags = BTreeMap<String, String>;

/// One region of EC2. Every map is keyed by the resource's id.
#[derive(Debug)]
pub(crate) struct Regional {
    /// For example `us-east-1`.
    pub name: String,
    /// In order; a zone's index decides its default subnet's address.
    pub zones: Vec<String>,
    /// Tags of every resource of the region, by resource id.
    pub tags: BTreeMap<String, Tags>,
    pub vpcs: BTreeMap<String, Vpc>,
    pub subnets: BTreeMap<String, Subnet>,
    /// Addresses in use, with the id of the subnet that they were taken from.
    pub addresses: BTreeMap<Ipv4Addr, String>,
    pub groups: BTreeMap<String, SecurityGroup>,
    pub templates: BTreeMap<String, Template>,
    pub images: BTreeMap<String, Image>,
    pub snapshots: BTreeMap<String, Snapshot>,
    pub volumes: BTreeMap<String, Volume>,
    pub instances: BTreeMap<String, Instance>,
    pub key_pairs: BTreeMap<String, KeyPair>,
    /// What was just made and does not show yet; see [`super::faults::Kind::SlowToAppear`].
    pub hidden: BTreeSet<String>,
    /// Zone and instance type: what the zone does not offer.
    pub not_offered: BTreeSet<(String, String)>,
    /// Zones that are gone.
    pub dark: BTreeSet<String>,
    /// How volumes are encrypted unless a launch says otherwise.
    pub ebs_defaults: EbsDefaults,
    /// Answers to repeat: (action, ClientToken) to what was asked and what was made.
    pub tokens: BTreeMap<(&'static str, String), Remembered>,
}

/// An idempotent call that was carried out.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    /// A digest of the parameters; the same token with another is refused.
    pub parameters: String,
    /// The ids that it made.
    pub made: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Vpc {
    pub id: String,
    pub cidr: Ipv4Net,
    pub default: bool,
    pub route_table: String,
    pub route_association: String,
    pub internet_gateway: Option<String>,
    pub cidr_association: String,
    pub dhcp_options: String,
    pub dns_hostnames: bool,
    pub dns_support: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Subnet {
    pub id: String,
    pub vpc: String,
    pub zone: String,
    pub cidr: Ipv4Net,
    pub default: bool,
    pub map_public_ip: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct SecurityGroup {
    pub id: String,
    pub name: String,
    pub description: String,
    pub vpc: String,
    pub rules: Vec<Rule>,
}

/// One rule: one protocol and port range, one peer, as DescribeSecurityGroupRules shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `sgr-…`.
    pub id: String,
    pub egress: bool,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1` or a number.
    pub protocol: String,
    /// -1 with `to` -1: all.
    pub from: i64,
    pub to: i64,
    pub peer: Peer,
    pub description: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    V4(String),
    V6(String),
    Group(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub id: String,
    pub name: String,
    pub created: Timestamp,
    pub created_by: String,
    pub default_version: i64,
    /// The highest number ever given out; numbers are not used twice.
    pub latest_version: i64,
    pub versions: BTreeMap<i64, TemplateVersion>,
}

#[derive(Clone, Debug)]
pub(crate) struct TemplateVersion {
    pub description: Option<String>,
    pub created: Timestamp,
    pub created_by: String,
    pub data: LaunchData,
}

#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub id: String,
    pub name: String,
    pub description: String,
    pub state: ImageState,
    pub created: Timestamp,
    pub snapshot: String,
    /// In GiB.
    pub volume_size: i64,
    /// For example `gp3`.
    pub volume_kind: String,
    /// Its snapshot is, and so every volume made of it.
    pub encrypted: bool,
    /// The image that this one was copied from: region and id.
    pub source: Option<(String, String)>,
    /// The instance that it was made from.
    pub source_instance: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageState {
    Pending,
    Available,
    /// With AWS's StateReason: code and message.
    Failed(String, String),
    /// Gone, and still shown for a short while.
    Deregistered,
}

impl ImageState {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Failed(..) => "failed",
            Self::Deregistered => "deregistered",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub id: String,
    pub description: String,
    pub started: Timestamp,
    /// `pending`, `completed` or `error`.
    pub state: &'static str,
    /// In GiB.
    pub volume_size: i64,
    pub volume: String,
    pub encrypted: bool,
    /// The file tree that instances of it start with; none while pending. Copies share it.
    pub tree: Option<Arc<Tree>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub id: String,
    pub zone: String,
    pub size: i64,
    /// For example `gp3`.
    pub kind: String,
    /// I/O operations a second; none for kinds that have no such number.
    pub iops: Option<i64>,
    /// In MiB a second; `gp3` only.
    pub throughput: Option<i64>,
    pub snapshot: String,
    pub created: Timestamp,
    /// Instance, device, whether it goes with the instance.
    pub attachment: Option<(String, String, bool)>,
    pub encrypted: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct KeyPair {
    pub id: String,
    pub name: String,
    pub fingerprint: String,
    /// `rsa` or `ed25519`.
    pub key_type: String,
    /// One line, as in `authorized_keys`.
    pub public_key: String,
    pub created: Timestamp,
}

/// AWS's error for a subnet that does not exist.
pub(crate) fn no_subnet(id: &str) -> ApiError {
    ApiError::new(
        "InvalidSubnetID.NotFound",
        format!("The subnet ID '{id}' does not exist"),
    )
}

/// AWS's error for an instance that does not exist.
pub(crate) fn no_instance(id: &str) -> ApiError {
    if !id.starts_with("i-") {
        return ApiError::new(
            "InvalidInstanceID.Malformed",
            format!("Invalid id: \"{id}\" (expecting \"i-...\")"),
        );
    }
    ApiError::new(
        "InvalidInstanceID.NotFound",
        format!("The instance ID '{id}' does not exist"),
    )
}

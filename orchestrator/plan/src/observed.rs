//! What was seen: AWS's answers in the field's own words, node reports, SQL reads. No judgement here.
//!
//! States are AWS's strings, carried as they came: AWS adds states, and one that we do not know must
//! mean neither healthy nor gone. `None` for a resource means "a read that would have shown it did not".

mod database;
mod db_status;
mod files;
mod fleet;
mod front;
mod kms_key;
mod licence;
mod offers;
mod probe;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use database::{
    Configuration, Databases, DbInstance, DbParameterGroup, DbSnapshot, DbSubnetGroup,
};
pub use db_status::{DbOperation, DbStatus, Outlook};
pub use files::{BucketEncryption, BucketLifecycle, FilesBucket};
pub use fleet::{
    Activity, Alarm, Failure, Group, Image, Instance, Member, Moved, Node, ScalingPolicy, Template,
    TemplateVersion,
};
pub use front::{
    Forward, HealthCheck, Listener, ListenerAction, LoadBalancer, TargetGroup, TargetTraffic,
    Traffic,
};
pub use kms_key::{KmsAnswer, KmsKey};
pub use licence::{Licence, NoText, ServerLicence, Term, UnreadLicence};
pub use offers::{ClassOffer, Offers, TypeOffer};
pub use probe::{
    ListenerRule, ListenerRules, OwnProbes, PROBE_HEADER, PROBE_PART, Probe, ProbeOutcome,
    ProbePart, Probes, RuleCondition,
};

impl Observed {
    /// Applied Mattermost migrations, when SQL could say.
    pub fn migrations_applied(&self) -> Option<u32> {
        self.databases.as_ref()?.migrations_applied
    }
}

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// Tag key whose value is the stack's name: ours if and only if it is there.
pub const STACK_TAG: &str = "mattermost:stack";
/// Tag key whose value says what part of the stack a resource is.
pub const PART_TAG: &str = "mattermost:part";
/// Tag key of a bucket of users' files whose value is the moment at which it was made anew, empty, for nodes that
/// served from its predecessor. A person removes it, who has read what that means.
pub const MADE_ANEW_TAG: &str = "mattermost:made-anew";

/// Tag key of a bucket of users' files whose value is the ARN of the KMS key that the stack gave it last, or `AES256`.
pub const KMS_KEY_TAG: &str = "mattermost:kms-key";

/// One look at the world.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Reads that failed, with why, by the field below that they would have filled, or a part of one
    /// (`db_instances`, `images/us-west-2`): nothing may be concluded from an absence there. A key that
    /// names no field makes everything unknown.
    pub unknown: BTreeMap<String, String>,
    /// The account that we act in: twelve digits.
    #[serde(default)]
    pub account: Option<String>,
    /// The bucket of users' files, as the specification names it, or the stack's own.
    #[serde(default)]
    pub files_bucket: Option<FilesBucket>,
    /// What KMS says of the key that the specification names for it.
    #[serde(default)]
    pub files_key: KmsAnswer,
    /// The VPC and its subnets.
    pub network: Option<Network>,
    /// What is offered of the type and the class that the specification names.
    #[serde(default)]
    pub offers: Offers,
    /// By part: `load-balancer`, `fleet`, `database`.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Our secrets in Secrets Manager, by name (metadata only).
    pub secrets: BTreeMap<String, Secret>,
    /// Settings whose secret, named in the specification, has no usable value now, by setting.
    #[serde(default)]
    pub missing_secrets: BTreeMap<String, MissingSecret>,
    /// DB subnet group.
    pub db_subnet_group: Option<DbSubnetGroup>,
    /// DB parameter group.
    pub db_parameter_group: Option<DbParameterGroup>,
    /// DB instances of the stack, by identifier: primary and replicas.
    pub db_instances: BTreeMap<String, DbInstance>,
    /// DB snapshots of the stack, by identifier.
    pub db_snapshots: BTreeMap<String, DbSnapshot>,
    /// The newest engine version that RDS offers, for the specification's default.
    pub engine_versions: Vec<String>,
    /// The primary refused the password that the master's secret holds.
    #[serde(default)]
    pub master_refused: bool,
    /// What the SQL probe of the primary found. `None`: not probed (not reachable yet).
    pub databases: Option<Databases>,
    /// Seconds that each replica is behind, by identifier.
    pub replica_lag_seconds: BTreeMap<String, f64>,
    /// The load balancer.
    pub load_balancer: Option<LoadBalancer>,
    /// By name.
    pub target_groups: BTreeMap<String, TargetGroup>,
    /// By port.
    pub listeners: BTreeMap<u16, Listener>,
    /// The listeners' rules.
    #[serde(default)]
    pub rules: ListenerRules,
    /// The stack's launch template.
    pub template: Option<Template>,
    /// Images by region, then by id: the source and its copies.
    pub images: BTreeMap<String, BTreeMap<String, Image>>,
    /// Auto Scaling groups of the stack, by name.
    pub groups: BTreeMap<String, Group>,
    /// Scaling policies by group, then by policy name.
    pub policies: BTreeMap<String, BTreeMap<String, ScalingPolicy>>,
    /// Our alarms, by name.
    pub alarms: BTreeMap<String, Alarm>,
    /// EC2 instances of the stack's groups, by id, terminated ones as long as EC2 shows them.
    pub instances: BTreeMap<String, Instance>,
    /// Node reports, by instance id.
    pub nodes: BTreeMap<String, Node>,
    /// Traffic in the window that the rollout watches. None: there is no such window, nothing of it has passed
    /// yet, or it could not be read.
    pub traffic: Option<Traffic>,
    /// How many times in a row a fact was read, by key: see [`streak_db`] and [`streak_target`]. The
    /// value after `=` is the state as AWS says it; a fact that is not true has no entry.
    pub streaks: BTreeMap<String, u32>,
    /// What was asked through the load balancer.
    #[serde(default)]
    pub probes: Probes,
    /// Chat probes between two nodes (`from>to`): whether a message arrived.
    pub chat: BTreeMap<String, bool>,
    /// The licence's secret, where the specification names one and it was read.
    #[serde(default)]
    pub licence: Option<Licence>,
    /// That secret, where the newest read of it gave no text. What was read before is in `licence` still.
    #[serde(default)]
    pub licence_unread: Option<UnreadLicence>,
}

/// Streak key of a DB instance's status: `db/<id>=<status>`.
pub fn streak_db(id: &str, status: &DbStatus) -> String {
    format!("db/{id}={status}")
}

/// Streak key of a target's health: `target/<target group ARN>/<instance>=<state>`.
pub fn streak_target(arn: &str, instance: &str, state: &str) -> String {
    format!("target/{arn}/{instance}={state}")
}

/// The VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Id.
    pub vpc_id: String,
    /// Subnets for nodes and database, in zone order.
    pub subnets: Vec<Subnet>,
    /// Subnets for the load balancer.
    pub public_subnets: Vec<Subnet>,
}

impl Network {
    /// The zones of its subnets, for people.
    pub fn zones(&self) -> String {
        let zones: Vec<&str> = self
            .subnets
            .iter()
            .map(|subnet| subnet.zone.as_str())
            .collect();
        zones.join(", ")
    }
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Id.
    pub id: String,
    /// Availability zone.
    pub zone: String,
    /// Addresses left.
    pub free_addresses: u32,
}

/// A security group with its ingress rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Ingress.
    pub ingress: BTreeSet<Rule>,
    /// Egress, when it differs from AWS's default of everything.
    pub tags: Tags,
}

/// One permission.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// `tcp`, `udp`, `-1`.
    pub protocol: String,
    /// First port.
    pub from_port: u16,
    /// Last port.
    pub to_port: u16,
    /// A network in EC2's own form (see [`network`]) or a security group id.
    pub source: String,
}

/// A network as EC2 keeps and shows it: lower case, the shortest form, no host bits. `::0/0` and `::/0`,
/// or `2001:DB8::/32` in capitals, are one network, and only in one form do they compare as one. What
/// is no network (the id of a security group) stays as it is.
pub fn network(source: &str) -> String {
    source
        .parse::<ipnet::IpNet>()
        .map_or_else(|_| source.to_owned(), |net| net.trunc().to_string())
}

/// A secret that the specification names and that gives a setting no value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingSecret {
    /// Why, with the secret's name.
    pub why: String,
    /// A value was read before, and the nodes have it still.
    pub kept: bool,
}

/// A secret's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// ARN.
    pub arn: String,
    /// Whether it is scheduled for deletion.
    pub deleting: bool,
    /// Id of the current version: changes when the value does.
    pub version_id: String,
    /// Tags.
    pub tags: Tags,
}

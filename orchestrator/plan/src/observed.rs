//! What was seen: AWS's answers in the field's own words, node reports, SQL reads. No judgement here.
//!
//! States are AWS's strings, carried as they came: AWS adds states, and one that we do not know must
//! mean neither healthy nor gone. `None` for a resource means "a read that would have shown it did not".

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// Tag key whose value is the stack's name: ours if and only if it is there.
pub const STACK_TAG: &str = "mattermost:stack";
/// Tag key whose value says what part of the stack a resource is.
pub const PART_TAG: &str = "mattermost:part";

/// One look at the world.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Reads that failed, with why, by the field below that they would have filled, or a part of one
    /// (`db_instances`, `images/us-west-2`): nothing may be concluded from an absence there. A key that
    /// names no field makes everything unknown.
    pub unknown: BTreeMap<String, String>,
    /// The VPC and its subnets.
    pub network: Option<Network>,
    /// By part: `load-balancer`, `fleet`, `database`.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Our secrets in Secrets Manager, by name (metadata only).
    pub secrets: BTreeMap<String, Secret>,
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
    /// Traffic of the present step, by target group name.
    pub traffic: BTreeMap<String, Traffic>,
    /// How many times in a row a fact was read, by key: see [`streak_db`] and [`streak_target`]. The
    /// value after `=` is the state as AWS says it; a fact that is not true has no entry.
    pub streaks: BTreeMap<String, u32>,
    /// Chat probes between two nodes (`from>to`): whether a message arrived.
    pub chat: BTreeMap<String, bool>,
}

/// Streak key of a DB instance's status: `db/<id>=<status>`.
pub fn streak_db(id: &str, status: &str) -> String {
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
    /// A CIDR or a security group id.
    pub source: String,
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
    /// Parameters that differ from the engine's defaults.
    pub parameters: BTreeMap<String, String>,
}

/// A DB instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbInstance {
    /// Identifier.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// `creating`, `backing-up`, `available`, … as RDS says.
    pub status: String,
    /// Host, once RDS shows it.
    pub endpoint: Option<String>,
    /// Port.
    pub port: Option<u16>,
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
    /// Applied Mattermost migrations (rows of `db_migrations`); 0 when there are none yet.
    pub migrations_applied: u32,
    /// Server version, for example 160004.
    pub server_version: u32,
}

/// The load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// ARN.
    pub arn: String,
    /// Name.
    pub name: String,
    /// `provisioning`, `active`, `failed`.
    pub state: String,
    /// DNS name.
    pub dns_name: String,
    /// Subnets.
    pub subnets: BTreeSet<String>,
    /// Security groups.
    pub security_groups: BTreeSet<String>,
    /// Attributes as AWS names them.
    pub attributes: BTreeMap<String, String>,
    /// Tags.
    pub tags: Tags,
}

/// A target group with its targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// ARN.
    pub arn: String,
    /// Name.
    pub name: String,
    /// Port.
    pub port: u16,
    /// Health check path.
    pub health_path: String,
    /// Attributes as AWS names them.
    pub attributes: BTreeMap<String, String>,
    /// State by target id: `initial`, `healthy`, `unhealthy`, `draining`, `unused`, `unavailable`.
    pub targets: BTreeMap<String, String>,
    /// Tags.
    pub tags: Tags,
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// ARN.
    pub arn: String,
    /// Port.
    pub port: u16,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// Certificate ARN.
    pub certificate: Option<String>,
    /// Default action.
    pub action: ListenerAction,
}

/// What a listener does by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerAction {
    /// Weights by target group ARN.
    Forward(BTreeMap<String, u32>),
    /// Redirects to HTTPS on this port.
    Redirect(u16),
    /// Answers itself: status and body (the maintenance page).
    Fixed(u16, String),
    /// Anything else.
    Other(String),
}

impl Default for ListenerAction {
    fn default() -> Self {
        Self::Forward(BTreeMap::new())
    }
}

/// A launch template with its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// By number.
    pub versions: BTreeMap<u64, TemplateVersion>,
    /// Tags.
    pub tags: Tags,
}

/// One numbered version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateVersion {
    /// AMI.
    pub image_id: String,
    /// Instance type.
    pub instance_type: String,
    /// Security groups.
    pub security_groups: BTreeSet<String>,
    /// Instance profile name.
    pub instance_profile: String,
    /// Detailed monitoring.
    pub monitoring: bool,
    /// IMDSv2 required.
    pub imdsv2: bool,
    /// User data, decoded.
    pub user_data: String,
    /// The version's description: our digest of the wanted content.
    pub description: String,
}

/// An AMI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// `pending`, `available`, `failed`, …
    pub state: String,
    /// Why it failed.
    pub state_reason: Option<String>,
    /// The image that this is a copy of: region and id.
    pub source: Option<(String, String)>,
    /// Snapshots behind it.
    pub snapshots: Vec<String>,
    /// Made at: of several images with the specification's name, the newest is taken.
    #[serde(default)]
    pub created: Option<Timestamp>,
    /// Tags.
    pub tags: Tags,
}

/// An Auto Scaling group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Name.
    pub name: String,
    /// MinSize.
    pub min: u32,
    /// MaxSize.
    pub max: u32,
    /// DesiredCapacity.
    pub desired: u32,
    /// Launch template version, a number.
    pub template_version: u64,
    /// Subnets.
    pub subnets: BTreeSet<String>,
    /// Target group ARNs.
    pub target_groups: BTreeSet<String>,
    /// Suspended processes.
    pub suspended: BTreeSet<String>,
    /// Members by instance id.
    pub members: BTreeMap<String, Member>,
    /// Lifecycle hooks by name: transition and heartbeat seconds.
    pub hooks: BTreeMap<String, (String, u32)>,
    /// `ELB` or `EC2`.
    pub health_check: String,
    /// Set while AWS deletes it.
    pub status: Option<String>,
    /// Newest scaling activities first: status code and cause, at most 20.
    pub activities: Vec<Activity>,
    /// Tags.
    pub tags: Tags,
}

/// An instance as its group sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `Pending:Wait`, `InService`, `Terminating:Wait`, …
    pub lifecycle: String,
    /// `Healthy` or `Unhealthy`.
    pub health: String,
    /// Zone.
    pub zone: String,
    /// Launch template version.
    pub template_version: u64,
    /// Protected from scale in.
    pub protected: bool,
}

/// A scaling activity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// `Successful`, `Failed`, `InProgress`, …
    pub status: String,
    /// What.
    pub description: String,
    /// AWS's words for why it failed.
    pub message: Option<String>,
    /// Began.
    pub at: Option<Timestamp>,
}

/// A step scaling policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingPolicy {
    /// ARN.
    pub arn: String,
    /// Capacity added (negative: removed).
    pub adjustment: i32,
}

/// A CloudWatch alarm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Name.
    pub name: String,
    /// ARN.
    pub arn: String,
    /// `OK`, `ALARM`, `INSUFFICIENT_DATA`.
    pub state: String,
    /// Percent.
    pub threshold: f64,
    /// `GreaterThanThreshold` or `LessThanThreshold`.
    pub comparison: String,
    /// Seconds.
    pub period: u32,
    /// Periods.
    pub evaluation_periods: u32,
    /// Dimension value: the group.
    pub group: String,
    /// Actions.
    pub actions: BTreeSet<String>,
}

/// An EC2 instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Id.
    pub id: String,
    /// `pending`, `running`, …
    pub state: String,
    /// Zone.
    pub zone: String,
    /// Private address.
    pub private_ip: Option<String>,
    /// AMI.
    pub image_id: String,
    /// VPC.
    pub vpc_id: String,
    /// Launch template id and version, from the `aws:ec2launchtemplate:*` tags.
    pub template: Option<(String, u64)>,
    /// The group, from the tag `aws:autoscaling:groupName`.
    pub group: Option<String>,
    /// Launched.
    pub launched: Option<Timestamp>,
}

/// What a node said of itself, as the store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Phase, in lower case: `enrolled` … `serving`, `draining`, `drained`, `failed`.
    pub phase: String,
    /// Generation of the desired state that the report is about.
    pub generation: u64,
    /// As X-Version-Id says.
    pub mattermost_version: String,
    /// Configuration in force.
    pub configuration_digest: String,
    /// Full pings in a row.
    pub consecutive_ok: u32,
    /// Applied migrations as the node read them by SQL.
    pub migrations_applied: u32,
    /// It migrated in this generation and the result was read back.
    pub migrated: bool,
    /// The goal that the orchestrator last gave this node.
    pub goal: Option<crate::decision::NodeGoal>,
    /// The report is about exactly that goal: same generation, same configuration digest. A node is
    /// verified only when this holds, `goal` is the wanted one, and it serves.
    pub current: bool,
    /// A session is open now.
    pub connected: bool,
    /// Since when no session is open, when none is. `None`: not known (a restarted orchestrator sets
    /// its own start).
    #[serde(default)]
    pub disconnected_since: Option<Timestamp>,
    /// Reported at.
    pub at: Option<Timestamp>,
    /// Why it failed: code, error, hint, last lines.
    pub failure: Option<Failure>,
    /// Client connections.
    pub connections: u32,
    /// One line for people.
    pub note: String,
}

/// Why a node failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// In which phase.
    pub phase: String,
    /// Word for programs.
    pub code: String,
    /// Sentence.
    pub error: String,
    /// What would help.
    pub hint: String,
    /// Last lines.
    pub journal: Vec<String>,
}

/// What went through a target group since the present step began (the rollout's `entered`), cumulative.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests.
    pub requests: u64,
    /// Answers 5xx by targets and by the load balancer for them.
    pub server_errors: u64,
    /// Seconds; none without data.
    pub p95_seconds: Option<f64>,
}

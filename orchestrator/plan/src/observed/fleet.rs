//! Images, launch template, Auto Scaling groups, instances, and what nodes say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ServerLicence, Tags};

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
    /// Key pair.
    #[serde(default)]
    pub key_pair: Option<String>,
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
    /// `x86_64`, `arm64`. Empty: EC2 did not say.
    #[serde(default)]
    pub architecture: String,
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
    /// Scaling activities, those that began last first, at most 20.
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
    /// What its configuration is made of (address, licence, secrets) changed since it was told its goal,
    /// and it is told when it is its turn.
    #[serde(default)]
    pub stale: bool,
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
    /// The whole of X-Version-Id: version, build, hash of the clients' configuration, licensed. Empty
    /// before the server runs, and from an agent that does not report it.
    #[serde(default)]
    pub version_id: String,
    /// What the running server says of its licence. `None`: not asked yet, or an agent that cannot ask.
    #[serde(default)]
    pub licence: Option<ServerLicence>,
    /// When the report first said that the present server starts or serves: it began then or a moment
    /// before. `None`: not known.
    #[serde(default)]
    pub server_since: Option<Timestamp>,
    /// Its agent knows how to move what lives on it.
    #[serde(default)]
    pub can_move: bool,
    /// SHA-256 (hex) of values in its `config.json`, by `Section.Name`, where the server keeps them there.
    #[serde(default)]
    pub configuration_file: BTreeMap<String, String>,
    /// What was copied under its present goal.
    #[serde(default)]
    pub moved: Option<Moved>,
}

/// One pass over the files that live on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// In the bucket as they are on the node.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// SHA-256 (hex) of the sorted listing as the node has it.
    pub digest: String,
    /// The same as the bucket told it.
    pub bucket_digest: String,
    /// Newer objects of the same key that came from another node.
    pub superseded: u64,
    /// The server was stopped during the pass.
    pub complete: bool,
}

impl Moved {
    /// Nothing is left on the node that is not in the bucket as well.
    pub fn is_complete(&self) -> bool {
        self.complete && self.digest == self.bucket_digest
    }
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

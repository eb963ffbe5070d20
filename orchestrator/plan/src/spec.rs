//! The specification: `mattermost.toml`, as types that are valid once they exist.

mod authority;
mod checks;
mod defaults;
mod files;
mod fleet;
#[cfg(test)]
mod fuzz;
mod names;
mod parse;
mod release;
mod rollout;
mod secret_ref;
mod secret_settings;
mod secret_words;
mod site_url;
mod structure;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use files::{Endpoint, FileStore, Files};
pub use fleet::{Fleet, Port, Protocol};
pub use names::Names;
pub use parse::{Problem, SpecError};
pub use rollout::{METRICS_DELAY_SECONDS, Rollout};
pub use secret_ref::{SecretRef, SecretRefError};
pub(crate) use site_url::host_of_site;
pub use template::{Answers, template};

pub use crate::versions::VersionTables;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of the stack: 1–20 lower-case letters, digits, hyphens; begins with a letter. Names and tags come from it.
    pub stack: String,
    /// Zones that the stack lies in. The first zone's region is the home: database and fleet live in
    /// its zones; images are copied to every region named.
    pub zones: Vec<String>,
    /// Mattermost itself.
    pub mattermost: Mattermost,
    /// The database.
    #[serde(default)]
    pub database: Database,
    /// Where what users upload lives.
    #[serde(default)]
    pub files: Files,
    /// The nodes.
    pub fleet: Fleet,
    /// The network that the stack is put into.
    #[serde(default)]
    pub network: Network,
    /// The load balancer.
    #[serde(default)]
    pub load_balancer: LoadBalancer,
    /// How a rollout goes and when it turns back.
    #[serde(default)]
    pub rollout: Rollout,
    /// How nodes reach the orchestrator.
    pub orchestrator: Orchestrator,
}

/// Mattermost's release and settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mattermost {
    /// For example `11.10.0`.
    pub version: String,
    /// SHA-256 of the tarball, 64 hexadecimal digits.
    pub sha256: String,
    /// Where the tarball lies (HTTPS); `{version}` stands for the version. Default: Mattermost's
    /// release archive, by edition and version.
    #[serde(default)]
    pub url: Option<String>,
    /// `enterprise` (runs unlicensed as the free mode) or `team`.
    #[serde(default)]
    pub edition: Edition,
    /// Further releases that `rollout --mattermost` may name without `--sha256`: version to digest.
    #[serde(default)]
    pub releases: BTreeMap<String, String>,
    /// Versions that came out after this build: which are extended support releases, the last minor of a
    /// major, what PostgreSQL they need.
    #[serde(default)]
    pub versions: VersionTables,
    /// PEM file with extra roots for a mirror's TLS certificate.
    #[serde(default)]
    pub trust_file: Option<String>,
    /// The detached OpenPGP signature that a release must have besides its digest. None: none is checked.
    #[serde(default)]
    pub signature: Option<Signature>,
    /// Name of the Secrets Manager secret that holds the licence's text. None: unlicensed.
    #[serde(default)]
    pub licence_secret: Option<String>,
    /// Whether that licence allows a cluster (Enterprise). Needed for more than one node and for
    /// rollouts without a pause.
    #[serde(default)]
    pub cluster: bool,
    /// Run more than one node without a cluster licence: messages between them are lost. Off.
    #[serde(default)]
    pub accept_unlicensed_nodes: bool,
    /// `MM_…` settings for every node, for example `MM_TEAMSETTINGS_ENABLEOPENSERVER`. No secrets here.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// `MM_…` settings whose values lie in Secrets Manager, by reference, for example
    /// `MM_EMAILSETTINGS_SMTPPASSWORD = "chat/smtp#password"`.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretRef>,
}

/// A detached OpenPGP signature over every release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Of the key that signs, or whose subkey does: 40 or 64 hexadecimal digits, blanks allowed.
    pub fingerprint: String,
    /// File with that public key, armoured.
    pub key_file: String,
    /// Where the signature lies (HTTPS); `{version}` stands for the version. Default: the release's
    /// address with `.sig` behind it.
    #[serde(default)]
    pub url: Option<String>,
}

/// Which build of Mattermost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Edition {
    /// The enterprise build.
    #[default]
    Enterprise,
    /// Team Edition.
    Team,
}

/// RDS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// DB instance class.
    pub class: String,
    /// PostgreSQL version: major, or major.minor. None: the newest major that RDS offers up to 17.
    pub engine_version: Option<String>,
    /// GiB, gp3.
    pub storage_gib: u32,
    /// A synchronous standby in a second zone.
    pub multi_az: bool,
    /// Read replicas, 0–5. The mission's default is one.
    pub replicas: u8,
    /// Days of automated backups, 1–35; a replica needs at least 1.
    pub backup_days: u8,
    /// `max_connections` of the parameter group. None: RDS's own formula by memory.
    pub max_connections: Option<u32>,
    /// Refuse deletion until `down --delete-database` lifts it.
    pub deletion_protection: bool,
    /// How many of the snapshots that rollouts took before their migration are kept, 1–100 (AWS's default
    /// quota of an account's own snapshots in a region); the newest stay, and any that is still a way back.
    pub rollout_snapshots: u8,
    /// PEM file with the roots that the server's certificate must chain to: RDS's bundle of the
    /// region, as AWS publishes it. None: `/usr/share/mattermost-orchestrator/rds-ca.pem`.
    pub trust_file: Option<String>,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            class: "db.m7g.large".to_owned(),
            engine_version: None,
            storage_gib: 100,
            multi_az: false,
            replicas: 1,
            backup_days: 7,
            max_connections: None,
            deletion_protection: true,
            rollout_snapshots: 2,
            trust_file: None,
        }
    }
}

/// Where in the account's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// VPC id. None: the region's default VPC.
    pub vpc: Option<String>,
    /// Subnet ids for nodes and database, one per home zone. Empty: the VPC's subnets in the home zones.
    pub subnets: Vec<String>,
    /// Subnet ids for the load balancer. Empty: the same.
    pub public_subnets: Vec<String>,
}

/// The Application Load Balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoadBalancer {
    /// ARN of an ACM certificate: HTTPS on 443, and 80 redirects. None: plain HTTP on 80.
    pub certificate_arn: Option<String>,
    /// What users type, for Mattermost's `SiteURL`; with a path, the server answers below it. None: the
    /// load balancer's DNS name.
    pub site_url: Option<String>,
    /// Seconds; Mattermost's WebSocket pings come every 60 s, so ALB's default of 60 s cuts them.
    pub idle_timeout_seconds: u32,
    /// Seconds that a leaving target may finish its requests.
    pub deregistration_delay_seconds: u32,
    /// Source ranges that may reach 80/443.
    pub allow: Vec<String>,
    /// `internet-facing` or `internal`.
    pub scheme: String,
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self {
            certificate_arn: None,
            site_url: None,
            idle_timeout_seconds: 300,
            deregistration_delay_seconds: 60,
            allow: vec!["0.0.0.0/0".to_owned()],
            scheme: "internet-facing".to_owned(),
        }
    }
}

/// How nodes reach the orchestrator, and where its certificate authority lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Orchestrator {
    /// `host:port` of every orchestrator, as nodes reach them.
    pub addresses: Vec<String>,
    /// Address that `serve` listens on for nodes. Default: the port of the first address, on all interfaces.
    #[serde(default)]
    pub listen: Option<String>,
    /// Security group or CIDR from which orchestrators come: it may reach the database.
    #[serde(default)]
    pub source: Option<String>,
    /// Days that events are kept for: what happened, with its cause.
    #[serde(default = "defaults::event_days")]
    pub event_days: u32,
    /// Seconds: how old at most what is known of a quiet stack's instances, targets, weights and database may be.
    /// Less costs calls to AWS.
    #[serde(default = "defaults::state_age_seconds")]
    pub state_age_seconds: u32,
    /// Seconds: as above, of attributes, tags, rules, the bucket and policies, which change only by hand.
    #[serde(default = "defaults::settings_age_seconds")]
    pub settings_age_seconds: u32,
}

impl Spec {
    /// The region of the first zone: database and fleet live there.
    pub fn home_region(&self) -> String {
        self.zones
            .first()
            .map(|zone| region_of(zone))
            .unwrap_or_default()
    }

    /// The zones of the home region, as the file orders them.
    pub fn home_zones(&self) -> Vec<&str> {
        let home = self.home_region();
        self.zones
            .iter()
            .filter(|zone| region_of(zone) == home)
            .map(String::as_str)
            .collect()
    }

    /// Every region that a zone lies in, the home first, the others by name.
    pub fn regions(&self) -> Vec<String> {
        let home = self.home_region();
        let others: BTreeSet<String> = self
            .zones
            .iter()
            .map(|zone| region_of(zone))
            .filter(|region| *region != home)
            .collect();
        std::iter::once(home).chain(others).collect()
    }
}

/// The partition that a region lies in, by its beginning: credentials of one mean nothing in another, and an ARN with
/// another one matches nothing there.
pub fn partition_of(region: &str) -> &'static str {
    let beginnings = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-iso-", "aws-iso"),
        ("eusc-", "aws-eusc"),
    ];
    beginnings
        .into_iter()
        .find(|(beginning, _)| region.starts_with(beginning))
        .map_or("aws", |(_, partition)| partition)
}

/// `us-east-1a` lies in `us-east-1`.
fn region_of(zone: &str) -> String {
    zone.trim_end_matches(|c: char| c.is_ascii_lowercase())
        .to_owned()
}

/// `11.10.0`: three numbers.
pub fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3
        && parts.iter().all(|part| {
            !part.is_empty() && part.len() <= 5 && part.bytes().all(|b| b.is_ascii_digit())
        })
}

//! What can be done to the world. Absolute statements only: never "one more", always "this".
//!
//! Every action converges: done twice, or by two executors at once, it makes what once would have
//! made. [`Action::key`] is stable; it is the journal's key and the seed of names and ClientTokens.

mod bucket;
mod database;
mod template;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::observed::{Forward, HealthCheck, ListenerAction, Rule, Tags};

pub use bucket::{
    BucketRef, BucketSetting, LIFECYCLE_RULE, OLD_VERSIONS_DAYS, UNFINISHED_UPLOADS_DAYS,
};
pub use database::{
    DB_CERTIFICATE_AUTHORITY, DB_PARAMETERS, DB_STORAGE_TYPE, DatabaseWanted, DbChange, DbPrimary,
};
pub use template::TemplateContent;

/// One effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each variant's text says what its fields are, in AWS's words"
)]
pub enum Action {
    /// A security group in the VPC with exactly these ingress rules (ours are added, foreign ones in
    /// our group are revoked).
    EnsureSecurityGroup {
        part: String,
        name: String,
        vpc_id: String,
        ingress: BTreeSet<Rule>,
    },
    /// A secret with a generated value: `password` (32 random characters, JSON
    /// `{"username","password"}`) or `certificate_authority` (made by the orchestrator).
    EnsureSecret { name: String, kind: SecretKind },
    /// A bucket of ours, with our tags; an empty one without tags in our account gets them. `made_anew`: nodes served
    /// from a bucket of this name before; the moment is kept in a tag until a person removes it.
    EnsureBucket {
        bucket: BucketRef,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made_anew: Option<Timestamp>,
    },
    /// One setting of a bucket of ours.
    SetBucket {
        bucket: BucketRef,
        setting: BucketSetting,
    },
    /// Unfinished uploads, versions and deletion markers of a bucket of ours: some pages of them, until
    /// it is seen empty.
    DeleteBucketContents { bucket: BucketRef },
    /// An empty bucket of ours.
    DeleteBucket { bucket: BucketRef },
    /// DB subnet group.
    EnsureDbSubnetGroup {
        name: String,
        subnets: BTreeSet<String>,
    },
    /// DB parameter group with these parameters changed.
    EnsureDbParameterGroup {
        name: String,
        family: String,
        parameters: BTreeMap<String, String>,
    },
    /// The primary; the master password is read from the secret by the executor and goes nowhere else.
    EnsureDbPrimary(DbPrimary),
    /// A read replica of a source in a state that allows it. It gets its source's parameter group: RDS
    /// refuses to be told one for PostgreSQL.
    EnsureDbReplica {
        id: String,
        source: String,
        class: String,
        security_groups: BTreeSet<String>,
    },
    /// Changes of a DB instance that need no new one.
    SetDbInstance { id: String, change: DbChange },
    /// At least so much storage (GiB). A call of its own: RDS takes one change of storage in six hours, and
    /// what stands in the same call waits with it. `iops`: what a volume of that size must be told.
    GrowDbStorage {
        id: String,
        gib: u32,
        iops: Option<u32>,
    },
    /// The master's password is what its secret says, which the executor reads.
    SetDbMasterPassword { id: String, secret: String },
    /// Reboots (a parameter group that is `pending-reboot`).
    RebootDbInstance { id: String },
    /// Databases, roles and grants by SQL as the master: not AWS, but the same loop.
    EnsureDatabases { databases: Vec<DatabaseWanted> },
    /// A DB snapshot.
    EnsureDbSnapshot { id: String, instance: String },
    /// The load balancer.
    EnsureLoadBalancer {
        name: String,
        scheme: String,
        subnets: BTreeSet<String>,
        security_groups: BTreeSet<String>,
        attributes: BTreeMap<String, String>,
    },
    /// A target group for port 8065 whose targets are probed so.
    EnsureTargetGroup {
        name: String,
        vpc_id: String,
        health: HealthCheck,
        attributes: BTreeMap<String, String>,
    },
    /// A listener and its default action. Weights are set by `SetWeights` only once it exists.
    EnsureListener {
        port: u16,
        protocol: String,
        certificate: Option<String>,
        load_balancer: String,
        action: ListenerAction,
    },
    /// Weights, all target groups named, and stickiness: one call, because stickiness outranks weights.
    SetWeights { listener: String, weights: Forward },
    /// The listener answers itself (the maintenance page of a cutover).
    SetFixedResponse {
        listener: String,
        status: u16,
        body: String,
    },
    /// A rule of the listener that leads requests with this token in the header `X-Mattermost-Probe` to one target
    /// group, before every rule that is there. There is one for a token.
    EnsureProbeRule {
        listener: String,
        token: String,
        target_group: String,
    },
    /// Deletes such a rule.
    DeleteProbeRule { arn: String },
    /// A numbered template version with this content; `digest` is its description, by which it is found again.
    EnsureTemplateVersion {
        name: String,
        digest: String,
        content: TemplateContent,
    },
    /// A copy of the home region's image in another region.
    EnsureImageCopy {
        region: String,
        source_region: String,
        source_image: String,
        name: String,
    },
    /// An Auto Scaling group. Its size is part of creation only; later `SetGroupSize` has the say.
    EnsureGroup(GroupWanted),
    /// MinSize, MaxSize, DesiredCapacity, absolute.
    SetGroupSize {
        group: String,
        min: u32,
        max: u32,
        desired: u32,
    },
    /// The template version that new instances of the group get.
    SetGroupTemplate {
        group: String,
        template: String,
        version: u64,
    },
    /// Exactly these scaling processes are suspended.
    SetSuspended {
        group: String,
        processes: BTreeSet<String>,
    },
    /// These members may be ended by a smaller size, whoever protected them.
    LiftScaleInProtection {
        group: String,
        instances: BTreeSet<String>,
    },
    /// Tags of a group (the originals of a pin are kept there).
    SetGroupTags {
        group: String,
        tags: Tags,
        remove: BTreeSet<String>,
    },
    /// A step policy that adds (or removes) `adjustment` instances.
    EnsureScalingPolicy {
        group: String,
        name: String,
        adjustment: i32,
        warmup_seconds: u32,
    },
    /// An alarm on the group's average CPU that fires a policy.
    EnsureAlarm {
        name: String,
        group: String,
        threshold: f64,
        comparison: String,
        periods: u32,
        policy_arn: String,
    },
    /// Ends a lifecycle action: `CONTINUE` or `ABANDON`.
    CompleteLifecycle {
        group: String,
        hook: String,
        instance: String,
        result: String,
    },
    /// Gives a waiting instance the hook's heartbeat once more.
    HeartbeatLifecycle {
        group: String,
        hook: String,
        instance: String,
    },
    /// Ends an instance of ours whose group should replace it.
    TerminateInstance { group: String, instance: String },
    /// A chat message from one node to the other's WebSocket and back.
    ProbeChat { from: String, to: String },
    /// Deletes an alarm of ours.
    DeleteAlarm { name: String },
    /// Deletes a group of ours; `force` ends its instances.
    DeleteGroup { group: String, force: bool },
    /// Deletes template versions by number.
    DeleteTemplateVersions {
        name: String,
        versions: BTreeSet<u64>,
    },
    /// Deletes the template.
    DeleteTemplate { name: String },
    /// Deletes a listener.
    DeleteListener { arn: String },
    /// Deletes the load balancer.
    DeleteLoadBalancer { arn: String },
    /// Deletes a target group.
    DeleteTargetGroup { arn: String },
    /// Deregisters a copied image of ours and its snapshots.
    DeleteImage { region: String, image: String },
    /// Deletes a DB instance; the primary takes a final snapshot.
    DeleteDbInstance {
        id: String,
        final_snapshot: Option<String>,
    },
    /// Deletes a DB snapshot that a rollout took.
    DeleteDbSnapshot { id: String },
    /// Deletes the subnet group.
    DeleteDbSubnetGroup { name: String },
    /// Deletes the parameter group.
    DeleteDbParameterGroup { name: String },
    /// The version `to` of a secret is in force again (`AWSCURRENT`), where `from` is now. The secret is
    /// the operator's: its texts stay as they are.
    RestoreSecretVersion {
        secret: String,
        from: String,
        to: String,
    },
    /// Deletes a secret, with Secrets Manager's recovery window.
    DeleteSecret { name: String },
    /// Deletes a security group.
    DeleteSecurityGroup { part: String, id: String },
}

/// What a secret holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretKind {
    /// `{"username": …, "password": …}`, generated.
    Password,
    /// The node CA: certificate and key, PEM, in JSON.
    CertificateAuthority,
}

/// A group as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupWanted {
    /// Name.
    pub name: String,
    /// Template name.
    pub template: String,
    /// Template version, a number.
    pub version: u64,
    /// Subnets.
    pub subnets: BTreeSet<String>,
    /// Target group ARNs.
    pub target_groups: BTreeSet<String>,
    /// MinSize at creation.
    pub min: u32,
    /// MaxSize at creation.
    pub max: u32,
    /// DesiredCapacity at creation.
    pub desired: u32,
    /// Heartbeat of the launch hook (`mattermost-launch`), seconds; default result ABANDON.
    pub launch_heartbeat: u32,
    /// Heartbeat of the terminate hook (`mattermost-terminate`), seconds; default result CONTINUE.
    pub terminate_heartbeat: u32,
    /// Seconds before ELB health counts.
    pub grace_seconds: u32,
    /// Tags, propagated to instances.
    pub tags: Tags,
}

/// Name of the launch hook in every group.
pub const LAUNCH_HOOK: &str = "mattermost-launch";
/// Name of the terminate hook in every group.
pub const TERMINATE_HOOK: &str = "mattermost-terminate";

impl Action {
    /// Stable name: the kind and what it is about, without the wanted values.
    pub fn key(&self) -> String {
        match self {
            Self::EnsureSecurityGroup { part, .. } => format!("ensure_security_group/{part}"),
            Self::EnsureSecret { name, .. } => format!("ensure_secret/{name}"),
            Self::EnsureBucket { bucket, .. } => format!("ensure_bucket/{}", bucket.name),
            Self::SetBucket { bucket, setting } => {
                format!("set_bucket/{}/{}", bucket.name, setting.word())
            }
            Self::DeleteBucketContents { bucket } => {
                format!("delete_bucket_contents/{}", bucket.name)
            }
            Self::DeleteBucket { bucket } => format!("delete_bucket/{}", bucket.name),
            Self::EnsureDbSubnetGroup { name, .. } => format!("ensure_db_subnet_group/{name}"),
            Self::EnsureDbParameterGroup { name, .. } => {
                format!("ensure_db_parameter_group/{name}")
            }
            Self::EnsureDbPrimary(primary) => format!("ensure_db_primary/{}", primary.id),
            Self::EnsureDbReplica { id, .. } => format!("ensure_db_replica/{id}"),
            Self::SetDbInstance { id, .. } => format!("set_db_instance/{id}"),
            Self::GrowDbStorage { id, .. } => format!("grow_db_storage/{id}"),
            Self::SetDbMasterPassword { id, .. } => format!("set_db_master_password/{id}"),
            Self::RebootDbInstance { id } => format!("reboot_db_instance/{id}"),
            Self::EnsureDatabases { .. } => "ensure_databases".to_owned(),
            Self::EnsureDbSnapshot { id, .. } => format!("ensure_db_snapshot/{id}"),
            Self::EnsureLoadBalancer { name, .. } => format!("ensure_load_balancer/{name}"),
            Self::EnsureTargetGroup { name, .. } => format!("ensure_target_group/{name}"),
            Self::EnsureListener { port, .. } => format!("ensure_listener/{port}"),
            Self::SetWeights { listener, .. } => format!("set_weights/{listener}"),
            Self::SetFixedResponse { listener, .. } => format!("set_fixed_response/{listener}"),
            // The beginning tells rollouts apart, as names in AWS do.
            Self::EnsureProbeRule { token, .. } => {
                format!("ensure_probe_rule/{}", token.get(..12).unwrap_or(token))
            }
            Self::DeleteProbeRule { arn } => format!("delete_probe_rule/{arn}"),
            Self::EnsureTemplateVersion { name, digest, .. } => {
                format!("ensure_template_version/{name}/{digest}")
            }
            Self::EnsureImageCopy {
                region,
                source_image,
                ..
            } => format!("ensure_image_copy/{region}/{source_image}"),
            Self::EnsureGroup(group) => format!("ensure_group/{}", group.name),
            Self::SetGroupSize { group, .. } => format!("set_group_size/{group}"),
            Self::SetGroupTemplate { group, .. } => format!("set_group_template/{group}"),
            Self::SetSuspended { group, .. } => format!("set_suspended/{group}"),
            Self::LiftScaleInProtection { group, .. } => {
                format!("lift_scale_in_protection/{group}")
            }
            Self::SetGroupTags { group, .. } => format!("set_group_tags/{group}"),
            Self::EnsureScalingPolicy { group, name, .. } => {
                format!("ensure_scaling_policy/{group}/{name}")
            }
            Self::EnsureAlarm { name, .. } => format!("ensure_alarm/{name}"),
            Self::CompleteLifecycle { hook, instance, .. } => {
                format!("complete_lifecycle/{hook}/{instance}")
            }
            Self::HeartbeatLifecycle { hook, instance, .. } => {
                format!("heartbeat_lifecycle/{hook}/{instance}")
            }
            Self::TerminateInstance { instance, .. } => format!("terminate_instance/{instance}"),
            Self::ProbeChat { from, to } => format!("probe_chat/{from}/{to}"),
            Self::DeleteAlarm { name } => format!("delete_alarm/{name}"),
            Self::DeleteGroup { group, .. } => format!("delete_group/{group}"),
            Self::DeleteTemplateVersions { name, .. } => format!("delete_template_versions/{name}"),
            Self::DeleteTemplate { name } => format!("delete_template/{name}"),
            Self::DeleteListener { arn } => format!("delete_listener/{arn}"),
            Self::DeleteLoadBalancer { arn } => format!("delete_load_balancer/{arn}"),
            Self::DeleteTargetGroup { arn } => format!("delete_target_group/{arn}"),
            Self::DeleteImage { region, image } => format!("delete_image/{region}/{image}"),
            Self::DeleteDbInstance { id, .. } => format!("delete_db_instance/{id}"),
            Self::DeleteDbSnapshot { id } => format!("delete_db_snapshot/{id}"),
            Self::DeleteDbSubnetGroup { name } => format!("delete_db_subnet_group/{name}"),
            Self::DeleteDbParameterGroup { name } => format!("delete_db_parameter_group/{name}"),
            Self::RestoreSecretVersion { secret, from, to } => {
                format!("restore_secret_version/{secret}/{from}/{to}")
            }
            Self::DeleteSecret { name } => format!("delete_secret/{name}"),
            Self::DeleteSecurityGroup { part, .. } => format!("delete_security_group/{part}"),
        }
    }
}

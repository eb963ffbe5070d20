//! What is kept of every read between passes, and how old what a pass shows is.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleHook};
use plan::Observed;
use plan::observed::{
    Activity, Alarm, ClassOffer, DbInstance, DbParameterGroup, DbSnapshot, DbSubnetGroup, Image,
    Instance, KmsAnswer, Listener, ListenerRules, LoadBalancer, ScalingPolicy, Secret,
    SecurityGroup, TargetGroup, Template, TypeOffer,
};

use crate::ec2::Found;
use crate::elb::LoadBalancerSettings;
use crate::kept::{BUSY_SETTINGS, Class, Kept, Read};
use crate::s3::FilesSeen;

/// AWS's last answers. Losing them costs calls, never correctness.
#[derive(Debug)]
pub struct Answers {
    pub(crate) instances: Kept<BTreeMap<String, Instance>>,
    pub(crate) groups: Kept<Vec<AutoScalingGroup>>,
    pub(crate) listeners: Kept<BTreeMap<u16, Listener>>,
    pub(crate) rules: Kept<ListenerRules>,
    pub(crate) targets: Kept<BTreeMap<String, String>>,
    pub(crate) db_instances: Kept<BTreeMap<String, DbInstance>>,
    pub(crate) replica_lag: Kept<BTreeMap<String, f64>>,
    pub(crate) secrets: Kept<BTreeMap<String, Secret>>,
    pub(crate) load_balancer: Kept<Option<LoadBalancer>>,
    pub(crate) images: Kept<BTreeMap<String, Image>>,
    pub(crate) db_snapshots: Kept<BTreeMap<String, DbSnapshot>>,
    pub(crate) activities: Kept<Vec<Activity>>,
    pub(crate) load_balancer_settings: Kept<Option<LoadBalancerSettings>>,
    pub(crate) target_groups: Kept<Option<TargetGroup>>,
    pub(crate) hooks: Kept<Vec<LifecycleHook>>,
    pub(crate) policies: Kept<BTreeMap<String, ScalingPolicy>>,
    pub(crate) template: Kept<Option<Template>>,
    pub(crate) security_groups: Kept<BTreeMap<String, SecurityGroup>>,
    pub(crate) network: Kept<Option<Found>>,
    pub(crate) alarms: Kept<BTreeMap<String, Alarm>>,
    pub(crate) db_subnet_group: Kept<Option<DbSubnetGroup>>,
    pub(crate) db_parameter_group: Kept<Option<DbParameterGroup>>,
    pub(crate) files: Kept<FilesSeen>,
    pub(crate) files_key: Kept<KmsAnswer>,
    pub(crate) engine_versions: Kept<Vec<String>>,
    pub(crate) type_offer: Kept<TypeOffer>,
    pub(crate) class_offer: Kept<ClassOffer>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            instances: Kept::new(Read::Instances),
            groups: Kept::new(Read::Groups),
            listeners: Kept::new(Read::Listeners),
            rules: Kept::new(Read::Rules),
            targets: Kept::new(Read::Targets),
            db_instances: Kept::new(Read::DbInstances),
            replica_lag: Kept::new(Read::ReplicaLag),
            secrets: Kept::new(Read::Secrets),
            load_balancer: Kept::new(Read::LoadBalancer),
            images: Kept::new(Read::Images),
            db_snapshots: Kept::new(Read::DbSnapshots),
            activities: Kept::new(Read::Activities),
            load_balancer_settings: Kept::new(Read::LoadBalancerSettings),
            target_groups: Kept::new(Read::TargetGroups),
            hooks: Kept::new(Read::Hooks),
            policies: Kept::new(Read::ScalingPolicies),
            template: Kept::new(Read::Template),
            security_groups: Kept::new(Read::SecurityGroups),
            network: Kept::new(Read::Network),
            alarms: Kept::new(Read::Alarms),
            db_subnet_group: Kept::new(Read::DbSubnetGroup),
            db_parameter_group: Kept::new(Read::DbParameterGroup),
            files: Kept::new(Read::Bucket),
            files_key: Kept::new(Read::FilesKey),
            engine_versions: Kept::new(Read::EngineVersions),
            type_offer: Kept::new(Read::TypeOffer),
            class_offer: Kept::new(Read::ClassOffer),
        }
    }
}

/// What one pass saw, and how much of it from answers of before.
#[derive(Clone, Debug)]
pub struct Seen {
    /// All of it.
    pub observed: Observed,
    /// Age of the oldest kept answer about what changes by itself; none: all of that was asked now.
    pub state: Option<Duration>,
    /// Age of the oldest kept answer about settings, and what is offered.
    pub settings: Option<Duration>,
    /// Whether a kept answer in it, other than of what AWS offers, is older than a pass while something is under way
    /// takes: nothing is done because of such a one.
    pub stale: bool,
    /// Whether targets and database instances were asked for now: only then they were seen once more.
    pub counts: bool,
}

impl Seen {
    pub(crate) fn new(observed: Observed, given: &BTreeMap<Read, Duration>) -> Self {
        let is_state = |read: Read| matches!(read.class(), Class::Members | Class::State);
        let oldest = |state: bool| {
            let of = given.iter().filter(|(read, _)| is_state(**read) == state);
            of.map(|(_, age)| *age).max()
        };
        Self {
            state: oldest(true),
            settings: oldest(false),
            stale: given
                .iter()
                .any(|(read, age)| read.class() != Class::Offers && *age >= BUSY_SETTINGS),
            counts: [Read::Targets, Read::DbInstances]
                .iter()
                .all(|read| !given.contains_key(read)),
            observed,
        }
    }
}

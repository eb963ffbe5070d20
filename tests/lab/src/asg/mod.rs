//! Auto Scaling.
//!
//! ```text
//!   API calls ---> Group (settings) <---- alarms (execute_policy)
//!                    |  wake
//!                    v
//!   reconcile: one loop a group.  observe -> decide (balance) -> start launches and terminations
//!                    |
//!                    v
//!   lifecycle: one task an instance on its way in or out
//!      Pending -> hooks -> target groups -> InService
//!      Terminating -> drained -> hooks -> EC2 terminates -> gone
//! ```
//!
//! Invariants:
//! * Capacity changes only in `reconcile`, from the group as it is then; a call sets intent and wakes it.
//! * A member is moved by one task at a time: whoever set its state owns the next step, and a task
//!   that finds another state than the one it set stops (`lifecycle::Moved`).
//! * The lock is never held across an await or a call into another service.

mod activity;
pub mod balance;
mod delete_api;
mod describe;
mod execute;
mod group_api;
mod health;
mod hook_api;
mod instance_api;
mod lifecycle;
pub mod model;
mod page;
mod parse;
mod policy_api;
mod process_api;
mod reconcile;
pub mod scaling;
mod schedule_api;
mod standby_api;
mod tag_api;
mod target_api;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Lab;
use crate::api::{ApiError, Call, Reply};
use model::{Activity, Group, Key, Lifecycle, Member};

pub use execute::execute_policy;

/// Activities of deleted groups that are kept (`IncludeDeletedGroups`).
const MAX_DELETED_ACTIVITIES: usize = 500;

/// Every group.
#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<Key, Group>,
    /// Activities of groups that are gone, newest last: key, group ARN, activity.
    deleted: VecDeque<(Key, String, Activity)>,
}

/// The groups of all regions.
#[derive(Debug, Default)]
pub struct Asg {
    state: Mutex<State>,
}

impl Asg {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at or changes a group; none when it does not exist.
    fn with<T>(&self, key: &Key, use_group: impl FnOnce(&mut Group) -> T) -> Option<T> {
        self.lock().groups.get_mut(key).map(use_group)
    }

    /// As [`Asg::with`] for a member.
    fn with_member<T>(
        &self,
        key: &Key,
        id: &str,
        use_member: impl FnOnce(&mut Member) -> T,
    ) -> Option<T> {
        self.with(key, |group| group.members.get_mut(id).map(use_member))
            .flatten()
    }

    /// As [`Asg::with`], for a call: a group that does not exist is AWS's error.
    fn group<T>(
        &self,
        key: &Key,
        use_group: impl FnOnce(&mut Group) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        self.with(key, use_group)
            .unwrap_or_else(|| Err(parse::no_group(&key.1)))
    }

    /// What wakes a group's tasks.
    fn bell(&self, key: &Key) -> Option<Arc<Notify>> {
        self.with(key, |group| Arc::clone(&group.wake))
    }

    /// Wakes a group's tasks.
    fn ring(&self, key: &Key) {
        if let Some(bell) = self.bell(key) {
            bell.notify_waiters();
        }
    }

    /// The group of an instance.
    fn find(&self, region: &str, instance: &str) -> Option<Key> {
        self.lock()
            .groups
            .iter()
            .find(|((at, _), group)| at == region && group.members.contains_key(instance))
            .map(|(key, _)| key.clone())
    }

    fn member<T>(&self, region: &str, id: &str, look: impl FnOnce(&Member) -> T) -> Option<T> {
        self.lock()
            .groups
            .iter()
            .filter(|((at, _), _)| at == region)
            .find_map(|(_, group)| group.members.get(id))
            .map(look)
    }
}

/// Starts the service's tasks: none until there are groups.
pub fn start(_lab: &Arc<Lab>) {}

/// Answers a call.
#[expect(
    clippy::unused_async,
    reason = "every service is dispatched to in the same way, and most await"
)]
pub async fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    match call.action.as_str() {
        "CreateAutoScalingGroup" => group_api::create(lab, call),
        "UpdateAutoScalingGroup" => group_api::update(lab, call),
        "DeleteAutoScalingGroup" => delete_api::delete(lab, call),
        "SetDesiredCapacity" => group_api::set_desired(lab, call),
        "EnableMetricsCollection" => group_api::enable_metrics(lab, call),
        "DisableMetricsCollection" => group_api::disable_metrics(lab, call),
        "DescribeAccountLimits" => describe::account_limits(lab, call),
        "DescribeAutoScalingGroups" => describe::groups(lab, call),
        "DescribeAutoScalingInstances" => describe::instances(lab, call),
        "DescribeScalingActivities" => describe::activities(lab, call),
        "PutLifecycleHook" => hook_api::put(lab, call),
        "DescribeLifecycleHooks" => hook_api::describe(lab, call),
        "DescribeLifecycleHookTypes" => hook_api::describe_types(call),
        "DeleteLifecycleHook" => hook_api::delete(lab, call),
        "CompleteLifecycleAction" => hook_api::complete(lab, call),
        "RecordLifecycleActionHeartbeat" => hook_api::heartbeat(lab, call),
        "TerminateInstanceInAutoScalingGroup" => instance_api::terminate(lab, call),
        "SetInstanceHealth" => instance_api::set_health(lab, call),
        "SetInstanceProtection" => instance_api::set_protection(lab, call),
        "AttachInstances" => standby_api::attach(lab, call),
        "DetachInstances" => standby_api::detach(lab, call),
        "EnterStandby" => standby_api::enter(lab, call),
        "ExitStandby" => standby_api::exit(lab, call),
        "PutScalingPolicy" => policy_api::put(lab, call),
        "DescribePolicies" => policy_api::describe(lab, call),
        "DeletePolicy" => policy_api::delete(lab, call),
        "ExecutePolicy" => execute::execute(lab, call),
        "DescribeAdjustmentTypes" => policy_api::describe_adjustment_types(call),
        "PutScheduledUpdateGroupAction" => schedule_api::put(lab, call),
        "DescribeScheduledActions" => schedule_api::describe(lab, call),
        "DeleteScheduledAction" => schedule_api::delete(lab, call),
        "SuspendProcesses" => process_api::suspend(lab, call),
        "ResumeProcesses" => process_api::resume(lab, call),
        "DescribeScalingProcessTypes" => process_api::describe_types(call),
        "DescribeTerminationPolicyTypes" => process_api::describe_termination_policies(call),
        "CreateOrUpdateTags" => tag_api::put(lab, call),
        "DeleteTags" => tag_api::delete(lab, call),
        "DescribeTags" => tag_api::describe(lab, call),
        "AttachLoadBalancerTargetGroups" => target_api::attach(lab, call),
        "DetachLoadBalancerTargetGroups" => target_api::detach(lab, call),
        "DescribeLoadBalancerTargetGroups" => target_api::describe(lab, call),
        "AttachTrafficSources" => target_api::attach_sources(lab, call),
        "DetachTrafficSources" => target_api::detach_sources(lab, call),
        "DescribeTrafficSources" => target_api::describe_sources(lab, call),
        action => Err(ApiError::invalid_action(action)),
    }
}

/// The lifecycle state of an instance in AWS's words, when a group has it.
pub fn lifecycle_state(lab: &Lab, region: &str, instance_id: &str) -> Option<String> {
    lab.asg
        .member(region, instance_id, |member| member.state.name().to_owned())
}

/// Where an instance is bound for, as instance metadata answers
/// `autoscaling/target-lifecycle-state`.
pub fn target_lifecycle_state(lab: &Lab, region: &str, instance_id: &str) -> Option<String> {
    lab.asg.member(region, instance_id, |member| {
        member.state.target().to_owned()
    })
}

/// The name of the group that an instance belongs to.
pub fn group_of(lab: &Lab, region: &str, instance_id: &str) -> Option<String> {
    lab.asg.find(region, instance_id).map(|(_, name)| name)
}

/// What a policy may speak of in a group.
pub(crate) struct GroupFacts {
    pub arn: String,
    pub tags: BTreeMap<String, String>,
    /// Ids.
    pub subnets: Vec<String>,
}

/// A group that exists.
pub(crate) fn group_facts(lab: &Lab, region: &str, name: &str) -> Option<GroupFacts> {
    let key = (region.to_owned(), name.to_owned());
    lab.asg.with(&key, |group| GroupFacts {
        arn: group.arn.clone(),
        tags: group
            .tags
            .iter()
            .map(|(key, tag)| (key.clone(), tag.value.clone()))
            .collect(),
        subnets: group.subnets.iter().map(|it| it.id.clone()).collect(),
    })
}

/// Every instance of every group of a region, with its group's name.
pub fn instances_of(lab: &Lab, region: &str) -> Vec<(String, String)> {
    let state = lab.asg.lock();
    let groups = state.groups.iter().filter(|((at, _), _)| at == region);
    groups
        .flat_map(|((_, name), group)| group.members.keys().map(|id| (id.clone(), name.clone())))
        .collect()
}

/// The group metrics that are switched on, as they are now: group, metric, value.
pub fn group_metrics(lab: &Lab, region: &str) -> Vec<(String, &'static str, f64)> {
    let state = lab.asg.lock();
    let mut metrics = Vec::new();
    for ((_, name), group) in state.groups.iter().filter(|((at, _), _)| at == region) {
        let count = |wanted: &dyn Fn(Lifecycle) -> bool| {
            group
                .members
                .values()
                .filter(|member| wanted(member.state))
                .count() as f64
        };
        let values = [
            ("GroupMinSize", group.min as f64),
            ("GroupMaxSize", group.max as f64),
            ("GroupDesiredCapacity", group.desired as f64),
            (
                "GroupInServiceInstances",
                count(&|at| at == Lifecycle::InService),
            ),
            ("GroupPendingInstances", count(&Lifecycle::is_pending)),
            (
                "GroupStandbyInstances",
                count(&|at| at == Lifecycle::Standby),
            ),
            (
                "GroupTerminatingInstances",
                count(&Lifecycle::is_terminating),
            ),
            ("GroupTotalInstances", group.members.len() as f64),
        ];
        let enabled = values
            .into_iter()
            .filter(|(metric, _)| group.metrics.contains(*metric));
        metrics.extend(enabled.map(|(metric, value)| (name.clone(), metric, value)));
    }
    metrics
}

/// The group metrics that can be switched on.
const GROUP_METRICS: [&str; 8] = [
    "GroupMinSize",
    "GroupMaxSize",
    "GroupDesiredCapacity",
    "GroupInServiceInstances",
    "GroupPendingInstances",
    "GroupStandbyInstances",
    "GroupTerminatingInstances",
    "GroupTotalInstances",
];

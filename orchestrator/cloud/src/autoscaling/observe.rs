//! What Auto Scaling says of the stack's groups.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleHook, StepAdjustment};
use futures_util::FutureExt;
use futures_util::future::{try_join_all, try_join3};
use jiff::Timestamp;
use plan::observed::{Activity, Group, Member, ScalingPolicy};

use super::{group_not_found, tags_of};
use crate::connect::Cloud;
use crate::error::{Called, Failure, ReadError};
use crate::kept::Pass;
use crate::observe::Answers;

/// Activities kept of a group: enough to see why a launch fails again and again.
const ACTIVITIES: i32 = 20;

/// Groups and policies, read together because policies are asked for by group.
pub(crate) type GroupsAndPolicies = (
    BTreeMap<String, Group>,
    BTreeMap<String, BTreeMap<String, ScalingPolicy>>,
);

impl Cloud {
    /// The stack's groups with hooks and activities, and their scaling policies.
    pub(crate) async fn observe_groups(
        &self,
        (pass, kept): (&Pass<'_>, &Answers),
    ) -> Result<GroupsAndPolicies, ReadError> {
        let groups = kept.groups.or(pass, "", self.our_groups().boxed()).await?;
        let parts = try_join_all(groups.iter().map(|group| async move {
            let name = group.auto_scaling_group_name().unwrap_or("");
            let (hooks, activities, policies) =
                (self.hooks(name), self.activities(name), self.policies(name));
            let parts = try_join3(
                kept.hooks.or(pass, name, hooks.boxed()),
                kept.activities.or(pass, name, activities.boxed()),
                kept.policies.or(pass, name, policies.boxed()),
            );
            match parts.await {
                // Deleted between the calls: not there.
                Err(failure) if group_not_found(&failure) => Ok(None),
                parts => parts.map(Some),
            }
        }))
        .await?;
        let mut seen_groups = BTreeMap::new();
        let mut seen_policies = BTreeMap::new();
        for (group, parts) in groups.iter().zip(parts) {
            let Some((hooks, activities, policies)) = parts else {
                continue;
            };
            let seen = seen(group, &hooks, activities);
            seen_policies.insert(seen.name.clone(), policies);
            seen_groups.insert(seen.name.clone(), seen);
        }
        Ok((seen_groups, seen_policies))
    }

    /// The group that an instance is a member of now, with what the group says of it. None: of no group.
    pub async fn observe_member(
        &self,
        instance: &str,
    ) -> Result<Option<(String, Member)>, ReadError> {
        let answer = self
            .look()
            .autoscaling
            .describe_auto_scaling_instances()
            .instance_ids(instance)
            .send()
            .await
            .called("autoscaling:DescribeAutoScalingInstances")?;
        Ok(answer.auto_scaling_instances().first().map(|member| {
            let version = member
                .launch_template()
                .and_then(|template| template.version());
            (
                member.auto_scaling_group_name().unwrap_or("").to_owned(),
                Member {
                    lifecycle: member.lifecycle_state().unwrap_or("").to_owned(),
                    // This call alone spells it in capitals.
                    health: match member.health_status().unwrap_or("") {
                        "HEALTHY" => "Healthy".to_owned(),
                        "UNHEALTHY" => "Unhealthy".to_owned(),
                        other => other.to_owned(),
                    },
                    zone: member.availability_zone().unwrap_or("").to_owned(),
                    template_version: number(version),
                    protected: member.protected_from_scale_in().unwrap_or(false),
                },
            )
        }))
    }

    /// The group's hooks.
    pub(super) async fn hooks(&self, group: &str) -> Result<Vec<LifecycleHook>, Failure> {
        let answer = self
            .look()
            .autoscaling
            .describe_lifecycle_hooks()
            .auto_scaling_group_name(group)
            .send()
            .await
            .called("autoscaling:DescribeLifecycleHooks")?;
        Ok(answer.lifecycle_hooks.unwrap_or_default())
    }

    async fn activities(&self, group: &str) -> Result<Vec<Activity>, Failure> {
        let answer = self
            .look()
            .autoscaling
            .describe_scaling_activities()
            .auto_scaling_group_name(group)
            .max_records(ACTIVITIES)
            .send()
            .await
            .called("autoscaling:DescribeScalingActivities")?;
        let mut found: Vec<Activity> = answer
            .activities()
            .iter()
            .map(|activity| Activity {
                status: activity
                    .status_code()
                    .map_or("", |code| code.as_str())
                    .to_owned(),
                description: activity.description().unwrap_or("").to_owned(),
                message: activity.status_message().map(str::to_owned),
                at: activity.start_time().and_then(|time| {
                    Timestamp::new(time.secs(), time.subsec_nanos().cast_signed()).ok()
                }),
            })
            .collect();
        // AWS puts those in progress before all others, however old they are.
        found.sort_by_key(|activity| std::cmp::Reverse(activity.at));
        Ok(found)
    }

    async fn policies(&self, group: &str) -> Result<BTreeMap<String, ScalingPolicy>, Failure> {
        let policies = self
            .look()
            .autoscaling
            .describe_policies()
            .auto_scaling_group_name(group)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("autoscaling:DescribePolicies")?;
        Ok(policies
            .iter()
            .map(|policy| {
                let adjustment = policy
                    .step_adjustments()
                    .first()
                    .and_then(StepAdjustment::scaling_adjustment)
                    .or_else(|| policy.scaling_adjustment());
                (
                    policy.policy_name().unwrap_or("").to_owned(),
                    ScalingPolicy {
                        arn: policy.policy_arn().unwrap_or("").to_owned(),
                        adjustment: adjustment.unwrap_or(0),
                    },
                )
            })
            .collect())
    }
}

/// A version as the group names it. `$Latest` and `$Default`, which we never write, read as 0: no number of ours.
fn number(version: Option<&str>) -> u64 {
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

fn size(value: Option<i32>) -> u32 {
    value
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(0)
}

/// The subnets, which Auto Scaling joins with commas.
pub(super) fn subnets_of(group: &AutoScalingGroup) -> BTreeSet<String> {
    group
        .vpc_zone_identifier()
        .unwrap_or("")
        .split(',')
        .map(str::trim)
        .filter(|subnet| !subnet.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The suspended processes.
pub(super) fn suspended_in(group: &AutoScalingGroup) -> BTreeSet<String> {
    group
        .suspended_processes()
        .iter()
        .filter_map(|process| process.process_name().map(str::to_owned))
        .collect()
}

fn seen(group: &AutoScalingGroup, hooks: &[LifecycleHook], activities: Vec<Activity>) -> Group {
    Group {
        name: group.auto_scaling_group_name().unwrap_or("").to_owned(),
        min: size(group.min_size()),
        max: size(group.max_size()),
        desired: size(group.desired_capacity()),
        template_version: number(
            group
                .launch_template()
                .and_then(|template| template.version()),
        ),
        subnets: subnets_of(group),
        target_groups: group.target_group_arns().iter().cloned().collect(),
        suspended: suspended_in(group),
        members: group
            .instances()
            .iter()
            .filter_map(|member| {
                let version = member
                    .launch_template()
                    .and_then(|template| template.version());
                let seen = Member {
                    lifecycle: member
                        .lifecycle_state()
                        .map_or("", |state| state.as_str())
                        .to_owned(),
                    health: member.health_status().unwrap_or("").to_owned(),
                    zone: member.availability_zone().unwrap_or("").to_owned(),
                    template_version: number(version),
                    protected: member.protected_from_scale_in().unwrap_or(false),
                };
                Some((member.instance_id()?.to_owned(), seen))
            })
            .collect(),
        hooks: hooks
            .iter()
            .map(|hook| {
                (
                    hook.lifecycle_hook_name().unwrap_or("").to_owned(),
                    (
                        hook.lifecycle_transition().unwrap_or("").to_owned(),
                        size(hook.heartbeat_timeout()),
                    ),
                )
            })
            .collect(),
        health_check: group.health_check_type().unwrap_or("").to_owned(),
        status: group.status().map(str::to_owned),
        activities,
        tags: tags_of(group.tags()),
    }
}

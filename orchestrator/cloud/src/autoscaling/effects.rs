//! What is set on a group that is there, and its end.

use std::collections::BTreeSet;

use aws_sdk_autoscaling::types::{LaunchTemplateSpecification, StepAdjustment, Tag};
use plan::observed::{STACK_TAG, Tags};

use super::observe::suspended_in;
use super::{group_not_found, tags_of};
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

/// The resource type of every tag in Auto Scaling.
const GROUP: &str = "auto-scaling-group";

impl Cloud {
    /// MinSize, MaxSize and DesiredCapacity.
    pub(crate) async fn set_group_size(
        &self,
        group: &str,
        min: u32,
        max: u32,
        desired: u32,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "autoscaling:UpdateAutoScalingGroup";
        let there = self.our_group(CALL, group).await?;
        let [min, max, desired] = [min, max, desired].map(u32::cast_signed);
        if there.min_size() == Some(min)
            && there.max_size() == Some(max)
            && there.desired_capacity() == Some(desired)
        {
            return Ok(Outcome::Unchanged);
        }
        self.act()
            .autoscaling
            .update_auto_scaling_group()
            .auto_scaling_group_name(group)
            .min_size(min)
            .max_size(max)
            .desired_capacity(desired)
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// The template version, by number, that new instances get.
    pub(crate) async fn set_group_template(
        &self,
        group: &str,
        template: &str,
        version: u64,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "autoscaling:UpdateAutoScalingGroup";
        let there = self.our_group(CALL, group).await?;
        let version = version.to_string();
        if there.launch_template().is_some_and(|now| {
            now.launch_template_name() == Some(template) && now.version() == Some(version.as_str())
        }) {
            return Ok(Outcome::Unchanged);
        }
        self.act()
            .autoscaling
            .update_auto_scaling_group()
            .auto_scaling_group_name(group)
            .launch_template(
                LaunchTemplateSpecification::builder()
                    .launch_template_name(template)
                    .version(version)
                    .build(),
            )
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// Exactly these processes are suspended.
    pub(crate) async fn set_suspended(
        &self,
        group: &str,
        processes: &BTreeSet<String>,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "autoscaling:SuspendProcesses";
        let there = suspended_in(&self.our_group(CALL, group).await?);
        let missing: Vec<String> = processes.difference(&there).cloned().collect();
        let surplus: Vec<String> = there.difference(processes).cloned().collect();
        let mut outcome = Outcome::Unchanged;
        if !missing.is_empty() {
            self.act()
                .autoscaling
                .suspend_processes()
                .auto_scaling_group_name(group)
                .set_scaling_processes(Some(missing))
                .send()
                .await
                .called(CALL)?;
            outcome = Outcome::Changed;
        }
        if !surplus.is_empty() {
            self.act()
                .autoscaling
                .resume_processes()
                .auto_scaling_group_name(group)
                .set_scaling_processes(Some(surplus))
                .send()
                .await
                .called("autoscaling:ResumeProcesses")?;
            outcome = Outcome::Changed;
        }
        Ok(outcome)
    }

    /// These members are not protected from scale-in any more, as far as they are there and it may be changed.
    pub(crate) async fn lift_scale_in_protection(
        &self,
        group: &str,
        instances: &BTreeSet<String>,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "autoscaling:SetInstanceProtection";
        let there = self.our_group(CALL, group).await?;
        let protected: Vec<String> = there
            .instances()
            .iter()
            .filter(|member| member.protected_from_scale_in().unwrap_or(false))
            .filter_map(|member| member.instance_id().map(str::to_owned))
            .filter(|id| instances.contains(id))
            .collect();
        // The API takes 50 instances a call.
        for portion in protected.chunks(50) {
            self.act()
                .autoscaling
                .set_instance_protection()
                .auto_scaling_group_name(group)
                .set_instance_ids(Some(portion.to_vec()))
                .protected_from_scale_in(false)
                .send()
                .await
                .called(CALL)?;
        }
        Ok(if protected.is_empty() {
            Outcome::Unchanged
        } else {
            Outcome::Changed
        })
    }

    /// Tags of the group, not of its instances (a tag that propagates already goes on doing so).
    /// The stack's own tag cannot be removed by this.
    pub(crate) async fn set_group_tags(
        &self,
        group: &str,
        tags: &Tags,
        remove: &BTreeSet<String>,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "autoscaling:CreateOrUpdateTags";
        let there = self.our_group(CALL, group).await?;
        let now = tags_of(there.tags());
        let propagates = |key: &str| {
            there
                .tags()
                .iter()
                .any(|tag| tag.key() == Some(key) && tag.propagate_at_launch().unwrap_or(false))
        };
        let changed: Vec<Tag> = tags
            .iter()
            .filter(|(key, value)| now.get(*key) != Some(value))
            .map(|(key, value)| tag(group, key, value, propagates(key)))
            .collect();
        let removed: Vec<Tag> = remove
            .iter()
            .filter(|key| key.as_str() != STACK_TAG)
            .filter_map(|key| Some((key, now.get(key)?)))
            .map(|(key, value)| tag(group, key, value, propagates(key)))
            .collect();
        let mut outcome = Outcome::Unchanged;
        if !changed.is_empty() {
            self.act()
                .autoscaling
                .create_or_update_tags()
                .set_tags(Some(changed))
                .send()
                .await
                .called(CALL)?;
            outcome = Outcome::Changed;
        }
        if !removed.is_empty() {
            self.act()
                .autoscaling
                .delete_tags()
                .set_tags(Some(removed))
                .send()
                .await
                .called("autoscaling:DeleteTags")?;
            outcome = Outcome::Changed;
        }
        Ok(outcome)
    }

    /// A step policy that adds (or, negative, removes) `adjustment` instances whenever its alarm fires.
    pub(crate) async fn ensure_scaling_policy(
        &self,
        group: &str,
        name: &str,
        adjustment: i32,
        warmup_seconds: u32,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "autoscaling:PutScalingPolicy";
        self.our_group(CALL, group).await?;
        // Bounds count from the alarm's threshold: scale-out acts above it, scale-in below it.
        let step = StepAdjustment::builder().scaling_adjustment(adjustment);
        let step = if adjustment < 0 {
            step.metric_interval_upper_bound(0.0)
        } else {
            step.metric_interval_lower_bound(0.0)
        };
        self.act()
            .autoscaling
            .put_scaling_policy()
            .auto_scaling_group_name(group)
            .policy_name(name)
            .policy_type("StepScaling")
            .adjustment_type("ChangeInCapacity")
            .metric_aggregation_type("Average")
            .estimated_instance_warmup(warmup_seconds.cast_signed())
            .step_adjustments(step.build())
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// Ends a lifecycle action. One that is no longer waited for (ended before, timed out, instance
    /// gone) is what was wanted.
    pub(crate) async fn set_lifecycle_complete(
        &self,
        group: &str,
        hook: &str,
        instance: &str,
        result: &str,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "autoscaling:CompleteLifecycleAction";
        self.our_group(CALL, group).await?;
        let answer = self
            .act()
            .autoscaling
            .complete_lifecycle_action()
            .auto_scaling_group_name(group)
            .lifecycle_hook_name(hook)
            .instance_id(instance)
            .lifecycle_action_result(result)
            .send()
            .await
            .called(CALL);
        hook_outcome(answer)
    }

    /// Gives a waiting instance the hook's heartbeat once more. One that does not wait any more needs none.
    pub(crate) async fn set_lifecycle_heartbeat(
        &self,
        group: &str,
        hook: &str,
        instance: &str,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "autoscaling:RecordLifecycleActionHeartbeat";
        self.our_group(CALL, group).await?;
        let answer = self
            .act()
            .autoscaling
            .record_lifecycle_action_heartbeat()
            .auto_scaling_group_name(group)
            .lifecycle_hook_name(hook)
            .instance_id(instance)
            .send()
            .await
            .called(CALL);
        hook_outcome(answer)
    }

    /// Ends an instance of ours; its group keeps its size and replaces it.
    pub(crate) async fn delete_instance(
        &self,
        group: &str,
        instance: &str,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "autoscaling:TerminateInstanceInAutoScalingGroup";
        let there = self.our_group(CALL, group).await?;
        let member = there
            .instances()
            .iter()
            .find(|member| member.instance_id() == Some(instance));
        let leaving = member
            .and_then(|member| member.lifecycle_state())
            .is_none_or(|state| state.as_str().starts_with("Terminat"));
        if leaving {
            return Ok(Outcome::Unchanged);
        }
        self.act()
            .autoscaling
            .terminate_instance_in_auto_scaling_group()
            .instance_id(instance)
            .should_decrement_desired_capacity(false)
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// Deletes a group of ours; `force` ends its instances, without their hooks.
    pub(crate) async fn delete_group(
        &self,
        group: &str,
        force: bool,
    ) -> Result<Outcome, EffectError> {
        let Some(there) = self.group_named(group).await? else {
            return Ok(Outcome::Unchanged);
        };
        self.check_ours(group, &tags_of(there.tags()))?;
        if there.status().is_some() {
            return Ok(Outcome::Unchanged);
        }
        let answer = self
            .act()
            .autoscaling
            .delete_auto_scaling_group()
            .auto_scaling_group_name(group)
            .force_delete(force)
            .send()
            .await
            .called("autoscaling:DeleteAutoScalingGroup");
        match answer {
            Ok(_) => Ok(Outcome::Changed),
            Err(failure) if group_not_found(&failure) => Ok(Outcome::Unchanged),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// What a call about a lifecycle action did. One that is no longer waited for is what was wanted.
fn hook_outcome<T>(answer: Result<T, Failure>) -> Result<Outcome, EffectError> {
    match answer {
        Ok(_) => Ok(Outcome::Changed),
        Err(failure) if no_active_action(&failure) => Ok(Outcome::Unchanged),
        Err(failure) => Err(failure.into()),
    }
}

/// The action ended before, timed out, or its instance is gone.
fn no_active_action(failure: &Failure) -> bool {
    failure.is("ValidationError")
        && failure
            .message()
            .contains("No active Lifecycle Action found")
}

/// A tag of a group.
pub(super) fn tag(group: &str, key: &str, value: &str, propagate: bool) -> Tag {
    Tag::builder()
        .resource_id(group)
        .resource_type(GROUP)
        .key(key)
        .value(value)
        .propagate_at_launch(propagate)
        .build()
}

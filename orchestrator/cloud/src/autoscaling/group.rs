//! One group as wanted: made whole in one call, mended piece by piece.

use std::collections::BTreeSet;

use aws_sdk_autoscaling::types::{
    AutoScalingGroup, LaunchTemplateSpecification, LifecycleHookSpecification, Tag,
};
use plan::action::{GroupWanted, LAUNCH_HOOK, TERMINATE_HOOK};
use plan::observed::Tags;

use super::observe::subnets_of;
use super::tags_of;
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError};

/// The only granularity that Auto Scaling has.
const GRANULARITY: &str = "1Minute";

/// A lifecycle hook as every group of ours has it.
struct Hook {
    name: &'static str,
    transition: &'static str,
    heartbeat: i32,
    default_result: &'static str,
}

/// A node that does not report in time is given up; one that does not drain in time goes anyway.
fn hooks(wanted: &GroupWanted) -> [Hook; 2] {
    [
        Hook {
            name: LAUNCH_HOOK,
            transition: "autoscaling:EC2_INSTANCE_LAUNCHING",
            heartbeat: wanted.launch_heartbeat.cast_signed(),
            default_result: "ABANDON",
        },
        Hook {
            name: TERMINATE_HOOK,
            transition: "autoscaling:EC2_INSTANCE_TERMINATING",
            heartbeat: wanted.terminate_heartbeat.cast_signed(),
            default_result: "CONTINUE",
        },
    ]
}

impl Cloud {
    /// The group: hooks are part of its creation, so that no instance is ever launched without them.
    /// Of a group that is there, all but size and template version is mended.
    pub(crate) async fn ensure_group(&self, wanted: &GroupWanted) -> Result<Outcome, EffectError> {
        let name = &wanted.name;
        let (there, created) = match self.group_named(name).await? {
            Some(group) => (Some(group), Outcome::Unchanged),
            None => (self.create_group(wanted).await?, Outcome::Changed),
        };
        let Some(there) = there else {
            self.enable_metrics(name).await?;
            return Ok(Outcome::Changed);
        };
        self.check_ours(name, &tags_of(there.tags()))?;
        let attributes = self.mend_attributes(&there, wanted).await?;
        let targets = self.mend_target_groups(&there, wanted).await?;
        let hooks = self.mend_hooks(wanted).await?;
        let metrics = if there.enabled_metrics().is_empty() {
            self.enable_metrics(name).await?;
            Outcome::Changed
        } else {
            Outcome::Unchanged
        };
        Ok(created.and(attributes).and(targets).and(hooks).and(metrics))
    }

    /// Creates the group; `Some` when another one was faster.
    async fn create_group(
        &self,
        wanted: &GroupWanted,
    ) -> Result<Option<AutoScalingGroup>, EffectError> {
        const CALL: &str = "autoscaling:CreateAutoScalingGroup";
        let specifications = hooks(wanted)
            .into_iter()
            .map(|hook| {
                LifecycleHookSpecification::builder()
                    .lifecycle_hook_name(hook.name)
                    .lifecycle_transition(hook.transition)
                    .heartbeat_timeout(hook.heartbeat)
                    .default_result(hook.default_result)
                    .build()
            })
            .collect();
        let answer = self
            .act()
            .autoscaling
            .create_auto_scaling_group()
            .auto_scaling_group_name(&wanted.name)
            .launch_template(
                LaunchTemplateSpecification::builder()
                    .launch_template_name(&wanted.template)
                    .version(wanted.version.to_string())
                    .build(),
            )
            .min_size(wanted.min.cast_signed())
            .max_size(wanted.max.cast_signed())
            .desired_capacity(wanted.desired.cast_signed())
            .vpc_zone_identifier(joined(&wanted.subnets))
            .set_target_group_arns(Some(wanted.target_groups.iter().cloned().collect()))
            .health_check_type("ELB")
            .health_check_grace_period(wanted.grace_seconds.cast_signed())
            .set_lifecycle_hook_specification_list(Some(specifications))
            .set_tags(Some(self.group_tags(wanted)))
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(_) => Ok(None),
            Err(failure) if failure.is("AlreadyExists") => self
                .group_named(&wanted.name)
                .await?
                .map(Some)
                .ok_or_else(|| EffectError::invisible(CALL, &wanted.name)),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The wanted tags and ours, on the group and on its instances.
    fn group_tags(&self, wanted: &GroupWanted) -> Vec<Tag> {
        let tags: Tags = self.our_tags(
            wanted
                .tags
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
        tags.iter()
            .map(|(key, value)| super::effects::tag(&wanted.name, key, value, true))
            .collect()
    }

    async fn mend_attributes(
        &self,
        there: &AutoScalingGroup,
        wanted: &GroupWanted,
    ) -> Result<Outcome, EffectError> {
        let grace = wanted.grace_seconds.cast_signed();
        if subnets_of(there) == wanted.subnets
            && there.health_check_type() == Some("ELB")
            && there.health_check_grace_period() == Some(grace)
        {
            return Ok(Outcome::Unchanged);
        }
        self.act()
            .autoscaling
            .update_auto_scaling_group()
            .auto_scaling_group_name(&wanted.name)
            .vpc_zone_identifier(joined(&wanted.subnets))
            .health_check_type("ELB")
            .health_check_grace_period(grace)
            .send()
            .await
            .called("autoscaling:UpdateAutoScalingGroup")?;
        Ok(Outcome::Changed)
    }

    async fn mend_target_groups(
        &self,
        there: &AutoScalingGroup,
        wanted: &GroupWanted,
    ) -> Result<Outcome, EffectError> {
        let attached: BTreeSet<String> = there.target_group_arns().iter().cloned().collect();
        let missing: Vec<String> = wanted
            .target_groups
            .difference(&attached)
            .cloned()
            .collect();
        let surplus: Vec<String> = attached
            .difference(&wanted.target_groups)
            .cloned()
            .collect();
        let mut outcome = Outcome::Unchanged;
        if !missing.is_empty() {
            self.act()
                .autoscaling
                .attach_load_balancer_target_groups()
                .auto_scaling_group_name(&wanted.name)
                .set_target_group_arns(Some(missing))
                .send()
                .await
                .called("autoscaling:AttachLoadBalancerTargetGroups")?;
            outcome = Outcome::Changed;
        }
        if !surplus.is_empty() {
            self.act()
                .autoscaling
                .detach_load_balancer_target_groups()
                .auto_scaling_group_name(&wanted.name)
                .set_target_group_arns(Some(surplus))
                .send()
                .await
                .called("autoscaling:DetachLoadBalancerTargetGroups")?;
            outcome = Outcome::Changed;
        }
        Ok(outcome)
    }

    async fn mend_hooks(&self, wanted: &GroupWanted) -> Result<Outcome, EffectError> {
        let there = self.hooks(&wanted.name).await?;
        let mut outcome = Outcome::Unchanged;
        for hook in hooks(wanted) {
            let same = there.iter().any(|other| {
                other.lifecycle_hook_name() == Some(hook.name)
                    && other.lifecycle_transition() == Some(hook.transition)
                    && other.heartbeat_timeout() == Some(hook.heartbeat)
                    && other.default_result() == Some(hook.default_result)
            });
            if same {
                continue;
            }
            self.act()
                .autoscaling
                .put_lifecycle_hook()
                .auto_scaling_group_name(&wanted.name)
                .lifecycle_hook_name(hook.name)
                .lifecycle_transition(hook.transition)
                .heartbeat_timeout(hook.heartbeat)
                .default_result(hook.default_result)
                .send()
                .await
                .called("autoscaling:PutLifecycleHook")?;
            outcome = Outcome::Changed;
        }
        Ok(outcome)
    }

    async fn enable_metrics(&self, group: &str) -> Result<(), EffectError> {
        self.act()
            .autoscaling
            .enable_metrics_collection()
            .auto_scaling_group_name(group)
            .granularity(GRANULARITY)
            .send()
            .await
            .called("autoscaling:EnableMetricsCollection")?;
        Ok(())
    }
}

fn joined(subnets: &BTreeSet<String>) -> String {
    subnets
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(",")
}

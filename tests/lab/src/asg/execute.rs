//! Scaling policies carried out: by a call, by an alarm.

use std::sync::Arc;
use std::time::Duration;

use super::activity::moment;
use super::model::{Cooldown, Group, Lifecycle, Policy, PolicyKind, Process};
use super::parse::{invalid, required};
use super::policy_api::find;
use super::scaling;
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// `ExecutePolicy`.
pub fn execute(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let group = p.opt("AutoScalingGroupName");
    let policy = required(p, "PolicyName")?;
    let honor = p.opt_bool("HonorCooldown")?.unwrap_or(false);
    let value = p.opt_float("MetricValue")?;
    let threshold = p.opt_float("BreachThreshold")?;
    p.finish()?;
    let (key, name) = find(lab, &call.region, group.as_deref(), &policy)?;
    let lab_now = lab.clock.lab_time();
    let at = moment(lab.clock.now());
    lab.asg.group(&key, |group| {
        let policy =
            group.policies.get(&name).cloned().ok_or_else(|| {
                invalid(format!("PolicyARN not found: no policy `{name}` exists"))
            })?;
        let is_step = matches!(policy.kind, PolicyKind::Step { .. });
        let difference = match (value, threshold) {
            (Some(value), Some(threshold)) if is_step => value - threshold,
            (None, None) if !is_step => 0.0,
            _ if is_step => {
                return Err(invalid(
                    "MetricValue and BreachThreshold must be specified for a StepScaling policy",
                ));
            }
            _ => {
                return Err(invalid(
                    "MetricValue and BreachThreshold are not valid for a SimpleScaling policy",
                ));
            }
        };
        if honor && !is_step && group.cooldown.is_some() {
            return Err(ApiError::new(
                "ScalingActivityInProgress",
                format!(
                    "Scaling activity not initiated: group {} is in its cooldown period",
                    group.name
                ),
            ));
        }
        let trigger = format!("At {at} a user request executed policy {name}");
        apply(group, &policy, difference, &trigger, lab_now);
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(Xml::new().into())
}

/// What an alarm does when a policy is its action. Nothing, and no error, where AWS does nothing:
/// AlarmNotification suspended, policy disabled, cooldown running.
pub fn execute_policy(
    lab: &Lab,
    region: &str,
    policy_arn: &str,
    alarm: &str,
    metric_value: f64,
    threshold: f64,
) -> Result<(), ApiError> {
    let (key, name) = find(lab, region, None, policy_arn)?;
    let lab_now = lab.clock.lab_time();
    let at = moment(lab.clock.now());
    lab.asg.group(&key, |group| {
        let Some(policy) = group.policies.get(&name).cloned() else {
            return Ok(());
        };
        let paused = group.is_suspended(Process::AlarmNotification)
            || group.deleting
            || !policy.enabled
            || (matches!(policy.kind, PolicyKind::Simple { .. })
                && (group.cooldown.is_some() || is_scaling(group)));
        if !paused {
            let trigger =
                format!("At {at} a monitor alarm {alarm} in state ALARM triggered policy {name}");
            apply(group, &policy, metric_value - threshold, &trigger, lab_now);
        }
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(())
}

/// A scaling activity or replacement is under way; a simple policy waits for its end.
fn is_scaling(group: &Group) -> bool {
    !group.launching.is_empty()
        || group.capacity() != group.desired
        || group
            .members
            .values()
            .any(|member| member.state.is_pending() || member.state.is_terminating())
}

fn apply(group: &mut Group, policy: &Policy, difference: f64, trigger: &str, lab_now: Duration) {
    let bounds = (group.min, group.max);
    let goal = match &policy.kind {
        PolicyKind::Simple { adjustment, .. } => Some(
            scaling::adjusted(
                policy.adjustment_type,
                group.desired,
                *adjustment,
                policy.min_magnitude,
            )
            .clamp(bounds.0, bounds.1),
        ),
        PolicyKind::Step { steps, warmup, .. } => {
            let warmup = warmup
                .or(group.instance_warmup)
                .unwrap_or(group.default_cooldown);
            let warming = warming(group, warmup, lab_now);
            scaling::step_for(steps, difference).and_then(|step| {
                scaling::step_target(
                    policy.adjustment_type,
                    step,
                    group.desired,
                    warming,
                    policy.min_magnitude,
                    bounds,
                )
            })
        }
    };
    let Some(goal) = goal.filter(|goal| *goal != group.desired) else {
        return;
    };
    let needed = if goal > group.desired {
        Process::Launch
    } else {
        Process::Terminate
    };
    if group.is_suspended(needed) {
        return;
    }
    group.cause = format!(
        "{trigger} changing the desired capacity from {} to {goal}.  ",
        group.desired
    );
    group.desired = goal;
    if let PolicyKind::Simple { cooldown, .. } = &policy.kind {
        let seconds = cooldown.unwrap_or(group.default_cooldown).max(0) as u64;
        group.cooldown = Some(Cooldown {
            length: Duration::from_secs(seconds),
            until: None,
        });
    }
}

/// Instances that are on their way in or in service for less than the warm-up, and capacity that is
/// wanted and not launched yet.
fn warming(group: &Group, warmup: i64, lab_now: Duration) -> i64 {
    let warmup = Duration::from_secs(warmup.max(0) as u64);
    let young = group
        .members
        .values()
        .filter(|member| match member.state {
            Lifecycle::InService => member
                .in_service_at
                .is_some_and(|since| lab_now < since + warmup),
            state => state.is_pending(),
        })
        .count();
    let missing = (group.desired - group.capacity()).max(0);
    (young + group.launching.len()) as i64 + missing
}

//! Scaling policies: kept, shown, and carried out.

use std::sync::Arc;
use std::time::Duration;

use super::activity::moment;
use super::model::{
    AdjustmentType, Cooldown, Group, Key, Lifecycle, Policy, PolicyKind, Process, Step,
};
use super::parse::{self, Page, invalid, list, no_group, required};
use super::scaling;
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};
use crate::cloudwatch;
use crate::iam::ACCOUNT;

/// `PutScalingPolicy`.
pub fn put(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let group = required(p, "AutoScalingGroupName")?;
    let name = required(p, "PolicyName")?;
    let kind_name = p
        .opt("PolicyType")
        .unwrap_or_else(|| "SimpleScaling".to_owned());
    let kind = match kind_name.as_str() {
        "SimpleScaling" => PolicyKind::Simple {
            adjustment: p.opt_int("ScalingAdjustment")?.ok_or_else(|| {
                invalid("ScalingAdjustment must be specified for a SimpleScaling policy")
            })?,
            cooldown: parse::count(p, "Cooldown")?,
        },
        "StepScaling" => step_kind(p)?,
        "TargetTrackingScaling" | "PredictiveScaling" => {
            return Err(invalid(format!(
                "PolicyType {kind_name} is not implemented by the lab; use StepScaling or SimpleScaling"
            )));
        }
        other => {
            return Err(invalid(format!(
                "PolicyType `{other}` is not valid; valid are: SimpleScaling, StepScaling, TargetTrackingScaling, PredictiveScaling"
            )));
        }
    };
    let adjustment_type: AdjustmentType = parse::word(
        "AdjustmentType",
        &required(p, "AdjustmentType")?,
        "ChangeInCapacity, ExactCapacity, PercentChangeInCapacity",
    )?;
    let min_magnitude = parse::count(p, "MinAdjustmentMagnitude")?;
    if min_magnitude.is_some() && adjustment_type != AdjustmentType::PercentChangeInCapacity {
        return Err(invalid(
            "MinAdjustmentMagnitude is only valid with AdjustmentType PercentChangeInCapacity",
        ));
    }
    if adjustment_type == AdjustmentType::ExactCapacity && has_negative(&kind) {
        return Err(invalid(
            "ScalingAdjustment must be 0 or greater with AdjustmentType ExactCapacity",
        ));
    }
    let enabled = p.opt_bool("Enabled")?.unwrap_or(true);
    p.finish()?;
    let uuid = lab.ids.uuid();
    let key = (call.region.clone(), group);
    let arn = lab.asg.group(&key, |group| {
        let arn = group.policies.get(&name).map_or_else(
            || {
                format!(
                    "arn:aws:autoscaling:{}:{ACCOUNT}:scalingPolicy:{uuid}:autoScalingGroupName/{}:policyName/{name}",
                    key.0, group.name
                )
            },
            |before| before.arn.clone(),
        );
        let policy = Policy {
            arn: arn.clone(),
            adjustment_type,
            min_magnitude,
            enabled,
            kind,
        };
        group.policies.insert(name, policy);
        Ok(arn)
    })?;
    Ok(Xml::new()
        .text("PolicyARN", arn)
        .list("Alarms", "member", [])
        .into())
}

fn has_negative(kind: &PolicyKind) -> bool {
    match kind {
        PolicyKind::Simple { adjustment, .. } => *adjustment < 0,
        PolicyKind::Step { steps, .. } => steps.iter().any(|step| step.adjustment < 0),
    }
}

fn step_kind(p: &Params) -> Result<PolicyKind, ApiError> {
    let steps = p
        .structs("StepAdjustments")
        .iter()
        .map(|sent| {
            Ok(Step {
                lower: sent.opt_float("MetricIntervalLowerBound")?,
                upper: sent.opt_float("MetricIntervalUpperBound")?,
                adjustment: sent.opt_int("ScalingAdjustment")?.ok_or_else(|| {
                    invalid("ScalingAdjustment must be specified in every StepAdjustment")
                })?,
            })
        })
        .collect::<Result<Vec<_>, ApiError>>()?;
    scaling::check_steps(&steps).map_err(invalid)?;
    let aggregation = p
        .opt("MetricAggregationType")
        .unwrap_or_else(|| "Average".to_owned());
    if !["Average", "Minimum", "Maximum"].contains(&aggregation.as_str()) {
        return Err(invalid(format!(
            "MetricAggregationType `{aggregation}` is not valid; valid are: Average, Minimum, Maximum"
        )));
    }
    Ok(PolicyKind::Step {
        steps,
        warmup: parse::count(p, "EstimatedInstanceWarmup")?,
        aggregation,
    })
}

/// `DescribePolicies`.
pub fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let group = p.opt("AutoScalingGroupName");
    let names = list(p, "PolicyNames");
    let types = list(p, "PolicyTypes");
    let page = Page::parse(p, 50, 100)?;
    p.finish()?;
    let found: Vec<(String, String, Policy)> = {
        let state = lab.asg.lock();
        if let Some(name) = &group {
            let key = (call.region.clone(), name.clone());
            if !state.groups.contains_key(&key) {
                return Err(no_group(name));
            }
        }
        state
            .groups
            .iter()
            .filter(|((region, name), _)| {
                *region == call.region && group.as_ref().is_none_or(|wanted| wanted == name)
            })
            .flat_map(|((_, group), settings)| {
                settings
                    .policies
                    .iter()
                    .map(|(name, policy)| (group.clone(), name.clone(), policy.clone()))
            })
            .filter(|(_, name, policy)| {
                (names.is_empty() || names.contains(name) || names.contains(&policy.arn))
                    && (types.is_empty() || types.iter().any(|kind| kind == type_name(policy)))
            })
            .collect()
    };
    let found = found
        .into_iter()
        .map(|(group, name, policy)| {
            let alarms = cloudwatch::alarms_with_action(lab, &call.region, &policy.arn);
            policy_xml(&group, &name, &policy, alarms)
        })
        .collect();
    let (found, token) = page.cut(found);
    Ok(Xml::new()
        .list("ScalingPolicies", "member", found)
        .opt("NextToken", token)
        .into())
}

fn type_name(policy: &Policy) -> &'static str {
    match policy.kind {
        PolicyKind::Simple { .. } => "SimpleScaling",
        PolicyKind::Step { .. } => "StepScaling",
    }
}

fn policy_xml(group: &str, name: &str, policy: &Policy, alarms: Vec<(String, String)>) -> Xml {
    let xml = Xml::new()
        .text("AutoScalingGroupName", group)
        .text("PolicyName", name)
        .text("PolicyARN", &policy.arn)
        .text("PolicyType", type_name(policy))
        .text("AdjustmentType", policy.adjustment_type.name())
        .opt("MinAdjustmentMagnitude", policy.min_magnitude);
    let xml = match &policy.kind {
        PolicyKind::Simple {
            adjustment,
            cooldown,
        } => xml
            .text("ScalingAdjustment", adjustment)
            .opt("Cooldown", *cooldown)
            .list("StepAdjustments", "member", []),
        PolicyKind::Step {
            steps,
            warmup,
            aggregation,
        } => xml
            .list(
                "StepAdjustments",
                "member",
                steps.iter().map(|step| {
                    Xml::new()
                        .opt("MetricIntervalLowerBound", step.lower)
                        .opt("MetricIntervalUpperBound", step.upper)
                        .text("ScalingAdjustment", step.adjustment)
                }),
            )
            .text("MetricAggregationType", aggregation)
            .opt("EstimatedInstanceWarmup", *warmup),
    };
    xml.list(
        "Alarms",
        "member",
        alarms
            .into_iter()
            .map(|(name, arn)| Xml::new().text("AlarmName", name).text("AlarmARN", arn)),
    )
    .text("Enabled", policy.enabled)
}

/// `DeletePolicy`, by name or ARN.
pub fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let group = call.params.opt("AutoScalingGroupName");
    let policy = required(&call.params, "PolicyName")?;
    call.params.finish()?;
    let (key, name) = find(lab, &call.region, group.as_deref(), &policy)?;
    lab.asg.with(&key, |group| group.policies.remove(&name));
    Ok(Xml::new().into())
}

fn find(
    lab: &Lab,
    region: &str,
    group: Option<&str>,
    policy: &str,
) -> Result<(Key, String), ApiError> {
    let state = lab.asg.lock();
    if let Some(name) = group {
        if !state
            .groups
            .contains_key(&(region.to_owned(), name.to_owned()))
        {
            return Err(no_group(name));
        }
    } else if !policy.starts_with("arn:") {
        return Err(invalid(
            "AutoScalingGroupName must be specified when PolicyName is not an ARN",
        ));
    }
    state
        .groups
        .iter()
        .filter(|((at, name), _)| at == region && group.is_none_or(|wanted| wanted == name))
        .flat_map(|(key, group)| group.policies.iter().map(move |entry| (key, entry)))
        .find(|(_, (name, settings))| *name == policy || settings.arn == policy)
        .map(|(key, (name, _))| (key.clone(), name.clone()))
        .ok_or_else(|| invalid(format!("PolicyARN not found: no policy `{policy}` exists")))
}

/// `DescribeAdjustmentTypes`.
pub fn describe_adjustment_types(call: &Call) -> Result<Reply, ApiError> {
    call.params.finish()?;
    let types = [
        AdjustmentType::ChangeInCapacity,
        AdjustmentType::ExactCapacity,
        AdjustmentType::PercentChangeInCapacity,
    ];
    Ok(Xml::new()
        .list(
            "AdjustmentTypes",
            "member",
            types.map(|kind| Xml::new().text("AdjustmentType", kind.name())),
        )
        .into())
}

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

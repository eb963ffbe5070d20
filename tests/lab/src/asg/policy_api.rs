//! Scaling policies: kept and shown.

use std::sync::Arc;

use super::model::{AdjustmentType, Key, Policy, PolicyKind, Step};
use super::page::Page;
use super::parse::{self, invalid, no_group, required};
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
    let names = p.list("PolicyNames");
    let types = p.list("PolicyTypes");
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

pub(super) fn find(
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

//! Groups: create, update, size, group metrics.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use super::activity::moment;
use super::balance::TerminationPolicy;
use super::describe::MAX_GROUPS;
use super::model::{Group, Hook, Key, Tag};
use super::parse::{self, invalid, no_group, required};
use super::{GROUP_METRICS, reconcile};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::iam::ACCOUNT;

/// Members of the requests that say nothing to the lab, and their only values that mean "as usual".
fn accept_defaults(call: &Call) -> Result<(), ApiError> {
    for name in ["CapacityRebalance", "SkipZonalShiftValidation"] {
        if call.params.opt_bool(name)? == Some(true) {
            return Err(invalid(format!("{name} is not supported here")));
        }
    }
    if let Some(kind) = call.params.opt("DesiredCapacityType")
        && kind != "units"
    {
        return Err(invalid(format!(
            "DesiredCapacityType `{kind}` is not supported here; use units"
        )));
    }
    if call.params.opt_int("MaxInstanceLifetime")?.unwrap_or(0) != 0 {
        return Err(invalid("MaxInstanceLifetime is not supported here"));
    }
    for name in ["LaunchConfigurationName", "InstanceId", "PlacementGroup"] {
        if call.params.opt(name).is_some_and(|text| !text.is_empty()) {
            return Err(invalid(format!(
                "{name} is not supported here; use a launch template"
            )));
        }
    }
    Ok(())
}

pub(super) fn check_bounds(min: i64, max: i64, desired: i64) -> Result<(), ApiError> {
    if min > max {
        return Err(invalid(format!(
            "Max bound, {max}, must be greater than or equal to min bound, {min}"
        )));
    }
    if !(min..=max).contains(&desired) {
        return Err(invalid(format!(
            "Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}"
        )));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.len() > 255 || name.contains([':', '/', '\\']) || name.trim() != name {
        return Err(invalid(format!(
            "AutoScalingGroupName `{name}` must have at most 255 characters, no colon, slash or backslash"
        )));
    }
    Ok(())
}

/// `CreateAutoScalingGroup`.
pub fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = required(p, "AutoScalingGroupName")?;
    check_name(&name)?;
    accept_defaults(call)?;
    let min = parse::count(p, "MinSize")?.ok_or_else(|| invalid("MinSize must be specified"))?;
    let max = parse::count(p, "MaxSize")?.ok_or_else(|| invalid("MaxSize must be specified"))?;
    let desired = parse::count(p, "DesiredCapacity")?.unwrap_or(min);
    check_bounds(min, max, desired)?;
    let template = parse::template(lab, call)?.ok_or_else(|| {
        invalid("Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.")
    })?;
    let subnets = parse::subnets(lab, call)?
        .ok_or_else(|| invalid("At least one Availability Zone or VPC Subnet is required."))?;
    parse::check_launch(lab, &call.region, &template, &subnets)?;
    let mut arns = p.list("TargetGroupARNs");
    arns.extend(parse::traffic_sources(p)?);
    let mut tags = BTreeMap::new();
    for entry in p.structs("Tags") {
        let (resource, key, tag) = parse::tag(&entry)?;
        if resource.is_some_and(|resource| resource != name) {
            return Err(invalid(format!(
                "Tag `{key}`: ResourceId must be the group's own name, {name}"
            )));
        }
        tags.insert(key, tag);
    }
    let mut hooks: BTreeMap<String, Hook> = BTreeMap::new();
    for entry in p.structs("LifecycleHookSpecificationList") {
        hooks.insert(
            required(&entry, "LifecycleHookName")?,
            parse::hook(&entry, None)?,
        );
    }
    let uuid = lab.ids.uuid();
    let now = lab.clock.now();
    let group = Group {
        arn: format!(
            "arn:aws:autoscaling:{}:{ACCOUNT}:autoScalingGroup:{uuid}:autoScalingGroupName/{name}",
            call.region
        ),
        template,
        min,
        max,
        desired,
        default_cooldown: parse::count(p, "DefaultCooldown")?.unwrap_or(300),
        instance_warmup: p
            .opt_int("DefaultInstanceWarmup")?
            .filter(|warmup| *warmup >= 0),
        subnets,
        elb_health: parse::elb_health(p)?.unwrap_or(false),
        grace: parse::count(p, "HealthCheckGracePeriod")?.unwrap_or(0),
        termination_policies: parse::termination_policies(p)?
            .unwrap_or_else(|| vec![TerminationPolicy::Default]),
        protect_new: p
            .opt_bool("NewInstancesProtectedFromScaleIn")?
            .unwrap_or(false),
        context: p.opt("Context"),
        service_role: p.opt("ServiceLinkedRoleARN"),
        hooks,
        tags,
        suspended: BTreeMap::new(),
        attachments: parse::attachments(lab, &call.region, arns)?,
        policies: BTreeMap::new(),
        scheduled: BTreeMap::new(),
        metrics: BTreeSet::new(),
        created: now,
        members: BTreeMap::new(),
        launching: Vec::new(),
        activities: VecDeque::new(),
        cause: format!(
            "At {} a user request created an AutoScalingGroup changing the desired capacity from 0 to {desired}.  ",
            moment(now)
        ),
        cooldown: None,
        back_off: BTreeMap::new(),
        deleting: false,
        wake: Arc::new(Notify::new()),
        name: name.clone(),
    };
    p.finish()?;
    let key: Key = (call.region.clone(), name.clone());
    {
        let mut state = lab.asg.lock();
        if state.groups.contains_key(&key) {
            return Err(ApiError::new(
                "AlreadyExists",
                "AutoScalingGroup by this name already exists - A group with the name ".to_owned()
                    + &name
                    + " already exists",
            ));
        }
        let there = state.groups.keys().filter(|other| other.0 == key.0);
        if there.count() >= MAX_GROUPS {
            return Err(ApiError::new(
                "LimitExceeded",
                format!("{MAX_GROUPS} AutoScalingGroups already exist for this account"),
            ));
        }
        state.groups.insert(key.clone(), group);
    }
    lab.spawn(reconcile::run(Arc::clone(lab), key));
    Ok(Xml::new().into())
}

/// `UpdateAutoScalingGroup`.
pub fn update(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = required(p, "AutoScalingGroupName")?;
    accept_defaults(call)?;
    let min = parse::count(p, "MinSize")?;
    let max = parse::count(p, "MaxSize")?;
    let desired = parse::count(p, "DesiredCapacity")?;
    let template = parse::template(lab, call)?;
    let subnets = parse::subnets(lab, call)?;
    let cooldown = parse::count(p, "DefaultCooldown")?;
    let warmup = p.opt_int("DefaultInstanceWarmup")?;
    let elb_health = parse::elb_health(p)?;
    let grace = parse::count(p, "HealthCheckGracePeriod")?;
    let policies = parse::termination_policies(p)?;
    let protect_new = p.opt_bool("NewInstancesProtectedFromScaleIn")?;
    let context = p.opt("Context");
    let service_role = p.opt("ServiceLinkedRoleARN");
    p.finish()?;
    let now = lab.clock.now();
    let key = (call.region.clone(), name);
    if let Some(template) = &template {
        let there = lab.asg.group(&key, |group| Ok(group.subnets.clone()))?;
        let subnets = subnets.as_ref().unwrap_or(&there);
        parse::check_launch(lab, &call.region, template, subnets)?;
    }
    lab.asg.group(&key, |group| {
        refuse_while_deleting(group)?;
        let (new_min, new_max) = (min.unwrap_or(group.min), max.unwrap_or(group.max));
        // Without a desired capacity of its own, a new bound takes the old one along.
        let goal = desired.unwrap_or_else(|| {
            if new_min <= new_max {
                group.desired.clamp(new_min, new_max)
            } else {
                group.desired
            }
        });
        check_bounds(new_min, new_max, goal)?;
        if goal != group.desired {
            group.cause = format!(
                "At {} a user request update of AutoScalingGroup constraints to min: {new_min}, max: {new_max}, desired: {goal} changing the desired capacity from {} to {goal}.  ",
                moment(now),
                group.desired
            );
        }
        (group.min, group.max, group.desired) = (new_min, new_max, goal);
        if let Some(template) = template {
            group.template = template;
            group.back_off.clear();
        }
        if let Some(subnets) = subnets {
            group.subnets = subnets;
        }
        group.default_cooldown = cooldown.unwrap_or(group.default_cooldown);
        if let Some(warmup) = warmup {
            group.instance_warmup = (warmup >= 0).then_some(warmup);
        }
        group.elb_health = elb_health.unwrap_or(group.elb_health);
        group.grace = grace.unwrap_or(group.grace);
        if let Some(policies) = policies {
            group.termination_policies = policies;
        }
        group.protect_new = protect_new.unwrap_or(group.protect_new);
        group.context = context.or_else(|| group.context.take());
        group.service_role = service_role.or_else(|| group.service_role.take());
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(Xml::new().into())
}

fn refuse_while_deleting(group: &Group) -> Result<(), ApiError> {
    if group.deleting {
        return Err(invalid(format!(
            "AutoScalingGroup {} is pending delete",
            group.name
        )));
    }
    Ok(())
}

/// `SetDesiredCapacity`.
pub fn set_desired(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = required(p, "AutoScalingGroupName")?;
    let desired = parse::count(p, "DesiredCapacity")?
        .ok_or_else(|| invalid("DesiredCapacity must be specified"))?;
    let honor = p.opt_bool("HonorCooldown")?.unwrap_or(false);
    p.finish()?;
    let now = lab.clock.now();
    let key = (call.region.clone(), name);
    lab.asg.group(&key, |group| {
        refuse_while_deleting(group)?;
        if desired > group.max {
            return Err(invalid(format!(
                "New SetDesiredCapacity value {desired} is above max value {} for the AutoScalingGroup.",
                group.max
            )));
        }
        if desired < group.min {
            return Err(invalid(format!(
                "New SetDesiredCapacity value {desired} is below min value {} for the AutoScalingGroup.",
                group.min
            )));
        }
        if honor && group.cooldown.is_some() {
            return Err(ApiError::new(
                "ScalingActivityInProgress",
                format!("Scaling activity not initiated: group {} is in its cooldown period", group.name),
            ));
        }
        if desired != group.desired {
            group.cause = format!(
                "At {} a user request explicitly set group desired capacity changing the desired capacity from {} to {desired}.  ",
                moment(now),
                group.desired
            );
            group.desired = desired;
        }
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(Xml::new().into())
}

/// `EnableMetricsCollection`.
pub fn enable_metrics(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let granularity = required(&call.params, "Granularity")?;
    if granularity != "1Minute" {
        return Err(invalid(format!(
            "Granularity `{granularity}` is not valid; the only one is 1Minute"
        )));
    }
    change_metrics(lab, call, |group, metrics| group.metrics.extend(metrics))
}

/// `DisableMetricsCollection`.
pub fn disable_metrics(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    change_metrics(lab, call, |group, metrics| {
        group.metrics.retain(|metric| !metrics.contains(metric));
    })
}

fn change_metrics(
    lab: &Lab,
    call: &Call,
    change: impl FnOnce(&mut Group, Vec<String>),
) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let mut metrics = call.params.list("Metrics");
    call.params.finish()?;
    if let Some(bad) = metrics
        .iter()
        .find(|metric| !GROUP_METRICS.contains(&metric.as_str()))
    {
        return Err(invalid(format!(
            "Metric type `{bad}` is not valid; the lab knows {}",
            GROUP_METRICS.join(", ")
        )));
    }
    if metrics.is_empty() {
        metrics = GROUP_METRICS.map(str::to_owned).to_vec();
    }
    let key = (call.region.clone(), name.clone());
    lab.asg
        .with(&key, |group| change(group, metrics))
        .ok_or_else(|| no_group(&name))?;
    Ok(Xml::new().into())
}

/// A tag as replies show it.
pub fn tag_xml(group: &str, key: &str, tag: &Tag) -> Xml {
    Xml::new()
        .text("ResourceId", group)
        .text("ResourceType", "auto-scaling-group")
        .text("Key", key)
        .text("Value", &tag.value)
        .text("PropagateAtLaunch", tag.propagate)
}

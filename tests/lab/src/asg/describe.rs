//! What groups, instances and activities look like from outside.

use std::sync::Arc;

use super::group_api::tag_xml;
use super::model::{Activity, Group, Member, Template};
use super::page::{Page, filters};
use super::parse::no_group;
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// AWS's quota of groups in a region.
pub(super) const MAX_GROUPS: usize = 500;
/// AWS's quota of launch configurations in a region; the lab has none.
const MAX_LAUNCH_CONFIGURATIONS: usize = 200;

/// `DescribeAccountLimits`.
pub fn account_limits(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    call.params.finish()?;
    let state = lab.asg.lock();
    let groups = state.groups.keys().filter(|key| key.0 == call.region);
    Ok(Xml::new()
        .text("MaxNumberOfAutoScalingGroups", MAX_GROUPS)
        .text("MaxNumberOfLaunchConfigurations", MAX_LAUNCH_CONFIGURATIONS)
        .text("NumberOfAutoScalingGroups", groups.count())
        .text("NumberOfLaunchConfigurations", 0)
        .into())
}

/// `DescribeAutoScalingGroups`.
pub fn groups(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let names = p.list("AutoScalingGroupNames");
    let wanted = filters(p, &["tag:*", "tag-key", "tag-value"])?;
    let with_instances = p.opt_bool("IncludeInstances")?.unwrap_or(true);
    let page = Page::parse(p, 50, 100)?;
    p.finish()?;
    let state = lab.asg.lock();
    let found: Vec<Xml> = state
        .groups
        .iter()
        .filter(|((region, name), group)| {
            *region == call.region
                && (names.is_empty() || names.contains(name))
                && wanted.iter().all(|filter| passes(group, filter))
        })
        .map(|(_, group)| group_xml(group, with_instances))
        .collect();
    let (found, token) = page.cut(found);
    Ok(Xml::new()
        .list("AutoScalingGroups", "member", found)
        .opt("NextToken", token)
        .into())
}

fn passes(group: &Group, (name, values): &(String, Vec<String>)) -> bool {
    match name.as_str() {
        "tag-key" => values.iter().any(|key| group.tags.contains_key(key)),
        "tag-value" => group.tags.values().any(|tag| values.contains(&tag.value)),
        tag => tag
            .strip_prefix("tag:")
            .and_then(|key| group.tags.get(key))
            .is_some_and(|tag| values.contains(&tag.value)),
    }
}

fn template_xml(template: &Template) -> Xml {
    Xml::new()
        .text("LaunchTemplateId", &template.id)
        .text("LaunchTemplateName", &template.name)
        .text("Version", &template.version)
}

fn group_xml(group: &Group, with_instances: bool) -> Xml {
    let subnets: Vec<&str> = group.subnets.iter().map(|at| at.id.as_str()).collect();
    let targets: Vec<&str> = group.target_groups().map(|at| at.arn.as_str()).collect();
    let members = group.members.values().filter(|_| with_instances);
    Xml::new()
        .text("AutoScalingGroupName", &group.name)
        .text("AutoScalingGroupARN", &group.arn)
        .child("LaunchTemplate", template_xml(&group.template))
        .text("MinSize", group.min)
        .text("MaxSize", group.max)
        .text("DesiredCapacity", group.desired)
        .text("DefaultCooldown", group.default_cooldown)
        .list(
            "AvailabilityZones",
            "member",
            group.zones().iter().map(Xml::value),
        )
        .list("LoadBalancerNames", "member", [])
        .list("TargetGroupARNs", "member", targets.iter().map(Xml::value))
        .text(
            "HealthCheckType",
            if group.elb_health { "ELB" } else { "EC2" },
        )
        .text("HealthCheckGracePeriod", group.grace)
        .list("Instances", "member", members.map(member_xml))
        .time("CreatedTime", group.created)
        .list(
            "SuspendedProcesses",
            "member",
            group.suspended.iter().map(|(process, reason)| {
                Xml::new()
                    .text("ProcessName", process.name())
                    .text("SuspensionReason", reason)
            }),
        )
        .text("VPCZoneIdentifier", subnets.join(","))
        .list(
            "EnabledMetrics",
            "member",
            group.metrics.iter().map(|metric| {
                Xml::new()
                    .text("Metric", metric)
                    .text("Granularity", "1Minute")
            }),
        )
        .opt("Status", group.deleting.then_some("Delete in progress"))
        .list(
            "Tags",
            "member",
            group
                .tags
                .iter()
                .map(|(key, tag)| tag_xml(&group.name, key, tag)),
        )
        .list(
            "TerminationPolicies",
            "member",
            group
                .termination_policies
                .iter()
                .map(|policy| Xml::value(policy.name())),
        )
        .text("NewInstancesProtectedFromScaleIn", group.protect_new)
        .opt("ServiceLinkedRoleARN", group.service_role.as_ref())
        .opt("Context", group.context.as_ref())
        .opt("DefaultInstanceWarmup", group.instance_warmup)
        .list(
            "TrafficSources",
            "member",
            targets
                .iter()
                .map(|arn| Xml::new().text("Identifier", arn).text("Type", "elbv2")),
        )
        .text("CapacityRebalance", false)
}

fn health(member: &Member) -> &'static str {
    if member.illness.is_some() {
        "Unhealthy"
    } else {
        "Healthy"
    }
}

fn member_xml(member: &Member) -> Xml {
    Xml::new()
        .text("InstanceId", &member.id)
        .text("InstanceType", &member.instance_type)
        .text("AvailabilityZone", &member.zone)
        .text("LifecycleState", member.state)
        .text("HealthStatus", health(member))
        .child("LaunchTemplate", template_xml(&member.template))
        .text("ImageId", &member.image)
        .text("ProtectedFromScaleIn", member.protected)
}

/// `DescribeAutoScalingInstances`. Unlike the group's view, health is in capitals here, as AWS has it.
pub fn instances(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let ids = call.params.list("InstanceIds");
    let page = Page::parse(&call.params, 50, 50)?;
    call.params.finish()?;
    let state = lab.asg.lock();
    let mut found: Vec<(&str, Xml)> = state
        .groups
        .iter()
        .filter(|((region, _), _)| *region == call.region)
        .flat_map(|((_, name), group)| group.members.values().map(move |member| (name, member)))
        .filter(|(_, member)| ids.is_empty() || ids.contains(&member.id))
        .map(|(name, member)| {
            let xml = Xml::new()
                .text("InstanceId", &member.id)
                .text("InstanceType", &member.instance_type)
                .text("AutoScalingGroupName", name)
                .text("AvailabilityZone", &member.zone)
                .text("LifecycleState", member.state)
                .text("HealthStatus", health(member).to_uppercase())
                .child("LaunchTemplate", template_xml(&member.template))
                .text("ImageId", &member.image)
                .text("ProtectedFromScaleIn", member.protected);
            (member.id.as_str(), xml)
        })
        .collect();
    found.sort_by_key(|(id, _)| *id);
    let (found, token) = page.cut(found.into_iter().map(|(_, xml)| xml).collect());
    Ok(Xml::new()
        .list("AutoScalingInstances", "member", found)
        .opt("NextToken", token)
        .into())
}

/// An activity as replies show it.
pub fn activity_xml(group: &str, arn: &str, activity: &Activity, deleted: bool) -> Xml {
    let xml = Xml::new()
        .text("ActivityId", &activity.id)
        .text("AutoScalingGroupName", group)
        .text("AutoScalingGroupARN", arn)
        .text("Description", &activity.description)
        .text("Cause", &activity.cause)
        .time("StartTime", activity.start);
    let xml = match activity.end {
        Some(end) => xml.time("EndTime", end),
        None => xml,
    };
    xml.text("StatusCode", activity.status)
        .opt("StatusMessage", activity.message.as_ref())
        .text("Progress", activity.progress)
        .text("Details", &activity.details)
        .opt("AutoScalingGroupState", deleted.then_some("Deleted"))
}

/// `DescribeScalingActivities`: those in progress first, then the newest.
pub fn activities(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let ids = p.list("ActivityIds");
    let name = p.opt("AutoScalingGroupName");
    let deleted = p.opt_bool("IncludeDeletedGroups")?.unwrap_or(false);
    let page = Page::parse(p, 100, 100)?;
    p.finish()?;
    let state = lab.asg.lock();
    let key = name
        .as_ref()
        .map(|name| (call.region.clone(), name.clone()));
    if let Some(key) = &key
        && !state.groups.contains_key(key)
        && !deleted
    {
        return Err(no_group(&key.1));
    }
    let living = state.groups.iter().flat_map(|(key, group)| {
        group
            .activities
            .iter()
            .map(move |one| (key, &group.arn, one, false))
    });
    let gone = state
        .deleted
        .iter()
        .filter(|_| deleted)
        .map(|(key, arn, one)| (key, arn, one, true));
    let mut found: Vec<_> = living
        .chain(gone)
        .filter(|(at, _, activity, _)| {
            at.0 == call.region
                && name.as_ref().is_none_or(|name| *name == at.1)
                && (ids.is_empty() || ids.contains(&activity.id))
        })
        .collect();
    found.reverse();
    found.sort_by_key(|(_, _, activity, _)| {
        (activity.end.is_some(), std::cmp::Reverse(activity.start))
    });
    let found = found
        .into_iter()
        .map(|(at, arn, activity, gone)| activity_xml(&at.1, arn, activity, gone))
        .collect();
    let (found, token) = page.cut(found);
    Ok(Xml::new()
        .list("Activities", "member", found)
        .opt("NextToken", token)
        .into())
}

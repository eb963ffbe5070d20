//! Target groups of a group, under both of AWS's names for them (traffic sources).

use std::sync::Arc;

use super::model::{Attachment, Group, Lifecycle};
use super::page::Page;
use super::parse::{self, invalid, no_group, required};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::elbv2;

fn add(lab: &Arc<Lab>, region: &str, name: String, arns: Vec<String>) -> Result<Reply, ApiError> {
    if arns.is_empty() {
        return Err(invalid("At least one target group must be specified"));
    }
    let attachments = parse::attachments(lab, region, arns)?;
    let key = (region.to_owned(), name);
    lab.asg.group(&key, |group| {
        for attachment in attachments {
            match group
                .attachments
                .iter_mut()
                .find(|own| own.arn == attachment.arn)
            {
                Some(own) => own.removing = false,
                None => group.attachments.push(attachment),
            }
        }
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(Xml::new().into())
}

fn remove(lab: &Arc<Lab>, region: &str, name: String, arns: &[String]) -> Result<Reply, ApiError> {
    let key = (region.to_owned(), name);
    lab.asg.group(&key, |group| {
        if let Some(missing) = arns
            .iter()
            .find(|arn| !group.target_groups().any(|own| own.arn == **arn))
        {
            return Err(invalid(format!(
                "Trying to remove Target Groups that are not part of the group: {missing}"
            )));
        }
        for own in &mut group.attachments {
            own.removing |= arns.contains(&own.arn);
        }
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(Xml::new().into())
}

/// `AttachLoadBalancerTargetGroups`: instances in service are registered by the group's loop.
pub fn attach(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let arns = call.params.list("TargetGroupARNs");
    call.params.finish()?;
    add(lab, &call.region, name, arns)
}

/// `DetachLoadBalancerTargetGroups`: instances are deregistered and drained by the group's loop.
pub fn detach(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let arns = call.params.list("TargetGroupARNs");
    call.params.finish()?;
    remove(lab, &call.region, name, &arns)
}

/// `AttachTrafficSources`.
pub fn attach_sources(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let arns = parse::traffic_sources(&call.params)?;
    call.params.finish()?;
    add(lab, &call.region, name, arns)
}

/// `DetachTrafficSources`.
pub fn detach_sources(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let arns = parse::traffic_sources(&call.params)?;
    call.params.finish()?;
    remove(lab, &call.region, name, &arns)
}

/// `Adding` until every instance in service is registered, `Added` until one passed its health
/// check, then `InService`; `Removing` while the last ones drain.
fn state(group: &Group, attachment: &Attachment, healthy: bool) -> &'static str {
    if attachment.removing {
        return "Removing";
    }
    if healthy || attachment.in_service {
        return "InService";
    }
    let all = group
        .members
        .values()
        .filter(|member| member.state == Lifecycle::InService && !member.unlisted)
        .all(|member| member.registered.contains(&attachment.arn));
    if all { "Added" } else { "Adding" }
}

fn states(lab: &Lab, region: &str, name: &str) -> Result<Vec<(String, &'static str)>, ApiError> {
    let key = (region.to_owned(), name.to_owned());
    let group = lab
        .asg
        .with(&key, |group| group.clone())
        .ok_or_else(|| no_group(name))?;
    let mut attachments = group.attachments.clone();
    attachments.sort_by(|a, b| a.arn.cmp(&b.arn));
    Ok(attachments
        .iter()
        .map(|attachment| {
            let healthy = group.members.keys().any(|id| {
                elbv2::target_state(lab, region, &attachment.arn, id).as_deref() == Some("healthy")
            });
            (attachment.arn.clone(), state(&group, attachment, healthy))
        })
        .collect())
}

/// `DescribeLoadBalancerTargetGroups`.
pub fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let page = Page::parse(&call.params, 100, 100)?;
    call.params.finish()?;
    let (found, token) = page.cut(states(lab, &call.region, &name)?);
    Ok(Xml::new()
        .list(
            "LoadBalancerTargetGroups",
            "member",
            found.into_iter().map(|(arn, state)| {
                Xml::new()
                    .text("LoadBalancerTargetGroupARN", arn)
                    .text("State", state)
            }),
        )
        .opt("NextToken", token)
        .into())
}

/// `DescribeTrafficSources`.
pub fn describe_sources(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let kind = call.params.opt("TrafficSourceType");
    let page = Page::parse(&call.params, 50, 50)?;
    call.params.finish()?;
    let mut found = states(lab, &call.region, &name)?;
    if kind.is_some_and(|kind| kind != "elbv2") {
        found.clear();
    }
    let (found, token) = page.cut(found);
    Ok(Xml::new()
        .list(
            "TrafficSources",
            "member",
            found.into_iter().map(|(arn, state)| {
                Xml::new()
                    .text("Identifier", arn)
                    .text("State", state)
                    .text("Type", "elbv2")
            }),
        )
        .opt("NextToken", token)
        .into())
}

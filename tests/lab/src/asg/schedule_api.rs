//! Scheduled actions: one change of size at a moment of real time.

use std::sync::Arc;

use jiff::Timestamp;

use super::activity::moment;
use super::group_api::check_bounds;
use super::model::{Group, Process, Scheduled};
use super::page::Page;
use super::parse::{self, invalid, no_group, required};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::iam::ACCOUNT;

/// `PutScheduledUpdateGroupAction`; without recurrence.
pub fn put(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let group = required(p, "AutoScalingGroupName")?;
    let name = required(p, "ScheduledActionName")?;
    for unsupported in ["Recurrence", "EndTime", "TimeZone"] {
        if p.has(unsupported) {
            return Err(invalid(format!(
                "{unsupported} is not implemented by the lab; give a StartTime for one execution"
            )));
        }
    }
    let start = match p.opt_time("StartTime")? {
        Some(start) => start,
        None => p
            .opt_time("Time")?
            .ok_or_else(|| invalid("StartTime must be specified without a Recurrence"))?,
    };
    let (min, max) = (parse::count(p, "MinSize")?, parse::count(p, "MaxSize")?);
    let desired = parse::count(p, "DesiredCapacity")?;
    p.finish()?;
    if start <= lab.clock.now() {
        return Err(invalid(format!(
            "Given start time is in the past: {}",
            moment(start)
        )));
    }
    if min.is_none() && max.is_none() && desired.is_none() {
        return Err(invalid(
            "At least one of MinSize, MaxSize and DesiredCapacity must be specified",
        ));
    }
    let uuid = lab.ids.uuid();
    let key = (call.region.clone(), group);
    lab.asg.group(&key, |group| {
        if let Some(other) = group
            .scheduled
            .iter()
            .find(|(other, action)| **other != name && action.start == start)
        {
            return Err(ApiError::new(
                "AlreadyExists",
                format!("Scheduled action {} has the same start time", other.0),
            ));
        }
        let arn = format!(
            "arn:aws:autoscaling:{}:{ACCOUNT}:scheduledUpdateGroupAction:{uuid}:autoScalingGroupName/{}:scheduledActionName/{name}",
            key.0, group.name
        );
        let arn = group
            .scheduled
            .get(&name)
            .map_or(arn, |before| before.arn.clone());
        let action = Scheduled {
            arn,
            start,
            min,
            max,
            desired,
        };
        group.scheduled.insert(name, action);
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(Xml::new().into())
}

/// `DescribeScheduledActions`.
pub fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let group = p.opt("AutoScalingGroupName");
    let names = p.list("ScheduledActionNames");
    let (from, to) = (p.opt_time("StartTime")?, p.opt_time("EndTime")?);
    let page = Page::parse(p, 50, 100)?;
    p.finish()?;
    let state = lab.asg.lock();
    if let Some(name) = &group
        && !state
            .groups
            .contains_key(&(call.region.clone(), name.clone()))
    {
        return Err(no_group(name));
    }
    let found = state
        .groups
        .iter()
        .filter(|((region, name), _)| {
            *region == call.region && group.as_ref().is_none_or(|wanted| wanted == name)
        })
        .flat_map(|((_, group), settings)| {
            let actions = settings.scheduled.iter();
            actions.map(move |(name, action)| (group, name, action))
        })
        .filter(|(_, name, action)| {
            (names.is_empty() || names.contains(name))
                && from.is_none_or(|from| action.start >= from)
                && to.is_none_or(|to| action.start <= to)
        })
        .map(|(group, name, action)| {
            Xml::new()
                .text("AutoScalingGroupName", group)
                .text("ScheduledActionName", name)
                .text("ScheduledActionARN", &action.arn)
                .time("Time", action.start)
                .time("StartTime", action.start)
                .opt("MinSize", action.min)
                .opt("MaxSize", action.max)
                .opt("DesiredCapacity", action.desired)
        })
        .collect();
    let (found, token) = page.cut(found);
    Ok(Xml::new()
        .list("ScheduledUpdateGroupActions", "member", found)
        .opt("NextToken", token)
        .into())
}

/// `DeleteScheduledAction`.
pub fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let group = required(&call.params, "AutoScalingGroupName")?;
    let name = required(&call.params, "ScheduledActionName")?;
    call.params.finish()?;
    let key = (call.region.clone(), group);
    lab.asg.group(&key, |group| {
        group
            .scheduled
            .remove(&name)
            .map(|_| ())
            .ok_or_else(|| invalid(format!("Scheduled action name not found: {name}")))
    })?;
    Ok(Xml::new().into())
}

/// Carries out what is due and forgets it. What falls due while ScheduledActions is suspended is
/// forgotten without effect: its time has passed when the process is resumed.
pub fn run_due(group: &mut Group, now: Timestamp) {
    let suspended = group.is_suspended(Process::ScheduledActions);
    let mut due: Vec<(String, Scheduled)> = Vec::new();
    group.scheduled.retain(|name, action| {
        let waits = action.start > now;
        if !waits {
            due.push((name.clone(), action.clone()));
        }
        waits
    });
    due.sort_by_key(|(_, action)| action.start);
    for (name, action) in due {
        if suspended {
            continue;
        }
        let (min, max) = (
            action.min.unwrap_or(group.min),
            action.max.unwrap_or(group.max),
        );
        let goal = action.desired.unwrap_or(group.desired);
        let goal = if min <= max {
            goal.clamp(min, max)
        } else {
            goal
        };
        if let Err(error) = check_bounds(min, max, goal) {
            log::warn!(
                "{}: scheduled action `{name}` has no effect: {error}",
                group.name
            );
            continue;
        }
        if goal != group.desired {
            group.cause = format!(
                "At {} a scheduled action update of AutoScalingGroup constraints to min: {min}, max: {max}, desired: {goal} changing the desired capacity from {} to {goal}.  ",
                moment(now),
                group.desired
            );
        }
        (group.min, group.max, group.desired) = (min, max, goal);
    }
}

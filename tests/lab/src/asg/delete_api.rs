//! The end of a group, in order or by force.

use std::sync::Arc;

use super::lifecycle;
use super::model::{Key, Lifecycle};
use super::parse::required;
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// `DeleteAutoScalingGroup`.
pub fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let force = call.params.opt_bool("ForceDelete")?.unwrap_or(false);
    call.params.finish()?;
    let key = (call.region.clone(), name);
    let members = lab.asg.group(&key, |group| {
        if group.deleting {
            return Ok(None);
        }
        let members: Vec<String> = group.members.keys().cloned().collect();
        if !force {
            let leaving = group
                .members
                .values()
                .all(|member| member.state.is_terminating());
            if !members.is_empty() && !leaving {
                return Err(ApiError::new(
                    "ResourceInUse",
                    "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.",
                ));
            }
            if !members.is_empty() || !group.launching.is_empty() {
                return Err(ApiError::new(
                    "ScalingActivityInProgress",
                    "You cannot delete an AutoScalingGroup while there are scaling activities in progress for that group.",
                ));
            }
        }
        group.deleting = true;
        group.desired = 0;
        for member in group.members.values_mut() {
            // Whoever moved it stops here; the task below ends it.
            member.state = Lifecycle::TerminatingProceed;
            member.actions.clear();
        }
        Ok(Some(members))
    })?;
    if let Some(members) = members {
        lab.asg.ring(&key);
        if members.is_empty() {
            remove(lab, &key);
        } else {
            lab.spawn(empty_and_remove(Arc::clone(lab), key, members));
        }
    }
    Ok(Xml::new().into())
}

/// Ends all instances of a group that is deleted by force, without hooks and without draining.
async fn empty_and_remove(lab: Arc<Lab>, key: Key, members: Vec<String>) {
    let endings = members.into_iter().map(|id| {
        let (lab, key) = (&lab, &key);
        async move {
            let targets = lab
                .asg
                .with_member(key, &id, |member| std::mem::take(&mut member.registered))
                .unwrap_or_default();
            for arn in targets {
                crate::elbv2::deregister(lab, &key.0, &arn, &id).await;
            }
            lifecycle::end_instance(lab, &key.0, &id).await;
            lab.asg.with(key, |group| group.members.remove(&id));
        }
    });
    futures_util::future::join_all(endings).await;
    remove(&lab, &key);
}

/// Forgets a group; its activities stay for `IncludeDeletedGroups`.
fn remove(lab: &Lab, key: &Key) {
    let now = lab.clock.now();
    let mut state = lab.asg.lock();
    let Some(mut group) = state.groups.remove(key) else {
        return;
    };
    group.wake.notify_waiters();
    for mut activity in group.activities.drain(..) {
        if activity.end.is_none() {
            activity.status = "Cancelled";
            activity.progress = 100;
            activity.end = Some(now);
        }
        state
            .deleted
            .push_back((key.clone(), group.arn.clone(), activity));
    }
    while state.deleted.len() > super::MAX_DELETED_ACTIVITIES {
        state.deleted.pop_front();
    }
}

//! The way out: from a decision to a terminated instance.

use std::sync::Arc;
use std::time::Duration;

use super::hooks::wait_for_hooks;
use super::{LOOK, Moved, step_and_tell};
use crate::asg::activity::{self, place_of};
use crate::asg::model::{Group, Key, Lifecycle, Transition};
use crate::{Lab, ec2, elbv2};

/// A deregistration delay is at most an hour (ELB, `deregistration_delay.timeout_seconds`).
const DRAIN_MOST: Duration = Duration::from_mins(61);
/// How long an accepted termination may take before EC2 is asked again.
const ASK_AGAIN: Duration = Duration::from_mins(5);

/// Begins to end a member, whatever it is doing, and returns the activity's id; none when it is not
/// there or ends already.
pub fn terminate(lab: &Arc<Lab>, key: &Key, id: &str, cause: &str) -> Option<String> {
    let activity = lab.ids.uuid();
    let now = lab.clock.now();
    let begun = lab.asg.with(key, |group| {
        begin_termination(group, id, cause, &activity, now)
    })?;
    if !begun {
        return None;
    }
    let (task_lab, key, id) = (Arc::clone(lab), key.clone(), id.to_owned());
    let task_activity = activity.clone();
    lab.asg.ring(&key);
    lab.spawn(async move {
        // `Moved` here means that the group was deleted with everything in it.
        let _ = go_down(&task_lab, &key, &id, &task_activity).await;
    });
    Some(activity)
}

fn begin_termination(
    group: &mut Group,
    id: &str,
    cause: &str,
    activity: &str,
    now: jiff::Timestamp,
) -> bool {
    let Some(member) = group.members.get_mut(id) else {
        return false;
    };
    if member.state.is_terminating() || member.state == Lifecycle::Detaching {
        return false;
    }
    member.state = Lifecycle::Terminating;
    member.actions.clear();
    let place = place_of(&member.zone, &member.subnet);
    let before = member.activity.replace(activity.to_owned());
    if let Some(before) = before {
        let message = "The instance was terminated before it went into service".to_owned();
        activity::end_in(group, &before, "Cancelled", Some(message), now);
    }
    activity::begin(
        group,
        activity.to_owned(),
        format!("Terminating EC2 instance: {id}"),
        cause.to_owned(),
        &place,
        now,
    );
    true
}

/// Terminating to gone.
async fn go_down(lab: &Arc<Lab>, key: &Key, id: &str, activity: &str) -> Result<(), Moved> {
    leave_target_groups(lab, key, id, Some(activity)).await;
    // ABANDON and CONTINUE both end the instance; ABANDON only stops the other hooks.
    wait_for_hooks(lab, key, id, Transition::Terminating, activity).await?;
    step_and_tell(
        lab,
        key,
        id,
        &[Lifecycle::Terminating, Lifecycle::TerminatingProceed],
        |member| member.state = Lifecycle::TerminatingProceed,
        |group| activity::progress_in(group, activity, "InProgress", 80),
    )?;
    end_instance(lab, &key.0, id).await;
    let now = lab.clock.now();
    lab.asg.with(key, |group| {
        activity::end_in(group, activity, "Successful", None, now);
        group.members.remove(id);
    });
    lab.asg.ring(key);
    Ok(())
}

/// Ends an instance in EC2 and returns when it is gone, asking again when EC2 refuses.
pub async fn end_instance(lab: &Arc<Lab>, region: &str, id: &str) {
    let gone = || ec2::instance(lab, region, id).is_none_or(|view| view.state == "terminated");
    while !gone() {
        if let Err(error) = ec2::terminate(lab, region, id).await {
            log::warn!("EC2 did not end {id}, asking again: {error}");
        }
        let asked = lab.clock.lab_time();
        while !gone() && lab.clock.lab_time() < asked + ASK_AGAIN {
            lab.clock.sleep(LOOK).await;
        }
    }
}

/// Takes a member out of every target group and waits until it is drained: the deregistration delay
/// passes, or the instance is no longer running and there is nothing to drain.
pub async fn leave_target_groups(lab: &Arc<Lab>, key: &Key, id: &str, activity: Option<&str>) {
    let targets = lab
        .asg
        .with_member(key, id, |member| std::mem::take(&mut member.registered))
        .unwrap_or_default();
    if targets.is_empty() {
        return;
    }
    if let Some(activity) = activity {
        activity::progress(lab, key, activity, "WaitingForELBConnectionDraining", 40);
    }
    for arn in &targets {
        elbv2::deregister(lab, &key.0, arn, id).await;
    }
    let began = lab.clock.lab_time();
    let draining = || {
        let alive = ec2::instance(lab, &key.0, id).is_some_and(|view| view.state == "running");
        alive
            && targets
                .iter()
                .any(|arn| elbv2::target_state(lab, &key.0, arn, id).as_deref() == Some("draining"))
    };
    while draining() && lab.clock.lab_time() < began + DRAIN_MOST {
        lab.clock.sleep(LOOK).await;
    }
}

//! The way in: from a launch to service.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::hooks::{HookOutcome, wait_for_hooks};
use super::{LOOK, Moved, step, step_and_tell, terminate};
use crate::asg::activity::{self, moment};
use crate::asg::model::{
    BackOff, Illness, Key, Launching, Lifecycle, Member, Process, Template, Transition,
};
use crate::ec2::{self, GroupLaunch};
use crate::{Lab, elbv2};

/// The first pause after a failed launch in a zone; doubles up to [`BACK_OFF_MOST`]. AWS documents
/// that it retries, not how fast; a quarter of a minute is what its activities show.
const BACK_OFF_FIRST: Duration = Duration::from_secs(15);
/// The longest pause after failed launches.
const BACK_OFF_MOST: Duration = Duration::from_mins(5);

/// Launches one instance and takes it into service.
pub async fn launch(lab: Arc<Lab>, key: Key, launching: Launching) {
    let Some(request) = lab.asg.with(&key, |group| GroupLaunch {
        template_id: group.template.id.clone(),
        version: group.template.version.clone(),
        subnet_id: launching.subnet.id.clone(),
        group_name: group.name.clone(),
        tags: group
            .tags
            .iter()
            .filter(|(_, tag)| tag.propagate)
            .map(|(name, tag)| (name.clone(), tag.value.clone()))
            .collect(),
        client_token: Some(launching.activity.clone()),
    }) else {
        return;
    };
    let launched = ec2::run_for_group(&lab, &key.0, request).await;
    let id = match launched {
        Ok(id) => id,
        Err(error) => return launch_failed(&lab, &key, &launching, &error.message),
    };
    let taken_in = admit(&lab, &key, &launching, &id);
    lab.asg.ring(&key);
    if taken_in {
        // `Moved` means that somebody else carries on with this member.
        let _ = come_up(&lab, &key, &id, &launching.activity).await;
    } else if let Err(error) = ec2::terminate(&lab, &key.0, &id).await {
        log::warn!(
            "{id} of the deleted group `{}` was not ended: {error}",
            key.1
        );
    }
}

/// Makes the launched instance a member; false when the group is gone or going.
fn admit(lab: &Lab, key: &Key, launching: &Launching, id: &str) -> bool {
    let view = ec2::instance(lab, &key.0, id);
    let now = lab.clock.now();
    lab.asg
        .with(key, |group| {
            group
                .launching
                .retain(|other| other.activity != launching.activity);
            group.back_off.remove(&launching.subnet.zone);
            if group.deleting {
                return false;
            }
            if let Some(activity) = group.activity(&launching.activity) {
                activity.description = format!("Launching a new EC2 instance: {id}");
                activity.status = "PreInService";
                activity.progress = 30;
            }
            let version = view
                .as_ref()
                .and_then(|view| view.template.as_ref())
                .map_or_else(
                    || group.template.version.clone(),
                    |(_, number)| number.to_string(),
                );
            let member = Member {
                id: id.to_owned(),
                zone: launching.subnet.zone.clone(),
                subnet: launching.subnet.id.clone(),
                instance_type: view
                    .as_ref()
                    .map(|view| view.instance_type.clone())
                    .unwrap_or_default(),
                image: view.map(|view| view.image_id).unwrap_or_default(),
                template: Template {
                    version,
                    ..group.template.clone()
                },
                state: Lifecycle::Pending,
                illness: None,
                protected: group.protect_new,
                launched: now,
                in_service_at: None,
                actions: Vec::new(),
                registered: BTreeSet::new(),
                unlisted: false,
                rebalancing: launching.rebalancing,
                checked: false,
                impaired_since: None,
                activity: Some(launching.activity.clone()),
            };
            group.members.insert(id.to_owned(), member);
            true
        })
        .unwrap_or(false)
}

fn launch_failed(lab: &Lab, key: &Key, launching: &Launching, why: &str) {
    let (now, lab_now) = (lab.clock.now(), lab.clock.lab_time());
    log::debug!(
        "{}: launch in {} failed: {why}",
        key.1,
        launching.subnet.zone
    );
    lab.asg.with(key, |group| {
        group
            .launching
            .retain(|other| other.activity != launching.activity);
        let message = format!("{why}  Launching EC2 instance failed.");
        activity::end_in(group, &launching.activity, "Failed", Some(message), now);
        let failures = group
            .back_off
            .get(&launching.subnet.zone)
            .map_or(0, |before| before.failures)
            + 1;
        let pause = BACK_OFF_FIRST
            .saturating_mul(1 << failures.saturating_sub(1).min(10))
            .min(BACK_OFF_MOST);
        group.back_off.insert(
            launching.subnet.zone.clone(),
            BackOff {
                failures,
                until: lab_now + pause,
            },
        );
    });
    lab.asg.ring(key);
}

/// Pending to InService. Also the way back from standby.
pub async fn come_up(lab: &Arc<Lab>, key: &Key, id: &str, activity: &str) -> Result<(), Moved> {
    loop {
        let state = ec2::instance(lab, &key.0, id).map(|view| view.state);
        step(lab, key, id, &[Lifecycle::Pending], |_| ())?;
        match state.as_deref() {
            Some("running") => break,
            Some("pending") => lab.clock.sleep(LOOK).await,
            other => {
                let state = other.unwrap_or("gone").to_owned();
                never_served(lab, key, id, &state);
                return Err(Moved);
            }
        }
    }
    match wait_for_hooks(lab, key, id, Transition::Launching, activity).await? {
        HookOutcome::None | HookOutcome::Continue => {}
        HookOutcome::Abandon(message) => {
            activity::end(lab, key, activity, "Cancelled", Some(message));
            let at = moment(lab.clock.now());
            terminate(
                lab,
                key,
                id,
                &format!(
                    "At {at} an instance was taken out of service in response to a launch failure."
                ),
            );
            return Err(Moved);
        }
    }
    let targets = step(
        lab,
        key,
        id,
        &[Lifecycle::Pending, Lifecycle::PendingProceed],
        |_| (),
    )
    .map(|()| targets_for_newcomer(lab, key, id))?;
    for arn in &targets {
        elbv2::register(lab, &key.0, arn, id, None).await;
    }
    let (now, lab_now) = (lab.clock.now(), lab.clock.lab_time());
    step_and_tell(
        lab,
        key,
        id,
        &[Lifecycle::Pending, Lifecycle::PendingProceed],
        |member| {
            member.state = Lifecycle::InService;
            member.in_service_at = Some(lab_now);
            member.registered.extend(targets);
            member.rebalancing = false;
            member.activity = None;
        },
        |group| activity::end_in(group, activity, "Successful", None, now),
    )?;
    lab.asg.ring(key);
    Ok(())
}

fn targets_for_newcomer(lab: &Lab, key: &Key, id: &str) -> Vec<String> {
    lab.asg
        .with(key, |group| {
            let suspended = group.is_suspended(Process::AddToLoadBalancer);
            if let Some(member) = group.members.get_mut(id) {
                member.unlisted = suspended;
            }
            if suspended {
                return Vec::new();
            }
            group
                .target_groups()
                .map(|attachment| attachment.arn.clone())
                .collect()
        })
        .unwrap_or_default()
}

/// An instance that ended before it was in service: its launch failed.
pub fn never_served(lab: &Arc<Lab>, key: &Key, id: &str, state: &str) {
    let now = lab.clock.now();
    let reason = ec2::launch_failure(lab, &key.0, id);
    lab.asg.with(key, |group| {
        let activity = group
            .members
            .get(id)
            .and_then(|member| member.activity.clone());
        if let Some(activity) = activity {
            let why = reason.map_or_else(
                || format!("Instance state: {state}"),
                |reason| format!("Termination Reason: {reason}"),
            );
            let message = format!(
                "Instance became unhealthy while waiting for instance to be in InService state. {why}"
            );
            activity::end_in(group, &activity, "Failed", Some(message), now);
        }
    });
    let at = moment(now);
    let why = Illness::NotRunning.cause();
    terminate(
        lab,
        key,
        id,
        &format!("At {at} an instance was taken out of service in response to {why}."),
    );
}

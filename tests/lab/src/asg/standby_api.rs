//! Instances that join or leave a group without being launched or ended by it: attach, detach,
//! standby.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::activity::{self, moment, place_of};
use super::describe::activity_xml;
use super::lifecycle;
use super::model::{Group, Key, Lifecycle, Member, Process, Template};
use super::parse::{invalid, required, required_flag};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2;

struct Request {
    key: Key,
    ids: Vec<String>,
}

fn request(call: &Call) -> Result<Request, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let ids = call.params.list("InstanceIds");
    if ids.is_empty() {
        return Err(invalid("At least one InstanceId must be specified"));
    }
    Ok(Request {
        key: (call.region.clone(), name),
        ids,
    })
}

fn foreign(group: &Group, id: &str) -> ApiError {
    invalid(format!(
        "The instance {id} is not part of Auto Scaling group {}.",
        group.name
    ))
}

fn check_states(group: &Group, ids: &[String], wanted: Lifecycle) -> Result<(), ApiError> {
    for id in ids {
        let member = group.members.get(id).ok_or_else(|| foreign(group, id))?;
        if member.state != wanted {
            return Err(invalid(format!(
                "The instance {id} is in {} and not in {wanted}.",
                member.state
            )));
        }
    }
    Ok(())
}

fn shrink(group: &mut Group, by: usize) -> Result<(), ApiError> {
    let goal = group.desired - by as i64;
    if goal < group.min {
        return Err(invalid(format!(
            "The desired capacity would fall to {goal}, below the group's min size {}",
            group.min
        )));
    }
    group.desired = goal;
    Ok(())
}

/// Moves each instance to `state` under an activity of its own.
fn begin_all(
    lab: &Lab,
    group: &mut Group,
    ids: &[String],
    state: Lifecycle,
    words: (&str, &str),
) -> Vec<(String, String)> {
    let now = lab.clock.now();
    ids.iter()
        .filter_map(|id| {
            let activity = lab.ids.uuid();
            let member = group.members.get_mut(id)?;
            member.state = state;
            member.illness = None;
            member.activity = Some(activity.clone());
            let place = place_of(&member.zone, &member.subnet);
            activity::begin(
                group,
                activity.clone(),
                format!("{} {id}", words.0),
                format!("At {} instance {id} {}.", moment(now), words.1),
                &place,
                now,
            );
            Some((id.clone(), activity))
        })
        .collect()
}

fn reply(lab: &Lab, key: &Key, begun: &[(String, String)]) -> Reply {
    let shown = lab
        .asg
        .with(key, |group| {
            let arn = group.arn.clone();
            begun
                .iter()
                .filter_map(|(_, id)| {
                    group
                        .activity(id)
                        .map(|one| activity_xml(&key.1, &arn, one, false))
                })
                .collect::<Vec<_>>()
        })
        .unwrap_or_default();
    Xml::new().list("Activities", "member", shown).into()
}

/// `DetachInstances`.
pub fn detach(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let Request { key, ids } = request(call)?;
    let decrement = required_flag(&call.params, "ShouldDecrementDesiredCapacity")?;
    call.params.finish()?;
    let begun = lab.asg.group(&key, |group| {
        for id in &ids {
            let member = group.members.get(id).ok_or_else(|| foreign(group, id))?;
            if !matches!(member.state, Lifecycle::InService | Lifecycle::Standby) {
                return Err(invalid(format!(
                    "The instance {id} is in {} and not in InService or Standby.",
                    member.state
                )));
            }
        }
        if decrement {
            let serving = ids
                .iter()
                .filter(|id| group.members[*id].state == Lifecycle::InService)
                .count();
            shrink(group, serving)?;
        }
        Ok(begin_all(
            lab,
            group,
            &ids,
            Lifecycle::Detaching,
            (
                "Detaching EC2 instance:",
                "was detached in response to a user request",
            ),
        ))
    })?;
    let answer = reply(lab, &key, &begun);
    for (id, activity) in begun {
        let (lab_task, key) = (Arc::clone(lab), key.clone());
        lab.spawn(async move {
            lifecycle::leave_target_groups(&lab_task, &key, &id, Some(&activity)).await;
            activity::end(&lab_task, &key, &activity, "Successful", None);
            lab_task.asg.with(&key, |group| group.members.remove(&id));
            lab_task.asg.ring(&key);
        });
    }
    lab.asg.ring(&key);
    Ok(answer)
}

/// `EnterStandby`.
pub fn enter(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let Request { key, ids } = request(call)?;
    let decrement = required_flag(&call.params, "ShouldDecrementDesiredCapacity")?;
    call.params.finish()?;
    let begun = lab.asg.group(&key, |group| {
        check_states(group, &ids, Lifecycle::InService)?;
        if decrement {
            shrink(group, ids.len())?;
        }
        Ok(begin_all(
            lab,
            group,
            &ids,
            Lifecycle::EnteringStandby,
            (
                "Moving EC2 instance to Standby:",
                "was moved to standby in response to a user request",
            ),
        ))
    })?;
    let answer = reply(lab, &key, &begun);
    for (id, activity) in begun {
        let (lab_task, key) = (Arc::clone(lab), key.clone());
        lab.spawn(async move {
            lifecycle::leave_target_groups(&lab_task, &key, &id, Some(&activity)).await;
            lab_task.asg.with_member(&key, &id, |member| {
                if member.state == Lifecycle::EnteringStandby {
                    member.state = Lifecycle::Standby;
                    member.activity = None;
                }
            });
            activity::end(&lab_task, &key, &activity, "Successful", None);
            lab_task.asg.ring(&key);
        });
    }
    lab.asg.ring(&key);
    Ok(answer)
}

/// `ExitStandby`: as a launch, hooks included, without an instance to make.
pub fn exit(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let Request { key, ids } = request(call)?;
    call.params.finish()?;
    let begun = lab.asg.group(&key, |group| {
        check_states(group, &ids, Lifecycle::Standby)?;
        grow(group, ids.len())?;
        Ok(begin_all(
            lab,
            group,
            &ids,
            Lifecycle::Pending,
            (
                "Moving EC2 instance out of Standby:",
                "was moved out of standby in response to a user request",
            ),
        ))
    })?;
    let answer = reply(lab, &key, &begun);
    bring_up(lab, &key, begun);
    Ok(answer)
}

fn grow(group: &mut Group, by: usize) -> Result<(), ApiError> {
    if group.is_suspended(Process::Launch) {
        return Err(invalid(format!(
            "Process Launch is suspended for group {}",
            group.name
        )));
    }
    let goal = group.desired + by as i64;
    if goal > group.max {
        return Err(invalid(format!(
            "The desired capacity would rise to {goal}, above the group's max size {}",
            group.max
        )));
    }
    group.desired = goal;
    Ok(())
}

fn bring_up(lab: &Arc<Lab>, key: &Key, begun: Vec<(String, String)>) {
    for (id, activity) in begun {
        let (lab_task, key) = (Arc::clone(lab), key.clone());
        lab.spawn(async move {
            // `Moved`: somebody else carries on with it.
            let _ = lifecycle::come_up(&lab_task, &key, &id, &activity).await;
        });
    }
    lab.asg.ring(key);
}

/// `AttachInstances`: running instances of the group's zones join and count.
pub fn attach(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let Request { key, ids } = request(call)?;
    call.params.finish()?;
    let mut members = Vec::new();
    for id in &ids {
        let view = ec2::instance(lab, &key.0, id)
            .filter(|view| view.state == "running")
            .ok_or_else(|| {
                invalid(format!(
                    "Invalid Instance ID(s): [{id}] specified: it does not exist or is not running"
                ))
            })?;
        if let Some(owner) = lab.asg.find(&key.0, id) {
            return Err(invalid(format!(
                "Instance {id} is already in Auto Scaling group {}",
                owner.1
            )));
        }
        members.push(view);
    }
    let now = lab.clock.now();
    let begun = lab.asg.group(&key, |group| {
        let zones = group.zones();
        if let Some(stranger) = members.iter().find(|view| !zones.contains(&view.zone)) {
            return Err(invalid(format!(
                "The availability zone {} of instance {} is not one of the group's: {}",
                stranger.zone,
                stranger.id,
                zones.join(", ")
            )));
        }
        grow(group, members.len())?;
        for view in members {
            let (template_id, version) = view
                .template
                .unwrap_or_else(|| (group.template.id.clone(), 0));
            let member = Member {
                id: view.id.clone(),
                zone: view.zone,
                subnet: view.subnet_id,
                instance_type: view.instance_type,
                image: view.image_id,
                template: Template {
                    id: template_id,
                    name: group.template.name.clone(),
                    version: version.to_string(),
                },
                state: Lifecycle::Pending,
                illness: None,
                protected: group.protect_new,
                launched: now,
                in_service_at: None,
                actions: Vec::new(),
                registered: BTreeSet::new(),
                unlisted: false,
                rebalancing: false,
                checked: false,
                impaired_since: None,
                activity: None,
            };
            group.members.insert(view.id, member);
        }
        Ok(begin_all(
            lab,
            group,
            &ids,
            Lifecycle::Pending,
            (
                "Attaching an existing EC2 instance:",
                "was attached in response to a user request",
            ),
        ))
    })?;
    bring_up(lab, &key, begun);
    Ok(Xml::new().into())
}

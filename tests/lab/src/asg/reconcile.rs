//! One loop for each group: look at the world, decide, start what must be started.
//!
//! A pass has three parts: [`observe`] asks EC2 and ELB without the lock; [`note_health`] and
//! [`decide`] change and read the group under it; the steps decided are then started. The loop
//! wakes when something about the group changes, and every [`TICK`] for what changes elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::activity::{self, moment};
use super::balance::{self, Candidate, Occupied};
use super::health::{Observed, choose_sick, note_health, observe};
use super::model::{Group, Key, Launching, Lifecycle, Process};
use super::{lifecycle, schedule_api};
use crate::{Lab, elbv2};

/// How often a group looks at its instances' health and balance without being woken. AWS says
/// "periodically"; replacements start within a fraction of a minute there.
const TICK: Duration = Duration::from_secs(15);

/// One thing to start.
#[derive(Debug)]
enum Start {
    Launch(Launching),
    /// Instance and cause.
    Terminate(String, String),
    /// A pending instance that is no longer alive: id and EC2's state.
    NeverServed(String, String),
    /// Instance and target group.
    Register(String, String),
    Deregister(String, String),
}

/// Runs a group until it is gone.
pub async fn run(lab: Arc<Lab>, key: Key) {
    let Some(bell) = lab.asg.bell(&key) else {
        return;
    };
    loop {
        let woken = bell.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        if !pass(&lab, &key).await {
            return;
        }
        let scheduled = until_scheduled(&lab, &key);
        tokio::select! {
            () = woken => {}
            () = lab.clock.sleep(TICK) => {}
            () = tokio::time::sleep(scheduled) => {}
        }
    }
}

/// Real time until the next scheduled action.
fn until_scheduled(lab: &Lab, key: &Key) -> Duration {
    let next = lab.asg.with(key, |group| {
        group.scheduled.values().map(|action| action.start).min()
    });
    next.flatten().map_or(Duration::MAX, |start| {
        Duration::try_from(start.duration_since(lab.clock.now())).unwrap_or_default()
    })
}

/// One pass; false when the group is gone.
async fn pass(lab: &Arc<Lab>, key: &Key) -> bool {
    let Some(members) = lab.asg.with(key, |group| {
        let members = group.members.values();
        members
            .map(|member| (member.id.clone(), member.registered.clone()))
            .collect::<Vec<_>>()
    }) else {
        return false;
    };
    let observed: BTreeMap<String, Observed> = members
        .into_iter()
        .map(|(id, targets)| {
            let seen = observe(lab, &key.0, &id, &targets);
            (id, seen)
        })
        .collect();
    let (now, lab_now) = (lab.clock.now(), lab.clock.lab_time());
    let Some(starts) = lab.asg.with(key, |group| {
        if group.deleting {
            return Vec::new();
        }
        schedule_api::run_due(group, now);
        note_health(group, &observed, lab_now);
        let mut starts = feed_target_groups(group, &observed);
        starts.extend(decide(group, &observed, now, lab_now, &|| lab.ids.uuid()));
        note_cooldown(group, lab_now);
        starts
    }) else {
        return false;
    };
    for start in starts {
        match start {
            Start::Launch(launching) => {
                lab.spawn(lifecycle::launch(Arc::clone(lab), key.clone(), launching));
            }
            Start::Terminate(id, cause) => {
                lifecycle::terminate(lab, key, &id, &cause);
            }
            Start::NeverServed(id, state) => lifecycle::never_served(lab, key, &id, &state),
            Start::Register(id, arn) => elbv2::register(lab, &key.0, &arn, &id, None).await,
            Start::Deregister(id, arn) => elbv2::deregister(lab, &key.0, &arn, &id).await,
        }
    }
    true
}

/// Members in service that are missing from a target group, and those still in one that leaves.
fn feed_target_groups(group: &mut Group, observed: &BTreeMap<String, Observed>) -> Vec<Start> {
    let mut starts = Vec::new();
    let add = !group.is_suspended(Process::AddToLoadBalancer);
    let mut busy: BTreeSet<String> = BTreeSet::new();
    for member in group.members.values_mut() {
        for attachment in &group.attachments {
            let arn = &attachment.arn;
            let there = member.registered.contains(arn);
            if attachment.removing && there {
                busy.insert(arn.clone());
                let state = observed
                    .get(&member.id)
                    .and_then(|seen| seen.targets.get(arn));
                match state.map(String::as_str) {
                    Some("draining") => {}
                    Some(_) => starts.push(Start::Deregister(member.id.clone(), arn.clone())),
                    None => {
                        member.registered.remove(arn);
                    }
                }
            } else if !attachment.removing
                && !there
                && add
                && !member.unlisted
                && member.state == Lifecycle::InService
            {
                member.registered.insert(arn.clone());
                starts.push(Start::Register(member.id.clone(), arn.clone()));
            }
        }
    }
    group
        .attachments
        .retain(|attachment| !attachment.removing || busy.contains(&attachment.arn));
    starts
}

/// A simple policy's cooldown begins when the last instance has arrived or gone.
fn note_cooldown(group: &mut Group, lab_now: Duration) {
    let busy = !group.launching.is_empty()
        || group.capacity() != group.desired
        || group
            .members
            .values()
            .any(|member| member.state.is_pending() || member.state.is_terminating());
    match &mut group.cooldown {
        Some(cooldown) if cooldown.until.is_none() && !busy => {
            cooldown.until = Some(lab_now + cooldown.length);
        }
        Some(cooldown) if cooldown.until.is_some_and(|until| until <= lab_now) => {
            group.cooldown = None;
        }
        _ => {}
    }
}

fn decide(
    group: &mut Group,
    observed: &BTreeMap<String, Observed>,
    now: jiff::Timestamp,
    lab_now: Duration,
    new_id: &dyn Fn() -> String,
) -> Vec<Start> {
    let mut starts = Vec::new();
    for member in group.members.values() {
        let state = observed
            .get(&member.id)
            .map(|seen| seen.state.as_deref().unwrap_or("gone"));
        if member.state.is_pending()
            && state.is_some_and(|state| state != "pending" && state != "running")
        {
            let state = state.unwrap_or_default().to_owned();
            starts.push(Start::NeverServed(member.id.clone(), state));
        }
    }
    let terminate = !group.is_suspended(Process::Terminate);
    let launch = !group.is_suspended(Process::Launch);
    let sick = if terminate && !group.is_suspended(Process::ReplaceUnhealthy) {
        choose_sick(group)
    } else {
        Vec::new()
    };
    let at = moment(now);
    for (id, illness) in &sick {
        let cause = format!(
            "At {at} an instance was taken out of service in response to {}.",
            illness.cause()
        );
        starts.push(Start::Terminate(id.clone(), cause));
    }
    // Members that this pass ends do not count any more.
    let ending: BTreeSet<String> = starts
        .iter()
        .filter_map(|start| match start {
            Start::Terminate(id, _) | Start::NeverServed(id, _) => Some(id.clone()),
            _ => None,
        })
        .collect();
    let capacity = group.capacity() - ending.len() as i64;
    let rebalancing = group
        .members
        .values()
        .filter(|member| member.rebalancing && member.state.is_pending())
        .count()
        + group.launching.iter().filter(|one| one.rebalancing).count();
    let counted = capacity - rebalancing as i64;
    if counted < group.desired && launch {
        let replaces = !sick.is_empty();
        for step in 0..group.desired - counted {
            let why = if replaces {
                format!(
                    "At {at} an instance was launched in response to an unhealthy instance needing to be replaced."
                )
            } else {
                format!(
                    "{}At {at} an instance was started in response to a difference between desired and actual capacity, increasing the capacity from {} to {}.",
                    group.cause,
                    counted + step,
                    counted + step + 1
                )
            };
            let Some(start) = plan_launch(group, &ending, why, false, now, lab_now, new_id) else {
                break;
            };
            starts.push(start);
        }
    } else if counted > group.desired && terminate {
        starts.extend(scale_in(group, &ending, counted, now));
    } else if counted == group.desired
        && starts.is_empty()
        && launch
        && terminate
        && !group.is_suspended(Process::AzRebalance)
    {
        starts.extend(even_out(group, rebalancing, now, lab_now, new_id));
    }
    starts
}

fn occupied<'a>(group: &'a Group, without: &BTreeSet<String>) -> Occupied<'a> {
    let members = group.members.values().filter(|member| {
        (member.state.is_pending() || member.state == Lifecycle::InService)
            && !without.contains(&member.id)
    });
    members
        .map(|member| (member.zone.as_str(), member.subnet.as_str()))
        .chain(
            group
                .launching
                .iter()
                .map(|one| (one.subnet.zone.as_str(), one.subnet.id.as_str())),
        )
        .collect()
}

fn blocked(group: &Group, lab_now: Duration) -> BTreeSet<String> {
    let zones = group.back_off.iter();
    zones
        .filter(|(_, back_off)| lab_now < back_off.until)
        .map(|(zone, _)| zone.clone())
        .collect()
}

fn plan_launch(
    group: &mut Group,
    ending: &BTreeSet<String>,
    cause: String,
    rebalancing: bool,
    now: jiff::Timestamp,
    lab_now: Duration,
    new_id: &dyn Fn() -> String,
) -> Option<Start> {
    let subnet = balance::place(
        &group.subnets,
        &occupied(group, ending),
        &blocked(group, lab_now),
    )?
    .clone();
    let launching = Launching {
        activity: new_id(),
        subnet,
        rebalancing,
    };
    activity::begin(
        group,
        launching.activity.clone(),
        "Launching a new EC2 instance".to_owned(),
        cause,
        &launching.subnet,
        now,
    );
    group.launching.push(launching.clone());
    Some(Start::Launch(launching))
}

fn scale_in(
    group: &Group,
    ending: &BTreeSet<String>,
    counted: i64,
    now: jiff::Timestamp,
) -> Vec<Start> {
    let mut candidates: Vec<Candidate> = group
        .members
        .values()
        .filter(|member| member.state == Lifecycle::InService && !ending.contains(&member.id))
        .map(|member| Candidate {
            id: member.id.clone(),
            zone: member.zone.clone(),
            protected: member.protected,
            own_template: member.template.id == group.template.id,
            version: member.template.version.parse().unwrap_or(0),
            launched: member.launched.as_second(),
        })
        .collect();
    let zones = group.zones();
    let at = moment(now);
    let mut starts = Vec::new();
    for step in 0..counted - group.desired {
        let Some(victim) = balance::choose_victim(
            &candidates,
            &zones,
            &group.termination_policies,
            now.as_second(),
        ) else {
            break;
        };
        let id = victim.id.clone();
        let cause = format!(
            "{}At {at} an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity from {} to {}.  At {at} instance {id} was selected for termination.",
            group.cause,
            counted - step,
            counted - step - 1
        );
        candidates.retain(|other| other.id != id);
        starts.push(Start::Terminate(id, cause));
    }
    starts
}

/// Begins to even out the zones by a launch; the scale-in that follows when it is in service
/// removes from the fullest zone.
fn even_out(
    group: &mut Group,
    rebalancing: usize,
    now: jiff::Timestamp,
    lab_now: Duration,
    new_id: &dyn Fn() -> String,
) -> Option<Start> {
    let steady = rebalancing == 0
        && group.launching.is_empty()
        && group
            .members
            .values()
            .all(|member| member.state == Lifecycle::InService && member.illness.is_none());
    let nobody = BTreeSet::new();
    if !steady
        || !balance::is_unbalanced(
            &group.subnets,
            &occupied(group, &nobody),
            &blocked(group, lab_now),
        )
    {
        return None;
    }
    let at = moment(now);
    let cause = format!(
        "At {at} instances were launched to balance instances in zones {} with other zones resulting in more than desired number of instances in the group.",
        group.zones().join(" ")
    );
    plan_launch(group, &nobody, cause, true, now, lab_now, new_id)
}

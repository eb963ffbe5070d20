//! Whose health counts how: what EC2 and ELB say, what it makes of a member, who is replaced now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::balance;
use super::model::{Group, Illness, Lifecycle, Process};
use crate::{Lab, ec2, elbv2};

/// How long status checks may fail before an instance counts as impaired: AWS "waits a few minutes
/// for AWS to fix the issue".
const IMPAIRED_WAIT: Duration = Duration::from_mins(3);

/// What EC2 and ELB say about one member.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// EC2's state; none when EC2 does not know the instance.
    pub state: Option<String>,
    /// EC2's status checks pass.
    pub status_ok: bool,
    /// Health in each target group that it is registered in.
    pub targets: BTreeMap<String, String>,
}

/// Asks EC2 and ELB about a member.
pub fn observe(lab: &Lab, region: &str, id: &str, targets: &BTreeSet<String>) -> Observed {
    let view = ec2::instance(lab, region, id);
    Observed {
        status_ok: view.as_ref().is_some_and(|view| view.status_ok),
        state: view.map(|view| view.state),
        targets: targets
            .iter()
            .filter_map(|arn| {
                elbv2::target_state(lab, region, arn, id).map(|state| (arn.clone(), state))
            })
            .collect(),
    }
}

/// Marks members that are sick, unless HealthCheck is suspended.
pub fn note_health(group: &mut Group, observed: &BTreeMap<String, Observed>, lab_now: Duration) {
    for attachment in &mut group.attachments {
        attachment.in_service |= observed.values().any(|seen| {
            seen.targets
                .get(&attachment.arn)
                .is_some_and(|at| at == "healthy")
        });
    }
    if group.is_suspended(Process::HealthCheck) {
        return;
    }
    let grace = Duration::from_secs(group.grace.max(0) as u64);
    let counted: BTreeSet<String> = group
        .attachments
        .iter()
        .filter(|attachment| group.elb_health && attachment.in_service && !attachment.removing)
        .map(|attachment| attachment.arn.clone())
        .collect();
    for member in group.members.values_mut() {
        if member.state != Lifecycle::InService {
            continue;
        }
        let Some(seen) = observed.get(&member.id) else {
            continue;
        };
        member.checked |= seen.status_ok;
        if seen.status_ok || !member.checked {
            member.impaired_since = None;
        } else {
            member.impaired_since.get_or_insert(lab_now);
        }
        let past_grace = member
            .in_service_at
            .is_some_and(|since| lab_now >= since + grace);
        let unhealthy_target = seen
            .targets
            .iter()
            .any(|(arn, state)| counted.contains(arn) && state == "unhealthy");
        let illness = if seen.state.as_deref() != Some("running") {
            Some(Illness::NotRunning)
        } else if !past_grace {
            None
        } else if unhealthy_target {
            Some(Illness::LoadBalancer)
        } else if member
            .impaired_since
            .is_some_and(|since| lab_now >= since + IMPAIRED_WAIT)
        {
            Some(Illness::Impaired)
        } else {
            None
        };
        if member.illness.is_none() {
            member.illness = illness;
        }
    }
}

/// The sick members whose time has come: first all that are down for certain, of the others as many
/// as the group can spare.
pub fn choose_sick(group: &Group) -> Vec<(String, Illness)> {
    let sick: Vec<(String, Illness)> = group
        .members
        .values()
        .filter(|member| member.state == Lifecycle::InService)
        .filter_map(|member| Some((member.id.clone(), member.illness?)))
        .collect();
    let (fast, slow): (Vec<_>, Vec<_>) = sick
        .into_iter()
        .partition(|(_, illness)| illness.is_immediate());
    let serving = group
        .members
        .values()
        .filter(|member| member.state == Lifecycle::InService)
        .count() as i64
        - fast.len() as i64;
    let arriving = (group
        .members
        .values()
        .filter(|member| member.state.is_pending())
        .count()
        + group.launching.len()) as i64;
    let allowed =
        balance::slow_replacements(group.desired, serving, arriving, fast.len() as i64).max(0);
    fast.into_iter()
        .chain(slow.into_iter().take(allowed as usize))
        .collect()
}

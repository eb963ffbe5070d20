//! What happens to the members of a group, whichever group and whenever: their goals, and the ends of
//! their lifecycle hooks.
//!
//! ```text
//!   Pending:Wait ── verified ──> CONTINUE ──> InService ── scale in ──> Terminating:Wait
//!        └── failed ──> ABANDON (Auto Scaling launches another)              └── drained, or gone ──> CONTINUE
//! ```

use crate::action::{Action, LAUNCH_HOOK, TERMINATE_HOOK};
use crate::decision::NodeGoal;
use crate::draft::Draft;
use crate::launches;
use crate::moving::unmoved;
use crate::nodes::{failure_of, runs_no_server, serves_without_files, settled_goal, verified};
use crate::observed::{Failure, Group};
use crate::view::{View, is_leaving, later, live_members};

/// How long Auto Scaling may take to show that a hook has ended; ending it twice is an error.
const SHOWN_SECONDS: u32 = 10;
/// How long a leaving node may be without a session before it counts as gone.
const UNREACHABLE_SECONDS: u32 = 120;

/// What was found of a group's members.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// Not leaving, oldest first.
    pub live: Vec<String>,
    /// Of these: verified for the goal that they have, whatever their lifecycle.
    pub verified: Vec<String>,
    /// Of these: `InService` as well.
    pub serving: Vec<String>,
    /// Members that failed, live or leaving.
    pub failed: Vec<(String, Failure)>,
    /// One sentence per live member that is not verified.
    pub waits: Vec<String>,
}

impl Members {
    /// A sentence about too few of them, followed by why each is not verified, and by why Auto Scaling
    /// launches no more of `group`.
    pub fn explain(&self, mut text: String, group: Option<&Group>) -> String {
        for why in &self.waits {
            text.push_str("; ");
            text.push_str(why);
        }
        if let Some(group) = group {
            launches::tell(&mut text, group, self.live.len());
        }
        text
    }
}

/// Gives every member its goal and ends the hooks that are due.
pub(crate) fn tend(
    view: &View<'_>,
    draft: &mut Draft,
    group: &Group,
    goal_of: impl Fn(&str) -> NodeGoal,
) -> Members {
    let live = live_members(view, group);
    let mut found = Members {
        live: live.iter().map(|id| (*id).to_owned()).collect(),
        ..Members::default()
    };
    for (instance, member) in &group.members {
        let node = view.node(instance);
        if let Some(failure) = node.and_then(failure_of) {
            found.failed.push((instance.clone(), failure));
        }
        if is_leaving(&member.lifecycle) {
            leave(view, draft, group, instance, &member.lifecycle);
            continue;
        }
        if !live.contains(&instance.as_str()) {
            continue;
        }
        let goal = draft.turns.complete(goal_of(instance), instance, node);
        let goal = settled_goal(goal, node);
        let unwanted = goal == NodeGoal::Drain;
        let state = verified(view, instance, &goal);
        draft.nodes.insert(instance.clone(), goal);
        match &state {
            Ok(()) => {
                found.verified.push(instance.clone());
                if member.lifecycle == "InService" {
                    found.serving.push(instance.clone());
                }
            }
            Err(why) => found.waits.push(why.clone()),
        }
        if member.lifecycle == "Pending:Wait" {
            let failed = found.failed.iter().any(|(id, _)| id == instance);
            let result = match (&state, failed) {
                // It is not to serve any more: Auto Scaling ends it only once its launch is over.
                _ if unwanted => "ABANDON",
                (Ok(()), _) => "CONTINUE",
                (_, true) => "ABANDON",
                _ => {
                    keep_waiting(view, draft, group, instance);
                    continue;
                }
            };
            let what = format!("launch of {instance} ends with {result}");
            complete(view, draft, group, LAUNCH_HOOK, instance, result, &what);
        }
    }
    found
}

/// A launch that waits on purpose, or for a migration, is not given up by Auto Scaling: its heartbeat is
/// renewed when a third of it has passed since the last time. Any other boot ends with `fleet.boot_seconds`.
fn keep_waiting(view: &View<'_>, draft: &mut Draft, group: &Group, instance: &str) {
    let patient = view.node(instance).is_some_and(|node| {
        let prepared =
            node.phase == "installed" && matches!(node.goal, Some(NodeGoal::Prepare { .. }));
        node.connected && node.current && (prepared || node.phase == "migrating")
    });
    let heartbeat = group.hooks.get(LAUNCH_HOOK).map(|(_, seconds)| *seconds);
    let (true, Some(heartbeat)) = (patient, heartbeat) else {
        return;
    };
    let action = Action::HeartbeatLifecycle {
        group: group.name.clone(),
        hook: LAUNCH_HOOK.to_owned(),
        instance: instance.to_owned(),
    };
    let renewed = view
        .intent
        .journal
        .get(&action.key())
        .filter(|entry| entry.error.is_none())
        .and_then(|entry| entry.done);
    let launched = view
        .observed
        .instances
        .get(instance)
        .and_then(|seen| seen.launched);
    let since = renewed.max(launched);
    if since.is_none_or(|since| view.now >= later(since, (heartbeat / 3).max(1))) {
        let what = format!("{instance} waits: its launch hook gets another {heartbeat} s");
        draft.set(view, "lifecycle", &what, action);
    }
}

/// Behind a maintenance page nobody is probed, so Auto Scaling does not notice a node that gave up: it is
/// replaced by our word, one at a time.
pub(crate) fn replace_failed(view: &View<'_>, draft: &mut Draft, group: &Group, members: &Members) {
    let settled = group
        .members
        .values()
        .all(|member| member.lifecycle == "InService");
    if !view.is_closed() || !settled {
        return;
    }
    let lost = members.failed.iter().find(|(instance, _)| {
        let node = view.node(instance);
        !node.is_some_and(serves_without_files)
    });
    if let Some((instance, failure)) = lost {
        // What people made lies on it alone.
        if let Some(unmoved) = unmoved(view.record(), view.spec()) {
            draft.wait(
                "not_moved",
                format!(
                    "{instance} failed in `{}` and is not replaced: {}",
                    failure.phase,
                    unmoved.words()
                ),
            );
            return;
        }
        let what = format!("{instance} failed in `{}` and is replaced", failure.phase);
        let action = Action::TerminateInstance {
            group: group.name.clone(),
            instance: instance.clone(),
        };
        draft.set(view, "node_failed", &what, action);
    }
}

/// A leaving node closes its connections; its hook ends when that is done, or when nobody is left to do it.
fn leave(view: &View<'_>, draft: &mut Draft, group: &Group, instance: &str, lifecycle: &str) {
    if matches!(lifecycle, "Terminating" | "Terminating:Wait") {
        match keeps_connections(view, draft, instance, lifecycle) {
            Some(why) => draft.wait("draining", format!("{instance} is leaving: {why}")),
            None => drop(draft.nodes.insert(instance.to_owned(), NodeGoal::Drain)),
        }
    }
    if lifecycle != "Terminating:Wait" {
        return;
    }
    if let Some(text) = still_draining(view, instance) {
        draft.wait("draining", text);
    } else {
        let what = format!("{instance} may end");
        complete(
            view,
            draft,
            group,
            TERMINATE_HOOK,
            instance,
            "CONTINUE",
            &what,
        );
    }
}

/// Why a leaving node does not close its connections yet: the load balancer still sends it requests, or
/// another one is at it, and the limit for clients that come back holds for all together. It ends with the
/// deregistration delay, which `Terminating` lasts: after it the load balancer has cut what was left.
fn keeps_connections(
    view: &View<'_>,
    draft: &Draft,
    instance: &str,
    lifecycle: &str,
) -> Option<String> {
    let has_goal = |id: &str| {
        view.node(id)
            .is_some_and(|node| node.goal == Some(NodeGoal::Drain))
    };
    if lifecycle == "Terminating:Wait" || has_goal(instance) {
        return None;
    }
    if view.unknown("target_groups").is_some() {
        return Some("whether the load balancer sends to it is not known".to_owned());
    }
    let sent_to = view.observed.target_groups.values().find(|group| {
        group
            .targets
            .get(instance)
            .is_some_and(|state| receives(state))
    });
    if let Some(group) = sent_to {
        return Some(format!("a target of `{}` still", group.name));
    }
    let groups = view.observed.groups.values();
    let mut others = groups
        .flat_map(|group| &group.members)
        .filter(|(id, member)| {
            *id != instance
                && member.lifecycle == "Terminating"
                && (has_goal(id) || draft.nodes.get(*id) == Some(&NodeGoal::Drain))
                && view.node(id).is_some_and(|node| {
                    node.connected
                        && matches!(node.phase.as_str(), "starting" | "serving" | "draining")
                })
        });
    let (other, _) = others.next()?;
    Some(format!("{other} closes its connections first"))
}

/// Whether a target in this state gets new requests.
fn receives(state: &str) -> bool {
    !matches!(state, "draining" | "unused")
}

/// Why a leaving node is not done yet.
fn still_draining(view: &View<'_>, instance: &str) -> Option<String> {
    let state = view
        .observed
        .instances
        .get(instance)
        .map(|seen| seen.state.as_str());
    if matches!(state, Some("terminated" | "shutting-down" | "stopped")) {
        return None;
    }
    let node = view.node(instance)?;
    // There is nothing to drain.
    if runs_no_server(node) {
        return None;
    }
    if !node.connected
        && let Some(since) = node.disconnected_since
        && view.now >= later(since, UNREACHABLE_SECONDS)
    {
        return None;
    }
    Some(format!(
        "{instance} is leaving: `{}`, {} connections",
        node.phase, node.connections
    ))
}

fn complete(
    view: &View<'_>,
    draft: &mut Draft,
    group: &Group,
    hook: &str,
    instance: &str,
    result: &str,
    what: &str,
) {
    let action = Action::CompleteLifecycle {
        group: group.name.clone(),
        hook: hook.to_owned(),
        instance: instance.to_owned(),
        result: result.to_owned(),
    };
    let done = view
        .intent
        .journal
        .get(&action.key())
        .filter(|entry| entry.error.is_none())
        .and_then(|entry| entry.done);
    if let Some(done) = done
        && view.now < later(done, SHOWN_SECONDS)
    {
        draft.wait(
            "lifecycle",
            format!("{what}; Auto Scaling does not show it yet"),
        );
        return;
    }
    draft.set(view, "lifecycle", what, action);
}

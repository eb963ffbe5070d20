//! What people have set on a group that keeps Auto Scaling from launching or ending its nodes.
//!
//! A process that is suspended by hand stays so: somebody had a reason, and only he knows whether it is over. It is
//! named, with the command, wherever it is waited for. Protection from scale-in is meant against Auto Scaling's own
//! choice of a node; where we order every node of a group away, it is lifted (what we suspend ourselves, and lift
//! again, carries our tags: see [`pin`](crate::rollout::pin) and [`restarts`](crate::stack)).

use std::collections::BTreeSet;

use crate::action::Action;
use crate::draft::Draft;
use crate::observed::Group;
use crate::view::View;

/// Lifecycle states in which Auto Scaling lets a protection be changed (API, `SetInstanceProtection`).
const CHANGEABLE: [&str; 3] = ["InService", "EnteringStandby", "Standby"];

/// Says that a process is suspended by hand, what comes of it, and the command that lifts it. None: it runs.
/// Nothing of ours ever suspends `Launch` or `Terminate`.
fn suspended(group: &Group, process: &str, consequence: &str) -> Option<String> {
    group.suspended.contains(process).then(|| {
        format!(
            "`{process}` of `{name}` is suspended by hand: {consequence}; `aws autoscaling resume-processes --auto-scaling-group-name {name} --scaling-processes {process}` lifts it",
            name = group.name
        )
    })
}

/// Why Auto Scaling launches nothing in this group, if somebody said so.
pub(crate) fn launching(group: &Group) -> Option<String> {
    suspended(group, "Launch", "no node is launched")
}

/// Why Auto Scaling ends nothing in this group, if somebody said so.
pub(crate) fn ending(group: &Group) -> Option<String> {
    suspended(group, "Terminate", "no node is ended")
}

/// Clears the way for nodes of a group that is ordered to shrink: names what only a person may lift, lifts the
/// protection of its nodes. False: that is under way.
pub(crate) fn let_go(view: &View<'_>, draft: &mut Draft, group: &Group) -> bool {
    if group.members.is_empty() {
        return true;
    }
    if let Some(text) = ending(group) {
        draft.wait("suspended", text);
    }
    let instances: BTreeSet<String> = group
        .members
        .iter()
        .filter(|(_, member)| member.protected && CHANGEABLE.contains(&member.lifecycle.as_str()))
        .map(|(id, _)| id.clone())
        .collect();
    if instances.is_empty() {
        return true;
    }
    let list: Vec<&str> = instances.iter().map(String::as_str).collect();
    let text = format!(
        "`{}`: protection from scale-in is lifted of {}",
        group.name,
        list.join(", ")
    );
    let action = Action::LiftScaleInProtection {
        group: group.name.clone(),
        instances,
    };
    draft.set(view, "protected", &text, action);
    false
}

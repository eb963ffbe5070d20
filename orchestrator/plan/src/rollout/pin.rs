//! The pin: for the time of a rollout blue neither grows nor shrinks by itself. The originals lie in
//! the rollout's row and in the group's own tags, so that the pin is undone whoever comes after.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::draft::Draft;
use crate::intent::Phase;
use crate::observed::{Group, Tags};
use crate::rollout::Step;
use crate::rollout::scene::Scene;
use crate::view::View;

/// Tags that keep the originals.
const MIN: &str = "mattermost:pin-min";
const MAX: &str = "mattermost:pin-max";
const DESIRED: &str = "mattermost:pin-desired";
/// Processes that were suspended before us, joined by spaces.
const SUSPENDED: &str = "mattermost:pin-suspended";
const TAGS: [&str; 4] = [MIN, MAX, DESIRED, SUSPENDED];

/// What the pin suspends: everything by which Auto Scaling changes a healthy group of its own accord.
pub(crate) const PINNED: [&str; 3] = ["AlarmNotification", "AZRebalance", "ScheduledActions"];
/// What is suspended as well while servers are stopped or restarted on purpose: a node that does not
/// answer is then no reason to replace it.
pub(crate) const UNPROBED: [&str; 2] = ["HealthCheck", "ReplaceUnhealthy"];

/// The group carries the tags of a pin.
pub(crate) fn is_pinned(group: &Group) -> bool {
    TAGS.iter().any(|tag| group.tags.contains_key(*tag))
}

fn number(group: &Group, tag: &str) -> Option<u32> {
    group.tags.get(tag)?.parse().ok()
}

/// The size before the pin as the group's tags say it.
fn originals(group: &Group) -> Option<(u32, u32, u32)> {
    Some((
        number(group, MIN)?,
        number(group, MAX)?,
        number(group, DESIRED)?,
    ))
}

/// Processes that were suspended before us.
fn suspended_before(group: &Group) -> BTreeSet<String> {
    if let Some(words) = group.tags.get(SUSPENDED) {
        words.split_whitespace().map(str::to_owned).collect()
    } else {
        let ours = |process: &String| {
            PINNED.contains(&process.as_str()) || UNPROBED.contains(&process.as_str())
        };
        group
            .suspended
            .iter()
            .filter(|process| !ours(process))
            .cloned()
            .collect()
    }
}

/// Exactly these processes are suspended, beside those that were before us. True once read back.
pub(crate) fn suspend(view: &View<'_>, draft: &mut Draft, group: &Group, ours: &[&[&str]]) -> bool {
    let mut wanted = suspended_before(group);
    wanted.extend(
        ours.iter()
            .flat_map(|list| list.iter())
            .map(|process| (*process).to_owned()),
    );
    let what = format!("`{}`: suspended processes are being set", group.name);
    suspend_exactly(view, draft, group, wanted, ("suspended", &what))
}

/// Exactly these processes are suspended; else gate and words say that they are to be. True once read back.
pub(crate) fn suspend_exactly(
    view: &View<'_>,
    draft: &mut Draft,
    group: &Group,
    processes: BTreeSet<String>,
    (gate, what): (&str, &str),
) -> bool {
    if group.suspended == processes {
        return true;
    }
    let action = Action::SetSuspended {
        group: group.name.clone(),
        processes,
    };
    draft.set(view, gate, what, action);
    false
}

/// Size of a group, read back.
pub(crate) fn size(
    view: &View<'_>,
    draft: &mut Draft,
    group: &Group,
    (min, max, desired): (u32, u32, u32),
) -> bool {
    if (group.min, group.max, group.desired) == (min, max, desired) {
        return true;
    }
    let action = Action::SetGroupSize {
        group: group.name.clone(),
        min,
        max,
        desired,
    };
    draft.set(
        view,
        "size",
        &format!(
            "`{}`: size is being set to {min}/{max}/{desired}",
            group.name
        ),
        action,
    );
    false
}

/// Blue is pinned.
pub(super) fn pinned(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    let Some(blue) = scene.blue else {
        draft.wait(
            "blue",
            format!("group `{}` is not visible", scene.blue_name),
        );
        return Step::Stay;
    };
    if !draft.knows(view, "groups") {
        return Step::Stay;
    }
    let Some(before) = scene.rollout.pinned else {
        // First written down, then done: the row is saved before the next look.
        if let Some(rollout) = &mut draft.rollout {
            rollout.pinned = Some(originals(blue).unwrap_or((blue.min, blue.max, blue.desired)));
        }
        draft.wait("pin", "blue's size is being written down");
        return Step::Stay;
    };
    let tags = Tags::from([
        (MIN.to_owned(), before.0.to_string()),
        (MAX.to_owned(), before.1.to_string()),
        (DESIRED.to_owned(), before.2.to_string()),
        (
            SUSPENDED.to_owned(),
            suspended_before(blue)
                .into_iter()
                .collect::<Vec<_>>()
                .join(" "),
        ),
    ]);
    if !tags
        .iter()
        .all(|(key, value)| blue.tags.get(key) == Some(value))
    {
        let action = Action::SetGroupTags {
            group: blue.name.clone(),
            tags,
            remove: BTreeSet::new(),
        };
        draft.set(view, "pin", "blue's originals are kept in its tags", action);
        return Step::Stay;
    }
    if hold(view, draft, scene, blue) {
        Step::Go(if scene.is_move() {
            Phase::Closed
        } else {
            Phase::GreenCreated
        })
    } else {
        Step::Stay
    }
}

/// The pin itself: minimum = desired, nothing that changes it. True once read back.
pub(crate) fn hold(view: &View<'_>, draft: &mut Draft, scene: &Scene<'_>, blue: &Group) -> bool {
    let (_, max, desired) = scene
        .rollout
        .pinned
        .unwrap_or((blue.min, blue.max, blue.desired));
    let suspended = suspend(view, draft, blue, &[&PINNED]);
    size(view, draft, blue, (desired, max.max(desired), desired)) && suspended
}

/// Undoes the pin: size, then processes, then the tags that remember both. True once nothing is left.
pub(crate) fn release(
    view: &View<'_>,
    draft: &mut Draft,
    group: &Group,
    before: Option<(u32, u32, u32)>,
) -> bool {
    let Some((min, max, desired)) = before.or_else(|| originals(group)) else {
        let fleet = &view.spec().fleet;
        return release_to(
            view,
            draft,
            group,
            (
                fleet.min,
                fleet.max,
                group.desired.clamp(fleet.min, fleet.max),
            ),
        );
    };
    let desired = if group.desired == 0 {
        desired
    } else {
        group.desired
    };
    release_to(
        view,
        draft,
        group,
        (min, max, desired.clamp(min, max.max(min))),
    )
}

/// The same, to this size.
pub(crate) fn release_to(
    view: &View<'_>,
    draft: &mut Draft,
    group: &Group,
    wanted: (u32, u32, u32),
) -> bool {
    // The alarms act again from here on: only the limits are ours, once the pin is off.
    let limits = if is_pinned(group) {
        size(view, draft, group, wanted)
    } else {
        true
    };
    let processes = suspend(view, draft, group, &[]);
    if !(limits && processes) {
        return false;
    }
    if !is_pinned(group) {
        return true;
    }
    let action = Action::SetGroupTags {
        group: group.name.clone(),
        tags: Tags::new(),
        remove: TAGS.iter().map(|tag| (*tag).to_owned()).collect(),
    };
    draft.set(
        view,
        "pin",
        &format!("`{}`: the pin's tags are removed", group.name),
        action,
    );
    false
}

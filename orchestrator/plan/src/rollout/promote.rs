//! After the point of no return: green gets blue's say in scaling, blue leaves node by node.

use crate::action::Action;
use crate::draft::Draft;
use crate::hindrances;
use crate::intent::{Phase, Retained};
use crate::observed::ListenerAction;
use crate::rollout::scene::Scene;
use crate::rollout::{Step, pin, probe};
use crate::stack::ensure_alarms;
use crate::view::later;

/// Green scales as blue did; blue's alarms are gone.
pub(super) fn promoted(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    let Some(green) = scene.green else {
        draft.wait(
            "green",
            format!("group `{}` is not visible", scene.green_name),
        );
        return Step::Stay;
    };
    if !draft.knows(view, "groups") {
        return Step::Stay;
    }
    let (min, max, _) = scene
        .rollout
        .pinned
        .unwrap_or((green.min, green.max, green.desired));
    let sized = pin::size(
        view,
        draft,
        green,
        (min, max, green.desired.clamp(min, max.max(min))),
    );
    let free = pin::suspend(view, draft, green, &[]);
    let alarmed = ensure_alarms(view, draft, green);
    let silent = delete_alarms(draft, scene, &scene.blue_name);
    let unruled = probe::is_removed(draft, scene);
    if sized && free && alarmed && silent && unruled {
        Step::Go(Phase::Draining)
    } else {
        Step::Stay
    }
}

/// A colour's alarms are gone. Its policies go with its group.
pub(super) fn delete_alarms(draft: &mut Draft, scene: &Scene<'_>, group: &str) -> bool {
    let names = &scene.view.names;
    let mut gone = draft.knows(scene.view, "alarms");
    for name in [names.cpu_high_alarm(group), names.cpu_low_alarm(group)] {
        if scene.view.observed.alarms.contains_key(&name) {
            gone = false;
            draft.set(
                scene.view,
                "alarm",
                &format!("alarm `{name}` is deleted"),
                Action::DeleteAlarm { name },
            );
        }
    }
    gone
}

/// Blue shrinks by one node whenever the one before is gone; it gets no traffic.
pub(super) fn draining(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    for field in ["groups", "listeners", "target_groups"] {
        if !draft.knows(view, field) {
            return Step::Stay;
        }
    }
    let (Some(balancer), Some(listener)) = (&scene.balancer, view.listener()) else {
        draft.wait("listener", "the listener is not visible");
        return Step::Stay;
    };
    let weights = balancer.all_to(scene.green_slot());
    if listener.action != ListenerAction::Forward(weights.clone()) {
        if view.healthy_count(scene.green_slot()) < scene.floor() {
            draft.wait(
                "weights",
                "the weights are not green's, and green has too few healthy targets to move them",
            );
            return Step::Stay;
        }
        let action = Action::SetWeights {
            listener: listener.arn.clone(),
            weights,
        };
        draft.set(view, "weights", "all weight goes to green", action);
        return Step::Stay;
    }
    // Blue may be all that is left.
    if scene.green.is_none() {
        draft.wait(
            "green",
            format!(
                "group `{}` is not there: nothing more of blue is ended",
                scene.green_name
            ),
        );
        return Step::Stay;
    }
    let Some(blue) = scene.blue else {
        return leave(draft, scene);
    };
    if !hindrances::let_go(view, draft, blue) {
        return Step::Stay;
    }
    let members = blue.members.len() as u32;
    if blue.desired > 0 {
        if members > blue.desired {
            draft.wait("draining", format!("{members} blue nodes are there, {} are wanted: the next leaves when that is so", blue.desired));
            return Step::Stay;
        }
        let next = blue.desired - 1;
        pin::size(view, draft, blue, (0, blue.max, next));
        return Step::Stay;
    }
    let sized = pin::size(view, draft, blue, (0, 0, 0));
    if members > 0 {
        draft.wait(
            "draining",
            format!("{members} blue node(s) are still there"),
        );
        return Step::Stay;
    }
    let targets = view.target_group(scene.blue_slot()).map_or(0, |group| {
        group
            .targets
            .values()
            .filter(|state| *state != "unused")
            .count()
    });
    if targets > 0 {
        draft.wait(
            "draining",
            format!("{targets} blue target(s) are still registered"),
        );
        return Step::Stay;
    }
    let free = pin::release_to(view, draft, blue, (0, 0, 0));
    let silent = delete_alarms(draft, scene, &blue.name);
    if sized && free && silent {
        leave(draft, scene)
    } else {
        Step::Stay
    }
}

/// Blue's empty group and template version stay for the retention window, in the record.
fn leave(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let until = later(scene.view.now, scene.view.spec().rollout.retention_seconds);
    let known = draft
        .record
        .retained
        .iter()
        .any(|kept| kept.group == scene.blue_name);
    if !known {
        draft.record.retained.push(Retained {
            group: scene.blue_name.clone(),
            target: scene.rollout.from.clone(),
            until,
        });
    }
    Step::Go(Phase::Retained)
}

/// Nothing is pinned or suspended: the rollout is over. What is retained is the record's business, so
/// that the next rollout does not wait for the window.
pub(super) fn retained(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    if !draft.knows(scene.view, "groups") {
        return Step::Stay;
    }
    let held = |group: Option<&crate::observed::Group>| {
        group.is_some_and(|group| {
            pin::is_pinned(group)
                || pin::PINNED
                    .iter()
                    .chain(&pin::UNPROBED)
                    .any(|process| group.suspended.contains(*process))
        })
    };
    if held(scene.blue) || held(scene.green) {
        draft.wait("pin", "a group is still pinned");
        return Step::Go(Phase::Draining);
    }
    Step::Go(Phase::Done)
}

//! Green is made, gets its canary, and then blue's size. No user sees it yet.

use std::fmt::Write as _;

use crate::action::{Action, LAUNCH_HOOK, TERMINATE_HOOK};
use crate::draft::Draft;
use crate::intent::Phase;
use crate::observed::{Group, ListenerAction};
use crate::rollout::scene::Scene;
use crate::rollout::shift::blue_is_short;
use crate::rollout::{Step, after, pin, probe, restore};
use crate::stack::{content, ensure_version, group_wanted};

/// Green's group exists, empty; the listener names its target group at weight 0.
pub(super) fn created(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    let Some(base) = scene.base else {
        return Step::Stay;
    };
    let (Some(balancer), Some(security_group)) = (&scene.balancer, &base.groups.fleet) else {
        draft.wait("stack", "load balancer or security groups are not visible");
        return Step::Stay;
    };
    let Some(wanted) = content(view, &scene.rollout.to.image_id, security_group) else {
        draft.wait("node_ca", "the node CA is not known yet");
        return Step::Stay;
    };
    let Some(version) = ensure_version(view, draft, wanted) else {
        return Step::Stay;
    };
    if let Some(rollout) = &mut draft.rollout {
        rollout.to.template_version = Some(version);
    }
    if !draft.knows(view, "groups") {
        return Step::Stay;
    }
    let mut named = names_both(draft, scene);
    named &= probe::rule(draft, scene);
    let max = scene
        .rollout
        .pinned
        .map_or(scene.size(), |(_, max, _)| max.max(scene.size()));
    let Some(green) = scene.green else {
        let wanted = group_wanted(
            view,
            &scene.green_name,
            scene.green_slot(),
            balancer,
            version,
            (0, max, 0),
        );
        let what = format!("Auto Scaling group `{}`", scene.green_name);
        draft.create(view, "group", &what, Action::EnsureGroup(wanted));
        return Step::Stay;
    };
    if !view.is_ours(&green.tags) {
        return Step::Back(vec![format!(
            "group `{}` exists and is not ours: remove or rename it",
            green.name
        )]);
    }
    let mut ready = named && is_complete(draft, scene, green, version);
    // A rebalancing of zones would end nodes that were verified.
    ready &= pin::suspend(view, draft, green, &[&["AZRebalance"]]);
    ready = ready && probe::is_decided(draft, scene);
    if ready && (scene.is_cutover() || restore::is_recorded(draft, scene)) {
        Step::Go(after(scene.rollout, &Phase::GreenCreated))
    } else {
        Step::Stay
    }
}

/// The listener forwards to both target groups: targets that no listener names are not probed.
pub(super) fn names_both(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let (Some(balancer), Some(listener)) = (&scene.balancer, scene.view.listener()) else {
        draft.wait("listener", "the listener is not visible");
        return false;
    };
    let weights = balancer.all_to(scene.blue_slot());
    if listener.action == ListenerAction::Forward(weights.clone()) {
        return true;
    }
    if let Some(why) = blue_is_short(scene, &weights) {
        draft.wait("weights", why);
        return false;
    }
    let action = Action::SetWeights {
        listener: listener.arn.clone(),
        weights,
    };
    draft.set(
        scene.view,
        "listener",
        "the listener is to name both target groups, all traffic on blue",
        action,
    );
    false
}

fn is_complete(draft: &mut Draft, scene: &Scene<'_>, green: &Group, version: u64) -> bool {
    let Some(balancer) = &scene.balancer else {
        return false;
    };
    let target_group = balancer.target_group(scene.green_slot());
    let complete = green.hooks.contains_key(LAUNCH_HOOK)
        && green.hooks.contains_key(TERMINATE_HOOK)
        && green.target_groups.contains(target_group)
        && green.template_version == version;
    if !complete {
        let max = green.max;
        let wanted = group_wanted(
            scene.view,
            &green.name,
            scene.green_slot(),
            balancer,
            version,
            (0, max, 0),
        );
        draft.set(
            scene.view,
            "group",
            &format!("`{}` is being completed", green.name),
            Action::EnsureGroup(wanted),
        );
        return false;
    }
    true
}

/// Brings green to so many nodes. True once its size is read back.
pub(super) fn grow(draft: &mut Draft, scene: &Scene<'_>, nodes: u32) -> bool {
    let Some(green) = scene.green else {
        draft.wait(
            "green",
            format!("group `{}` is not visible", scene.green_name),
        );
        return false;
    };
    let max = scene
        .rollout
        .pinned
        .map_or(nodes, |(_, max, _)| max)
        .max(nodes);
    pin::size(scene.view, draft, green, (nodes, max, nodes))
}

/// Green nodes that are verified and, while the listener forwards, healthy as often as is believed.
pub(super) fn ready_nodes<'s>(scene: &'s Scene<'_>) -> Vec<&'s String> {
    scene
        .green_members
        .serving
        .iter()
        .filter(|id| scene.is_closed() || scene.view.is_settled(scene.green_slot(), id))
        .collect()
}

/// Notes how far green is.
pub(super) fn wait_for_nodes(draft: &mut Draft, scene: &Scene<'_>, ready: usize, wanted: u32) {
    let text = format!("{ready} of {wanted} green nodes are verified and healthy");
    let mut text = scene.green_members.explain(text, scene.green);
    for id in &scene.green_members.serving {
        if !scene.is_closed() && !scene.view.is_settled(scene.green_slot(), id) {
            let state = scene
                .view
                .target_group(scene.green_slot())
                .and_then(|group| group.targets.get(id))
                .map_or("not registered", String::as_str);
            let _ = write!(text, "; {id} is verified, its target is `{state}`");
        }
    }
    draft.wait("green_not_verified", text);
}

/// One green node serves nobody, is verified, and has migrated.
pub(super) fn canary(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    if let Some(why) = &scene.no_migrator {
        return Step::Back(vec![why.clone()]);
    }
    // In a cutover all nodes are there already, prepared.
    let wanted = if scene.is_cutover() { scene.size() } else { 1 };
    if !grow(draft, scene, wanted) {
        return Step::Stay;
    }
    let ready = ready_nodes(scene);
    let chosen = scene
        .migrator
        .as_ref()
        .is_some_and(|id| ready.contains(&id));
    if !chosen {
        wait_for_nodes(draft, scene, ready.len(), 1);
        return Step::Stay;
    }
    if scene.needs_migration() {
        let Some(migrations) = scene.rollout.migrations else {
            draft.wait(
                "migration",
                "the migration is done, says its node; SQL's count is being read and written down",
            );
            return Step::Stay;
        };
        match scene.view.observed.migrations_applied() {
            Some(applied) if applied >= migrations => {}
            Some(applied) => {
                draft.wait(
                    "migration",
                    format!("SQL shows {applied} of {migrations} migrations"),
                );
                return Step::Stay;
            }
            None => {
                draft.wait("migration", "the schema could not be read back by SQL yet");
                return Step::Stay;
            }
        }
    }
    Step::Go(Phase::Full)
}

/// Green has blue's size, all of it verified and alike.
pub(super) fn full(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let size = scene.size();
    if !grow(draft, scene, size) {
        return Step::Stay;
    }
    let ready = ready_nodes(scene);
    if (ready.len() as u32) < size {
        wait_for_nodes(draft, scene, ready.len(), size);
        return Step::Stay;
    }
    if !alike(draft, scene) {
        return Step::Stay;
    }
    if scene.is_cutover() {
        // The end of the pause: users are let in to what was asked for as they will ask.
        if !probe::green_answers(draft, scene) {
            return Step::Stay;
        }
        Step::Go(Phase::Shifting { weight: 100 })
    } else {
        Step::Go(Phase::Joined)
    }
}

/// Version, configuration and plugins are equal on all: one digest.
pub(super) fn alike(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let digests: std::collections::BTreeSet<&str> = scene
        .green_members
        .serving
        .iter()
        .filter_map(|id| scene.view.node(id))
        .map(|node| node.configuration_digest.as_str())
        .collect();
    if digests.len() > 1 {
        draft.wait(
            "alike",
            format!("green nodes run {} different configurations", digests.len()),
        );
        return false;
    }
    true
}

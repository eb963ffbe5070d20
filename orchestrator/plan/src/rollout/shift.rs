//! Traffic goes over, step by step, and each step is watched.

use crate::action::Action;
use crate::draft::Draft;
use crate::intent::Phase;
use crate::observed::{Forward, ListenerAction};
use crate::rollout::green::{ready_nodes, wait_for_nodes};
use crate::rollout::scene::Scene;
use crate::rollout::watch::{Verdict, is_quiet, judged, watch};
use crate::rollout::{Step, restore};
use crate::view::later;

/// Green has this share, read back, and the step was watched.
pub(super) fn shifting(draft: &mut Draft, scene: &Scene<'_>, weight: u8) -> Step {
    if !weights_are(draft, scene, weight) {
        return Step::Stay;
    }
    match watch(draft, scene, weight, None) {
        Verdict::Bad(why) => return Step::Back(why),
        Verdict::Good => {}
        Verdict::Waiting => return Step::Stay,
    }
    let next = scene
        .view
        .spec()
        .rollout
        .weights
        .iter()
        .copied()
        .find(|next| *next > weight);
    match next {
        Some(next) if !scene.is_cutover() => Step::Go(Phase::Shifting { weight: next }),
        _ => Step::Go(Phase::Baking),
    }
}

/// Green serves all; blue is whole and warm.
pub(super) fn baking(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    if !weights_are(draft, scene, 100) {
        return Step::Stay;
    }
    let limits = &scene.view.spec().rollout;
    let until = later(scene.rollout.entered, limits.bake_seconds);
    // Its last minutes are whole later, and they are judged, too.
    let settled = later(until, limits.metrics_delay_seconds);
    let baked = scene.rollout.promote || scene.view.now >= settled;
    if !baked {
        draft.wait_until("bake", "green serves all and is watched", Some(settled));
    }
    if let Verdict::Bad(why) = watch(draft, scene, 100, Some(until)) {
        return Step::Back(why);
    }
    if scene.rollout.promote {
        return promote(draft, scene);
    }
    if !baked {
        return Step::Stay;
    }
    if limits.manual_promote {
        draft.wait(
            "promote",
            "the bake is over: `orchestrator rollout promote` ends it",
        );
        return Step::Stay;
    }
    if judged(draft) == 0 && !limits.quiet_is_fine {
        return Step::Stay;
    }
    if !is_quiet(draft) {
        draft.wait("bake", "the last window was bad: the bake goes on");
        return Step::Stay;
    }
    promote(draft, scene)
}

/// From here on green is what is proven.
fn promote(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    if let Some(why) = restore::is_not_durable(scene) {
        draft.wait("restore_point", why);
        return Step::Stay;
    }
    let rollout = scene.rollout;
    draft.record.proven = Some(rollout.to.clone());
    draft.record.slot = scene.green_slot();
    draft.record.group = Some(scene.green_name.clone());
    draft.record.generation = rollout.generation;
    draft.record.image_id = Some(rollout.to.image_id.clone());
    draft.record.migrations = scene.migrations().or(draft.record.migrations);
    draft.record.migrator = None;
    Step::Go(Phase::Promoted)
}

/// Why blue is not given a larger share than the listener says now: somebody changed the weights, and since then
/// blue has too few healthy targets. Nobody is moved onto them.
pub(super) fn blue_is_short(scene: &Scene<'_>, wanted: &Forward) -> Option<String> {
    let view = scene.view;
    let arn = scene.balancer.as_ref()?.target_group(scene.blue_slot());
    let share = |forward: &Forward| forward.weights.get(arn).copied().unwrap_or(0);
    let ListenerAction::Forward(present) = &view.listener()?.action else {
        return None;
    };
    let (healthy, floor) = (view.healthy_count(scene.blue_slot()), scene.floor());
    let rises = share(wanted) > share(present);
    (rises && healthy < floor).then(|| {
        format!(
            "traffic is not split as it should be: somebody changed the listener. `{}` has {healthy} of {floor} healthy targets, so nothing is moved onto it yet",
            view.names.target_group(scene.blue_slot())
        )
    })
}

/// The weights are read back and green can carry them; a step's windows begin with that.
fn weights_are(draft: &mut Draft, scene: &Scene<'_>, weight: u8) -> bool {
    let (Some(balancer), Some(listener)) = (&scene.balancer, scene.view.listener()) else {
        draft.wait("listener", "the listener is not visible");
        return false;
    };
    if !draft.knows(scene.view, "listeners") || !draft.knows(scene.view, "target_groups") {
        return false;
    }
    let wanted = if weight == 100 {
        scene.size()
    } else {
        scene.floor()
    };
    let ready = ready_nodes(scene);
    let enough = ready.len() as u32 >= wanted;
    let limits = &scene.view.spec().rollout;
    let step = limits
        .step_seconds
        .saturating_add(limits.metrics_delay_seconds);
    let weights = balancer.split(scene.green_slot(), weight, step);
    if listener.action == ListenerAction::Forward(weights.clone()) {
        if !enough {
            wait_for_nodes(draft, scene, ready.len(), wanted);
        }
        return enough;
    }
    if !enough {
        wait_for_nodes(draft, scene, ready.len(), wanted);
        return false;
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
        "weights",
        &format!("green's weight is being set to {weight} %"),
        action,
    );
    false
}

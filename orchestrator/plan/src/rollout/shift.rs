//! Traffic goes over, step by step, and is watched in windows: no data is not health.

use crate::action::Action;
use crate::draft::Draft;
use crate::intent::Phase;
use crate::observed::{ListenerAction, Traffic};
use crate::rollout::green::{ready_nodes, wait_for_nodes};
use crate::rollout::scene::Scene;
use crate::rollout::{Step, restore};
use crate::view::later;

/// Windows of a step. Two bad ones of the last three turn the rollout back.
const WINDOWS: u32 = 3;
/// Of the last [`WINDOWS`].
const BAD: usize = 2;

/// Green has this share, read back, and the step was watched.
pub(super) fn shifting(draft: &mut Draft, scene: &Scene<'_>, weight: u8) -> Step {
    if !weights_are(draft, scene, weight) {
        return Step::Stay;
    }
    match watch(draft, scene) {
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
    let baked = scene.rollout.promote || scene.view.now >= until;
    if !baked {
        draft.wait_until("bake", "green serves all and is watched", Some(until));
    }
    if let Verdict::Bad(why) = watch(draft, scene) {
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
    if scene.rollout.windows == 0 && !limits.quiet_is_fine {
        return Step::Stay;
    }
    if !is_quiet(scene) {
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
    let weights = balancer.split(scene.green_slot(), weight);
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

enum Verdict {
    Good,
    Waiting,
    Bad(Vec<String>),
}

/// The last window that was judged is not a bad one.
fn is_quiet(scene: &Scene<'_>) -> bool {
    scene.rollout.history.last() != Some(&true)
}

/// Judges the present window when it is over. `Good`: enough windows were watched, the last was good.
fn watch(draft: &mut Draft, scene: &Scene<'_>) -> Verdict {
    let view = scene.view;
    let limits = &view.spec().rollout;
    let name = view.names.target_group(scene.green_slot());
    if !draft.knows(view, "traffic") {
        return Verdict::Waiting;
    }
    let none = Traffic::default();
    let traffic = view.observed.traffic.get(&name).unwrap_or(&none);
    let Some(rollout) = &mut draft.rollout else {
        return Verdict::Waiting;
    };
    let Some((began, requests, errors)) = rollout.window else {
        rollout.window = Some((view.now, traffic.requests, traffic.server_errors));
        draft.wait("window", "the watch begins");
        return Verdict::Waiting;
    };
    let until = later(began, (limits.step_seconds / WINDOWS).max(1));
    if view.now < until {
        let text = format!(
            "window {} is watched: {}",
            rollout.windows + 1,
            words(traffic)
        );
        draft.wait_until("window", text, Some(until));
        return Verdict::Waiting;
    }
    let (new_requests, new_errors) = (
        traffic.requests.saturating_sub(requests),
        traffic.server_errors.saturating_sub(errors),
    );
    if new_requests == 0 && !limits.quiet_is_fine {
        draft.wait("no_data", format!("no request went through `{name}` in this window: no data is not health (`rollout.quiet_is_fine` allows it)"));
        return Verdict::Waiting;
    }
    let basis_points = new_errors
        .saturating_mul(10_000)
        .checked_div(new_requests)
        .unwrap_or(0);
    let p95_ms = traffic.p95_seconds.map_or(0.0, |seconds| seconds * 1000.0);
    let bad = basis_points > u64::from(limits.max_error_basis_points)
        || p95_ms > f64::from(limits.max_p95_ms);
    rollout.windows += 1;
    rollout.bad_windows += u32::from(bad);
    rollout.history.push(bad);
    if rollout.history.len() > WINDOWS as usize {
        rollout.history.remove(0);
    }
    rollout.window = Some((view.now, traffic.requests, traffic.server_errors));
    let text = format!(
        "{new_requests} requests, {new_errors} server errors ({}.{:02} %, {}.{:02} % allowed), p95 {p95_ms:.0} ms ({} ms allowed)",
        basis_points / 100,
        basis_points % 100,
        limits.max_error_basis_points / 100,
        limits.max_error_basis_points % 100,
        limits.max_p95_ms
    );
    let bad_of_last = rollout.history.iter().filter(|bad| **bad).count();
    if bad_of_last >= BAD {
        return Verdict::Bad(vec![format!(
            "{bad_of_last} of the last {} windows were bad; the last: {text}",
            rollout.history.len()
        )]);
    }
    if rollout.windows >= WINDOWS && !bad {
        return Verdict::Good;
    }
    draft.wait("window", text);
    Verdict::Waiting
}

fn words(traffic: &Traffic) -> String {
    format!(
        "{} requests and {} server errors since the step began",
        traffic.requests, traffic.server_errors
    )
}

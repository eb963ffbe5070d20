//! What phases stand on, held in every turn, whoever changed it by hand.

use crate::draft::Draft;
use crate::intent::Phase;
use crate::observed::ListenerAction;
use crate::rollout::scene::Scene;
use crate::rollout::{back, green, pin};
use crate::stack::make_listener;
use crate::view::View;

/// What phases stand on and hands in AWS may have changed: the listener, its traffic, what is suspended. A phase
/// that sets one of them itself sees it as it is.
pub(super) fn hold(draft: &mut Draft, scene: &Scene<'_>) {
    let view = scene.view;
    if !can_be_held(&scene.rollout.phase) || view.unknown("listeners").is_some() {
        return;
    }
    let away = sends_users_away(scene, &scene.rollout.phase);
    if let (None, Some(balancer)) = (view.listener(), &scene.balancer) {
        let returns = scene.is_cutover() && scene.rollout.phase == Phase::ReturningTraffic;
        let action = if away || returns {
            back::maintenance()
        } else if green_serves_all(scene) {
            ListenerAction::Forward(balancer.all_to(scene.green_slot()))
        } else {
            ListenerAction::Forward(balancer.all_to(scene.blue_slot()))
        };
        make_listener(view, draft, balancer, action);
        return;
    }
    let is_quiet = match scene.rollout.phase {
        Phase::Snapshot => scene.takes_snapshot_in_pause(),
        Phase::Canary | Phase::Full | Phase::Joined => true,
        _ => false,
    };
    if scene.is_cutover() {
        let stopped =
            is_quiet || matches!(scene.rollout.phase, Phase::Shifting { .. } | Phase::Baking);
        if let Some(blue) = scene.blue.filter(|_| stopped && is_known(view, "groups")) {
            pin::suspend(view, draft, blue, &[&pin::PINNED, &pin::UNPROBED]);
        }
        if away && is_quiet && !scene.is_closed() {
            back::close(draft, scene);
        }
    } else if is_quiet && !scene.is_move() {
        green::names_both(draft, scene);
    }
}

/// Phases in which blue is to serve nobody any more; in a cutover its servers are stopped before.
fn green_serves_all(scene: &Scene<'_>) -> bool {
    match scene.rollout.phase {
        Phase::Promoted | Phase::Draining | Phase::Retained => true,
        Phase::Shifting { .. } | Phase::Baking => scene.is_cutover(),
        _ => false,
    }
}

fn is_known(view: &View<'_>, field: &str) -> bool {
    view.unknown(field).is_none()
}

/// From here on there is a listener, and something stands on it.
fn can_be_held(phase: &Phase) -> bool {
    !matches!(
        phase,
        Phase::Requested | Phase::Preflight | Phase::Stuck { .. } | Phase::Done | Phase::RolledBack
    )
}

/// Phases in which users see the maintenance page.
pub(super) fn sends_users_away(scene: &Scene<'_>, phase: &Phase) -> bool {
    let by_phase = match phase {
        Phase::Snapshot => scene.takes_snapshot_in_pause(),
        Phase::Closed | Phase::Canary | Phase::Full | Phase::Moving | Phase::Moved => true,
        _ => false,
    };
    by_phase && (scene.is_cutover() || scene.is_move())
}

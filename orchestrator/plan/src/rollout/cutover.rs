//! Without a cluster licence the colours must not run at once: green is installed beside blue, users get the
//! maintenance page, blue stops, green migrates and starts, and the listener forwards to green.

use crate::draft::Draft;
use crate::intent::Phase;
use crate::launches;
use crate::rollout::back::close;
use crate::rollout::green::grow;
use crate::rollout::scene::Scene;
use crate::rollout::{Step, after, pin, restore};

/// Green's nodes have the release installed and verified; no server runs there.
pub(super) fn prepared(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let size = scene.size();
    if !grow(draft, scene, size) {
        return Step::Stay;
    }
    let ready = scene
        .green_members
        .live
        .iter()
        .filter(|id| {
            scene.view.node(id).is_some_and(|node| {
                node.phase == "installed"
                    && node.current
                    && draft.nodes.get(*id) == node.goal.as_ref()
            })
        })
        .count() as u32;
    if ready < size {
        let mut text = format!(
            "{ready} of {size} green nodes have {} installed",
            scene.rollout.to.version
        );
        if let Some(green) = scene.green {
            launches::tell(&mut text, green, scene.green_members.live.len());
        }
        draft.wait("green_not_prepared", text);
        return Step::Stay;
    }
    // Users are sent away only while there is a way back: that needs every blue node. A group that cannot
    // launch any more is left by going on.
    if !scene.blue_is_whole() && scene.blue_cannot_launch().is_none() {
        let wanted = scene.blue.map_or(0, |blue| blue.desired);
        let text = format!(
            "all is prepared; users are sent away once blue is whole, for it is the way back: {} of {wanted} nodes serve",
            scene.blue_members.serving.len()
        );
        let text = scene.blue_members.explain(text, scene.blue);
        draft.wait("blue_not_whole", text);
        return Step::Stay;
    }
    // Nobody waits behind the maintenance page for what RDS does meanwhile.
    if let Some(why) = restore::is_hindered(scene) {
        draft.wait("restore_point", why);
        return Step::Stay;
    }
    Step::Go(Phase::Closed)
}

/// The listener answers 503 with the maintenance page; blue's servers are stopped.
pub(super) fn closed(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    let Some(blue) = scene.blue else {
        draft.wait(
            "blue",
            format!("group `{}` is not visible", scene.blue_name),
        );
        return Step::Stay;
    };
    // A server that is stopped on purpose is no reason to replace its node: it is the way back.
    if !pin::suspend(view, draft, blue, &[&pin::PINNED, &pin::UNPROBED]) {
        return Step::Stay;
    }
    if !scene.is_closed() {
        close(draft, scene);
        return Step::Stay;
    }
    // In a move they stop by the goal of the next phase.
    if scene.is_move() {
        return Step::Go(Phase::Moving);
    }
    let running: Vec<&String> = scene
        .blue_members
        .live
        .iter()
        .filter(|id| {
            let drained = view
                .node(id)
                .is_some_and(|node| node.phase == "drained" && node.current);
            !drained && !scene.may_wait(scene.blue, id)
        })
        .collect();
    if let Some(first) = running.first() {
        let phase = view
            .node(first)
            .map_or("unknown", |node| node.phase.as_str());
        draft.wait(
            "blue_stops",
            format!(
                "{} blue node(s) still run; {first} is in `{phase}`",
                running.len()
            ),
        );
        return Step::Stay;
    }
    if !restore::is_recorded(draft, scene) {
        return Step::Stay;
    }
    Step::Go(after(scene.rollout, &Phase::Closed))
}

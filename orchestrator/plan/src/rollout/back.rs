//! The way back: the weights to blue, read back, and only then green goes.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::draft::Draft;
use crate::hindrances;
use crate::intent::Phase;
use crate::lifecycle::replace_failed;
use crate::nodes::serves_without_files;
use crate::observed::ListenerAction;
use crate::rollout::promote::delete_alarms;
use crate::rollout::scene::Scene;
use crate::rollout::{Step, pin, probe};
use crate::stack::copy_of;
use crate::view::later;

/// Blue carries all traffic, read back.
pub(super) fn returning_traffic(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    if !draft.knows(view, "listeners") || !draft.knows(view, "target_groups") {
        return Step::Stay;
    }
    let (Some(balancer), Some(listener)) = (&scene.balancer, view.listener()) else {
        draft.wait("listener", "the listener is not visible");
        return Step::Stay;
    };
    let weights = balancer.all_to(scene.blue_slot());
    let returned = listener.action == ListenerAction::Forward(weights.clone());
    if scene.is_cutover() {
        if let Some(step) = reopen(draft, scene, returned) {
            return step;
        }
    } else if returned {
        return Step::Go(Phase::RemovingGreen);
    }
    if returned {
        return Step::Go(Phase::RemovingGreen);
    }
    // A blue node that died while nobody was to notice is replaced now.
    if let Some(blue) = scene.blue
        && (scene.blue_members.live.len() as u32) < blue.desired
    {
        pin::suspend(view, draft, blue, &[&pin::PINNED]);
    }
    if let Some(blue) = scene.blue {
        replace_failed(view, draft, blue, &scene.blue_members);
    }
    // The load balancer's probes are enough on the way back to what was proven, also when the nodes cannot
    // reach us. While the listener answers itself nobody probes: then the nodes' own word is all there is.
    let able = if scene.is_closed() {
        (scene.blue_members.serving.len() + without_files(draft, scene)) as u32
    } else {
        scene
            .blue_members
            .live
            .iter()
            .filter(|id| view.is_healthy(scene.blue_slot(), id))
            .count() as u32
    };
    let floor = scene.floor();
    if able < floor {
        let text = format!("{able} of {floor} blue nodes can take the traffic");
        draft.wait("blue", scene.blue_members.explain(text, scene.blue));
        return Step::Stay;
    }
    let action = Action::SetWeights {
        listener: listener.arn.clone(),
        weights,
    };
    draft.set(view, "weights", "all weight goes back to blue", action);
    Step::Stay
}

/// Blue nodes whose server answers and cannot use the place of users' files: chat without files is more than
/// the maintenance page. How many.
fn without_files(draft: &mut Draft, scene: &Scene<'_>) -> usize {
    let found: Vec<&String> = scene
        .blue_members
        .live
        .iter()
        .filter(|id| scene.view.node(id).is_some_and(serves_without_files))
        .collect();
    if let Some(first) = found.first() {
        draft.wait(
            "files",
            format!(
                "{} blue node(s) get traffic although they cannot use the place of users' files, {first} among them: uploads fail until that is mended",
                found.len()
            ),
        );
    }
    found.len()
}

/// Cutover: nobody is served while one server makes room for the other. None: blue may be weighed.
fn reopen(draft: &mut Draft, scene: &Scene<'_>, returned: bool) -> Option<Step> {
    let view = scene.view;
    // It was not known when the way back was taken.
    if let Some(why) = scene.no_way_back() {
        return Some(Step::Stuck(why));
    }
    // Stopped on purpose: green's group is not to replace its nodes while blue starts. Nothing waits for it.
    if let Some(green) = scene.green {
        pin::suspend(view, draft, green, &[&["AZRebalance"], &pin::UNPROBED]);
    }
    if !scene.green_is_stopped() {
        if !returned && !scene.is_closed() {
            close(draft, scene);
        }
        draft.wait(
            "green_stops",
            "green's servers are being stopped before blue's start",
        );
        return Some(Step::Stay);
    }
    if scene.blue_fits_the_schema().is_none() {
        draft.wait(
            "migration",
            format!(
                "the applied migrations could not be read: whether {} runs on the schema is not known",
                scene.rollout.from.version
            ),
        );
        return Some(Step::Stay);
    }
    None
}

const MAINTENANCE: &str = "Mattermost is being upgraded and will be back in a few minutes.";

/// The maintenance page, as a listener answers it.
pub(super) fn maintenance() -> ListenerAction {
    ListenerAction::Fixed(503, MAINTENANCE.to_owned())
}

/// The maintenance page.
pub(super) fn close(draft: &mut Draft, scene: &Scene<'_>) {
    if let Some(listener) = scene.view.listener() {
        let action = Action::SetFixedResponse {
            listener: listener.arn.clone(),
            status: 503,
            body: MAINTENANCE.to_owned(),
        };
        draft.set(
            scene.view,
            "closed",
            "the listener is to answer with the maintenance page",
            action,
        );
    }
}

/// Green's group, template version and alarms are gone; blue is as it was.
pub(super) fn removing_green(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    for field in ["groups", "listeners", "template"] {
        if !draft.knows(view, field) {
            return Step::Stay;
        }
    }
    if scene.green_weight() != Some(0) && scene.balancer.is_some() {
        return Step::Go(Phase::ReturningTraffic);
    }
    let silent = delete_alarms(draft, scene, &scene.green_name);
    let removed = remove_group(draft, scene);
    let forgotten = removed && remove_version(draft, scene) && remove_copies(draft, scene);
    let released = match scene.blue {
        // Nothing was pinned.
        _ if scene.rollout.pinned.is_none() => true,
        Some(blue) => pin::release(view, draft, blue, scene.rollout.pinned),
        None => {
            draft.wait(
                "blue",
                format!("group `{}` is not visible", scene.blue_name),
            );
            false
        }
    };
    let unruled = probe::is_removed(draft, scene);
    if silent && forgotten && released && unruled {
        Step::Go(Phase::RolledBack)
    } else {
        Step::Stay
    }
}

/// First emptied, with its nodes' hooks; by force when half of the phase's time is over.
fn remove_group(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let view = scene.view;
    let Some(green) = scene.green else {
        return true;
    };
    if !view.is_ours(&green.tags) {
        return true;
    }
    if green.status.is_some() {
        draft.wait("green", format!("`{}` is being deleted", green.name));
        return false;
    }
    let half = later(
        scene.rollout.entered,
        view.spec().rollout.phase_deadline_seconds / 2,
    );
    let force = view.now >= half;
    if !green.members.is_empty() && !force {
        if hindrances::let_go(view, draft, green) && pin::size(view, draft, green, (0, 0, 0)) {
            draft.wait(
                "green",
                format!("{} green node(s) are leaving", green.members.len()),
            );
        }
        return false;
    }
    let action = Action::DeleteGroup {
        group: green.name.clone(),
        force: force && !green.members.is_empty(),
    };
    draft.set(
        view,
        "green",
        &format!("`{}` is deleted", green.name),
        action,
    );
    false
}

fn remove_version(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let view = scene.view;
    let Some(number) = scene.rollout.to.template_version else {
        return true;
    };
    let exists = view
        .observed
        .template
        .as_ref()
        .is_some_and(|seen| seen.versions.contains_key(&number));
    let used = scene.rollout.from.template_version == Some(number)
        || view
            .record()
            .retained
            .iter()
            .any(|kept| kept.target.template_version == Some(number))
        || view
            .observed
            .groups
            .values()
            .any(|group| group.template_version == number);
    if !exists || used {
        return true;
    }
    let action = Action::DeleteTemplateVersions {
        name: view.names.template(),
        versions: BTreeSet::from([number]),
    };
    draft.set(
        view,
        "green",
        &format!("template version {number} is deleted"),
        action,
    );
    false
}

/// Copies of an image that nobody runs. The source is the operator's own.
fn remove_copies(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let view = scene.view;
    let id = &scene.rollout.to.image_id;
    let kept = scene.rollout.from.image_id == *id
        || view
            .record()
            .retained
            .iter()
            .any(|kept| kept.target.image_id == *id);
    if kept {
        return true;
    }
    let mut gone = true;
    for region in view.spec().regions().iter().skip(1) {
        let copy = copy_of(view, region, id)
            .filter(|copy| view.is_ours(&copy.tags) && copy.state != "deregistered");
        if let Some(copy) = copy {
            gone = false;
            let action = Action::DeleteImage {
                region: region.clone(),
                image: copy.id.clone(),
            };
            draft.set(
                view,
                "green",
                &format!("copy `{}` in `{region}` is deleted", copy.id),
                action,
            );
        }
    }
    gone
}

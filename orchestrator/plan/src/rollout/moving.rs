//! A move: the same nodes, before and after. Files are copied while the servers run; then the listener is
//! closed, servers stop, the rest is copied, one server brings its `config.json` into the database; and
//! servers start again on what lasts.
//!
//! ```text
//!   Preflight ─ Copying ─ Pinned ─ Closed ─ Moving ─ Moved ─ Reopened ─ Done
//!                  └─────────┴────────┴────────┴───────┴──> ReturningTraffic ─ RemovingGreen ─ RolledBack
//! ```
//!
//! Until `Reopened` nobody has written to the new place, and the nodes still have all of the old one: the way
//! back is to start the servers as they were.

use crate::action::Action;
use crate::configuration::ConfigurationHome;
use crate::decision::NodeGoal;
use crate::draft::Draft;
use crate::intent::Phase;
use crate::moving::{MoveOrder, destination, proves};
use crate::nodes::{Colour, failure_lines};
use crate::observed::{ListenerAction, Moved, Node};
use crate::rollout::scene::Scene;
use crate::rollout::{Step, pin};
use crate::view::later;

/// Longer than the orchestrator believes one answer of SQL, and a look.
const CONTRADICTED_SECONDS: u32 = 15;

/// What a node of the one colour should be.
pub(super) fn goal(scene: &Scene<'_>, instance: &str) -> NodeGoal {
    let colour = |target| Colour {
        expected_migrations: scene.rollout.migrations_before.unwrap_or(0),
        rollout: Some(scene.rollout.id.clone()),
        ..Colour::serving(scene.view, target, scene.view.record())
    };
    let (from, to) = (colour(&scene.rollout.from), &scene.rollout.to);
    let order = MoveOrder {
        files: destination(&scene.rollout.from, to),
        configuration: false,
        alone: scene.size() <= 1,
    };
    match &scene.rollout.phase {
        Phase::Copying | Phase::Pinned | Phase::Closed => from.copying(order),
        Phase::Moving => {
            let moves = from.configuration == ConfigurationHome::File;
            from.moving(MoveOrder {
                configuration: moves && scene.migrator.as_deref() == Some(instance),
                ..order
            })
        }
        Phase::Moved | Phase::Reopened => Colour {
            configuration: ConfigurationHome::Database,
            ..colour(to)
        }
        .serve(false),
        // Which place is right is for a person to say: no server starts or stops meanwhile.
        Phase::Stuck { .. } => {
            let given = scene.view.node(instance).and_then(|node| node.goal.clone());
            given.unwrap_or_else(|| from.prepare())
        }
        // What was promoted is what serves, also on the way back: users wrote there meanwhile.
        _ if scene.view.record().proven.as_ref() == Some(to) => Colour {
            configuration: ConfigurationHome::Database,
            ..colour(to)
        }
        .serve(false),
        _ => from.serve(false),
    }
}

/// Every node copied its files once, beside its server.
pub(super) fn copying(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    if let Some(step) = lost(scene) {
        return step;
    }
    if destination(&scene.rollout.from, &scene.rollout.to).is_none() {
        return Step::Go(Phase::Pinned);
    }
    let waits = waiting(draft, scene, |node| node.moved.is_some());
    if waits.is_empty() {
        return Step::Go(Phase::Pinned);
    }
    draft.wait(
        "copying",
        format!(
            "files are copied while the servers run: {}",
            waits.join("; ")
        ),
    );
    Step::Stay
}

/// No server runs, every node's files are in the bucket, and SQL shows the settings.
pub(super) fn moving(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    if let Some(step) = lost(scene) {
        return step;
    }
    let complete = |node: &Node| {
        let moved = node.moved.as_ref();
        node.phase == "moved" && moved.is_some_and(Moved::is_complete)
    };
    let waits = waiting(draft, scene, complete);
    if !waits.is_empty() {
        draft.wait("moving", format!("no server runs: {}", waits.join("; ")));
        if let Some(rollout) = &mut draft.rollout {
            rollout.unproven = None;
        }
        return Step::Stay;
    }
    if scene.view.record().configuration() == ConfigurationHome::Database {
        return Step::Go(Phase::Moved);
    }
    let Some(node) = scene.migrator.as_ref().and_then(|id| scene.view.node(id)) else {
        return Step::Back(vec![
            "the node whose config.json was to be moved is gone".to_owned(),
        ]);
    };
    match proves(&node.configuration_file, scene.view.observed) {
        Ok(()) => Step::Go(Phase::Moved),
        Err(why) => unproven(draft, scene, &why),
    }
}

/// What SQL showed may be older than what the node said, and of the two rows that a server writes (its
/// defaults, then the file's) it may be the first. Only what lasts is a contradiction.
fn unproven(draft: &mut Draft, scene: &Scene<'_>, why: &str) -> Step {
    let text = format!("the settings are not in the database: {why}");
    // Not read at all: that is waited for until the phase's deadline.
    // The row is read by Mattermost's own role, as the count of migrations is.
    let is_read = scene.view.observed.migrations_applied().is_some();
    let since = scene.rollout.unproven.unwrap_or(scene.view.now);
    if is_read && scene.view.now >= later(since, CONTRADICTED_SECONDS) {
        return Step::Back(vec![text]);
    }
    if let Some(rollout) = &mut draft.rollout {
        rollout.unproven = is_read.then_some(since);
    }
    draft.wait("configuration", text);
    Step::Stay
}

/// The servers run on what lasts, verified; nobody is let in yet.
pub(super) fn moved(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    if let Some(step) = lost(scene) {
        return step;
    }
    let (serving, size) = (scene.blue_members.serving.len() as u32, scene.size());
    if serving < size {
        let text = format!("{serving} of {size} nodes serve from the bucket and the database");
        draft.wait("moved", scene.blue_members.explain(text, None));
        return Step::Stay;
    }
    draft.record.proven = Some(scene.rollout.to.clone());
    draft.record.configuration = Some(ConfigurationHome::Database);
    Step::Go(Phase::Reopened)
}

/// Users are let in, and the group is its own again.
pub(super) fn reopened(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    for field in ["groups", "listeners"] {
        if !draft.knows(view, field) {
            return Step::Stay;
        }
    }
    let (Some(balancer), Some(listener), Some(blue)) =
        (&scene.balancer, view.listener(), scene.blue)
    else {
        draft.wait("listener", "the listener or the group is not visible");
        return Step::Stay;
    };
    let weights = balancer.all_to(scene.blue_slot());
    if listener.action != ListenerAction::Forward(weights.clone()) {
        let action = Action::SetWeights {
            listener: listener.arn.clone(),
            weights,
        };
        draft.set(
            view,
            "weights",
            "the listener forwards to the nodes again",
            action,
        );
        return Step::Stay;
    }
    // The probes need a few rounds after the maintenance page; until then a node is not judged by them.
    if view.healthy_count(scene.blue_slot()) < scene.size() {
        draft.wait(
            "healthy",
            "the load balancer has not seen all nodes healthy yet",
        );
        return Step::Stay;
    }
    if pin::release(view, draft, blue, scene.rollout.pinned) {
        Step::Go(Phase::Done)
    } else {
        Step::Stay
    }
}

/// Nodes that are not there yet, one sentence each.
fn waiting(draft: &Draft, scene: &Scene<'_>, there: impl Fn(&Node) -> bool) -> Vec<String> {
    let view = scene.view;
    let words = |id: &String| {
        let Some(node) = view.node(id) else {
            return Some(format!("{id} has not called yet"));
        };
        let told = node.current && draft.nodes.get(id) == node.goal.as_ref();
        if told && there(node) {
            return None;
        }
        let note = if node.note.is_empty() {
            String::new()
        } else {
            format!(": {}", node.note)
        };
        Some(format!("{id} is in `{}`{note}", node.phase))
    };
    scene.blue_members.live.iter().filter_map(words).collect()
}

/// A node that failed, or is gone with what was on it: back to how it was.
fn lost(scene: &Scene<'_>) -> Option<Step> {
    if let Some((id, failure)) = scene.blue_members.failed.first() {
        return Some(Step::Back(failure_lines(id, failure)));
    }
    if scene.view.unknown("groups").is_some() || scene.view.unknown("instances").is_some() {
        return None;
    }
    let live = &scene.blue_members.live;
    if let Some(id) = scene.migrator.as_ref().filter(|id| !live.contains(id)) {
        return Some(Step::Back(vec![format!(
            "node {id}, whose config.json is moved, is gone"
        )]));
    }
    let (there, size) = (live.len() as u32, scene.size());
    (there < size && scene.rollout.pinned.is_some()).then(|| {
        Step::Back(vec![format!(
            "{there} of {size} nodes are there: one was lost with its files"
        )])
    })
}

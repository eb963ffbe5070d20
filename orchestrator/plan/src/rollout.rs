//! The rollout: green beside blue, the weights between them, and the way back.
//!
//! ```text
//!  Requested ─ Preflight ─ Imaging ─ Snapshot ─ Pinned ─ GreenCreated ─ Canary ─ Full ─ Joined
//!                                                                                         │
//!      Done ─ Retained ─ Draining ─ Promoted ─ Baking ─ Shifting(100) ─ … ─ Shifting(10) ─┘
//!                                      ▲
//!       before it every phase may turn back: ReturningTraffic ─ RemovingGreen ─ RolledBack
//!
//!  Move: … Preflight ─ Copying ─ Pinned ─ Closed ─ Moving ─ Moved ─ Reopened ─ Done (see [`moving`])
//!  Cutover: … Imaging ─ Snapshot ─ Pinned ─ GreenCreated ─ Prepared ─ Closed ─ Canary ─ Full ─ Shifting(100) ─ …
//!           without RDS' log the snapshot comes after Closed (see [`restore`])
//! ```
//!
//! A phase says what is made true in it and which gate ends it; it answers with a [`Step`]. Where a step
//! leads is decided in one place, [`advance`]: pause, abort, failures of green, and deadlines are the same
//! for every phase.

mod back;
mod cutover;
mod deadline;
mod green;
mod hold;
mod imaging;
mod join;
mod moving;
pub(crate) mod pin;
mod preflight;
mod probe;
mod promote;
mod request;
mod restore;
mod scene;
mod shift;
mod watch;

pub(crate) use preflight::connection_budget;
pub(crate) use probe::{not_probed, prune as prune_probe_rules};
pub use request::{Ask, Refused, request};
pub(crate) use restore::why_no_log;

use jiff::Timestamp;

use crate::draft::Draft;
use crate::intent::{Mode, Phase, RestorePoint, RolloutIntent};
use crate::launches::{GIVEN_UP_AFTER, cannot_launch};
use crate::licence;
use crate::nodes::{failure_lines, is_mismatch};
use crate::stack::Base;
use crate::view::View;
use deadline::{note_pause, overdue};
use hold::{hold, sends_users_away};
use scene::Scene;

/// What a phase answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The gate is not met; the reasons are in the draft.
    Stay,
    /// The gate is met.
    Go(Phase),
    /// Turn back, because of this.
    Back(Vec<String>),
    /// Nothing was touched: end here.
    Stop(Vec<String>),
    /// A person is needed.
    Stuck(String),
}

/// Failures of green nodes, in one rollout, that turn it back.
const FAILURES: usize = 2;

/// One look at a live rollout.
pub(crate) fn advance(
    view: &View<'_>,
    draft: &mut Draft,
    rollout: &RolloutIntent,
    base: Option<&Base>,
) -> Phase {
    let mut scene = Scene::new(view, rollout, base);
    note_pause(draft, &scene);
    scene.tend(draft);
    let step = match &rollout.phase {
        Phase::Stuck { .. } => stuck(&scene),
        _ => interrupted(draft, &scene).unwrap_or_else(|| {
            hold(draft, &scene);
            probe::keep(draft, &scene);
            let step = phase(draft, &scene);
            overdue(draft, &scene, step)
        }),
    };
    let step = way_back(draft, &scene, step);
    let step = match step {
        Step::Go(next) if rollout.paused && sends_users_away(&scene, &rollout.phase) => {
            draft.wait(
                "paused",
                "paused: it holds once users are served again, not behind the maintenance page",
            );
            Step::Go(next)
        }
        Step::Go(next) if rollout.paused && !is_way_back(&next) => {
            draft.wait(
                "paused",
                format!(
                    "paused before {}: `orchestrator rollout resume` goes on",
                    word(&next)
                ),
            );
            // An arrow that is not taken leaves no record.
            draft.record = view.record().clone();
            Step::Stay
        }
        step => step,
    };
    enter(draft, view.now, step)
}

/// Whether the way back leads anywhere is asked before it is taken: on it green, which may serve everybody, is
/// told to stop.
fn way_back(draft: &mut Draft, scene: &Scene<'_>, step: Step) -> Step {
    let takes_it = matches!(step, Step::Back(_) | Step::Go(Phase::ReturningTraffic));
    let Some(why) = scene.no_way_back().filter(|_| takes_it) else {
        return step;
    };
    match step {
        Step::Back(mut lines) => {
            lines.push(why);
            Step::Stuck(lines.join("; "))
        }
        // It stays stuck, with the servers as they are.
        _ => {
            draft.wait("no_way_back", why);
            Step::Stay
        }
    }
}

/// What the present phase makes true, and whether its gate is met.
fn phase(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    match &scene.rollout.phase {
        Phase::Requested => preflight::requested(draft, scene),
        Phase::Preflight => preflight::preflight(draft, scene),
        Phase::Copying => moving::copying(draft, scene),
        Phase::Moving => moving::moving(draft, scene),
        Phase::Moved => moving::moved(draft, scene),
        Phase::Reopened => moving::reopened(draft, scene),
        Phase::Imaging => imaging::imaging(draft, scene),
        Phase::Snapshot => imaging::snapshot(draft, scene),
        Phase::Pinned => pin::pinned(draft, scene),
        Phase::GreenCreated => green::created(draft, scene),
        Phase::Prepared => cutover::prepared(draft, scene),
        Phase::Closed => cutover::closed(draft, scene),
        Phase::Canary => green::canary(draft, scene),
        Phase::Full => green::full(draft, scene),
        Phase::Joined => join::joined(draft, scene),
        Phase::Shifting { weight } => shift::shifting(draft, scene, *weight),
        Phase::Baking => shift::baking(draft, scene),
        Phase::Promoted => promote::promoted(draft, scene),
        Phase::Draining => promote::draining(draft, scene),
        Phase::Retained => promote::retained(draft, scene),
        Phase::ReturningTraffic => back::returning_traffic(draft, scene),
        Phase::RemovingGreen => back::removing_green(draft, scene),
        // A stack's phase in a rollout's row: a row that we did not write.
        other => Step::Stuck(format!("a rollout cannot be in phase `{}`", word(other))),
    }
}

/// What turns a rollout back from any phase in which that is still possible: an abort, green nodes that
/// fail, a green node lost after it was verified.
fn interrupted(draft: &mut Draft, scene: &Scene<'_>) -> Option<Step> {
    let rollout = scene.rollout;
    if !can_turn_back(&rollout.phase) {
        return None;
    }
    if rollout.abort {
        return Some(Step::Back(vec!["aborted by the operator".to_owned()]));
    }
    // A group that could not be read has lost no node.
    if scene.view.unknown("groups").is_some() {
        return None;
    }
    if let Some(intent) = &mut draft.rollout {
        let mut failed = licence::not_taken(scene.view, &scene.green_members.live);
        failed.extend(scene.green_members.failed.iter().cloned());
        for (id, failure) in &failed {
            intent.failed.insert(id.clone());
            intent
                .failures
                .entry(id.clone())
                .or_insert_with(|| failure_lines(id, failure));
        }
        let last_try = failed.iter().any(|(id, failure)| {
            // Nobody may repeat what the migrator began.
            is_mismatch(failure)
                || (scene.migrator.as_ref() == Some(id) && scene.may_have_migrated(id))
        });
        if intent.failed.len() >= FAILURES || last_try {
            let mut text = vec![format!("{} green node(s) failed", intent.failed.len())];
            text.extend(intent.failures.values().flatten().cloned());
            return Some(Step::Back(text));
        }
        intent
            .verified
            .extend(scene.green_members.verified.iter().cloned());
    }
    if let (Phase::Prepared | Phase::Canary | Phase::Full, Some(green)) =
        (&rollout.phase, scene.green)
        && let Some(failed) = cannot_launch(green, scene.green_members.live.len())
        && failed.in_a_row >= GIVEN_UP_AFTER
    {
        return Some(Step::Back(vec![format!(
            "no green node comes: {}",
            failed.words()
        )]));
    }
    if green_is_gone(scene) {
        return Some(Step::Back(vec![format!(
            "green's group `{}` is gone: somebody deleted it",
            scene.green_name
        )]));
    }
    let lost = rollout
        .verified
        .iter()
        .find(|id| !scene.green_members.live.contains(id));
    lost.map(|id| {
        Step::Back(vec![format!(
            "green node {id} was lost after it was verified"
        )])
    })
}

/// Green's group was made, the phase stands on it, and it is not there.
fn green_is_gone(scene: &Scene<'_>) -> bool {
    let stands_on_it = match scene.rollout.phase {
        Phase::Prepared
        | Phase::Closed
        | Phase::Canary
        | Phase::Full
        | Phase::Joined
        | Phase::Shifting { .. }
        | Phase::Baking => true,
        // Else the snapshot is made before green is.
        Phase::Snapshot => scene.takes_snapshot_in_pause(),
        _ => false,
    };
    let is_made = scene.rollout.to.template_version.is_some() && !scene.is_move();
    stands_on_it && is_made && scene.green.is_none()
}

/// Stuck stays until a person says `abort`: then it goes on where it was hindered. One that has no way back and
/// whose green serves everybody is ended by `promote`: what serves becomes what is proven.
fn stuck(scene: &Scene<'_>) -> Step {
    let serves = scene.green_carries_all();
    if scene.rollout.promote && !scene.is_promoted() && serves && scene.no_way_back().is_some() {
        return Step::Go(Phase::Baking);
    }
    if !scene.rollout.abort {
        return Step::Stay;
    }
    if scene.is_promoted() {
        Step::Go(Phase::Draining)
    } else {
        Step::Go(Phase::ReturningTraffic)
    }
}

/// Phases before the point of no return in which something may have been made already.
fn can_turn_back(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Requested
            | Phase::Preflight
            | Phase::Copying
            | Phase::Moving
            | Phase::Moved
            | Phase::Imaging
            | Phase::Snapshot
            | Phase::Pinned
            | Phase::GreenCreated
            | Phase::Prepared
            | Phase::Closed
            | Phase::Canary
            | Phase::Full
            | Phase::Joined
            | Phase::Shifting { .. }
            | Phase::Baking
    )
}

/// Phases in which what users get from green is judged.
fn is_watched(phase: &Phase) -> bool {
    matches!(phase, Phase::Shifting { .. } | Phase::Baking)
}

fn is_way_back(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::ReturningTraffic | Phase::RemovingGreen | Phase::RolledBack
    )
}

/// An arrow after which an abort that was asked for before it asks for nothing more: the rollout turns
/// back, or goes on from where it was stuck. One that gets stuck waits for a new one, made by somebody who
/// knows of it.
fn answers_abort(from: &Phase, to: &Phase) -> bool {
    let stuck = |phase: &Phase| matches!(phase, Phase::Stuck { .. });
    from != to && (is_way_back(to) || stuck(from) || stuck(to))
}

/// What was decided, over the rollout's row as it is by now: what operators ask for comes from the row
/// alone, as far as the decision's arrow did not answer it.
#[must_use]
pub fn over_row(decided: &RolloutIntent, row: &RolloutIntent) -> RolloutIntent {
    let turned = row.phase != decided.phase && is_way_back(&decided.phase);
    RolloutIntent {
        paused: row.paused && !turned,
        promote: row.promote,
        abort: row.abort && !answers_abort(&row.phase, &decided.phase),
        ..decided.clone()
    }
}

/// The one arrow function.
fn enter(draft: &mut Draft, now: Timestamp, step: Step) -> Phase {
    let Some(rollout) = &mut draft.rollout else {
        return Phase::Ready;
    };
    let (next, why) = match step {
        Step::Stay => return rollout.phase.clone(),
        Step::Go(next) => (next, Vec::new()),
        Step::Back(why) => (Phase::ReturningTraffic, why),
        Step::Stop(why) => (Phase::RolledBack, why),
        Step::Stuck(reason) => (Phase::Stuck { reason }, Vec::new()),
    };
    if next == rollout.phase {
        return next;
    }
    for line in &why {
        draft.reasons.push(crate::decision::Reason {
            gate: "turned_back".to_owned(),
            text: line.clone(),
            deadline: None,
        });
    }
    rollout.failure.extend(why);
    if answers_abort(&rollout.phase, &next) {
        rollout.abort = false;
    }
    if is_way_back(&next) {
        rollout.paused = false;
    }
    if next == Phase::RolledBack {
        draft.record.generation = draft.record.generation.max(rollout.generation);
    }
    // What is still to be judged of a step, and what was judged last, is carried into the next one.
    if !(is_watched(&rollout.phase) && is_watched(&next)) {
        rollout.history.clear();
        rollout.watch = None;
    }
    rollout.phase = next.clone();
    rollout.entered = now;
    rollout.windows = 0;
    rollout.bad_windows = 0;
    rollout.unproven = None;
    rollout.paused_since = None;
    rollout.paused_seconds = 0;
    next
}

/// After the phases whose successor the mode and the restore point decide, which comes next.
pub(crate) fn after(rollout: &RolloutIntent, phase: &Phase) -> Phase {
    let by_log = matches!(rollout.restore, RestorePoint::Log { .. });
    match (rollout.mode, phase) {
        (Mode::Overlap, Phase::Imaging) => Phase::Snapshot,
        (Mode::Cutover, Phase::Imaging) if by_log => Phase::Snapshot,
        (Mode::Cutover, Phase::Imaging) | (Mode::Overlap, Phase::Snapshot) => Phase::Pinned,
        (Mode::Cutover, Phase::Snapshot) if by_log => Phase::Pinned,
        (Mode::Cutover, Phase::Closed) if !by_log => Phase::Snapshot,
        (Mode::Cutover, Phase::Closed | Phase::Snapshot) | (Mode::Overlap, Phase::GreenCreated) => {
            Phase::Canary
        }
        (Mode::Cutover, Phase::GreenCreated) => Phase::Prepared,
        (Mode::Overlap, Phase::Full) => Phase::Joined,
        (_, other) => other.clone(),
    }
}

/// A phase's name for people and programs.
pub fn word(phase: &Phase) -> String {
    match phase {
        Phase::Shifting { weight } => format!("shifting({weight})"),
        other => serde_json::to_value(other)
            .ok()
            .and_then(|value| value.get("phase")?.as_str().map(str::to_owned))
            .unwrap_or_default(),
    }
}

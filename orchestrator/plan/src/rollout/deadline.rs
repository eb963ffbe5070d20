//! Until when a phase may last, without the time for which an operator held it.

use jiff::Timestamp;

use crate::draft::Draft;
use crate::intent::{Phase, RolloutIntent};
use crate::rollout::scene::Scene;
use crate::rollout::{Step, can_turn_back, restore, word};
use crate::view::later;

/// How long a phase was held by an operator.
pub(super) fn note_pause(draft: &mut Draft, scene: &Scene<'_>) {
    let now = scene.view.now;
    let Some(intent) = &mut draft.rollout else {
        return;
    };
    if scene.rollout.paused {
        intent.paused_since.get_or_insert(now);
    } else if scene.rollout.paused_since.is_some() {
        intent.paused_seconds = held_seconds(scene.rollout, now);
        intent.paused_since = None;
    }
}

/// Seconds that the present phase was held, until now.
fn held_seconds(rollout: &RolloutIntent, now: Timestamp) -> u32 {
    let since = rollout.paused_since.unwrap_or(now);
    let present = u32::try_from(now.duration_since(since).as_secs()).unwrap_or(0);
    rollout.paused_seconds.saturating_add(present)
}

/// A gate that is still not met at its deadline.
pub(super) fn overdue(draft: &mut Draft, scene: &Scene<'_>, step: Step) -> Step {
    let Some(deadline) = deadline(scene) else {
        return step;
    };
    if step != Step::Stay {
        return step;
    }
    if let Some(first) = draft
        .reasons
        .iter_mut()
        .find(|reason| reason.deadline.is_none())
    {
        first.deadline = Some(deadline);
    }
    if scene.view.now < deadline {
        return step;
    }
    let name = word(&scene.rollout.phase);
    let waited: Vec<String> = draft
        .reasons
        .iter()
        .map(|reason| reason.text.clone())
        .collect();
    let mut lines = vec![format!(
        "{name} did not end before its deadline, {deadline}"
    )];
    lines.extend(waited.into_iter().map(|text| format!("waited for: {text}")));
    lines.extend(scene.rollout.failures.values().flatten().cloned());
    match &scene.rollout.phase {
        Phase::Preflight => Step::Stop(lines),
        phase if can_turn_back(phase) => Step::Back(lines),
        _ => Step::Stuck(lines.join("; ")),
    }
}

/// Until when the present phase may last.
pub(crate) fn deadline(scene: &Scene<'_>) -> Option<Timestamp> {
    let limits = &scene.view.spec().rollout;
    let migration = if scene.needs_migration() {
        limits.migration_deadline_seconds
    } else {
        0
    };
    let nodes = scene.size().max(1);
    let seconds = match &scene.rollout.phase {
        Phase::Canary => limits.node_deadline_seconds.saturating_add(migration),
        // All green nodes boot at once; Auto Scaling may need a second try.
        Phase::Full | Phase::Prepared | Phase::Moved => {
            limits.node_deadline_seconds.saturating_mul(2)
        }
        // One after the other.
        Phase::Joined => limits.node_deadline_seconds.saturating_mul(nodes),
        Phase::Shifting { .. } => limits
            .step_seconds
            .saturating_add(limits.metrics_delay_seconds)
            .saturating_add(limits.phase_deadline_seconds),
        Phase::Baking if limits.manual_promote => return None,
        // Green serves well: late backups are no reason to send users back.
        Phase::Baking if restore::is_not_durable(scene).is_some() => return None,
        // Few are left to copy, and servers to start once.
        Phase::Moving => limits
            .migration_deadline_seconds
            .max(limits.node_deadline_seconds),
        Phase::Baking => limits
            .bake_seconds
            .saturating_add(limits.metrics_delay_seconds)
            .saturating_add(limits.phase_deadline_seconds),
        Phase::Draining => limits
            .phase_deadline_seconds
            .saturating_add(scene.view.spec().fleet.drain_seconds.saturating_mul(nodes)),
        // A copy takes as long as there are files; users are served meanwhile, and an abort ends it.
        Phase::Copying | Phase::Done | Phase::RolledBack | Phase::Stuck { .. } => return None,
        _ => limits.phase_deadline_seconds,
    };
    let held = held_seconds(scene.rollout, scene.view.now);
    Some(later(scene.rollout.entered, seconds.saturating_add(held)))
}

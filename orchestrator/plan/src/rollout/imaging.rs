//! The image in every region, and the snapshot before a migration.

use crate::action::Action;
use crate::draft::Draft;
use crate::intent::Phase;
use crate::observed::DbOperation;
use crate::rollout::scene::Scene;
use crate::rollout::{Step, after, restore};
use crate::stack::{copies, home_image};
use crate::view::later;

/// Seconds until an image that is not seen counts as missing.
const VISIBLE_SECONDS: u32 = 60;

/// The image is `available` at home and in every other region.
pub(super) fn imaging(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    if !draft.knows(view, "images") {
        return Step::Stay;
    }
    let id = &scene.rollout.to.image_id;
    let home = home_image(view, draft, id).is_some();
    // An image that is not there is this rollout's failure, not the stack's.
    if let Some(why) = draft.stuck.take() {
        // The first looks may have been at other images.
        if view.now < later(scene.rollout.entered, VISIBLE_SECONDS) {
            return Step::Stay;
        }
        return Step::Back(vec![why]);
    }
    if home && copies(view, draft, id) {
        restore::choose(draft, scene)
    } else {
        Step::Stay
    }
}

/// A snapshot is `available`, unless nothing is migrated.
pub(super) fn snapshot(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    let done = Step::Go(after(scene.rollout, &Phase::Snapshot));
    if !scene.needs_migration() {
        return done;
    }
    if !draft.knows(view, "db_snapshots") {
        return Step::Stay;
    }
    let id = view.names.rollout_snapshot(scene.rollout.generation);
    let what = format!("DB snapshot `{id}`");
    match view.observed.db_snapshots.get(&id) {
        Some(seen) if !view.is_ours(&seen.tags) => Step::Back(vec![format!(
            "{what} exists and is not ours: delete or rename it"
        )]),
        Some(seen) if seen.status == "available" => done,
        Some(seen) if seen.status == "failed" => Step::Back(vec![format!("{what} failed")]),
        Some(seen) => {
            draft.wait(
                "snapshot",
                format!("{what} is `{}`, {} %", seen.status, seen.progress),
            );
            Step::Stay
        }
        None => {
            let instance = view.names.database();
            if let Some(primary) = view.primary()
                && !primary.status.allows(DbOperation::Snapshot)
            {
                draft.wait(
                    "snapshot",
                    format!(
                        "{what} waits: RDS takes none while `{instance}` is `{}`",
                        primary.status
                    ),
                );
                return Step::Stay;
            }
            draft.create(
                view,
                "snapshot",
                &what,
                Action::EnsureDbSnapshot { id, instance },
            );
            Step::Stay
        }
    }
}

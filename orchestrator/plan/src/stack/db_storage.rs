//! Storage that grows: replicas first, then the primary.
//!
//! Each instance has its own `AllocatedStorage`: a replica that is smaller than its primary fills up first,
//! stops replaying, and the primary keeps its write-ahead log until it is full as well. RDS takes one change
//! of storage in six hours, or after the optimisation that follows one, whichever is later ("Working with
//! storage for Amazon RDS DB instances"): until then nothing is asked, and nobody waits.

use crate::action::{Action, DB_STORAGE_TYPE};
use crate::draft::Draft;
use crate::observed::{DbInstance, DbOperation, DbStatus};
use crate::stack::NOTICE;
use crate::view::{View, later};

/// As above.
const BETWEEN_CHANGES_SECONDS: u32 = 6 * 60 * 60;
/// After a refusal. RDS says when the previous change is being optimised, not until when.
const AFTER_REFUSAL_SECONDS: u32 = 15 * 60;
/// From this size (GiB) on a gp3 volume of PostgreSQL has IOPS that must be named with every change of its
/// size; below it they cannot be named at all ("gp3 storage").
const GP3_THRESHOLD_GIB: u32 = 400;
/// The least that such a volume can have.
const GP3_LARGE_IOPS: u32 = 12_000;

/// Grows what is smaller than specified.
pub(super) fn grow(view: &View<'_>, draft: &mut Draft, primary: &DbInstance) {
    let wanted = view.spec().database.storage_gib;
    let is_small = |seen: &&DbInstance| seen.storage_gib < wanted && view.is_ours(&seen.tags);
    let replicas: Vec<&DbInstance> = (1..=view.spec().database.replicas)
        .filter_map(|number| view.observed.db_instances.get(&view.names.replica(number)))
        .filter(is_small)
        .collect();
    for replica in &replicas {
        one(view, draft, replica, wanted);
    }
    let Some(primary) = Some(primary).filter(is_small) else {
        return;
    };
    // Nobody can write to a full one: it cannot wait for others.
    if replicas.is_empty() || primary.status == DbStatus::StorageFull {
        one(view, draft, primary, wanted);
    } else {
        draft.wait(
            NOTICE,
            format!(
                "DB instance `{}` grows to {wanted} GiB after its replicas",
                primary.id
            ),
        );
    }
}

fn one(view: &View<'_>, draft: &mut Draft, seen: &DbInstance, wanted: u32) {
    let what = format!(
        "DB instance `{}` grows from {} to {wanted} GiB",
        seen.id, seen.storage_gib
    );
    let action = Action::GrowDbStorage {
        id: seen.id.clone(),
        gib: wanted,
        iops: iops(seen, wanted),
    };
    if !seen.status.allows(DbOperation::GrowStorage) {
        draft.wait(NOTICE, format!("{what}: not while it is `{}`", seen.status));
        return;
    }
    let is_changed =
        |action: &Action| matches!(action, Action::SetDbInstance { id, .. } if *id == seen.id);
    // A full one cannot wait for a maintenance window.
    let is_full = seen.status == DbStatus::StorageFull;
    if (seen.pending && !is_full) || draft.actions.iter().any(is_changed) {
        draft.wait("drift", format!("{what} after its other changes"));
        return;
    }
    if let Some(entry) = view.intent.journal.get(&action.key()) {
        let tried = entry.attempted.unwrap_or(entry.intended);
        let (until, why) = match (&entry.error, entry.done) {
            (Some(error), _) => (later(tried, AFTER_REFUSAL_SECONDS), format!(": {error}")),
            (None, Some(done)) => (
                later(done, BETWEEN_CHANGES_SECONDS),
                ": RDS takes one change of storage in six hours".to_owned(),
            ),
            (None, None) => (tried, String::new()),
        };
        if view.now < until {
            let gate = if is_full { "database" } else { NOTICE };
            draft.wait_until(gate, format!("{what} later{why}"), Some(until));
            return;
        }
    }
    draft.set(view, "drift", &what, action);
}

/// What a volume of that size must be told of its IOPS.
fn iops(seen: &DbInstance, wanted: u32) -> Option<u32> {
    if seen.storage_type == DB_STORAGE_TYPE {
        let least = seen.iops.unwrap_or_default().max(GP3_LARGE_IOPS);
        (wanted >= GP3_THRESHOLD_GIB).then_some(least)
    } else {
        seen.iops
    }
}

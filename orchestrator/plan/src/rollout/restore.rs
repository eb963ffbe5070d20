//! The point to which the database can be brought back when a migration has to be undone.
//!
//! RDS keeps the log with its automated backups: it restores to any second until `LatestRestorableTime`. Then
//! the snapshot is made while blue still serves, and in a cutover the second after blue's last write is noted
//! behind the maintenance page. Without the log, or with backups that are stuck, the snapshot itself is the
//! point, and a cutover takes it while no server runs.

use jiff::Timestamp;

use crate::draft::Draft;
use crate::intent::{Phase, RestorePoint, RolloutIntent};
use crate::observed::DbOperation;
use crate::rollout::scene::Scene;
use crate::rollout::{Step, after};
use crate::view::{View, later};

/// Age in seconds from which `LatestRestorableTime` counts as stuck. RDS uploads the log every five minutes
/// (user guide, "Restoring a DB instance to a specified time"): three uploads are missing.
const STUCK_SECONDS: u32 = 900;

/// Why no second in the log can be the restore point. `None`: as RDS shows the primary, one can.
pub(crate) fn why_no_log(view: &View<'_>) -> Option<String> {
    if let Some((read, why)) = view.unknown("db_instances") {
        return Some(format!("{read} could not be read: {why}"));
    }
    let Some(primary) = view.primary() else {
        return Some(format!("`{}` is not visible", view.names.database()));
    };
    let id = &primary.id;
    match primary.latest_restorable {
        _ if primary.backup_days == 0 => {
            Some(format!("automated backups of `{id}` are switched off"))
        }
        None => Some(format!(
            "the first automated backup of `{id}` is not whole yet"
        )),
        Some(latest) if later(latest, STUCK_SECONDS) < view.now => Some(format!(
            "automated backups of `{id}` are stuck: RDS restores to {latest} and no later"
        )),
        Some(_) => None,
    }
}

/// From Imaging on: what the restore point will be, and the phase that follows from it.
pub(super) fn choose(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let mut rollout = scene.rollout.clone();
    if scene.needs_migration() {
        if !draft.knows(scene.view, "db_instances") {
            return Step::Stay;
        }
        rollout.restore = match why_no_log(scene.view) {
            None => RestorePoint::Log { second: None },
            Some(_) => RestorePoint::Snapshot,
        };
    }
    if let Some(intent) = &mut draft.rollout {
        intent.restore = rollout.restore;
    }
    Step::Go(after(&rollout, &Phase::Imaging))
}

/// Before users of a cutover are sent away: what would keep the restore point from being recorded in the pause.
pub(super) fn is_hindered(scene: &Scene<'_>) -> Option<String> {
    if !scene.needs_migration() {
        return None;
    }
    let view = scene.view;
    match scene.rollout.restore {
        RestorePoint::Log { .. } => why_no_log(view).map(|why| {
            format!(
                "all is prepared; users are sent away once the database can be brought back to that moment: {why}"
            )
        }),
        RestorePoint::Snapshot => {
            let primary = view.primary()?;
            (!primary.status.allows(DbOperation::Snapshot)).then(|| {
                format!(
                    "all is prepared; RDS takes no snapshot while `{}` is `{}`, and users are sent away only once it does",
                    primary.id, primary.status
                )
            })
        }
    }
}

/// The restore point is recorded, and whatever is written from now on lies after it.
pub(super) fn is_recorded(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let RestorePoint::Log { second } = scene.rollout.restore else {
        return true;
    };
    let databases = scene.view.observed.databases.as_ref();
    let Some(clock) = databases.and_then(|databases| databases.clock) else {
        draft.wait(
            "restore_point",
            "the restore point is recorded once the database's clock is read",
        );
        return false;
    };
    let whole = Timestamp::from_second(clock.as_second()).unwrap_or(clock);
    if !scene.is_cutover() {
        // Users go on writing: the later the point, the less is lost by going back to it.
        record(draft, whole);
        return true;
    }
    // Blue is stopped, as was observed before the clock was read, and its last write lies in this second at the latest.
    let point = second.unwrap_or_else(|| later(whole, 1));
    record(draft, point);
    if point < clock {
        return true;
    }
    draft.wait_until(
        "restore_point",
        format!("the restore point is {point}: the migration begins after it"),
        Some(point),
    );
    false
}

fn record(draft: &mut Draft, point: Timestamp) {
    if let Some(rollout) = &mut draft.rollout {
        rollout.restore = RestorePoint::Log {
            second: Some(point),
        };
    }
}

/// Why the database cannot yet be brought back to the recorded second: a gate of Promoted.
pub(super) fn is_not_durable(scene: &Scene<'_>) -> Option<String> {
    let RestorePoint::Log {
        second: Some(second),
    } = scene.rollout.restore
    else {
        return None;
    };
    let view = scene.view;
    if let Some((read, why)) = view.unknown("db_instances") {
        return Some(format!("{read} could not be read: {why}"));
    }
    let latest = view.primary().and_then(|primary| primary.latest_restorable);
    if latest.is_some_and(|latest| latest >= second) {
        return None;
    }
    let stuck = later(second, STUCK_SECONDS) < view.now;
    Some(match (latest, why_no_log(view).filter(|_| stuck)) {
        (_, Some(why)) => format!("the restore point, {second}, is not in RDS' backups: {why}"),
        (Some(latest), None) => format!(
            "RDS keeps the log until {latest}; the restore point, {second}, is in it within five minutes as a rule"
        ),
        (None, None) => {
            format!("RDS does not say until when it keeps the log; the restore point is {second}")
        }
    })
}

/// What a person does to undo a migration, in a few words.
pub(crate) fn instruction(view: &View<'_>, rollout: &RolloutIntent) -> String {
    match rollout.restore {
        RestorePoint::Log {
            second: Some(second),
        } => format!("restore the database to {second}"),
        RestorePoint::Log { second: None } | RestorePoint::Snapshot => format!(
            "restore the snapshot `{}`",
            view.names.rollout_snapshot(rollout.generation)
        ),
    }
}

//! Reboots that a static parameter waits for (`max_connections`), in the order that PostgreSQL needs.
//!
//! A standby must allow at least as many connections as its primary, else it pauses replay and does not start
//! again ("Hot Standby", "Administrator's Overview"). Replicas share their primary's parameter group. So:
//! raising, replicas first; lowering, the primary first. Back to RDS's own formula it is not known which: a
//! replica that allows too few pauses replay until its reboot, one that allows too many does no harm. So
//! replicas first, as for raising.

use crate::action::Action;
use crate::draft::Draft;
use crate::observed::{DbInstance, DbOperation, Outlook};
use crate::stack::NOTICE;
use crate::view::View;

/// Made at once while nobody is served, one by one; else a person chooses the hour, and is told the order.
pub(super) fn reboots(view: &View<'_>, draft: &mut Draft, primary: &DbInstance) {
    let all = in_order(view, primary);
    let waiting: Vec<&DbInstance> = all.iter().copied().filter(|seen| waits(seen)).collect();
    let Some(first) = waiting.first() else {
        return;
    };
    let nobody_is_served = view.observed.groups.is_empty() && view.record().proven.is_none();
    if !nobody_is_served || !draft.knows(view, "groups") {
        let commands: Vec<String> = waiting
            .iter()
            .map(|seen| {
                let id = &seen.id;
                format!("`aws rds reboot-db-instance --db-instance-identifier {id}`")
            })
            .collect();
        let names: Vec<String> = waiting
            .iter()
            .map(|seen| format!("`{}`", seen.id))
            .collect();
        let order = if waiting.len() > 1 {
            ", in this order, each once the one before it is `available` and `in-sync`"
        } else {
            ""
        };
        draft.wait(
            NOTICE,
            format!(
                "DB instance {} needs a reboot to take up its parameters{order}: {} at a quiet hour",
                names.join(", "),
                commands.join(", then ")
            ),
        );
        return;
    }
    let at_rest = |seen: &&DbInstance| {
        seen.status.outlook() == Outlook::Rest && seen.status.allows(DbOperation::Reboot)
    };
    if let Some(busy) = all.iter().copied().find(|seen| !at_rest(seen)) {
        draft.wait(
            "reboot",
            format!(
                "DB instance `{}` is rebooted for its parameters once `{}` is no longer `{}`",
                first.id, busy.id, busy.status
            ),
        );
        return;
    }
    let what = format!("DB instance `{}` takes up its parameters", first.id);
    let action = Action::RebootDbInstance {
        id: first.id.clone(),
    };
    draft.set(view, "reboot", &what, action);
}

fn waits(seen: &DbInstance) -> bool {
    seen.parameter_group
        .as_ref()
        .is_some_and(|(_, state)| state == "pending-reboot")
}

/// The primary and its replicas.
fn in_order<'a>(view: &View<'a>, primary: &'a DbInstance) -> Vec<&'a DbInstance> {
    let mut all: Vec<&DbInstance> = (1..=view.spec().database.replicas)
        .filter_map(|number| view.observed.db_instances.get(&view.names.replica(number)))
        .filter(|seen| view.is_ours(&seen.tags))
        .collect();
    let runs_with = view.observed.databases.as_ref();
    let rises = view
        .spec()
        .database
        .max_connections
        .zip(runs_with)
        .is_none_or(|(wanted, seen)| wanted > seen.max_connections);
    if rises {
        all.push(primary);
    } else {
        all.insert(0, primary);
    }
    all
}

//! What stands on the primary: read replicas, and by SQL the databases and roles.

use std::collections::BTreeSet;

use crate::action::{Action, DatabaseWanted};
use crate::draft::Draft;
use crate::observed::{DbInstance, DbOperation};
use crate::stack::database::{drift, is_usable};
use crate::stack::is_ours;
use crate::view::View;

/// Whether all replicas are there. A new one is asked for only of a primary that was read several times in a
/// row in a state that allows it: RDS flickers between its first states.
pub(super) fn replicas(
    view: &View<'_>,
    draft: &mut Draft,
    primary: &DbInstance,
    security_group: &str,
) -> bool {
    let wanted = view.spec().database.replicas;
    let mut ready = true;
    for number in 1..=wanted {
        let id = view.names.replica(number);
        let what = format!("read replica `{id}`");
        match view.observed.db_instances.get(&id) {
            Some(seen) if !is_ours(view, draft, &what, &seen.tags) => ready = false,
            // Its source got another name, or it was promoted: it has other data than the primary.
            Some(seen) if seen.replica_of.as_deref() != Some(primary.id.as_str()) => {
                ready = false;
                leave_other_source(view, draft, seen, primary);
            }
            Some(seen) => {
                if is_usable(view, draft, seen) {
                    drift(
                        view,
                        draft,
                        seen,
                        (security_group, &primary.engine_version),
                        false,
                    );
                } else {
                    ready = false;
                }
            }
            None => {
                ready = false;
                if !view.db_is_settled(primary, DbOperation::Replicate) {
                    draft.wait("primary_not_settled", format!("`{}` is `{}`; it must be read {} times in a row in a state in which RDS makes a replica of it", primary.id, primary.status, view.reads_in_a_row()));
                    continue;
                }
                let action = Action::EnsureDbReplica {
                    id,
                    source: primary.id.clone(),
                    class: view.spec().database.class.clone(),
                    security_groups: BTreeSet::from([security_group.to_owned()]),
                };
                draft.create(view, "replica", &what, action);
            }
        }
    }
    for number in wanted + 1..=5 {
        let id = view.names.replica(number);
        let ours = view
            .observed
            .db_instances
            .get(&id)
            .filter(|seen| view.is_ours(&seen.tags));
        if let Some(seen) = ours.filter(|seen| seen.status.allows(DbOperation::Modify)) {
            let action = Action::DeleteDbInstance {
                id: seen.id.clone(),
                final_snapshot: None,
            };
            draft.set(
                view,
                "drift",
                &format!("read replica `{id}` is one more than specified"),
                action,
            );
        }
    }
    ready
}

/// A replica of another instance goes, and is made anew; one that was promoted may hold what nobody else has.
fn leave_other_source(view: &View<'_>, draft: &mut Draft, seen: &DbInstance, primary: &DbInstance) {
    let id = &seen.id;
    let Some(source) = &seen.replica_of else {
        draft.wait(
            "replica",
            format!(
                "`{id}` is no replica: somebody promoted it. Delete or rename it, and one of `{}` is made",
                primary.id
            ),
        );
        return;
    };
    let text = format!(
        "read replica `{id}` follows `{source}` and not `{}`: it is deleted and made anew",
        primary.id
    );
    if !seen.status.allows(DbOperation::Modify) {
        draft.wait(
            "replica",
            format!("{text}, once it is no longer `{}`", seen.status),
        );
        return;
    }
    let action = Action::DeleteDbInstance {
        id: id.clone(),
        final_snapshot: None,
    };
    draft.set(view, "replica", &text, action);
}

/// Whether databases and roles are as wanted.
pub(super) fn databases(view: &View<'_>, draft: &mut Draft, primary: &DbInstance) -> bool {
    let wanted = [
        DatabaseWanted {
            name: "mattermost".to_owned(),
            owner: "mattermost".to_owned(),
            secret: view.names.mattermost_secret(),
        },
        DatabaseWanted {
            name: "orchestrator".to_owned(),
            owner: "orchestrator".to_owned(),
            secret: view.names.orchestrator_secret(),
        },
    ];
    if primary.endpoint.is_none() {
        draft.wait(
            "database_endpoint",
            format!("RDS shows no endpoint of `{}` yet", primary.id),
        );
        return false;
    }
    let made = view.observed.databases.as_ref().map(|seen| {
        wanted.iter().all(|one| {
            seen.owners.get(&one.name) == Some(&one.owner) && seen.roles.contains(&one.owner)
        }) && seen.schema_owner.as_deref() == Some("mattermost")
    });
    let action = Action::EnsureDatabases {
        databases: wanted.to_vec(),
    };
    match made {
        Some(true) => return true,
        Some(false) => draft.set(
            view,
            "databases",
            "databases and roles are being made",
            action,
        ),
        None if !draft.knows(view, "databases") => {}
        // A stack that has nodes had its databases: nobody could look, that is all.
        None if !view.observed.groups.is_empty() => {
            draft.wait("databases", "the database could not be looked into");
        }
        // Nobody has looked into it yet: a new primary must first be settled.
        None if view.db_is_settled(primary, DbOperation::Read) => {
            draft.create(view, "databases", "set of databases and roles", action);
        }
        None => draft.wait(
            "primary_not_settled",
            format!(
                "`{}` is `{}`; it must be read {} times in a row in a state in which it can be asked before databases are made",
                primary.id,
                primary.status,
                view.reads_in_a_row()
            ),
        ),
    }
    false
}

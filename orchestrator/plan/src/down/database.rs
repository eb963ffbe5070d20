//! The database, when it is to go; then who may speak to whom, and the secrets.

use std::collections::{BTreeMap, BTreeSet};

use super::ours;
use crate::action::{Action, DbChange};
use crate::draft::Draft;
use crate::observed::{DbInstance, DbOperation, DbStatus, Outlook};
use crate::view::View;

/// Replicas first; the primary leaves a final snapshot.
pub(super) fn database(view: &View<'_>, draft: &mut Draft) -> bool {
    // The final snapshot needs a free name, and those of rollouts are to go too.
    if view.unknown("db_instances").is_some() || !draft.knows(view, "db_snapshots") {
        return false;
    }
    let primary = view.names.database();
    let instances: Vec<_> = view
        .observed
        .db_instances
        .values()
        .filter(|seen| ours(view, &seen.tags))
        .collect();
    let replicas = instances.iter().filter(|seen| seen.id != primary).count();
    for seen in &instances {
        let what = format!("DB instance `{}`", seen.id);
        let gone = matches!(seen.status, DbStatus::Deleting | DbStatus::DeletePrecheck);
        if gone {
            draft.wait("database", format!("{what} is being deleted"));
        } else if seen.id == primary && replicas > 0 {
            draft.wait(
                "database",
                format!("{what} waits until its {replicas} replica(s) are gone"),
            );
        } else if seen.deletion_protection && !seen.status.allows(DbOperation::Modify) {
            busy(draft, seen, "its deletion protection cannot be lifted");
        } else if seen.deletion_protection {
            let change = DbChange {
                deletion_protection: Some(false),
                ..DbChange::default()
            };
            draft.set(
                view,
                "database",
                &format!("{what}: deletion protection is lifted"),
                Action::SetDbInstance {
                    id: seen.id.clone(),
                    change,
                },
            );
        } else if seen.id == primary && !seen.status.allows(DbOperation::Snapshot) {
            busy(
                draft,
                seen,
                "RDS takes no final snapshot, without which it is not deleted",
            );
        } else {
            let final_snapshot = (seen.id == primary).then(|| free_snapshot_name(view));
            let action = Action::DeleteDbInstance {
                id: seen.id.clone(),
                final_snapshot,
            };
            draft.set(view, "database", &format!("{what} is deleted"), action);
        }
    }
    if !instances.is_empty() {
        return false;
    }
    let before = draft.reasons.len();
    let prefix = format!("{}-before-g", view.names.stack());
    let snapshots = view
        .observed
        .db_snapshots
        .values()
        .filter(|seen| ours(view, &seen.tags) && seen.id.starts_with(&prefix));
    for seen in snapshots.filter(|seen| seen.status != "deleting") {
        draft.set(
            view,
            "database",
            &format!("DB snapshot `{}` is deleted", seen.id),
            Action::DeleteDbSnapshot {
                id: seen.id.clone(),
            },
        );
    }
    if let Some(seen) = &view.observed.db_subnet_group {
        draft.set(
            view,
            "database",
            &format!("DB subnet group `{}` is deleted", seen.name),
            Action::DeleteDbSubnetGroup {
                name: seen.name.clone(),
            },
        );
    }
    if let Some(seen) = &view.observed.db_parameter_group {
        draft.set(
            view,
            "database",
            &format!("DB parameter group `{}` is deleted", seen.name),
            Action::DeleteDbParameterGroup {
                name: seen.name.clone(),
            },
        );
    }
    draft.reasons.len() == before
}

/// Not in this state: for now, or until a person has done something about it.
fn busy(draft: &mut Draft, seen: &DbInstance, why: &str) {
    let what = format!("DB instance `{}` is `{}`: {why}", seen.id, seen.status);
    match seen.status.outlook() {
        Outlook::NeedsAPerson(cure) => draft.stick("database", format!("{what}; {cure}")),
        Outlook::Rest | Outlook::Passes | Outlook::Unknown => draft.wait("database", what),
    }
}

/// A stack of the same name that went before may have left one.
fn free_snapshot_name(view: &View<'_>) -> String {
    let first = view.record().generation.max(1);
    (first..=u64::MAX)
        .map(|number| view.names.final_snapshot(number))
        .find(|name| !view.observed.db_snapshots.contains_key(name))
        .expect("there are more numbers than snapshots")
}

/// From the one that refers to others to the one that is referred to. A database that stays keeps its
/// own, which then names the fleet no more.
pub(super) fn security_groups(view: &View<'_>, draft: &mut Draft, delete_database: bool) {
    let seen: BTreeMap<&str, _> = view
        .observed
        .security_groups
        .iter()
        .filter(|(_, group)| ours(view, &group.tags))
        .map(|(part, group)| (part.as_str(), group))
        .collect();
    let fleet = seen.get("fleet").map(|group| group.id.as_str());
    let mut referred = false;
    if let Some(database) = seen.get("database") {
        if delete_database {
            delete_group(view, draft, "database", &database.id);
            referred = true;
        } else if database
            .ingress
            .iter()
            .any(|rule| Some(rule.source.as_str()) == fleet)
        {
            let Some(vpc_id) = view
                .observed
                .network
                .as_ref()
                .map(|network| network.vpc_id.clone())
            else {
                draft.wait("security_group", "the VPC could not be read");
                return;
            };
            let ingress: BTreeSet<_> = database
                .ingress
                .iter()
                .filter(|rule| Some(rule.source.as_str()) != fleet)
                .cloned()
                .collect();
            let action = Action::EnsureSecurityGroup {
                part: "database".to_owned(),
                name: database.name.clone(),
                vpc_id,
                ingress,
            };
            draft.set(
                view,
                "security_group",
                "the database's security group lets the fleet in no more",
                action,
            );
            referred = true;
        }
    }
    for part in ["fleet", "load-balancer"] {
        if let Some(group) = seen.get(part) {
            if referred {
                draft.wait(
                    "security_group",
                    format!("security group `{}` is still named by another", group.name),
                );
            } else {
                delete_group(view, draft, part, &group.id);
            }
            referred = true;
        }
    }
}

fn delete_group(view: &View<'_>, draft: &mut Draft, part: &str, id: &str) {
    let action = Action::DeleteSecurityGroup {
        part: part.to_owned(),
        id: id.to_owned(),
    };
    draft.set(
        view,
        "security_group",
        &format!(
            "security group `{}` is deleted",
            view.names.security_group(part)
        ),
        action,
    );
}

/// Last. Those of a database that stays, stay.
pub(super) fn secrets(view: &View<'_>, draft: &mut Draft, delete_database: bool) {
    if !draft.reasons.is_empty() {
        return;
    }
    let ca = view.names.ca_secret();
    for (name, secret) in &view.observed.secrets {
        if !secret.deleting && ours(view, &secret.tags) && (delete_database || *name == ca) {
            draft.set(
                view,
                "secret",
                &format!("secret `{name}` is deleted, with a recovery window"),
                Action::DeleteSecret { name: name.clone() },
            );
        }
    }
}

//! Where the stack's history lies (record, rollouts, nodes' keys): in the stack's own database once that
//! holds a store, in the orchestrator's memory before.
//!
//! A process begins with an empty memory. Until a look has shown that no database holds more, that memory
//! says nothing: a rollout or a node that is not in it may well be in the database.

use crate::intent::Want;
use crate::observed::{DbStatus, Observed};
use crate::spec::Spec;
use crate::view;

/// Name of the database that holds the store.
pub const DATABASE: &str = "orchestrator";

/// Where the history lies, as far as one look shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// No database of this stack holds a store.
    Memory,
    /// In the stack's own database, which lets the orchestrator's role in.
    Database,
    /// The look does not show it; why.
    Unclear(String),
}

/// Judges one look. `role` is the store's own role, once its secret could be read; `opened`: that role was let
/// into the store's database, which shows all that the master could show.
pub fn history(
    want: Want,
    spec: &Spec,
    observed: &Observed,
    role: Option<&str>,
    opened: bool,
) -> History {
    let id = spec.names().database();
    let Some(primary) = observed.db_instances.get(&id) else {
        return match view::unknown(observed, "db_instances") {
            None => History::Memory,
            Some((read, why)) => History::Unclear(format!("{read} could not be read: {why}")),
        };
    };
    let removed = matches!(want, Want::Down { .. })
        && (primary.status == DbStatus::Deleting || primary.endpoint.is_none());
    if removed {
        return History::Memory;
    }
    let status = &primary.status;
    if primary.endpoint.is_none() {
        return History::Unclear(format!(
            "DB instance `{id}` is `{status}` and has no address yet"
        ));
    }
    if opened {
        return History::Database;
    }
    let Some(seen) = &observed.databases else {
        let why = observed.unknown.get("databases");
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        return History::Unclear(format!(
            "DB instance `{id}` is `{status}` and does not answer{why}"
        ));
    };
    if !seen.owners.contains_key(DATABASE) {
        return History::Memory;
    }
    match role {
        Some(role) if seen.roles.contains(role) => History::Database,
        Some(role) => History::Unclear(format!(
            "DB instance `{id}` does not let the role `{role}` into its database `{DATABASE}`"
        )),
        None => History::Unclear(format!(
            "secret `{}`, which opens the database `{DATABASE}`, could not be read",
            spec.names().orchestrator_secret()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::unlicensed;
    use crate::observed::{Databases, DbInstance};

    const UP: Want = Want::Up;
    const DOWN: Want = Want::Down {
        delete_database: true,
        delete_files: false,
    };

    /// A look that shows a primary in this status, with an address or without.
    fn look(status: &str, address: bool) -> Observed {
        let primary = DbInstance {
            status: status.into(),
            endpoint: address.then(|| "db.example".to_owned()),
            ..DbInstance::default()
        };
        let mut observed = Observed::default();
        let id = unlicensed().names().database();
        observed.db_instances.insert(id, primary);
        observed
    }

    /// The same, and SQL answered: with the store's database or without, letting these roles in.
    fn answered(database: bool, roles: &[&str]) -> Observed {
        let mut seen = Databases::default();
        if database {
            seen.owners.insert(DATABASE.to_owned(), DATABASE.to_owned());
        }
        seen.roles
            .extend(roles.iter().map(|role| (*role).to_owned()));
        Observed {
            databases: Some(seen),
            ..look("available", true)
        }
    }

    fn failed(field: &str, observed: Observed) -> Observed {
        let unknown = [(field.to_owned(), "throttled".to_owned())].into();
        Observed {
            unknown,
            ..observed
        }
    }

    /// The master may be refused, its secret changed by hand: the store's own role shows where the history is.
    #[test]
    fn the_stores_own_role_is_enough() {
        let observed = failed("databases", look("available", true));
        let role = Some("orchestrator");
        for (opened, expected) in [(true, true), (false, false)] {
            let found = history(UP, &unlicensed(), &observed, role, opened);
            assert_eq!(found == History::Database, expected, "{found:?}");
        }
        let going = look("deleting", true);
        let found = history(DOWN, &unlicensed(), &going, role, true);
        assert_eq!(found, History::Memory, "it is being deleted");
    }

    #[test]
    fn memory_counts_only_where_no_database_can_hold_more() {
        // What was seen, whether the secret could be read, and what follows for `up` and for `down`.
        type Look = fn() -> Observed;
        type Expected = Result<History, &'static str>;
        let (memory, database): (Expected, Expected) = (Ok(History::Memory), Ok(History::Database));
        let cases: [(Look, bool, Expected, Expected); 11] = [
            (Observed::default, true, memory.clone(), memory.clone()),
            (
                || failed("db_instances", Observed::default()),
                true,
                Err("could not be read: throttled"),
                Err("could not be read: throttled"),
            ),
            (
                || failed("alarms", Observed::default()),
                true,
                memory.clone(),
                memory.clone(),
            ),
            (
                || look("creating", false),
                true,
                Err("no address yet"),
                memory.clone(),
            ),
            (
                || look("deleting", true),
                true,
                Err("does not answer"),
                memory.clone(),
            ),
            (
                || look("available", true),
                true,
                Err("does not answer"),
                Err("does not answer"),
            ),
            (
                || failed("databases", look("stopped", true)),
                true,
                Err("`stopped` and does not answer: throttled"),
                Err("`stopped` and does not answer: throttled"),
            ),
            (|| answered(false, &[]), false, memory.clone(), memory),
            (
                || answered(true, &["mattermost"]),
                true,
                Err("does not let the role"),
                Err("does not let the role"),
            ),
            (
                || answered(true, &["orchestrator"]),
                false,
                Err("secret `demo/database/orchestrator`"),
                Err("secret `demo/database/orchestrator`"),
            ),
            (
                || answered(true, &["orchestrator"]),
                true,
                database.clone(),
                database,
            ),
        ];
        for (number, (observed, secret, up, down)) in cases.into_iter().enumerate() {
            let role = secret.then_some("orchestrator");
            for (want, expected) in [(UP, up), (DOWN, down)] {
                let found = history(want, &unlicensed(), &observed(), role, false);
                match (expected, &found) {
                    (Err(part), History::Unclear(why)) => {
                        assert!(why.contains(part), "case {number}, {want:?}: {why}");
                    }
                    (expected, _) => {
                        assert_eq!(Ok(found), expected, "case {number}, {want:?}");
                    }
                }
            }
        }
    }
}

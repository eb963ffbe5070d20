//! Where the servers' own settings live, and what the planner makes of it.
//!
//! What users set in the System Console belongs into the stack's database, where it outlives every node.
//! Stacks from before keep it in `config.json` on each node, until that file was moved.
//!
//! Invariant: the first active row is written by the one migrator. Two servers that start on a database
//! without one each generate salts and keys of their own, and the links of the loser are invalid for ever.

use serde::{Deserialize, Serialize};

use crate::draft::Draft;
use crate::intent::Record;
use crate::moving::unmoved;
use crate::observed::Databases;
use crate::stack::NOTICE;
use crate::view::View;

/// Where the servers' own settings live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigurationHome {
    /// `config.json` on each node: what was stored before there was another home says nothing of it.
    #[default]
    File,
    /// The stack's database, table `configurations`.
    Database,
}

impl Record {
    /// Where the settings of this stack live. A record that names no home is from before when something
    /// is proven, else of a stack that is new.
    pub fn configuration(&self) -> ConfigurationHome {
        match (self.configuration, &self.proven) {
            (Some(home), _) => home,
            (None, Some(_)) => ConfigurationHome::File,
            (None, None) => ConfigurationHome::Database,
        }
    }
}

/// Whether a server beside the migrator may start: SQL shows the active row, where the settings live in
/// the database. What could not be read shows nothing.
pub(crate) fn has_first_row(view: &View<'_>) -> bool {
    view.record().configuration() == ConfigurationHome::File
        || view
            .observed
            .databases
            .as_ref()
            .is_some_and(|seen| seen.configuration.is_some())
}

/// Says where the settings are in danger, and which salt changed. Run at every look of a stack that is up.
pub(crate) fn watch(view: &View<'_>, draft: &mut Draft) {
    if let Some(unmoved) = unmoved(view.record(), view.spec()) {
        draft.wait(NOTICE, unmoved.words());
        if unmoved.configuration {
            return;
        }
    }
    let seen = view.observed.databases.as_ref();
    let Some(active) = seen.and_then(|seen| seen.configuration.as_ref()) else {
        return;
    };
    for (name, digest) in &active.salts {
        let Some(before) = draft.record.salts.insert(name.clone(), digest.clone()) else {
            continue;
        };
        if before != *digest {
            draft.wait(NOTICE, changed(name, &before, digest));
        }
    }
}

/// What a person does about settings without an active row.
const LOST: &str = "SQL shows no active row in table `configurations` of database `mattermost`, where the servers' settings live: the next server that starts writes one with other salts and keys, and what was made with the former ones, such as public links, is invalid then. Make the newest row active again (`UPDATE configurations SET active = true WHERE id = (SELECT id FROM configurations ORDER BY createat DESC LIMIT 1)`), or take the row from a restored database";

/// Says that no settings are in force, which the stack is not ready with.
pub(crate) fn lost(view: &View<'_>, draft: &mut Draft) {
    if let Some(seen) = &view.observed.databases
        && is_lost(view, seen)
    {
        draft.wait("configuration", LOST);
    }
}

/// Whether servers have settings in the database and SQL looked there and found none in force.
fn is_lost(view: &View<'_>, seen: &Databases) -> bool {
    view.record().proven.is_some()
        && view.record().configuration() == ConfigurationHome::Database
        && seen.migrations_applied.is_some()
        && seen.configuration.is_none()
}

/// A salt or key that is not what it was, by the digests of both values.
pub fn changed(name: &str, before: &str, now: &str) -> String {
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    format!(
        "`{name}` changed (SHA-256 {}… before, {}… now): what was made with the former value, such as public links, is invalid",
        short(before),
        short(now)
    )
}

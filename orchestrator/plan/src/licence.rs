//! The licence: which version of its secret each node gets, and what servers made of it.
//!
//! ```text
//!   version in force ── told to one node ──┬── its server took it ──> proven ── told to the others, one by one
//!                                          └── it did not ──> refused: that node gets the proven version back,
//!                                                             which is put in force again; the others keep it
//! ```
//!
//! Invariant: while one version is proven, another one is with one node at most until a server took it.

mod text;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use crate::action::Action;
use crate::decision::NodeGoal;
use crate::draft::Draft;
use crate::intent::{LicenceRecord, RefusedLicence};
use crate::nodes::failure_of;
use crate::observed::{Failure, Node, ServerLicence};
use crate::stack::NOTICE;
use crate::view::View;

pub(crate) use text::{awaited, held_back, lacks, unread};
pub(crate) use words::taken;

/// How often putting a version back is tried. AWS's refusal (the secret is the operator's, so the right
/// may be missing) is a notice then, not a loop.
const TRIES: u32 = 3;

/// Code of the failure of an agent whose server did not take the licence.
const REFUSED: &str = "licence_refused";

/// Which version each node gets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    /// What is to be with every node in the end; none: no licence.
    wanted: Option<String>,
    /// By node that has one, or runs without.
    of: BTreeMap<String, Option<String>>,
    /// For a node that has nothing yet.
    new: Option<String>,
    /// The wanted version may be told to those that have another one.
    is_open: bool,
    /// It is with a node already that has not proven it.
    is_tried: bool,
}

impl Versions {
    pub fn of(&self, instance: &str) -> Option<String> {
        self.of.get(instance).unwrap_or(&self.new).clone()
    }

    /// What a node gets that has nothing yet.
    fn of_new(&self) -> Option<&str> {
        self.new.as_deref()
    }

    /// Nodes that have another version than the wanted one and may be told.
    pub fn waiting(&self, record: &LicenceRecord) -> Vec<&str> {
        let is_proven = self.wanted.is_none() || record.proven == self.wanted;
        if !self.is_open || (self.is_tried && !is_proven) {
            return Vec::new();
        }
        self.of
            .iter()
            .filter(|(_, version)| **version != self.wanted)
            .map(|(instance, _)| instance.as_str())
            .collect()
    }

    /// It is this node's turn.
    pub fn tell(&mut self, instance: String) {
        self.of.insert(instance, self.wanted.clone());
    }
}

/// What every node has, or gets at once because it serves nobody.
pub(crate) fn versions(
    view: &View<'_>,
    record: &LicenceRecord,
    given: &BTreeMap<String, NodeGoal>,
) -> Versions {
    let has = |goal: &NodeGoal| goal.licence().map(str::to_owned);
    let is_named = view.spec().mattermost.licence_secret.is_some();
    let seen = match (&view.observed.licence, is_named) {
        (Some(seen), true) => seen,
        // Not read yet: nothing may change.
        (None, true) => {
            return Versions {
                of: serving(given)
                    .map(|(id, goal)| (id.clone(), has(goal)))
                    .collect(),
                new: record.proven.clone(),
                ..Versions::default()
            };
        }
        (_, false) => {
            return Versions {
                of: serving(given)
                    .map(|(id, goal)| (id.clone(), has(goal)))
                    .collect(),
                is_open: true,
                ..Versions::default()
            };
        }
    };
    let wanted = &seen.current;
    let proven = record
        .proven
        .as_ref()
        .filter(|id| seen.readable.contains(*id));
    let is_refused = is_refused(record, wanted);
    let new = proven.unwrap_or(wanted).clone();
    let mut of = BTreeMap::new();
    for (instance, goal) in serving(given) {
        let version = match (has(goal), proven) {
            (Some(version), Some(proven)) if is_refused && version == *wanted => {
                Some(proven.clone())
            }
            (version, _) => version,
        };
        // Told before goals said a version, and not serving: as a new one.
        let serves = view
            .node(instance)
            .is_some_and(|node| node.phase == "serving");
        if version.is_some() || serves {
            of.insert(instance.clone(), version);
        }
    }
    let is_tried = of.iter().any(|(id, version)| {
        version.as_ref() == Some(wanted) && !view.node(id).is_some_and(cannot_say)
    });
    Versions {
        wanted: Some(wanted.clone()),
        new: Some(new),
        is_open: !is_refused && seen.readable.contains(wanted),
        is_tried,
        of,
    }
}

fn serving(given: &BTreeMap<String, NodeGoal>) -> impl Iterator<Item = (&String, &NodeGoal)> {
    given
        .iter()
        .filter(|(_, goal)| matches!(goal, NodeGoal::Serve { .. }))
}

/// It serves, and its agent is older than the question: what it runs on is not known.
fn cannot_say(node: &Node) -> bool {
    serves_what_it_was_told(node) && node.licence.is_none() && node.version_id.is_empty()
}

/// Why a node that failed for its licence did, by the version that it was told.
pub(crate) fn not_refused(view: &View<'_>, instance: &str, node: &Node) -> Result<(), String> {
    match (failure_of(node), &node.goal) {
        (Some(failure), Some(goal)) if failure.code == REFUSED => taken(view, instance, node, goal),
        _ => Ok(()),
    }
}

/// What the node's server says of the licence that the node was told. An agent whose server did not take
/// it has failed for that reason.
fn says(node: &Node) -> Option<ServerLicence> {
    if serves_what_it_was_told(node) {
        return node.licence;
    }
    let failure = failure_of(node)?;
    (failure.code == REFUSED).then(|| node.licence.unwrap_or_default())
}

fn serves_what_it_was_told(node: &Node) -> bool {
    node.current && node.connected && node.phase == "serving"
}

/// Of these nodes, those whose server serves and did not take the licence: another node with the same
/// release would not either.
pub(crate) fn not_taken(view: &View<'_>, instances: &[String]) -> Vec<(String, Failure)> {
    let failure = |instance: &String| {
        let node = view.node(instance)?;
        let goal = node.goal.as_ref()?;
        says(node)?;
        let error = taken(view, instance, node, goal).err()?;
        let failure = Failure {
            code: REFUSED.to_owned(),
            error,
            ..failure_of(node).unwrap_or_else(|| Failure {
                phase: node.phase.clone(),
                ..Failure::default()
            })
        };
        Some((instance.clone(), failure))
    };
    instances.iter().filter_map(failure).collect()
}

fn is_refused(record: &LicenceRecord, version: &str) -> bool {
    record.proven.as_deref() != Some(version)
        && record
            .refused
            .as_ref()
            .is_some_and(|refused| refused.version == version)
}

/// The record with what servers say now.
pub(crate) fn learnt(view: &View<'_>) -> LicenceRecord {
    let mut record = view.record().licence.clone();
    let Some(seen) = &view.observed.licence else {
        return record;
    };
    let cluster = view.spec().mattermost.cluster;
    let mut taken = BTreeSet::new();
    let mut refused = None;
    for (instance, node) in &view.observed.nodes {
        let Some(goal @ NodeGoal::Serve { .. }) = &node.goal else {
            continue;
        };
        let (Some(version), Some(says)) = (goal.licence(), says(node)) else {
            continue;
        };
        if says.is_taken(cluster) {
            taken.insert(version);
        } else if version == seen.current {
            refused.get_or_insert_with(|| RefusedLicence {
                version: version.to_owned(),
                instance: instance.clone(),
                says,
            });
        }
    }
    if taken.contains(seen.current.as_str()) {
        if record.proven.as_deref() != Some(&seen.current) {
            record.refused = None;
        }
        record.proven = Some(seen.current.clone());
    } else if record.proven.is_none() {
        record.proven = taken.first().map(|version| (*version).to_owned());
    }
    let is_proven = record.proven.as_deref() == Some(&seen.current);
    let is_known = is_refused(&record, &seen.current);
    if let Some(refused) = refused
        && !is_proven
        && !is_known
    {
        record.refused = Some(refused);
    }
    record
}

/// Puts the proven version in force again where the one in force was not taken, and says what people
/// should know of the licence.
pub(crate) fn decide(view: &View<'_>, draft: &mut Draft) {
    let Some(secret) = &view.spec().mattermost.licence_secret else {
        return;
    };
    let Some(seen) = &view.observed.licence else {
        return;
    };
    let record = draft.record.licence.clone();
    if let Some(refused) = &record.refused {
        let mut failure = None;
        if is_refused(&record, &seen.current)
            && let Some(proven) = &record.proven
        {
            failure = restore(view, draft, secret, &seen.current, proven);
        }
        draft.wait(
            NOTICE,
            words::refused(view, secret, &record, refused, failure),
        );
    }
    let in_force = record
        .proven
        .as_ref()
        .filter(|_| is_refused(&record, &seen.current));
    let in_force = in_force.unwrap_or(&seen.current);
    let is_proven = record.proven.as_ref() == Some(in_force);
    for text in words::term(view, secret, seen.terms.get(in_force), is_proven) {
        draft.wait(NOTICE, text);
    }
    if let Some(text) = words::tried(view, secret, &record, &seen.current) {
        draft.wait(NOTICE, text);
    }
}

/// The action, or why it is not tried again.
fn restore(
    view: &View<'_>,
    draft: &mut Draft,
    secret: &str,
    from: &str,
    to: &str,
) -> Option<String> {
    let action = Action::RestoreSecretVersion {
        secret: secret.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let entry = view.intent.journal.get(&action.key());
    let error = entry
        .filter(|entry| entry.failures >= TRIES)
        .and_then(|entry| entry.error.clone());
    if error.is_none() {
        let what = format!("version {to} of secret `{secret}` is put in force again");
        draft.set(view, "licence", &what, action);
    }
    error
}

#[cfg(test)]
mod tests;

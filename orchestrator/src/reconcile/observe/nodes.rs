//! What the nodes said, beside what they were told.

use std::sync::Arc;

use jiff::Timestamp;
use plan::Observed;

use crate::core::Core;
use crate::desired;
use crate::store::{NodeRow, Snapshot};

/// What the store has of each node that is not revoked, with what only this moment tells: whether its configuration
/// is the newest, and whether it has a session.
pub(super) fn learn(
    core: &Arc<Core>,
    observed: &mut Observed,
    snapshot: &Snapshot,
    started: Timestamp,
) {
    let facts = core.fleet.facts();
    for (id, row) in &snapshot.nodes {
        if row.revoked {
            continue;
        }
        let mut node = row.report.clone().unwrap_or_default();
        node.current = row.goal.as_ref().is_some_and(|goal| {
            // A node that failed, leaves or only prepares has no configuration in force. Else what
            // counts is what it was told: facts that changed since reach it by a generation of its own.
            let same = matches!(
                goal,
                plan::NodeGoal::Drain
                    | plan::NodeGoal::Prepare { .. }
                    | plan::NodeGoal::Move { .. }
            ) || node.failure.is_some()
                || Some(&node.configuration_digest) == row.digest.as_ref();
            node.generation == row.generation && same
        });
        node.migrated &= matches!(row.goal, Some(plan::NodeGoal::Serve { migrate: true, .. }))
            && node.generation == row.generation;
        node.stale = row.goal.as_ref().is_some_and(|goal| {
            let digest = desired::digest(core.release(), facts.as_deref(), goal);
            digest.is_none() || digest != row.digest
        });
        node.goal.clone_from(&row.goal);
        node.connected = core.fleet.is_connected(id) || row.session_lives;
        node.disconnected_since = (!node.connected).then(|| silent_since(row, node.at, started));
        observed.nodes.insert(id.clone(), node);
    }
}

/// Since when a node without a session has none: not before this orchestrator's own start, for until then the
/// node may have had nobody to come to.
fn silent_since(row: &NodeRow, said: Option<Timestamp>, started: Timestamp) -> Timestamp {
    row.session_until
        .into_iter()
        .chain(said)
        .fold(started, Timestamp::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_silent_since_its_session_or_our_start_whichever_is_later() {
        let at = |second: i64| Timestamp::from_second(second).expect("within the calendar");
        for (session, said, expected) in [
            (None, None, 100),
            (None, Some(50), 100),
            (None, Some(150), 150),
            (Some(170), Some(150), 170),
            (Some(90), Some(50), 100),
        ] {
            let row = NodeRow {
                session_until: session.map(at),
                ..NodeRow::default()
            };
            let since = silent_since(&row, said.map(at), at(100));
            assert_eq!(since, at(expected), "{session:?} {said:?}");
        }
    }
}

//! Whose turn it is to restart its server: for another version of the licence, or because it is stale.
//! One node at a time, and only while every other one serves what it was told.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::decision::NodeGoal;
use crate::equality;
use crate::intent::{LicenceRecord, Phase};
use crate::licence::{self, Versions};
use crate::nodes::next_for_new_facts;
use crate::observed::Node;
use crate::view::View;

/// What each node's goal says of the licence, and of how old its server may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns {
    versions: Versions,
    /// Stale nodes whose turn it is: after which moment their server must have started.
    restarts: BTreeMap<String, Timestamp>,
}

impl Turns {
    /// Decides for all members of the stack's groups. While a rollout is under way nobody is told
    /// anything new beside it; one that is stuck may last for days.
    pub fn new(view: &View<'_>, record: &LicenceRecord) -> Self {
        Self::after(view, record, equality::configuration_written(view.observed))
    }

    /// The same, with the moment at which the active configuration row was written.
    fn after(view: &View<'_>, record: &LicenceRecord, written: Option<Timestamp>) -> Self {
        let given = given(view);
        let mut turns = Self {
            versions: licence::versions(view, record, &given),
            restarts: BTreeMap::new(),
        };
        let is_held = view
            .live_rollout()
            .is_some_and(|rollout| !matches!(rollout.phase, Phase::Stuck { .. }));
        if is_held {
            return turns;
        }
        let waiting = turns.versions.waiting(record);
        let is_quiet = waiting.is_empty();
        let next = next_for_new_facts(&given, view.observed, &waiting).map(str::to_owned);
        if let Some(next) = next {
            turns.versions.tell(next);
        } else if is_quiet && let Some(written) = written {
            let stale = equality::stale(&given, &view.observed.nodes, written, view.now);
            turns.restarts = next_for_new_facts(&given, view.observed, &stale)
                .map(|next| (next.to_owned(), written))
                .into_iter()
                .collect();
        }
        turns
    }

    /// Which version of the licence each node gets.
    pub fn licences(&self) -> &Versions {
        &self.versions
    }

    /// The goal with what this node gets.
    pub fn complete(&self, mut goal: NodeGoal, instance: &str, node: Option<&Node>) -> NodeGoal {
        match &mut goal {
            NodeGoal::Serve {
                licence,
                started_after,
                ..
            } => {
                *licence = self.versions.of(instance);
                *started_after = self.restarts.get(instance).copied().or_else(|| {
                    match node.and_then(|node| node.goal.as_ref()) {
                        Some(NodeGoal::Serve { started_after, .. }) => *started_after,
                        _ => None,
                    }
                });
            }
            NodeGoal::Prepare { licence, .. } => *licence = self.versions.of(instance),
            NodeGoal::Drain | NodeGoal::Move { .. } => {}
        }
        goal
    }
}

/// The goals that the members of the stack's groups have. One that has none yet is on its way and
/// serves nobody: it counts as one that waits.
fn given(view: &View<'_>) -> BTreeMap<String, NodeGoal> {
    view.observed
        .groups
        .values()
        .filter(|group| view.is_ours(&group.tags))
        .flat_map(|group| group.members.keys())
        .map(|id| {
            let goal = view.node(id).and_then(|node| node.goal.clone());
            (id.clone(), goal.unwrap_or(NodeGoal::Drain))
        })
        .collect()
}

#[cfg(test)]
mod tests;

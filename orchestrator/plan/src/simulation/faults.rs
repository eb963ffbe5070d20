//! What goes wrong, and how.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Run;
use crate::Decision;
use crate::observed::{Failure, Observed};
use crate::world::{close, journal};

/// What goes wrong in one turn. `turn` counts from the begin of the rollout (or of `up`).
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The orchestrator dies after so many effects; what it remembers of earlier looks is gone.
    Crash { after: usize },
    /// Effects are made, their answers are lost: the journal says neither done nor failed.
    LostAnswers,
    /// Calls fail; nothing happens, and the journal says so.
    Refused,
    /// Calls are accepted, the journal says done, and nothing happens.
    LostEffects,
    /// A second orchestrator makes the same decision at the same time.
    Twice,
    /// A second orchestrator makes what it decided two turns ago.
    Stale,
    /// One kind of read fails.
    Blind { field: usize },
    /// The `n`-th instance dies.
    NodeDies { nth: usize },
    /// The `n`-th agent reports that it failed.
    NodeFails { nth: usize },
    /// The `n`-th agent is cut off for twenty turns.
    Silent { nth: usize },
    /// The operator turns back.
    Abort,
    /// From here on this host does not reach the load balancer, or it does again.
    OutOfReach,
    /// From here on what the orchestrator asks through the load balancer fails, or it does not any more.
    ProbesFail,
    /// Somebody deletes the listener's rules.
    RulesDeleted,
}

const FIELDS: [&str; 13] = [
    "files_bucket",
    "groups",
    "listeners",
    "rules",
    "target_groups",
    "db_instances",
    "template",
    "db_snapshots",
    "alarms",
    "images",
    "instances",
    "databases",
    "traffic",
];

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => (0usize..3).prop_map(|after| Fault::Crash { after }),
        2 => Just(Fault::LostAnswers),
        2 => Just(Fault::Refused),
        2 => Just(Fault::LostEffects),
        2 => Just(Fault::Twice),
        2 => Just(Fault::Stale),
        3 => (0..FIELDS.len()).prop_map(|field| Fault::Blind { field }),
        1 => (0usize..6).prop_map(|nth| Fault::NodeDies { nth }),
        1 => (0usize..6).prop_map(|nth| Fault::NodeFails { nth }),
        1 => (0usize..6).prop_map(|nth| Fault::Silent { nth }),
        1 => Just(Fault::Abort),
        1 => Just(Fault::OutOfReach),
        1 => Just(Fault::ProbesFail),
        1 => Just(Fault::RulesDeleted),
    ]
}

/// Turn and fault; most of a rollout's turns lie within the first three hundred.
pub(super) fn faults(most: usize) -> impl Strategy<Value = BTreeMap<usize, Fault>> {
    prop::collection::btree_map(0usize..300, fault(), 0..most)
}

/// Reads that fail for some turns, far less than any deadline, and nothing else.
pub(super) fn blindness(most: usize) -> impl Strategy<Value = BTreeMap<usize, Fault>> {
    let spells = prop::collection::vec((0usize..150, 1usize..6, 0..FIELDS.len()), 1..most);
    spells.prop_map(|spells| {
        let turns = spells.into_iter().flat_map(|(from, turns, field)| {
            (from..from + turns).map(move |turn| (turn, Fault::Blind { field }))
        });
        turns.collect()
    })
}

impl Run {
    pub(super) fn seen(&mut self, fault: Option<&Fault>) -> Observed {
        let Some(Fault::Blind { field }) = fault else {
            return self.world.observed.clone();
        };
        let field = FIELDS[*field];
        let mut seen = self.world.observed.clone();
        let empty = Observed::default();
        match field {
            "groups" => {
                seen.groups = empty.groups;
                seen.policies = empty.policies;
                seen.unknown
                    .insert("policies".to_owned(), "the groups are not known".to_owned());
            }
            "listeners" => seen.listeners = empty.listeners,
            "rules" => seen.rules = empty.rules,
            "target_groups" => seen.target_groups = empty.target_groups,
            "db_instances" => seen.db_instances = empty.db_instances,
            "template" => seen.template = empty.template,
            "db_snapshots" => seen.db_snapshots = empty.db_snapshots,
            "alarms" => seen.alarms = empty.alarms,
            "images" => seen.images = empty.images,
            "databases" => seen.databases = empty.databases,
            "traffic" => seen.traffic = empty.traffic,
            _ => seen.instances = empty.instances,
        }
        seen.unknown
            .insert(field.to_owned(), "Throttling".to_owned());
        seen
    }

    pub(super) fn perform(&mut self, decision: &Decision, fault: Option<&Fault>) {
        match fault {
            Some(Fault::Crash { after }) => {
                for action in decision.actions.iter().take(*after) {
                    journal(&mut self.intent, &action.key(), self.world.now);
                    let outcome = self.world.apply(action);
                    close(
                        &mut self.intent,
                        &action.key(),
                        self.world.now,
                        outcome.err(),
                    );
                }
                if let Some(action) = decision.actions.get(*after) {
                    journal(&mut self.intent, &action.key(), self.world.now);
                }
                self.world.observed.streaks.clear();
            }
            Some(Fault::LostAnswers) => {
                for action in &decision.actions {
                    journal(&mut self.intent, &action.key(), self.world.now);
                    let _ = self.world.apply(action);
                }
            }
            Some(Fault::Refused) => {
                for action in &decision.actions {
                    journal(&mut self.intent, &action.key(), self.world.now);
                    close(
                        &mut self.intent,
                        &action.key(),
                        self.world.now,
                        Some("Throttling".to_owned()),
                    );
                }
            }
            Some(Fault::LostEffects) => {
                for action in &decision.actions {
                    journal(&mut self.intent, &action.key(), self.world.now);
                    close(&mut self.intent, &action.key(), self.world.now, None);
                }
            }
            Some(Fault::Twice) => {
                self.world.perform(&mut self.intent, decision);
                self.world.perform(&mut self.intent, decision);
            }
            Some(Fault::Stale) => {
                // It lost its lease: what it makes late is what was right two turns ago. Its weights are
                // refused by the lease's rule that an irreversible call must not outlive it.
                let late = self
                    .past
                    .len()
                    .checked_sub(2)
                    .map(|at| self.past[at].clone());
                for action in late.iter().flat_map(|late| &late.actions) {
                    if action.key().starts_with("ensure_") {
                        let _ = self.world.apply(action);
                    }
                }
                self.world.perform(&mut self.intent, decision);
            }
            _ => self.world.perform(&mut self.intent, decision),
        }
    }

    pub(super) fn kill(&mut self, nth: usize) {
        let running: Vec<String> = self
            .world
            .observed
            .instances
            .values()
            .filter(|seen| seen.state == "running")
            .map(|seen| seen.id.clone())
            .collect();
        if let Some(id) = running.get(nth % running.len().max(1))
            && let Some(instance) = self.world.observed.instances.get_mut(id)
        {
            instance.state = "terminated".to_owned();
            self.disturbed = true;
        }
    }

    pub(super) fn fail(&mut self, nth: usize) {
        let ids: Vec<String> = self.world.observed.nodes.keys().cloned().collect();
        if let Some(id) = ids.get(nth % ids.len().max(1))
            && let Some(node) = self.world.observed.nodes.get_mut(id)
        {
            node.phase = "failed".to_owned();
            node.current = true;
            node.failure = Some(Failure {
                phase: "fetched".to_owned(),
                code: "fetch_failed".to_owned(),
                ..Failure::default()
            });
            self.disturbed = true;
        }
    }

    pub(super) fn silence(&mut self, nth: usize) {
        let ids: Vec<String> = self.world.observed.nodes.keys().cloned().collect();
        if let Some(id) = ids.get(nth % ids.len().max(1)) {
            self.world.silent.insert(id.clone(), 20);
        }
    }
}

//! The store while it is in memory, and the shapes of its rows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use plan::NodeGoal;
use plan::intent::{Entry, Phase, Record, RolloutIntent};
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::rollout::{self, Steer, merge};
use super::{Commit, Event, NewEvent, Snapshot, StoreError, event, journal, to_json};

/// A node's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRow {
    /// SHA-256 (hex) of the public key that it enrolled with.
    pub key_sha256: String,
    /// Its instance is gone.
    pub revoked: bool,
    /// Of the goal.
    pub generation: u64,
    /// What it should become.
    pub goal: Option<NodeGoal>,
    /// Digest of the configuration that went with the goal.
    pub digest: Option<String>,
    /// What it last said.
    pub report: Option<plan::observed::Node>,
    /// Until when it has a session with some orchestrator, or when its last one ended; none in memory, and of
    /// a node that never had one.
    pub session_until: Option<Timestamp>,
    /// Whether it has one now, by the database's clock.
    pub session_lives: bool,
}

/// A rollout's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutRow {
    /// The planner's part.
    pub intent: RolloutIntent,
    /// `live`, `done`, `rolled_back`, `stuck`.
    pub outcome: String,
    /// Phases with their times.
    pub history: Vec<PhaseTime>,
    /// Why it waits.
    pub reasons: Vec<String>,
    /// Who asked.
    pub operator: String,
    /// The request's key.
    pub request_key: String,
}

impl RolloutRow {
    /// Not ended. A stuck one waits for a person, who may turn it back: it is live.
    pub fn is_live(&self) -> bool {
        matches!(self.outcome.as_str(), "live" | "stuck")
    }
}

/// One phase of a rollout in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Its name.
    pub phase: String,
    /// Entered.
    pub entered: Timestamp,
    /// Left.
    pub left: Option<Timestamp>,
    /// What was waited for in it.
    pub waited_for: Vec<String>,
}

/// A phase that begins.
pub(super) fn enter_phase(phase: &Phase, now: Timestamp) -> PhaseTime {
    PhaseTime {
        phase: phase_name(phase),
        entered: now,
        left: None,
        waited_for: Vec::new(),
    }
}

/// A phase's name for people and rows.
pub fn phase_name(phase: &Phase) -> String {
    match phase {
        Phase::Shifting { weight } => format!("Shifting({weight})"),
        Phase::Stuck { .. } => "Stuck".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The outcome that a phase means.
pub(super) fn outcome_of(phase: &Phase) -> &'static str {
    match phase {
        Phase::Done => "done",
        Phase::RolledBack => "rolled_back",
        Phase::Stuck { .. } => "stuck",
        _ => "live",
    }
}

/// Everything, in memory.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// What was proven.
    pub record: Record,
    /// Rollouts, oldest first.
    pub rollouts: Vec<RolloutRow>,
    /// Effects.
    pub journal: BTreeMap<String, Entry>,
    /// Nodes by instance id.
    pub nodes: BTreeMap<String, NodeRow>,
    events: Vec<Event>,
}

impl Document {
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            record: self.record.clone(),
            rollout: self
                .rollouts
                .iter()
                .find(|row| row.is_live())
                .map(|row| row.intent.clone()),
            journal: self.journal.clone(),
            nodes: self.nodes.clone(),
        }
    }

    /// What a snapshot holds, in place of what was known before.
    pub(super) fn resume(&mut self, last: &Snapshot) {
        self.record = last.record.clone();
        self.journal = last.journal.clone();
        self.nodes = last.nodes.clone();
        self.rollouts.clear();
    }

    pub(super) fn commit(&mut self, commit: Commit, now: Timestamp) {
        if let Some(record) = commit.record {
            self.record = record;
        }
        if let Some(intent) = commit.rollout
            && let Some(row) = self
                .rollouts
                .iter_mut()
                .find(|row| row.intent.id == intent.id)
        {
            row.intent = merge(&row.intent, &intent, &mut row.history, &commit.reasons, now);
            outcome_of(&row.intent.phase).clone_into(&mut row.outcome);
            row.reasons = commit.reasons;
        }
        for key in &commit.intended {
            journal::begin(&mut self.journal, key, now);
        }
        for event in commit.events {
            self.add_event(event, now);
        }
    }

    pub(super) fn effect(&mut self, key: &str, error: Option<String>, now: Timestamp) {
        journal::end(&mut self.journal, key, now, error);
    }

    pub(super) fn add_event(&mut self, event: NewEvent, at: Timestamp) {
        let id = self.events.last().map_or(1, |last| last.id + 1);
        self.events.push(Event {
            id,
            at,
            subject: event.subject,
            what: event.what,
            cause: event.cause,
        });
    }

    pub(super) fn prune_events(&mut self, oldest: Timestamp, most: usize) -> u64 {
        let before = self.events.len();
        let surplus = before.saturating_sub(most);
        self.events.drain(..surplus);
        self.events.retain(|event| event.at >= oldest);
        (before - self.events.len()) as u64
    }

    pub(super) fn events_after(&self, after: i64) -> Vec<Event> {
        self.events
            .iter()
            .filter(|event| event.id > after)
            .take(500)
            .cloned()
            .collect()
    }

    pub(super) fn newest_events(&self, count: usize) -> Vec<Event> {
        let skip = self.events.len().saturating_sub(count);
        self.events[skip..].to_vec()
    }

    pub(super) fn enrol(&mut self, instance: &str, key_sha256: &str) -> Result<(), StoreError> {
        let node = self
            .nodes
            .entry(instance.to_owned())
            .or_insert_with(|| NodeRow {
                key_sha256: key_sha256.to_owned(),
                ..NodeRow::default()
            });
        if node.key_sha256 == key_sha256 && !node.revoked {
            Ok(())
        } else {
            Err(StoreError::OtherKey(instance.to_owned()))
        }
    }

    pub(super) fn report(&mut self, instance: &str, report: &plan::observed::Node) {
        if let Some(node) = self.nodes.get_mut(instance) {
            node.report = Some(report.clone());
        }
    }

    pub(super) fn set_goal(&mut self, instance: &str, goal: &NodeGoal, digest: &str) {
        if let Some(node) = self.nodes.get_mut(instance)
            && (node.goal.as_ref() != Some(goal) || node.digest.as_deref() != Some(digest))
        {
            node.goal = Some(goal.clone());
            node.digest = Some(digest.to_owned());
            node.generation += 1;
        }
    }

    pub(super) fn revoke(&mut self, instances: &[String]) {
        for instance in instances {
            if let Some(node) = self.nodes.get_mut(instance) {
                node.revoked = true;
            }
        }
    }

    pub(super) fn request_rollout(
        &mut self,
        intent: &RolloutIntent,
        request_key: &str,
        operator: &str,
    ) -> Result<RolloutRow, StoreError> {
        if let Some(row) = self.rollout_of_request(request_key) {
            return Ok(row);
        }
        if let Some(row) = self.rollouts.iter().find(|row| row.is_live()) {
            return Err(StoreError::RolloutIsLive(row.intent.id.clone()));
        }
        if self.rollouts.iter().any(|row| row.intent.id == intent.id) {
            return Err(StoreError::NotLive(intent.id.clone()));
        }
        let row = RolloutRow {
            intent: intent.clone(),
            outcome: "live".to_owned(),
            history: vec![enter_phase(&intent.phase, intent.requested)],
            reasons: Vec::new(),
            operator: operator.to_owned(),
            request_key: request_key.to_owned(),
        };
        self.rollouts.push(row.clone());
        Ok(row)
    }

    pub(super) fn rollout_of_request(&self, key: &str) -> Option<RolloutRow> {
        let mut rows = self.rollouts.iter();
        rows.find(|row| row.request_key == key).cloned()
    }

    pub(super) fn rollout(&self, id: Option<&str>) -> Option<RolloutRow> {
        match id {
            None => self.rollouts.last().cloned(),
            Some(id) => self
                .rollouts
                .iter()
                .find(|row| row.intent.id == id)
                .cloned(),
        }
    }

    pub(super) fn steer(&mut self, id: &str, steer: Steer) -> Result<RolloutRow, StoreError> {
        let row = self
            .rollouts
            .iter_mut()
            .find(|row| row.intent.id == id)
            .ok_or_else(|| StoreError::NoSuchRollout(id.to_owned()))?;
        if !row.is_live() {
            return Err(StoreError::NotLive(id.to_owned()));
        }
        steer.apply(&mut row.intent);
        Ok(row.clone())
    }
}

/// Writes a document into an empty schema; leaves a stack that is already there as it is.
pub(super) async fn save(
    client: &mut Client,
    stack: &str,
    document: &Document,
) -> Result<(), StoreError> {
    let transaction = client.transaction().await?;
    let record = to_json("stack", &document.record)?;
    let fresh = transaction
        .execute(
            "INSERT INTO stack (name, record) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&stack, &record],
        )
        .await?;
    if fresh == 1 {
        journal::save(&transaction, stack, &document.journal).await?;
        for old in &document.events {
            let kept = NewEvent {
                subject: old.subject.clone(),
                what: old.what.clone(),
                cause: old.cause.clone(),
            };
            event::insert(&transaction, stack, &kept, old.at).await?;
        }
        for row in &document.rollouts {
            rollout::save(&transaction, stack, row).await?;
        }
    }
    for (instance, node) in &document.nodes {
        let goal = node
            .goal
            .as_ref()
            .map(|goal| to_json("node", goal))
            .transpose()?;
        let report = node
            .report
            .as_ref()
            .map(|report| to_json("node", report))
            .transpose()?;
        let generation = i64::try_from(node.generation).unwrap_or(i64::MAX);
        transaction
            .execute(
                "INSERT INTO node (instance_id, stack, key_sha256, revoked, generation, goal, report, digest)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
                &[instance, &stack, &node.key_sha256, &node.revoked, &generation, &goal, &report,
                    &node.digest],
            )
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

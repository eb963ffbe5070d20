//! A model of the world in which effects happen as they should: what the forecast runs the planner
//! against, and what the simulation in the tests disturbs.
//!
//! It is a model of what is documented of AWS and of our agent, no more: enough that every gate of the
//! planner is met for the reason for which it is met in life. It decides nothing about the stack.

mod agent;
mod clockwork;
mod databases;
mod effects;
mod files;
mod groups;
mod probes;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::decision::Decision;
use crate::intent::{Entry, Intent, Window};
use crate::observed::{Observed, ServerLicence, streak_db, streak_target};
use crate::rollout::over_row;
use crate::spec::Spec;

/// Seconds that one tick of the model takes.
pub(crate) const TICK_SECONDS: i64 = 10;

/// The model.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub observed: Observed,
    pub now: Timestamp,
    pub spec: Spec,
    /// Releases that crash at their start.
    pub bad: BTreeSet<String>,
    /// Pages of versions in the stack's bucket, each deleted by one effect.
    pub bucket_pages: u32,
    /// Buckets that no node can use.
    pub unusable: BTreeSet<String>,
    /// Nodes whose files cannot be copied once their server is stopped.
    pub unmovable: BTreeSet<String>,
    /// Agents that are cut off, and for how many ticks: the server runs, nobody hears of it.
    pub silent: BTreeMap<String, u32>,
    /// Migrations that really ran: instance, and whether a snapshot was available then.
    pub migrations: Vec<(String, bool)>,
    /// `LatestRestorableTime` stands still.
    pub backups_are_stuck: bool,
    /// Ticks that a DB snapshot takes.
    pub snapshot_ticks: u32,
    /// Ticks that a transitional state has lasted, by resource.
    ages: BTreeMap<String, u32>,
    serial: u64,
    /// Rules of the listener that were made.
    rules: u64,
    /// Requests per tick through the load balancer, and server errors in each target group.
    pub requests: u64,
    pub errors: BTreeMap<String, u64>,
    /// Server errors per tick by the load balancer itself.
    pub balancer_errors: u64,
    /// This host does not reach the load balancer.
    pub is_out_of_reach: bool,
    /// Why the orchestrator's own requests fail, whoever answers them.
    pub failing_probes: Option<String>,
    /// What went through it, tick by tick.
    passed: Vec<traffic::Passed>,
    /// The window that the rollout watches.
    watch: Option<Window>,
    /// What servers say of versions of the licence; any other one is taken.
    pub licences: BTreeMap<String, ServerLicence>,
    /// Agents whose server did not take the licence only say so, and do not fail.
    pub lenient_agents: bool,
    /// Why AWS does not let the licence's secret be changed.
    pub refuses_versions: Option<String>,
}

impl World {
    /// The world as it was seen.
    pub fn new(spec: &Spec, observed: &Observed, now: Timestamp) -> Self {
        Self {
            observed: observed.clone(),
            now,
            spec: spec.clone(),
            bad: BTreeSet::new(),
            bucket_pages: 1,
            unusable: BTreeSet::new(),
            unmovable: BTreeSet::new(),
            silent: BTreeMap::new(),
            migrations: Vec::new(),
            backups_are_stuck: false,
            snapshot_ticks: 2,
            ages: BTreeMap::new(),
            serial: 0,
            rules: 0,
            requests: 50,
            errors: BTreeMap::new(),
            balancer_errors: 0,
            is_out_of_reach: probes::is_out_of_reach(observed),
            failing_probes: probes::failure(observed),
            passed: Vec::new(),
            watch: None,
            licences: BTreeMap::new(),
            lenient_agents: false,
            refuses_versions: None,
        }
    }

    /// A number that was not used before.
    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// What the orchestrator commits and gives to nodes before it makes effects.
    pub fn commit(&mut self, intent: &mut Intent, decision: &Decision) {
        if let Some(record) = &decision.record {
            intent.record = record.clone();
        }
        if let Some(rollout) = &decision.rollout {
            self.watch = rollout.watch;
            let row = intent.rollout.as_ref();
            intent.rollout =
                Some(row.map_or_else(|| rollout.clone(), |row| over_row(rollout, row)));
        }
        if intent.ca_sha256.is_none()
            && self
                .observed
                .secrets
                .contains_key(&self.spec.names().ca_secret())
        {
            intent.ca_sha256 = Some("c".repeat(64));
        }
        for (instance, goal) in &decision.nodes {
            if let Some(node) = self.observed.nodes.get_mut(instance)
                && node.goal.as_ref() != Some(goal)
            {
                node.goal = Some(goal.clone());
                node.current = false;
                node.generation += 1;
            }
        }
    }

    /// Makes the effects of a decision, with the journal kept as the orchestrator keeps it.
    pub fn perform(&mut self, intent: &mut Intent, decision: &Decision) {
        for action in &decision.actions {
            journal(intent, &action.key(), self.now);
            let outcome = self.apply(action);
            close(intent, &action.key(), self.now, outcome.err());
        }
    }

    /// Counts how often facts were read in a row, and sums up the traffic, as the orchestrator does with every look.
    pub fn look(&mut self) {
        let mut streaks = BTreeMap::new();
        let mut count = |key: String| {
            let before = self.observed.streaks.get(&key).copied().unwrap_or(0);
            streaks.insert(key, before + 1);
        };
        for instance in self.observed.db_instances.values() {
            count(streak_db(&instance.id, &instance.status));
        }
        for group in self.observed.target_groups.values() {
            for (target, state) in &group.targets {
                count(streak_target(&group.arn, target, state));
            }
        }
        self.observed.streaks = streaks;
        self.observed.traffic = self.watched_traffic();
        self.ask();
    }

    /// Lets time pass.
    pub fn tick(&mut self) {
        self.now = self
            .now
            .checked_add(SignedDuration::from_secs(TICK_SECONDS))
            .expect("the model's time stays within the calendar");
        self.advance_databases();
        self.advance_resources();
        self.advance_groups();
        self.advance_nodes();
        self.advance_targets();
        self.advance_traffic();
    }

    /// How long a state has lasted, in ticks; begins anew under another key.
    fn age(&mut self, key: String) -> u32 {
        let age = self.ages.entry(key).or_insert(0);
        *age += 1;
        *age
    }

    fn forget(&mut self, prefix: &str) {
        self.ages.retain(|key, _| !key.starts_with(prefix));
    }
}

/// An effect is intended.
pub(crate) fn journal(intent: &mut Intent, key: &str, now: Timestamp) {
    let entry = intent.journal.entry(key.to_owned()).or_insert(Entry {
        intended: now,
        attempted: None,
        done: None,
        error: None,
        failures: 0,
    });
    entry.attempted = Some(now);
    entry.done = None;
    entry.error = None;
}

/// An effect is done, or failed.
pub(crate) fn close(intent: &mut Intent, key: &str, now: Timestamp, error: Option<String>) {
    if let Some(entry) = intent.journal.get_mut(key) {
        match error {
            None => {
                entry.done = Some(now);
                entry.failures = 0;
            }
            Some(error) => {
                entry.error = Some(error);
                entry.failures += 1;
            }
        }
    }
}

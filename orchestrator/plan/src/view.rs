//! What a decision looks at: intent, observation and the moment, with the questions that every part asks.

use jiff::{SignedDuration, Timestamp};

use crate::intent::{Intent, Record, RolloutIntent, Slot};
use crate::observed::{
    DbInstance, DbOperation, Group, Listener, ListenerAction, Node, Observed, STACK_TAG, Tags,
    TargetGroup, streak_db, streak_target,
};
use crate::spec::{Names, Spec};

/// The input of a decision.
#[derive(Clone, Debug)]
pub(crate) struct View<'a> {
    pub intent: &'a Intent,
    pub observed: &'a Observed,
    pub now: Timestamp,
    pub names: Names,
}

/// Fields of [`Observed`] that a failed read may be named after; `images/<region>` and the like name a
/// part of one.
const READS: [&str; 23] = [
    "files_bucket",
    "network",
    "offers",
    "security_groups",
    "secrets",
    "db_subnet_group",
    "db_parameter_group",
    "db_instances",
    "db_snapshots",
    "engine_versions",
    "databases",
    "replica_lag_seconds",
    "load_balancer",
    "target_groups",
    "listeners",
    "rules",
    "template",
    "images",
    "groups",
    "policies",
    "alarms",
    "instances",
    "traffic",
];

impl<'a> View<'a> {
    pub fn new(intent: &'a Intent, observed: &'a Observed, now: Timestamp) -> Self {
        Self {
            intent,
            observed,
            now,
            names: intent.spec.names(),
        }
    }

    pub fn spec(&self) -> &'a Spec {
        &self.intent.spec
    }

    pub fn record(&self) -> &'a Record {
        &self.intent.record
    }

    /// The rollout that is under way: not one that has ended.
    pub fn live_rollout(&self) -> Option<&'a RolloutIntent> {
        self.intent.live_rollout()
    }

    /// See [`unknown`].
    pub fn unknown(&self, field: &str) -> Option<(&'a str, &'a str)> {
        unknown(self.observed, field)
    }

    pub fn reads_in_a_row(&self) -> u32 {
        self.spec().rollout.reads_in_a_row
    }

    fn streak(&self, key: &str) -> u32 {
        self.observed.streaks.get(key).copied().unwrap_or(0)
    }

    /// The DB instance was read in its state often enough to be believed, and the state allows this.
    pub fn db_is_settled(&self, instance: &DbInstance, operation: DbOperation) -> bool {
        instance.status.allows(operation)
            && self.streak(&streak_db(&instance.id, &instance.status)) >= self.reads_in_a_row()
    }

    /// The primary, when RDS shows it.
    pub fn primary(&self) -> Option<&'a DbInstance> {
        self.observed.db_instances.get(&self.names.database())
    }

    pub fn is_ours(&self, tags: &Tags) -> bool {
        tags.get(STACK_TAG)
            .is_some_and(|stack| stack == self.names.stack())
    }

    pub fn target_group(&self, slot: Slot) -> Option<&'a TargetGroup> {
        self.observed
            .target_groups
            .get(&self.names.target_group(slot))
    }

    /// The port of the listener that forwards to the target groups.
    pub fn main_port(&self) -> u16 {
        if self.spec().load_balancer.certificate_arn.is_some() {
            443
        } else {
            80
        }
    }

    pub fn listener(&self) -> Option<&'a Listener> {
        self.observed.listeners.get(&self.main_port())
    }

    pub fn group(&self, name: &str) -> Option<&'a Group> {
        self.observed.groups.get(name)
    }

    pub fn node(&self, instance: &str) -> Option<&'a Node> {
        self.observed.nodes.get(instance)
    }

    /// Name of the group that owns the traffic.
    pub fn owner(&self) -> String {
        self.record()
            .group
            .clone()
            .unwrap_or_else(|| self.names.group(self.record().generation))
    }

    /// Nothing is recorded, yet groups exist that a first `up` cannot have made: the store, which knows
    /// what serves, has not answered yet. Nothing may be concluded about who owns the traffic. After a
    /// `down` the record still holds the generation, so that names are not used again.
    pub fn record_is_missing(&self) -> bool {
        let record = self.record();
        let first = self.names.group(1);
        record.proven.is_none()
            && record.group.is_none()
            && record.generation == 0
            && self
                .observed
                .groups
                .values()
                .any(|group| self.is_ours(&group.tags) && (group.name != first || group.max == 0))
    }

    /// The target is `healthy` now.
    pub fn is_healthy(&self, slot: Slot, instance: &str) -> bool {
        self.target_group(slot)
            .and_then(|group| group.targets.get(instance))
            .is_some_and(|state| state == "healthy")
    }

    /// The target was read `healthy` often enough to be believed.
    pub fn is_settled(&self, slot: Slot, instance: &str) -> bool {
        self.is_healthy(slot, instance)
            && self.target_group(slot).is_some_and(|group| {
                self.streak(&streak_target(&group.arn, instance, "healthy"))
                    >= self.reads_in_a_row()
            })
    }

    /// Targets that are `healthy` now.
    pub fn healthy_count(&self, slot: Slot) -> u32 {
        self.target_group(slot).map_or(0, |group| {
            group
                .targets
                .values()
                .filter(|state| *state == "healthy")
                .count() as u32
        })
    }

    /// The listener answers by itself: the maintenance page of a cutover.
    pub fn is_closed(&self) -> bool {
        self.listener()
            .is_some_and(|listener| matches!(listener.action, ListenerAction::Fixed(..)))
    }

    /// Targets that can take traffic: `healthy` ones; while the listener answers itself nobody is probed,
    /// and the nodes' own word is all there is.
    pub fn able_count(&self, slot: Slot) -> u32 {
        if !self.is_closed() {
            return self.healthy_count(slot);
        }
        let vouches = |id: &str| {
            self.node(id)
                .is_some_and(|node| node.phase == "serving" && node.current && node.connected)
        };
        self.group(&self.owner()).map_or(0, |group| {
            let members = group.members.iter();
            members
                .filter(|(id, member)| member.lifecycle == "InService" && vouches(id))
                .count() as u32
        })
    }
}

/// Why a read failed, if one did that would have shown `field`. A failed read that we cannot place
/// makes everything unknown: nothing may be concluded from an absence.
pub(crate) fn unknown<'a>(observed: &'a Observed, field: &str) -> Option<(&'a str, &'a str)> {
    observed
        .unknown
        .iter()
        .find(|(read, _)| {
            let head = read.split('/').next().unwrap_or_default();
            head == field || !READS.contains(&head)
        })
        .map(|(read, why)| (read.as_str(), why.as_str()))
}

/// So many seconds later.
pub(crate) fn later(start: Timestamp, seconds: u32) -> Timestamp {
    start
        .checked_add(SignedDuration::from_secs(i64::from(seconds)))
        .unwrap_or(Timestamp::MAX)
}

/// Members that are there to stay: not on their way out.
pub(crate) fn is_leaving(lifecycle: &str) -> bool {
    lifecycle.starts_with("Terminat") || lifecycle.starts_with("Detach")
}

/// Members of a group that are not leaving, oldest first: (launched, id).
pub(crate) fn live_members<'g>(view: &View<'_>, group: &'g Group) -> Vec<&'g str> {
    let mut members: Vec<(Timestamp, &str)> = group
        .members
        .iter()
        .filter(|(id, member)| {
            let state = view
                .observed
                .instances
                .get(*id)
                .map(|instance| instance.state.as_str());
            !is_leaving(&member.lifecycle)
                && !matches!(
                    state,
                    Some("shutting-down" | "terminated" | "stopping" | "stopped")
                )
        })
        .map(|(id, _)| {
            let launched = view
                .observed
                .instances
                .get(id)
                .and_then(|instance| instance.launched);
            (launched.unwrap_or(Timestamp::MAX), id.as_str())
        })
        .collect();
    members.sort();
    members.into_iter().map(|(_, id)| id).collect()
}

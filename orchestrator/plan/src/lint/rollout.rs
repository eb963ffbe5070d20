//! Migrations and the way back.

use super::{Judge, Refusal, Verdict};
use crate::decision::NodeGoal;
use crate::intent::{Phase, RestorePoint};

impl Judge<'_> {
    /// A snapshot goes while the stack is up only beside a newer one that a rollout took, and in no rollout.
    pub(super) fn not_the_way_back(&self, id: &str) -> Verdict {
        if self.deletes_database() {
            return Ok(());
        }
        if self.intent.live_rollout().is_some() {
            return Err(("way_back", "a rollout is under way".to_owned()));
        }
        let names = self.intent.spec.names();
        let own = names.rollout_snapshot_generation(id);
        let newest = self
            .observed
            .db_snapshots
            .values()
            .filter(|seen| seen.status == "available")
            .filter_map(|seen| names.rollout_snapshot_generation(&seen.id))
            .max();
        if own.is_some() && own < newest {
            Ok(())
        } else {
            Err((
                "way_back",
                "no rollout took a newer snapshot that is `available`".to_owned(),
            ))
        }
    }

    /// One migrator at most, never of the old colour, and after a snapshot.
    pub(super) fn migrations(&self) -> Vec<Refusal> {
        let mut found = Vec::new();
        let mut refuse = |rule: &str, action: &str, text: String| {
            found.push(Refusal {
                rule: rule.to_owned(),
                action: action.to_owned(),
                text,
            });
        };
        let migrates = |goal: &NodeGoal| matches!(goal, NodeGoal::Serve { migrate: true, .. });
        let fresh: Vec<&String> = self
            .decision
            .nodes
            .iter()
            .filter(|(id, goal)| {
                let done = self
                    .observed
                    .nodes
                    .get(*id)
                    .is_some_and(|node| node.migrated && node.goal.as_ref() == Some(goal));
                migrates(goal) && !done
            })
            .map(|(id, _)| id)
            .collect();
        if fresh.len() > 1 {
            refuse(
                "one_migration",
                fresh[1],
                format!("{} nodes would migrate", fresh.len()),
            );
        }
        let rollout = self
            .decision
            .rollout
            .as_ref()
            .or(self.intent.rollout.as_ref());
        let live = rollout.filter(|rollout| !rollout.phase.ends_a_rollout());
        if let (Some(rollout), Some(migrator)) = (live, fresh.first()) {
            let blue = rollout
                .blue_group
                .as_deref()
                .and_then(|name| self.observed.groups.get(name));
            if blue.is_some_and(|blue| blue.members.contains_key(*migrator)) {
                refuse(
                    "old_colour",
                    migrator,
                    "a node of the old colour would migrate".to_owned(),
                );
            }
            let snapshot = self
                .intent
                .spec
                .names()
                .rollout_snapshot(rollout.generation);
            let taken = self
                .observed
                .db_snapshots
                .get(&snapshot)
                .is_some_and(|seen| seen.status == "available");
            if !taken && !self.observed.unknown.contains_key("db_snapshots") {
                refuse(
                    "no_snapshot",
                    migrator,
                    format!("the snapshot `{snapshot}` is not `available`"),
                );
            }
            if rollout.restore == (RestorePoint::Log { second: None }) {
                refuse(
                    "no_restore_point",
                    migrator,
                    "no second is recorded to which the database could be brought back".to_owned(),
                );
            }
        }
        found
    }

    /// One goes back to what is proven, by number.
    pub(super) fn way_back(&self) -> Option<Refusal> {
        let rollout = self
            .decision
            .rollout
            .as_ref()
            .or(self.intent.rollout.as_ref())?;
        if !matches!(
            self.decision.next,
            Phase::ReturningTraffic | Phase::RemovingGreen
        ) {
            return None;
        }
        let proven = self.intent.record.proven.as_ref();
        let same = proven.is_some_and(|proven| {
            (&proven.image_id, &proven.version, &proven.sha256)
                == (
                    &rollout.from.image_id,
                    &rollout.from.version,
                    &rollout.from.sha256,
                )
        });
        (!same).then(|| Refusal {
            rule: "unproven".to_owned(),
            action: rollout.id.clone(),
            text: format!("{} is not what was last proven", rollout.from.version),
        })
    }
}

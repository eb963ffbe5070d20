//! The whole life of a stack under faults, from a seed: lost effects, failed calls, restarts between
//! commit and effect, two orchestrators at once, failed reads, nodes that die, agents that fall silent.
//! After the last fault the system must reach an end, and the invariants must have held all the way.

mod faults;

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::fixtures::{TOKEN, clustered, empty_account, epoch, ready, unlicensed, wanting};
use crate::intent::{Intent, Mode, Phase, RolloutProbe, Want};
use crate::observed::{Forward, ListenerAction};
use crate::rollout::{Ask, request};
use crate::world::World;
use crate::{Decision, NodeGoal, lint, plan};
use faults::{Fault, blindness, faults};

struct Run {
    world: World,
    intent: Intent,
    past: Vec<Decision>,
    rollouts: usize,
    /// A node died or failed by our hand: the floor may be missed until it is replaced.
    disturbed: bool,
}

impl Run {
    fn turn(&mut self, fault: Option<&Fault>) -> Result<Phase, TestCaseError> {
        match fault {
            Some(Fault::NodeDies { nth }) => self.kill(*nth),
            Some(Fault::NodeFails { nth }) => self.fail(*nth),
            Some(Fault::Silent { nth }) => self.silence(*nth),
            Some(Fault::Abort) => {
                if let Some(rollout) = &mut self.intent.rollout {
                    rollout.abort = true;
                }
            }
            Some(Fault::OutOfReach) => self.world.is_out_of_reach ^= true,
            Some(Fault::ProbesFail) => {
                let failing = &mut self.world.failing_probes;
                *failing = failing.is_none().then(|| "it has expired".to_owned());
            }
            Some(Fault::RulesDeleted) => self.world.observed.rules.clear(),
            _ => {}
        }
        self.world.look();
        let seen = self.seen(fault);
        let decision = plan(&self.intent, &seen, self.world.now);
        let again = plan(&self.intent, &seen, self.world.now);
        prop_assert_eq!(&decision, &again);
        if let Err(refusals) = lint(&decision, &seen, &self.intent) {
            return Err(TestCaseError::fail(format!(
                "lint: {refusals:#?}\n{decision:#?}"
            )));
        }
        self.world.commit(&mut self.intent, &decision);
        self.perform(&decision, fault);
        self.check(&decision)?;
        self.world.tick();
        let phase = decision.next.clone();
        self.past.push(decision);
        Ok(phase)
    }

    /// The invariants of the rollout that hold at every instant.
    fn check(&self, decision: &Decision) -> Result<(), TestCaseError> {
        let floor = self.intent.spec.fleet.min;
        let overlap = self
            .intent
            .rollout
            .as_ref()
            .is_none_or(|rollout| rollout.mode == Mode::Overlap);
        let proven = self.intent.record.proven.is_some();
        // 1: the floor serves. A target is healthy, and its group gets traffic.
        if proven && overlap && !self.disturbed && self.intent.want == Want::Up {
            let serving = self.serving();
            prop_assert!(
                serving >= floor,
                "{serving} nodes serve in {:?}",
                decision.next
            );
        }
        // 2: in a cutover the colours are never asked to serve together.
        let live = self.intent.live_rollout();
        if let Some(rollout) = live.filter(|rollout| rollout.mode == Mode::Cutover) {
            let green = self.intent.spec.names().group(rollout.generation);
            let serves = |group: &String| {
                let group = self.world.observed.groups.get(group);
                let mut members = group.iter().flat_map(|group| group.members.keys());
                members.any(|id| matches!(decision.nodes.get(id), Some(NodeGoal::Serve { .. })))
            };
            prop_assert!(
                !rollout.blue_group.as_ref().is_some_and(serves) || !serves(&green),
                "both colours are asked to serve: {decision:#?}"
            );
        }
        // Users stay with a colour only while both have a share.
        for listener in self.world.observed.listeners.values() {
            if let ListenerAction::Forward(forward) = &listener.action {
                let shares = forward.weights.values().filter(|weight| **weight > 0);
                prop_assert_eq!(forward.sticky_seconds.is_some(), shares.count() > 1);
            }
        }
        // 3: one migration for the first start, one per rollout at most, never by blue.
        prop_assert!(
            self.world.migrations.len() <= 1 + self.rollouts,
            "{:?}",
            self.world.migrations
        );
        if let (Some(rollout), Some((migrator, snapshot))) =
            (&self.intent.rollout, self.world.migrations.get(1))
        {
            let blue = rollout
                .blue_group
                .as_ref()
                .and_then(|name| self.world.observed.groups.get(name));
            prop_assert!(
                blue.is_none_or(|blue| !blue.members.contains_key(migrator)),
                "blue migrated"
            );
            // 4: a snapshot first.
            prop_assert!(*snapshot, "no snapshot before the migration");
        }
        Ok(())
    }

    fn serving(&self) -> u32 {
        let Some(listener) = self.world.observed.listeners.get(&80) else {
            return 0;
        };
        let ListenerAction::Forward(Forward { weights, .. }) = &listener.action else {
            return 0;
        };
        self.world
            .observed
            .target_groups
            .values()
            .filter(|group| weights.get(&group.arn).is_some_and(|weight| *weight > 0))
            .map(|group| {
                group
                    .targets
                    .values()
                    .filter(|state| *state == "healthy")
                    .count() as u32
            })
            .sum()
    }

    /// 6: after any end nothing is pinned or suspended, one colour owns, and nobody is without an owner.
    fn check_end(&self) -> Result<(), TestCaseError> {
        let seen = &self.world.observed;
        let record = &self.intent.record;
        let owner = record.group.clone().unwrap_or_default();
        for group in seen.groups.values() {
            prop_assert!(
                group.suspended.is_empty(),
                "{} is suspended: {:?}",
                group.name,
                group.suspended
            );
            prop_assert!(
                !group.tags.keys().any(|key| key.contains("pin-")),
                "{} is pinned",
                group.name
            );
            let retained = record.retained.iter().any(|kept| kept.group == group.name);
            prop_assert!(
                group.name == owner || retained,
                "{} has no owner",
                group.name
            );
            prop_assert!(
                group.name == owner || group.members.is_empty(),
                "{} still has nodes",
                group.name
            );
        }
        let numbers: Vec<Option<u64>> = record
            .proven
            .iter()
            .chain(record.retained.iter().map(|kept| &kept.target))
            .map(|target| target.template_version)
            .collect();
        for number in seen
            .template
            .iter()
            .flat_map(|template| template.versions.keys())
        {
            prop_assert!(
                numbers.contains(&Some(*number)),
                "version {number} has no owner"
            );
        }
        let Some(listener) = seen.listeners.get(&80) else {
            return Err(TestCaseError::fail("no listener"));
        };
        let slot = format!("arn:tg/demo-{}", record.slot.letter());
        let ListenerAction::Forward(forward) = &listener.action else {
            return Err(TestCaseError::fail("the listener does not forward"));
        };
        prop_assert_eq!(forward.sticky_seconds, None);
        let owners: Vec<&String> = forward
            .weights
            .iter()
            .filter(|(_, weight)| **weight > 0)
            .map(|(arn, _)| arn)
            .collect();
        prop_assert_eq!(owners, [&slot]);
        Ok(())
    }
}

/// A rollout under faults ends, and the stack is ready again. Answers with the rollout's last phase.
fn rollout_ends(
    mut run: Run,
    faults: &BTreeMap<usize, Fault>,
    bad: bool,
) -> Result<Phase, TestCaseError> {
    if bad {
        run.world.bad.insert("11.11.0".to_owned());
    }
    let ask = Ask {
        version: Some("11.11.0".to_owned()),
        sha256: Some("b".repeat(64)),
        ..Ask::default()
    };
    let mut rollout = request(&run.intent, &run.world.observed, &ask, run.world.now)
        .map_err(|refused| TestCaseError::fail(refused.text))?;
    rollout.probe = Some(RolloutProbe::new(TOKEN.to_owned()));
    run.intent.rollout = Some(rollout);
    run.rollouts += 1;
    let mut ended = None;
    for turn in 0..4000 {
        let phase = run.turn(faults.get(&turn))?;
        if phase.ends_a_rollout() {
            ended = Some(phase);
            break;
        }
        if let Phase::Stuck { reason } = &phase {
            prop_assert!(!reason.is_empty());
            prop_assert!(!faults.is_empty(), "stuck without a fault: {reason}");
            for _ in 0..3 {
                run.turn(None)?;
            }
            // Somebody looked and gave the rollout up: then the record alone says what is to be.
            run.intent.rollout = None;
            settle(&mut run)?;
            run.check_end()?;
            return Ok(phase);
        }
    }
    let Some(ended) = ended else {
        return Err(TestCaseError::fail(format!(
            "no end: {:?}\n{:#?}",
            run.intent.rollout.as_ref().map(|rollout| &rollout.phase),
            run.past.last().map(|last| (&last.reasons, &last.actions))
        )));
    };
    if bad {
        prop_assert_eq!(&ended, &Phase::RolledBack);
    }
    run.check_end()?;
    settle(&mut run)?;
    run.check_end()?;
    Ok(ended)
}

/// Without faults the stack is ready in bounded time.
fn settle(run: &mut Run) -> Result<(), TestCaseError> {
    for _ in 0..400 {
        if run.turn(None)? == Phase::Ready {
            let rules = &run.world.observed.rules;
            prop_assert!(rules.is_empty(), "rules without a rollout: {rules:?}");
            return Ok(());
        }
    }
    Err(TestCaseError::fail(format!(
        "not ready: {:#?}",
        run.past
            .last()
            .map(|last| (&last.next, &last.reasons, &last.actions))
    )))
}

fn served(spec: &crate::Spec) -> Run {
    let (world, intent) = ready(spec);
    Run {
        world,
        intent,
        past: Vec::new(),
        rollouts: 0,
        disturbed: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_rollout_ends_whatever_happens(faults in faults(8), bad in prop::bool::weighted(0.3), size in 1u32..4) {
        rollout_ends(served(&clustered(size)), &faults, bad)?;
    }

    #[test]
    fn a_cutover_ends_whatever_happens(faults in faults(6), bad in prop::bool::weighted(0.3)) {
        rollout_ends(served(&unlicensed()), &faults, bad)?;
    }

    #[test]
    fn failed_reads_alone_turn_no_rollout_back(faults in blindness(6), size in 1u32..4, cutover in any::<bool>()) {
        let spec = if cutover { unlicensed() } else { clustered(size) };
        prop_assert_eq!(rollout_ends(served(&spec), &faults, false)?, Phase::Done);
    }

    #[test]
    fn up_and_down_end_whatever_happens(faults in faults(10), delete_database in any::<bool>(), size in 1u32..4) {
        let spec = clustered(size);
        let mut run = Run {
            world: World::new(&spec, &empty_account(), epoch()),
            intent: wanting(&spec),
            past: Vec::new(),
            rollouts: 0,
            disturbed: true,
        };
        let faults: BTreeMap<usize, Fault> = faults.into_iter().map(|(turn, fault)| (turn / 5, fault)).collect();
        for turn in 0..60 {
            run.turn(faults.get(&turn))?;
        }
        settle(&mut run)?;
        run.intent.want = Want::Down {
            delete_database,
            delete_files: false,
        };
        let mut gone = false;
        for turn in 0..400 {
            gone = run.turn(faults.get(&turn))? == Phase::Gone && run.world.observed.groups.is_empty();
            if gone && turn > 60 {
                break;
            }
        }
        prop_assert!(gone, "{:#?}", run.past.last());
        let seen = &run.world.observed;
        prop_assert!(seen.groups.is_empty() && seen.load_balancer.is_none() && seen.target_groups.is_empty());
        prop_assert_eq!(seen.db_instances.is_empty(), delete_database);
    }
}

/// A crash after the commit and before the effects, at every turn of a rollout in its turn.
#[test]
fn a_restart_at_every_point_changes_nothing() {
    let run = served(&clustered(2));
    for turn in (0..320).step_by(3) {
        let run = Run {
            world: run.world.clone(),
            intent: run.intent.clone(),
            past: Vec::new(),
            rollouts: 0,
            disturbed: false,
        };
        let faults = BTreeMap::from([(turn, Fault::Crash { after: 0 })]);
        rollout_ends(run, &faults, false)
            .unwrap_or_else(|error| panic!("crash at {turn}: {error}"));
    }
}

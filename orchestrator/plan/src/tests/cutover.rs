//! Rollouts without a cluster licence.

use super::{begin, phases};
use crate::fixtures::{ready, turn, unlicensed, until};
use crate::intent::{Mode, Phase};
use crate::rollout::word;
use crate::world::{TICK_SECONDS, World};

#[test]
fn a_cutover_stops_blue_before_green_starts() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    assert_eq!(intent.rollout.as_ref().unwrap().mode, Mode::Cutover);
    let mut both = 0;
    let mut seen: Vec<String> = vec![];
    for _ in 0..2000 {
        let decision = turn(&mut world, &mut intent);
        let serving = |group: &str| {
            world.observed.groups.get(group).is_some_and(|group| {
                group.members.keys().any(|id| {
                    world
                        .observed
                        .nodes
                        .get(id)
                        .is_some_and(|node| node.phase == "serving")
                })
            })
        };
        both += u32::from(serving("demo-g1") && serving("demo-g2"));
        let word = word(&decision.next);
        if seen.last() != Some(&word) {
            seen.push(word);
        }
        if decision.next == Phase::Done {
            break;
        }
    }
    assert_eq!(both, 0, "never two servers at once");
    assert_eq!(
        seen,
        [
            "preflight",
            "imaging",
            "pinned",
            "green_created",
            "prepared",
            "closed",
            "snapshot",
            "canary",
            "full",
            "shifting(100)",
            "baking",
            "promoted",
            "draining",
            "retained",
            "done"
        ]
    );
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
}

#[test]
fn a_cutover_that_fails_starts_blue_again() {
    let (mut world, mut intent) = ready(&unlicensed());
    world.bad.insert("11.11.0".to_owned());
    begin(&mut intent, &world, "11.11.0");
    let seen = phases(&mut world, &mut intent, 2000);
    assert_eq!(
        seen[7..],
        [
            "canary",
            "returning_traffic",
            "removing_green",
            "rolled_back"
        ]
    );
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
}

#[test]
fn a_blue_node_that_dies_behind_the_closed_door_is_replaced_on_the_way_back() {
    let (mut world, mut intent) = ready(&unlicensed());
    world.bad.insert("11.11.0".to_owned());
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 300, |phase| {
        *phase == Phase::Snapshot
    });
    for id in world.observed.groups["demo-g1"].members.clone().keys() {
        world.observed.instances.get_mut(id).unwrap().state = "terminated".to_owned();
    }
    assert_eq!(
        phases(&mut world, &mut intent, 2000)
            .last()
            .map(String::as_str),
        Some("rolled_back")
    );
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
}

/// RDS takes its time, and the prepared node waits in its launch hook meanwhile.
#[test]
fn a_snapshot_that_takes_longer_than_a_boot_does_not_cost_the_prepared_node() {
    let mut spec = unlicensed();
    spec.fleet.boot_seconds = 300;
    let (mut world, mut intent) = ready(&spec);
    world.snapshot_ticks = 3 * 300 / u32::try_from(TICK_SECONDS).unwrap();
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 300, |phase| {
        *phase == Phase::Snapshot
    });
    let members = |world: &World| -> Vec<String> {
        world.observed.groups["demo-g2"]
            .members
            .keys()
            .cloned()
            .collect()
    };
    let prepared = members(&world);
    assert_eq!(prepared.len(), 1);
    until(&mut world, &mut intent, 2000, |phase| *phase == Phase::Done);
    assert_eq!(members(&world), prepared, "the same node serves");
    let beats = intent
        .journal
        .iter()
        .filter(|(key, _)| key.starts_with("heartbeat_lifecycle/"))
        .count();
    assert_eq!(
        beats,
        1,
        "one key for the node: {:?}",
        intent.journal.keys()
    );
}
